//! What is remembered of a stage's last run: `<state>/stages/<stage>.json`, or `<stage>-<service>.json` where each service
//! has its own. It is a cache: without it the stage runs.

use super::StageName;
use crate::{
    fingerprint::{Fingerprint, Stamps},
    name::Name,
    release::{Artifact, Image},
    store::{self, Format, ReadError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

const FORMAT: Format = Format { what: "stage record", version: 1 };

/// The last run of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// Whether it passed.
    pub(super) passed: bool,
    /// When it ended.
    pub(super) at: Timestamp,
    /// What it read.
    pub(super) fingerprint: Fingerprint,
    /// Which files need not be hashed again.
    pub(super) stamps: Stamps,
    /// What it made.
    pub(super) artifacts: BTreeMap<Name, Artifact>,
    /// The image that it made or published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<Image>,
}

impl Record {
    /// The record of a run that ended now.
    pub(super) fn new(passed: bool, fingerprint: Fingerprint, stamps: Stamps) -> Self {
        let version = FORMAT.version;
        Self {
            version,
            passed,
            at: Timestamp::now(),
            fingerprint,
            stamps,
            artifacts: BTreeMap::new(),
            image: None,
        }
    }

    /// The record of the last run; `None` if there was none.
    pub(super) fn read(
        state: &Path,
        stage: StageName,
        service: Option<&Name>,
    ) -> Result<Option<Self>, ReadError> {
        store::read_json_if_exists(&path(state, stage, service), FORMAT)
    }

    /// Replaces the record of the last run.
    pub(super) fn write(&self, state: &Path, stage: StageName, service: Option<&Name>) -> io::Result<()> {
        store::create_folder(&state.join("stages"))?;
        store::write_json(&path(state, stage, service), self, store::PUBLIC)
    }
}

fn path(state: &Path, stage: StageName, service: Option<&Name>) -> PathBuf {
    let file = service.map_or_else(|| format!("{stage}.json"), |service| format!("{stage}-{service}.json"));
    state.join("stages").join(file)
}
