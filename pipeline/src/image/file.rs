//! What is read of a file that is sent: it, as it was when it was found, or an error.

use super::context::ContextError;
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// How much of a file is in memory at a time, in bytes: enough that the system calls cost nothing beside the hashing.
pub const BUFFER: usize = 128 * 1024;

/// A file of a context, open.
#[derive(Debug)]
pub struct ContextFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
}

impl ContextFile {
    /// Opens what was a file when its folder was listed: does not follow a link, and does not wait for a pipe, that has
    /// taken its place. `path` is what it is called in the context.
    ///
    /// # Errors
    /// If it cannot be opened or is no file any more.
    pub fn open(path: &Path, absolute: &Path) -> Result<Self, ContextError> {
        let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
        let opening = OpenOptions::new().read(true).custom_flags(flags.bits()).open(absolute);
        let read = |file: File| Ok((file.metadata()?, file));
        let (metadata, file) = opening.and_then(read).map_err(|error| ContextError::read(path, error))?;
        if !metadata.is_file() {
            return Err(ContextError::Changed { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), file, metadata })
    }

    /// As it was when it was opened.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Gives `take` its content, piece by piece, each at most as long as the buffer. Blocks on the disk.
    ///
    /// # Errors
    /// If it cannot be read or has changed since it was opened, and what `take` says.
    pub fn read(
        self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), ContextError>,
    ) -> Result<(), ContextError> {
        let Self { path, mut file, metadata } = self;
        let changed = || ContextError::Changed { path: path.clone() };
        let mut left = metadata.len();
        // One byte more than there should be: a file that has grown is not sent as if it had not.
        let mut source = (&mut file).take(left.saturating_add(1));
        loop {
            let read = match source.read(buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ContextError::read(&path, e)),
            };
            left = left.checked_sub(read as u64).ok_or_else(changed)?;
            take(&buffer[..read])?;
        }
        let after = file.metadata().map_err(|e| ContextError::read(&path, e))?;
        if left > 0 || !is_same(&metadata, &after) {
            return Err(changed());
        }
        Ok(())
    }
}

/// Whether nobody wrote to a file between two looks at it, as far as its size and time tell.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let modified = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    modified(one) == modified(other)
}

/// The permission bits. Those of a link mean nothing and are not the same on every system.
pub fn mode(metadata: &Metadata) -> u32 {
    if metadata.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 }
}
