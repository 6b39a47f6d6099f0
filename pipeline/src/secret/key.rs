//! The environment's key, and digests of secrets that nobody without it can guess from.

use super::Secret;
use crate::{
    digest::Digest,
    store::{self, FileError},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};
use zeroize::Zeroizing;

/// 32 random bytes that belong to one environment and are kept at its home.
pub struct EnvironmentKey(Zeroizing<[u8; Self::BYTES]>);

impl EnvironmentKey {
    const BYTES: usize = 32;

    /// Reads the key, or makes it if there is none yet; when two do so at once, both get the same key.
    ///
    /// # Errors
    /// If the file cannot be read or made, has another size than a key, or can be read by other users.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        match Self::load(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::create(path),
            loaded => loaded,
        }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// See [`EnvironmentKey::load_or_create`]; [`io::ErrorKind::NotFound`] if there is none.
    pub fn load(path: &Path) -> io::Result<Self> {
        let invalid = |text: &str| FileError::wrap("use the key", path, io::Error::other(text.to_owned()));
        let bytes = Zeroizing::new(store::read(path)?);
        let mode = fs::metadata(path).map_err(|e| FileError::wrap("read", path, e))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(invalid("other users can read it: give it mode 0600"));
        }
        let key =
            bytes.as_slice().try_into().map_err(|_| invalid("it is not 32 bytes long: it was damaged"))?;
        Ok(Self(Zeroizing::new(key)))
    }

    fn create(path: &Path) -> io::Result<Self> {
        let source = Path::new("/dev/urandom");
        let mut key = Zeroizing::new([0; Self::BYTES]);
        File::open(source)
            .and_then(|mut file| file.read_exact(key.as_mut_slice()))
            .map_err(|e| FileError::wrap("read", source, e))?;
        match store::create_exclusive(path, key.as_slice(), store::PRIVATE) {
            Ok(()) => Ok(Self(key)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Self::load(path), // Another was quicker.
            Err(e) => Err(e),
        }
    }
}

impl fmt::Debug for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvironmentKey(…)")
    }
}

/// HMAC-SHA256 of a secret: equal for equal values in one environment, and of no use to guess the value from.
pub fn keyed_digest(key: &EnvironmentKey, secret: &Secret) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.0.as_slice()).expect("HMAC takes keys of any length");
    mac.update(secret.expose());
    Digest::from_bytes(mac.finalize().into_bytes().into())
}
