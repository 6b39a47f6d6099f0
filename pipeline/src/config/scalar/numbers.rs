//! Scalars that are numbers: sizes, shares, modes and statuses.

use super::{ByteSize, FormError, Mode, Share, ShareKind, StatusRange, split_unit};
use std::{fmt, str::FromStr};

/// Units of [`ByteSize`], the largest of each kind first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// A size of this many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    pub fn as_bytes(&self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let (number, unit) = split_unit(text).ok_or(Self::ERROR)?;
        let (_, unit_bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(Self::ERROR)?;
        number.checked_mul(*unit_bytes).map(Self).ok_or(Self::ERROR)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS.iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes));
        let (name, bytes) = unit.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl Share {
    /// A number of units.
    pub const fn count(count: u16) -> Self {
        Self(ShareKind::Count(count))
    }

    /// A share of the units, in percent.
    pub const fn percent(percent: u8) -> Self {
        Self(ShareKind::Percent(percent))
    }

    /// What it counts.
    pub fn kind(&self) -> ShareKind {
        self.0
    }
}

impl FromStr for Share {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Self::ERROR);
        }
        let kind = if digits.len() == text.len() {
            digits.parse().ok().map(ShareKind::Count)
        } else {
            digits.parse().ok().filter(|percent| *percent <= 100).map(ShareKind::Percent)
        };
        kind.map(Self).ok_or(Self::ERROR)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ShareKind::Count(count) => write!(f, "{count}"),
            ShareKind::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Mode {
    /// Readable for all, writable for the owner.
    pub const PUBLIC: Self = Self(0o644);

    /// The permission bits.
    pub fn bits(&self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let well_formed =
            text.len() == 4 && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let bits = well_formed.then(|| u32::from_str_radix(text, 8).ok()).flatten();
        bits.map(Self).ok_or(Self::ERROR)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl StatusRange {
    /// Every success: what a health endpoint answers when it is well.
    pub const SUCCESS: Self = Self((200, 299));

    /// First and last status.
    pub fn bounds(&self) -> (u16, u16) {
        self.0
    }
}

impl FromStr for StatusRange {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|status| digits && (100..600).contains(status))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self((first, last))),
            _ => Err(Self::ERROR),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.0;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}
