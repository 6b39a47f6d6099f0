//! What is remembered of a stage's last run: `<state>/stages/<stage>.json`, or `<stage>-<service>.json` where each service
//! has its own. It is a cache: without it the stage runs.

use super::{RunReason, StageName};
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

/// The last run, as far as it can be read.
pub(super) struct Last {
    /// Its record, if there is one that can be read.
    pub(super) record: Option<Record>,
    /// Whether there is one that cannot. It is a cache: the stage runs, and says so.
    pub(super) is_unreadable: bool,
}

impl Last {
    /// Reads the record of a stage, or of a service's part of it.
    pub(super) fn read(state: &Path, stage: StageName, service: Option<&Name>) -> Self {
        match Record::read(state, stage, service) {
            Ok(record) => Self { record, is_unreadable: false },
            Err(_) => Self { record: None, is_unreadable: true },
        }
    }

    /// The image that stands for what reads this now, if it is still where it was put, and since when; or why it must be
    /// made anew.
    pub(super) fn image(&self, now: &Fingerprint, force: bool) -> Result<(&Image, Timestamp), RunReason> {
        let record = match &self.record {
            _ if force => return Err(RunReason::Forced),
            None if self.is_unreadable => return Err(RunReason::RecordUnreadable),
            None => return Err(RunReason::FirstTime),
            Some(record) => record,
        };
        match (now.difference_from(&record.fingerprint), &record.image) {
            (Some(difference), _) => Err(RunReason::Inputs(difference)),
            (None, Some(image)) if record.passed => Ok((image, record.at)),
            (None, _) => Err(RunReason::FailedLastTime),
        }
    }
}

fn path(state: &Path, stage: StageName, service: Option<&Name>) -> PathBuf {
    let file = service.map_or_else(|| format!("{stage}.json"), |service| format!("{stage}-{service}.json"));
    state.join("stages").join(file)
}
