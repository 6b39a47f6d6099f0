//! Files that must never be half-written, and versioned JSON documents.
//!
//! **Invariant.** Whoever reads a path that is written here sees the old bytes or the new ones, never a mixture, also
//! after a crash, a full disk or a power cut: temporary file in the same folder, fsync, rename, fsync of the folder.

use crate::crossing;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Permission bits of files that anyone may read.
pub const PUBLIC: u32 = 0o644;

/// Permission bits of files that only their owner may read: keys, secrets.
pub const PRIVATE: u32 = 0o600;

/// Writes a file as a whole or not at all, with exactly these permission bits (whatever the umask).
///
/// # Errors
/// The error names the file and what to do, and keeps the kind of its cause. The old file is then still whole.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_atomic_with(path, mode, |file| file.write_all(bytes))
}

/// Creates a file with its whole content, if nothing has that name yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something has; otherwise like [`write_atomic`].
pub fn create_exclusive(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let create = || {
        crossing!("create.{}.before", crate::failpoint::label(path));
        let file = temporary_beside(path, mode, |file| file.write_all(bytes))?;
        crossing!("create.{}.written", crate::failpoint::label(path));
        file.persist_noclobber(path).map_err(|e| e.error)?;
        crossing!("create.{}.named", crate::failpoint::label(path));
        sync_folder(folder_of(path))?;
        crossing!("create.{}.after", crate::failpoint::label(path));
        Ok(())
    };
    create().map_err(|e| FileError::wrap("create", path, e))
}

/// Creates a folder and those above it, if they do not exist.
///
/// # Errors
/// The error names the folder and what to do.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|e| FileError::wrap("create folder", path, e))
}

/// Reads a file.
///
/// # Errors
/// The error names the file and keeps the kind of its cause.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|e| FileError::wrap("read", path, e))
}

/// A kind of versioned JSON document. Its top level has a number `version`; older ones are read, newer ones refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// What people call it: `release manifest`.
    pub what: &'static str,
    /// The newest version that this build knows, and writes.
    pub version: u32,
}

/// Why a versioned JSON document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read the {what}")]
    Io {
        /// What people call the document.
        what: &'static str,
        /// Names the file.
        #[source]
        source: io::Error,
    },
    /// It was written by a newer Fairlead.
    #[error(
        "`{path}` is a {what} of format version {found}, but this Fairlead reads versions up to {supported}: \
         use the Fairlead that wrote it, or a newer one"
    )]
    Newer {
        /// What people call the document.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The version that the document has.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// It is not such a document.
    #[error("`{path}` is not a {what}: it was damaged, or written by something else")]
    Malformed {
        /// What people call the document.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

impl ReadError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a versioned JSON document.
///
/// # Errors
/// See [`ReadError`]; each names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path, format: Format) -> Result<T, ReadError> {
    let bytes = read(path).map_err(|source| ReadError::Io { what: format.what, source })?;
    parse_json(&bytes, path, format)
}

/// Reads a versioned JSON document; `None` if there is no such file.
///
/// # Errors
/// See [`ReadError`]; each names the file.
pub fn read_json_if_exists<T: DeserializeOwned>(path: &Path, format: Format) -> Result<Option<T>, ReadError> {
    match read_json(path, format) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Parses a versioned JSON document that came from `path`, which the errors name.
///
/// # Errors
/// [`ReadError::Newer`] and [`ReadError::Malformed`].
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8], path: &Path, format: Format) -> Result<T, ReadError> {
    /// The part that every version has.
    #[derive(Deserialize)]
    struct Header {
        version: u32,
    }
    let malformed = |source| ReadError::Malformed { what: format.what, path: path.to_owned(), source };
    // The version comes first: a newer document may not parse as ours, and must not be called damaged.
    let Header { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    check_version(version, path, format)?;
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Refuses a document that is newer than this build.
///
/// # Errors
/// [`ReadError::Newer`].
pub fn check_version(found: u32, path: &Path, format: Format) -> Result<(), ReadError> {
    if found <= format.version {
        return Ok(());
    }
    Err(ReadError::Newer { what: format.what, path: path.to_owned(), found, supported: format.version })
}

/// Writes a value as indented JSON with a trailing newline, as [`write_atomic`] does.
///
/// # Errors
/// Those of [`write_atomic`].
pub fn write_json(path: &Path, value: &impl Serialize, mode: u32) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_atomic(path, &bytes, mode)
}

/// An operation on a file that failed. It travels inside an [`io::Error`] of the same kind.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{path}`{}", hint(.source.kind()))]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    /// Names the operation and the file in an error.
    pub fn wrap(operation: &'static str, path: &Path, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Self { operation, path: path.to_owned(), source })
    }
}

/// What to do about the errors that a user can do something about.
fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull => {
            ": free some space on that disk and run the command again; nothing was changed"
        }
        io::ErrorKind::QuotaExceeded => ": your disk quota is used up; nothing was changed",
        io::ErrorKind::ReadOnlyFilesystem => ": that file system is read-only; nothing was changed",
        io::ErrorKind::PermissionDenied => ": check who owns that file and its folder",
        _ => "",
    }
}

/// [`write_atomic`] for what is not held in memory: it is written by the function that is given.
///
/// # Errors
/// Like [`write_atomic`], and those of the function.
pub(crate) fn write_atomic_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let replace = || {
        crossing!("write.{}.before", crate::failpoint::label(path));
        let file = temporary_beside(path, mode, write)?;
        crossing!("write.{}.written", crate::failpoint::label(path));
        file.persist(path).map_err(|e| e.error)?;
        crossing!("write.{}.renamed", crate::failpoint::label(path));
        sync_folder(folder_of(path))?;
        crossing!("write.{}.after", crate::failpoint::label(path));
        Ok(())
    };
    replace().map_err(|e| FileError::wrap("write", path, e))
}

/// A complete, fsynced temporary file in the folder of `path`; it removes itself unless it is persisted.
fn temporary_beside(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().ok_or(io::ErrorKind::IsADirectory)?);
    prefix.push(".");
    let mut file = tempfile::Builder::new().prefix(&prefix).suffix(".tmp").tempfile_in(folder_of(path))?;
    write(file.as_file_mut())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes a rename in `folder` durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that a file stands in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
