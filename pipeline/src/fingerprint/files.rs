//! Lists and hashes files, and remembers the digests of files that cannot have changed.

use crate::{
    digest::Digest,
    git::{self, GitError},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long a file must have been left alone before its times can vouch for its content: the coarsest clock of a file
/// system in use (FAT) ticks every 2 s, and a change within one tick leaves the times as they are.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that a stage reads cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It exists but cannot be read.
    #[error("cannot read `{path}`, which the stage reads")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was named, but does not exist.
    #[error("`{path}` is named as an input of the stage, but does not exist")]
    Missing {
        /// Which.
        path: PathBuf,
    },
}

impl FileError {
    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}

/// What is remembered of files, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamps(BTreeMap<String, Stamp>);

/// The digest of a file, and what the system said of it when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Stamp {
    digest: Digest,
    /// Size, inode, time of modification (s, ns), time of the last change of any kind (s, ns).
    seen: (u64, u64, i64, i64, i64, i64),
}

/// Hashes files, each at most once, and not at all if a stamp vouches for it.
#[derive(Debug)]
pub struct Hashes {
    old: Stamps,
    new: Stamps,
    now: Duration,
}

impl Hashes {
    /// Begins with the stamps of an earlier run.
    pub fn new(old: Stamps) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { old, new: Stamps::default(), now }
    }

    /// As if an hour had passed since the files were written.
    #[cfg(test)]
    pub(super) fn in_the_future(old: Stamps) -> Self {
        let mut hashes = Self::new(old);
        hashes.now += Duration::from_secs(3600);
        hashes
    }

    /// The digest of a file's content, or of what a link says if it leads to no file; `None` if there is nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn digest(&mut self, path: &Path) -> Result<Option<Digest>, FileError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return link_digest(path),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return link_digest(path);
            }
            Err(e) => return Err(FileError::read(path, e)),
        };
        // A path that is not UTF-8 is hashed each time.
        let Some(name) = path.to_str() else { return hash(path).map(Some) };
        let seen = seen(&metadata);
        if let Some(stamp) = self.new.0.get(name).or_else(|| self.old.0.get(name)).filter(|s| s.seen == seen)
        {
            let stamp = stamp.clone();
            let digest = stamp.digest;
            self.new.0.insert(name.to_owned(), stamp);
            return Ok(Some(digest));
        }
        let digest = hash(path)?;
        if self.is_settled(&metadata) {
            self.new.0.insert(name.to_owned(), Stamp { digest, seen });
        }
        Ok(Some(digest))
    }

    /// The stamps of all files that were asked for.
    pub fn into_stamps(self) -> Stamps {
        self.new
    }

    fn is_settled(&self, metadata: &Metadata) -> bool {
        let latest = metadata.mtime().max(metadata.ctime());
        let before = self.now.saturating_sub(SETTLED).as_secs();
        u64::try_from(latest).is_ok_and(|latest| latest < before)
    }
}

/// All files under these paths, absolute and in order: of a folder those that git tracks or would track, without git
/// all but hidden files and `target` folders.
pub(super) fn list(
    root: &Path,
    paths: &BTreeSet<PathBuf>,
) -> Result<BTreeSet<PathBuf>, super::FingerprintError> {
    let mut files = BTreeSet::new();
    let mut inside = Vec::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                files.insert(path.clone());
            }
            Ok(_) => match path.strip_prefix(root) {
                Ok(relative) => inside.push(relative.to_owned()),
                Err(_) => list_folder(path, &[PathBuf::new()], &mut files)?,
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(FileError::Missing { path: path.clone() }.into());
            }
            Err(e) => return Err(FileError::read(path, e).into()),
        }
    }
    if !inside.is_empty() {
        list_folder(root, &inside, &mut files)?;
    }
    Ok(files)
}

fn list_folder(
    root: &Path,
    under: &[PathBuf],
    files: &mut BTreeSet<PathBuf>,
) -> Result<(), super::FingerprintError> {
    let Some(tracked) = git::files(root, under).map_err(|e: GitError| super::FingerprintError::Git(e))?
    else {
        return Ok(under.iter().try_for_each(|folder| walk(&root.join(folder), files))?);
    };
    for path in tracked.into_iter().map(|path| root.join(path)) {
        // A submodule, or a repository inside this one: git names it without its content.
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            walk(&path, files)?;
        } else {
            files.insert(path);
        }
    }
    // A folder that git ignores as a whole is an input all the same: to read nothing would be to skip for ever.
    for folder in under.iter().map(|folder| root.join(folder)) {
        if !files.range(folder.clone()..).next().is_some_and(|file| file.starts_with(&folder)) {
            walk(&folder, files)?;
        }
    }
    Ok(())
}

/// Adds all files under a folder but hidden ones and those in `target` folders. Links are not followed.
fn walk(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(|e| FileError::read(folder, e))? {
        let entry = entry.map_err(|e| FileError::read(folder, e))?;
        let name = entry.file_name();
        let kind = entry.file_type().map_err(|e| FileError::read(&entry.path(), e))?;
        if name.as_bytes().starts_with(b".") || (kind.is_dir() && name == "target") {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.insert(entry.path());
        }
    }
    Ok(())
}

fn hash(path: &Path) -> Result<Digest, FileError> {
    Digest::of_file(path).map_err(|e| FileError::read(path, e))
}

/// The digest of where a link points; `None` if there is no link.
fn link_digest(path: &Path) -> Result<Option<Digest>, FileError> {
    Ok(fs::read_link(path).ok().map(|to| Digest::of_bytes(to.as_os_str().as_bytes())))
}

fn seen(metadata: &Metadata) -> (u64, u64, i64, i64, i64, i64) {
    (
        metadata.len(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}
