//! What is kept of a scan: `<state>/scans/<subject>.json`. It is judged anew in every run, because waivers expire and
//! policies change; only what was found is not looked for twice.

use super::{Finding, Subject};
use crate::{
    digest::Digest,
    fingerprint::{Fingerprint, Stamps},
    store::{self, Format, ReadError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

const FORMAT: Format = Format { what: "scan report", version: 1 };

/// What a scan has found, and what it was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    version: u32,
    /// When it ended.
    pub at: Timestamp,
    /// Who scanned, with its version: `Trivy 0.59.1`.
    pub scanner: String,
    /// When the database of vulnerabilities was made, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Timestamp>,
    /// The image, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// What was read.
    pub fingerprint: Fingerprint,
    /// Which files need not be hashed again.
    #[serde(default)]
    pub stamps: Stamps,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The report of a scan that ended now.
    pub fn new(
        scanner: String,
        database: Option<Timestamp>,
        image: Option<Digest>,
        findings: Vec<Finding>,
    ) -> Self {
        let fingerprint = Fingerprint::default();
        let (version, at, stamps) = (FORMAT.version, Timestamp::now(), Stamps::default());
        Self { version, at, scanner, database, image, fingerprint, stamps, findings }
    }

    /// With what it was made of, for the next run.
    #[must_use]
    pub fn made_of(self, fingerprint: Fingerprint, stamps: Stamps) -> Self {
        Self { fingerprint, stamps, ..self }
    }

    /// The last one of this subject; `None` if there was none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(state: &Path, subject: &Subject) -> Result<Option<Self>, ReadError> {
        store::read_json_if_exists(&path(state, subject), FORMAT)
    }

    /// Replaces the last one.
    ///
    /// # Errors
    /// If it cannot be written; the error names the file.
    pub fn write(&self, state: &Path, subject: &Subject) -> io::Result<()> {
        store::create_folder(&state.join("scans"))?;
        store::write_json(&path(state, subject), self, store::PUBLIC)
    }
}

/// Where the report of a subject stands.
pub fn path(state: &Path, subject: &Subject) -> PathBuf {
    state.join("scans").join(format!("{}.json", stem(subject)))
}

/// Where the bill of materials of a subject stands (CycloneDX).
pub fn bill_path(state: &Path, subject: &Subject) -> PathBuf {
    state.join("scans").join(format!("{}.cdx.json", stem(subject)))
}

/// Where what was found in a subject stands for whoever shows it beside the code (SARIF).
pub fn sarif_path(state: &Path, subject: &Subject) -> PathBuf {
    state.join("scans").join(format!("{}.sarif", stem(subject)))
}

/// No service is called like the configuration: a name has no underscore.
fn stem(subject: &Subject) -> String {
    subject.service().map_or_else(|| "_configuration".to_owned(), ToString::to_string)
}
