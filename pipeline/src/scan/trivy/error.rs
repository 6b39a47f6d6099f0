//! Why a scanner cannot judge.

use crate::process::ProcessError;
use jiff::{SignedDuration, Timestamp};
use std::{io, time::Duration};

/// Why a scanner cannot judge, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is no such program.
    #[error("Trivy is not installed: install `trivy` (https://trivy.dev) so that it is on the PATH")]
    NotInstalled,
    /// It is another version than the one that was chosen.
    #[error(
        "Trivy is version {found}, and `stages.scan.version` wants {pinned}: install that one, or, once it is known to be \
         good, pin this one"
    )]
    OtherVersion {
        /// That is installed.
        found: String,
        /// That is wanted.
        pinned: String,
    },
    /// There is no database of vulnerabilities, and none can be had.
    #[error(
        "Trivy has no database of vulnerabilities, and cannot get one: let it reach its registry, name a mirror in \
         `stages.scan.database-repositories`, or bring one with `trivy image --download-db-only`"
    )]
    NoDatabase {
        /// Why not.
        #[source]
        source: Box<ScanError>,
    },
    /// It said that it had got one, and there is none.
    #[error(
        "Trivy has no database of vulnerabilities after it has got one: look into its cache folder (TRIVY_CACHE_DIR)"
    )]
    DatabaseLost,
    /// The database is too old.
    #[error(
        "the database of vulnerabilities is from {}, {} hours ago, and may be {} hours old \
         (`stages.scan.database-age-max`): bring it up to date with `trivy image --download-db-only`{}",
        .made.strftime("%Y-%m-%d %H:%M UTC"), .age.as_hours(), .max.as_hours(), because(.why)
    )]
    StaleDatabase {
        /// When it was made.
        made: Timestamp,
        /// How long ago that is.
        age: SignedDuration,
        /// How long ago it may be.
        max: SignedDuration,
        /// Why it could not be brought up to date, if that was tried.
        why: String,
    },
    /// The image is larger than what is scanned.
    #[error(
        "the image has {} MB, and at most {} MB are scanned (`stages.scan.image-size-max`): make it smaller, or raise that",
        .size_bytes / 1_000_000, .max_bytes / 1_000_000
    )]
    TooLarge {
        /// Its size in bytes.
        size_bytes: u64,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// It ran longer than it may.
    #[error(
        "Trivy was ended after {} s, its time limit: raise `stages.scan.timeout` if it needs longer{}",
        .limit.as_secs_f32(), quoted(.tail)
    )]
    Deadline {
        /// The time that it had.
        limit: Duration,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// It could not be run to a good end.
    #[error("Trivy did not come to a good end")]
    Process {
        /// Why, with its last lines.
        #[source]
        source: ProcessError,
    },
    /// What it wrote is not what was asked for.
    #[error("`{command}` did not write what it should: {why}; it begins with `{begins}`")]
    Garbage {
        /// The command line.
        command: String,
        /// What is wrong.
        why: String,
        /// The first of it; secrets masked.
        begins: String,
    },
    /// It speaks another language than we do.
    #[error(
        "Trivy answers in version {found} of its format, and this version of Fairlead reads {known}: install a version of \
         Trivy that writes it, or a newer Fairlead"
    )]
    UnknownFormat {
        /// As it says.
        found: u64,
        /// That is read.
        known: u64,
    },
    /// A folder of its own could not be made or written.
    #[error("there is no room for what the scanner needs")]
    Folder {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The run was cancelled.
    #[error("the scan was broken off because the run was cancelled")]
    Cancelled,
}

impl ScanError {
    /// Whether the run was cancelled, and the scanner is not to blame.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::NoDatabase { source } => source.is_cancelled(),
            _ => false,
        }
    }
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

fn quoted(tail: &[String]) -> String {
    const SHOWN: usize = 5;
    tail[tail.len().saturating_sub(SHOWN)..].iter().map(|line| format!("\n  | {line}")).collect()
}
