//! Secrets: references to them, values that do not print, and the redactor that keeps them off every surface.
//!
//! **Invariant.** A value exists in memory alone, as a [`Secret`], and is wiped when that is dropped. What is written
//! down is the reference, or a digest keyed with the environment's own key.

mod key;
mod redact;
mod resolve;

pub use key::{EnvironmentKey, keyed_digest};
pub use redact::{MASK, Redactor, SHORTEST_MASKED};
pub use resolve::{DEADLINE, SecretError, Variables, resolve};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::PathBuf};
use zeroize::Zeroizing;

/// Where a secret's value comes from. Only the reference is ever written down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SecretRef {
    /// The value of an environment variable of the process that deploys.
    Env(String),
    /// The bytes of a file, relative to the project's root; one trailing newline is dropped.
    File(PathBuf),
    /// The standard output of a command (program and arguments; no shell); one trailing newline is dropped.
    Command(Vec<String>),
}

/// As error texts name it; never the value.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
            Self::Command(list) => {
                write!(f, "the command `{}`", list.first().map_or("", String::as_str))
            }
        }
    }
}

/// A secret's value. It cannot be displayed or serialized, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The largest value, in bytes: more than any key or certificate chain, little enough to keep in memory.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Takes over a value as it is.
    pub fn new(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the one place that must have it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as an environment variable can hold it; `None` if it has a NUL byte, which none can.
    pub fn expose_for_env(&self) -> Option<&OsStr> {
        (!self.0.contains(&0)).then(|| OsStr::from_bytes(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests;
