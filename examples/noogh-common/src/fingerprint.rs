//! FNV-1a, a checksum that needs no crate: it finds accidents, not forgeries.

/// The running checksum of a stream of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Goes on with these bytes.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vectors_however_the_bytes_are_cut() {
        assert_eq!(Fingerprint::default().hex(), "cbf29ce484222325");
        assert_eq!(Fingerprint::default().update(b"foobar").hex(), "85944171f73967e8");
        assert_eq!(Fingerprint::default().update(b"foo").update(b"bar").hex(), "85944171f73967e8");
    }
}
