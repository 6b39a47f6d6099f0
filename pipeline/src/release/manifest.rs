//! `release-manifest.json`: written by the job that makes a release, read by the one that deploys it.

use super::{Release, ReleaseId};
use crate::store::{self, FileError, Format, ReadError};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The kind of document that a manifest is.
pub const FORMAT: Format = Format { what: "release manifest", version: Release::FORMAT };

/// Where the manifests of a project stand, under its state folder (`.fairlead`).
#[derive(Debug, Clone)]
pub struct Manifests {
    state: PathBuf,
}

impl Manifests {
    /// Those of the project with this state folder.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The manifest of the release that was made last: what one CI job hands to the next.
    pub fn latest_path(&self) -> PathBuf {
        self.state.join("release-manifest.json")
    }

    /// The manifest of one release; `None` if the text cannot be the name of one.
    pub fn path_of(&self, id: &ReleaseId) -> Option<PathBuf> {
        id.is_well_formed().then(|| self.state.join("releases").join(format!("{id}.json")))
    }

    /// Writes both manifests of a release.
    ///
    /// # Errors
    /// If one cannot be written; the error names the file.
    pub fn write(&self, release: &Release) -> io::Result<()> {
        let path = self.path_of(&release.id).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` is not a name of a release", release.id),
            )
        })?;
        store::create_folder(&self.state.join("releases"))?;
        store::write_json(&path, release, store::PUBLIC)?;
        store::write_json(&self.latest_path(), release, store::PUBLIC)
    }

    /// Removes the manifest of one release; that of the release that was made last stays where the next job looks for it.
    ///
    /// # Errors
    /// If it is there and cannot be removed; the error names the file.
    pub fn remove(&self, id: &ReleaseId) -> io::Result<()> {
        let Some(path) = self.path_of(id) else { return Ok(()) };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::wrap("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// The release of that name; `None` if no manifest of it is kept here.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn find(&self, id: &ReleaseId) -> Result<Option<Release>, ReadError> {
        self.path_of(id).map_or(Ok(None), |path| store::read_json_if_exists(&path, FORMAT))
    }

    /// The release that was made last; `None` before the first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn latest(&self) -> Result<Option<Release>, ReadError> {
        store::read_json_if_exists(&self.latest_path(), FORMAT)
    }

    /// The names of all releases that have a manifest here, in the order of the names.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<ReleaseId>> {
        let folder = self.state.join("releases");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(FileError::wrap("read", &folder, e)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| FileError::wrap("read", &folder, e))?.file_name();
            let id =
                name.to_str().and_then(|name| name.strip_suffix(".json")).map(|id| ReleaseId(id.to_owned()));
            ids.extend(id.filter(ReleaseId::is_well_formed));
        }
        ids.sort();
        Ok(ids)
    }
}

/// Reads a manifest that the user names.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<Release, ReadError> {
    store::read_json(path, FORMAT)
}
