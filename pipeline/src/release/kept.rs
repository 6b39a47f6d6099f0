//! Executables that are kept for another machine: what a manifest alone cannot hand over. They stand below the state folder,
//! each by its digest, so that a name is never mistaken for what another release has.

use super::{Artifact, ArtifactError, Release};
use crate::{
    digest::Digest,
    name::Name,
    store::{self, FileError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

/// Whoever carries them (an archive, a store of CI) may have lost the permission to run them.
const MODE: u32 = 0o755;

/// The executables that are kept in the state folder of a project.
#[derive(Debug, Clone)]
pub struct Kept {
    root: PathBuf,
    folder: PathBuf,
}

impl Kept {
    /// Those of the project with this root and this state folder.
    pub fn new(root: &Path, state: &Path) -> Self {
        Self { root: root.to_owned(), folder: state.join("executables") }
    }

    /// Keeps the executables of a release, and no others any more.
    ///
    /// # Errors
    /// If one cannot be copied, or is not what the release says any more; the error names the file.
    pub fn keep(&self, executables: &BTreeMap<Name, Artifact>) -> io::Result<()> {
        store::create_folder(&self.folder)?;
        for artifact in executables.values() {
            self.copy(artifact, &self.root.join(&artifact.path), &self.place(artifact.digest))?;
        }
        self.keep_only(executables.values().map(|artifact| artifact.digest))
    }

    /// Removes all that are kept but these.
    ///
    /// # Errors
    /// If one cannot be removed; the error names it.
    pub fn keep_only(&self, wanted: impl IntoIterator<Item = Digest>) -> io::Result<()> {
        let wanted: BTreeSet<OsString> = wanted.into_iter().map(|digest| digest.hex().into()).collect();
        let at = |error| FileError::wrap("read", &self.folder, error);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at)?,
        };
        for entry in entries {
            let entry = entry.map_err(at)?;
            if !wanted.contains(&entry.file_name()) {
                fs::remove_file(entry.path()).map_err(|e| FileError::wrap("remove", &entry.path(), e))?;
            }
        }
        Ok(())
    }

    /// Has a release that comes from elsewhere taken from what is kept, as far as it is.
    pub fn find(&self, release: &mut Release) {
        for artifact in release.services.values_mut() {
            let place = self.place(artifact.digest);
            if place.is_file() {
                artifact.path = place;
            }
        }
    }

    /// Puts an executable where it was made, if nothing is there and it is kept; whether it did.
    ///
    /// # Errors
    /// If it cannot be copied, or what is kept is not what it is said to be; the error names the file.
    pub fn put_back(&self, artifact: &Artifact) -> io::Result<bool> {
        let (place, path) = (self.place(artifact.digest), self.root.join(&artifact.path));
        let is_below = artifact.path.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below || path.symlink_metadata().is_ok() || !place.is_file() {
            return Ok(false);
        }
        if let Some(folder) = path.parent() {
            store::create_folder(folder)?;
        }
        self.copy(artifact, &place, &path).map(|()| true)
    }

    fn place(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Copies an executable, unless it is there, and takes its digest from what was written.
    fn copy(&self, artifact: &Artifact, from: &Path, to: &Path) -> io::Result<()> {
        let is_there = |path: &Path| Digest::of_file(path).is_ok_and(|found| found == artifact.digest);
        if is_there(to) {
            return Ok(());
        }
        let mut source = File::open(from).map_err(|error| FileError::wrap("read", from, error))?;
        store::write_atomic_with(to, MODE, |file| io::copy(&mut source, file).map(drop))?;
        let found = Digest::of_file(to).map_err(|error| FileError::wrap("read", to, error))?;
        if found == artifact.digest {
            return Ok(());
        }
        fs::remove_file(to).map_err(|error| FileError::wrap("remove", to, error))?;
        let changed = ArtifactError::Changed { path: from.to_owned(), found, expected: artifact.digest };
        Err(io::Error::other(changed))
    }
}
