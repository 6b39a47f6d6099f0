//! Why a registry did not do what it was asked.

use crate::manifest::ManifestError;
use pipeline::digest::Digest;
use std::time::Duration;

/// Why a registry did not do what it was asked. `operation` says what that was, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client can be made.
    #[error("no connections over TLS can be made")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It does not know who asks.
    #[error("cannot {operation}: the registry refuses the login ({login}){}; log in again with `docker login {host}`, or set \
             {} and {}", told(.said), crate::USERNAME, crate::PASSWORD)]
    Unauthorized {
        /// What was wanted.
        operation: String,
        /// The registry.
        host: String,
        /// Where the login came from, never what it is.
        login: String,
        /// What the registry said.
        said: String,
    },
    /// It knows who asks, and does not allow it.
    #[error("cannot {operation}: the registry does not allow it to this login ({login}){}; ask whoever runs {host} for the \
             right to it", told(.said))]
    Denied {
        /// What was wanted.
        operation: String,
        /// The registry.
        host: String,
        /// Where the login came from.
        login: String,
        /// What the registry said.
        said: String,
    },
    /// It would have the password sent where others could read it.
    #[error(
        "cannot {operation}: the registry sends logins to `{realm}`, which is not encrypted; the password is not sent there"
    )]
    Exposed {
        /// What was wanted.
        operation: String,
        /// Where it would have gone.
        realm: String,
    },
    /// It has no room left.
    #[error("cannot {operation}: the registry has no space left{}; free space there, then run this again", told(.said))]
    Full {
        /// What was wanted.
        operation: String,
        /// What the registry said.
        said: String,
    },
    /// Nothing can be removed from it.
    #[error(
        "cannot {operation}: the registry lets nobody remove anything (405{}); whoever runs {host} can allow it: \
         `REGISTRY_STORAGE_DELETE_ENABLED=true` in its environment, or `storage.delete.enabled: true` in its file",
        also(.said)
    )]
    NoRemoval {
        /// What was wanted.
        operation: String,
        /// The registry.
        host: String,
        /// What the registry said.
        said: String,
    },
    /// It refuses for another reason, or fails time and again.
    #[error("cannot {operation}: the registry answers {status}{}{}", told(.said), often(*.attempts))]
    Refused {
        /// What was wanted.
        operation: String,
        /// The status of HTTP.
        status: u16,
        /// What the registry said.
        said: String,
        /// How often it was asked.
        attempts: u32,
    },
    /// Nobody answers.
    #[error("cannot {operation}: no answer of the registry{}; is it up, and reachable from here?", often(*.attempts))]
    Unreachable {
        /// What was wanted.
        operation: String,
        /// How often it was asked.
        attempts: u32,
        /// Why, at last.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("cannot {operation}: no whole answer of the registry within {} s", .limit.as_secs_f32())]
    Deadline {
        /// What was wanted.
        operation: String,
        /// The time that it had.
        limit: Duration,
    },
    /// It gave other bytes than those that were asked for.
    #[error(
        "cannot {operation}: its bytes have the digest {found}, not {wanted}; do not use this registry before its keeper \
             has looked"
    )]
    Corrupt {
        /// What was wanted.
        operation: String,
        /// What it should be.
        wanted: Digest,
        /// What it is.
        found: Digest,
    },
    /// It gave more than it may.
    #[error("cannot {operation}: the answer is longer than {limit} bytes")]
    TooLong {
        /// What was wanted.
        operation: String,
        /// The most that is read.
        limit: usize,
    },
    /// Its answer is none that the specification knows.
    #[error("cannot {operation}: the registry's answer is not understood: {what}")]
    Strange {
        /// What was wanted.
        operation: String,
        /// What is wrong with it.
        what: String,
    },
    /// What it gave is no manifest.
    #[error("cannot {operation}")]
    Manifest {
        /// What was wanted.
        operation: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
}

fn told(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

fn also(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(", {said}") }
}

fn often(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() }
}
