//! Where everything of an environment stands on this machine.

use crate::{bundle::BundleHash, model::UnitId};
use pipeline::name::Name;
use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Nobody but the owner may look: bundles hold secrets, and the control socket starts processes.
pub(crate) const FOLDER_MODE: u32 = 0o700;

/// The state folder of an environment, and the names of what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folders {
    root: PathBuf,
}

impl Folders {
    /// The folders under `root`; a relative one counts from the working directory of now.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)? })
    }

    /// The state folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes all folders that are not there yet.
    pub(crate) fn create(&self) -> io::Result<()> {
        for folder in [self.root.clone(), self.supervisor(), self.executables(), self.bundles(), self.logs()]
        {
            create_private(&folder)?;
        }
        Ok(())
    }

    /// What the supervisor keeps for itself.
    pub(crate) fn supervisor(&self) -> PathBuf {
        self.root.join("supervisor")
    }

    /// What the supervisor must know again after it was killed.
    pub(crate) fn state(&self) -> PathBuf {
        self.supervisor().join("state.json")
    }

    /// Locked by the one supervisor that runs.
    pub(crate) fn lock(&self) -> PathBuf {
        self.supervisor().join("lock")
    }

    /// What the supervisor tells of itself.
    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.supervisor().join("supervisor.log")
    }

    /// Copies of the executable, so that a rebuild does not pull it away from under a running supervisor.
    pub(crate) fn executables(&self) -> PathBuf {
        self.supervisor().join("bin")
    }

    /// What stands here.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger.json")
    }

    /// All bundles.
    pub(crate) fn bundles(&self) -> PathBuf {
        self.root.join("bundles")
    }

    /// One bundle.
    pub(crate) fn bundle(&self, bundle: &BundleHash) -> PathBuf {
        self.bundles().join(bundle.short())
    }

    /// What the units logged.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// What one unit logged.
    pub(crate) fn log(&self, unit: &UnitId) -> PathBuf {
        self.logs().join(format!("{}.log", unit.file_stem()))
    }

    /// What the migration of a service from this bundle logged. The bundle is the third part of the name, as for units.
    pub(crate) fn migration_log(&self, service: &Name, bundle: &BundleHash) -> PathBuf {
        self.logs().join(format!("{service}.migration.{}.log", bundle.short()))
    }
}

/// Makes a folder that only its owner can enter, and those above it.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}
