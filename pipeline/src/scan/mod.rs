//! Scanning: what a scanner finds, and what of it stops a release.
//!
//! ```text
//! trivy ──▶ findings ──▶ policy + waivers + today ──▶ judgement
//! (effect)   (kept)              (pure)
//! ```
//!
//! The scanner is asked for everything that it knows, whatever its severity; what that means is decided here, so that the
//! gate can say why, and a waiver that expires counts on its last day without anything being scanned anew.
//!
//! **Invariant.** No secret that a scanner found is in a finding, nor anything that stands beside it: only where it is and
//! by which rule it was found.

pub mod bill;
pub mod finding;
pub mod ignore;
pub mod policy;
pub mod report;
pub mod sarif;
pub mod trivy;
pub mod waiver;

pub use finding::{Finding, Kind, Lines, Package, Severity};
pub use policy::{Judgement, Policy, judge};
pub use report::Report;
pub use waiver::{Waiver, Waivers};

use crate::name::Name;
use std::{fmt, path::PathBuf, time::Duration};

/// What is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The image of a service.
    Image(Name),
    /// Dockerfiles, manifests and the like: these files and folders, relative to the root.
    Configuration(Vec<PathBuf>),
}

impl Subject {
    /// The service, if it is the image of one.
    pub fn service(&self) -> Option<&Name> {
        match self {
            Self::Image(service) => Some(service),
            Self::Configuration(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(service) => write!(f, "the image of {service}"),
            Self::Configuration(_) => f.write_str("the configuration"),
        }
    }
}

/// Whether a release needs a scan that has judged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without one it is stopped.
    Required,
    /// It goes on where the scanner cannot judge; what it finds stops it all the same.
    Optional,
}

/// How a project is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What stops a release.
    pub policy: Policy,
    /// What is tolerated, by whom and for how long.
    pub waivers: Waivers,
    /// The version that the scanner must have, if only one will do.
    pub version: Option<String>,
    /// The oldest that the database of vulnerabilities may be.
    pub database_age_max: Duration,
    /// Where the database comes from, in the order in which they are tried; empty: the scanner's own.
    pub database_repositories: Vec<String>,
    /// The largest image that is scanned, in bytes.
    pub image_size_max: u64,
    /// The longest that one scan may take.
    pub timeout: Duration,
    /// Whether a release can do without.
    pub need: Need,
}
