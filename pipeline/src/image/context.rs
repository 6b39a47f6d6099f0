//! Build contexts: a folder less what its ignore file leaves out, as a tar stream, or entry by entry for whoever asks.
//!
//! **Invariant.** The stream depends on the files and on nothing else: entries are in the order of their names, folder
//! by folder, everything belongs to root, as the real client sends it, and the times are what [`Times`] makes of them.
//! No more than one buffer of a file, and the names of the folders that are open, are ever in memory.
//!
//! **Invariant.** A stream that was given up has no end mark, so that no receiver takes it for a whole one.
//!
//! Links are sent as links and never followed, named pipes as named pipes, sockets not at all; so does the real client.
//! It also sends devices, which is refused here: a build context with a device is a root file system by mistake. Hard
//! links are sent as files of their own, and extended attributes are not sent. Of an excluded folder with an exception
//! in it there is no entry, only of what is excepted: the receiver creates the folder, with the time at which it does. What
//! Fairlead itself keeps in `.fairlead` is never sent.

use super::{
    ignore::{IgnoreError, Judgement, Rules},
    sender::Sender,
};
use crate::digest::Digest;
use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    vec,
};

/// What Fairlead keeps in a project's root. It is never sent, whatever the ignore file says: it has secrets in it, which a
/// `COPY . .` would put into the image, and it changes with every run.
const OWN_FOLDER: &str = ".fairlead";

/// Why a context could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The ignore file is at fault.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// The context's folder cannot be opened.
    #[error("cannot open the build context `{path}`")]
    Root {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such Dockerfile.
    #[error("cannot find the Dockerfile `{path}`: its path is relative to the build context")]
    Dockerfile {
        /// Its path, as it was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The Dockerfile, or what it is a link to, is not in the context.
    #[error(
        "the Dockerfile `{path}` is outside the build context `{root}`: move it there, or choose a wider context"
    )]
    DockerfileOutside {
        /// Its path, as it was given.
        path: PathBuf,
        /// The context.
        root: PathBuf,
    },
    /// Something in the context cannot be read.
    #[error("cannot read `{path}` of the build context: make it readable, or exclude it in the ignore file")]
    Read {
        /// Its path in the context.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in the context was there when its folder was listed, and then was not.
    #[error(
        "`{path}` disappeared while the build context was sent: build again when nothing writes there, or exclude it"
    )]
    Vanished {
        /// Its path in the context.
        path: PathBuf,
    },
    /// A file of the context changed between its first byte and its last.
    #[error(
        "`{path}` changed while the build context was sent: build again when nothing writes there, or exclude it"
    )]
    Changed {
        /// Its path in the context.
        path: PathBuf,
    },
    /// A device.
    #[error("`{path}` of the build context is a device, which is not sent: exclude it in the ignore file")]
    Device {
        /// Its path in the context.
        path: PathBuf,
    },
    /// The receiver takes no more.
    #[error("cannot send the build context")]
    Write(#[source] io::Error),
}

impl ContextError {
    /// What it means that something at this path could not be read.
    pub fn read(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Vanished { path: path.to_owned() },
            _ => Self::Read { path: path.to_owned(), source },
        }
    }
}

/// What the entries say of when they were last modified, in whole seconds since 1970.
///
/// No builder compares times when it decides whether a step is cached, but they end up in the image's layers: whoever
/// wants the same image from the same files must not let a checkout's times through. On the other hand programs inside
/// the build may compare them: with a cache mount, `cargo` and `make` take a changed source for an old one if its time
/// is older than what they built from the last. So nothing is made up by default: the caller chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// As on disk, but none later than this: what `SOURCE_DATE_EPOCH` is defined to mean. With the time of the commit,
    /// a fresh checkout gives the same stream everywhere.
    CappedAt(u64),
    /// The same for all: the same stream from the same files whatever their times. Not for builds that keep what they
    /// built in a cache mount.
    Fixed(u64),
}

impl Times {
    /// All times as on disk.
    pub const AS_ON_DISK: Self = Self::CappedAt(u64::MAX);

    /// What an entry says, in seconds since 1970. A time before that, which a header cannot hold, is 1970.
    pub fn of(self, metadata: &Metadata) -> u64 {
        match self {
            Self::CappedAt(latest) => u64::try_from(metadata.mtime()).unwrap_or(0).min(latest),
            Self::Fixed(time) => time,
        }
    }
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Over all entries in order: kind, path, mode, and the SHA-256 of the content or of a link's text. Not over times,
    /// which no builder counts as a change.
    pub digest: Digest,
    /// How many entries.
    pub entries: u64,
    /// Bytes of files' content.
    pub content_bytes: u64,
    /// Bytes of the whole stream.
    pub stream_bytes: u64,
    /// Sockets, which no tar can hold and which were left out.
    pub sockets: Vec<PathBuf>,
}

/// A folder that is the context of a build.
#[derive(Debug, Clone)]
pub struct Context {
    root: PathBuf,
    dockerfile: Option<PathBuf>,
    rules: Rules,
}

impl Context {
    /// Reads the ignore file of the context in `root`, for the Dockerfile at that path below it (if it has one). If the
    /// Dockerfile is a link, what it leads to is meant, as with the real client.
    ///
    /// # Errors
    /// If there is no such folder or Dockerfile, or its ignore file is at fault.
    pub fn open(root: &Path, dockerfile: Option<&Path>) -> Result<Self, ContextError> {
        let root =
            root.canonicalize().map_err(|source| ContextError::Root { path: root.to_owned(), source })?;
        let dockerfile = dockerfile.map(|path| resolve(&root, path)).transpose()?;
        let rules = Rules::read(&root, dockerfile.as_deref())?;
        Ok(Self { root, dockerfile, rules })
    }

    /// Its folder, absolute and without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the Dockerfile in the context, as the builder must be told it.
    pub fn dockerfile(&self) -> Option<&Path> {
        self.dockerfile.as_deref()
    }

    /// What is left out.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sends the context. Blocks on the disk and on the receiver, so that async code must call it on a thread for that;
    /// it ends when the receiver refuses a write. With [`io::sink`], only the digest is found out.
    ///
    /// # Errors
    /// If something cannot be read, changes meanwhile or is a device, or if the receiver refuses a write.
    pub fn send(&self, receiver: impl Write, times: Times) -> Result<Sent, ContextError> {
        let mut sender = Sender::new(receiver, times);
        self.visit(&|_| true, &mut |path, metadata| sender.entry(path, &self.root.join(path), metadata))?;
        sender.finish()
    }

    /// Everything that would be sent, in order: its path in the context, and what the system says of it. Blocks on the disk.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn entries(&self) -> Result<Vec<(PathBuf, Metadata)>, ContextError> {
        let mut entries = Vec::new();
        self.visit(&|_| true, &mut |path, metadata| {
            entries.push((path.to_owned(), metadata.clone()));
            Ok(())
        })?;
        Ok(entries)
    }

    /// Shows everything that would be sent, in order: its path in the context, and what the system says of it. What is not
    /// `wanted` is left out, with all below it. Blocks on the disk.
    ///
    /// # Errors
    /// If a folder cannot be read, and what `visit` says.
    pub fn visit(
        &self,
        wanted: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(&Path, &Metadata) -> Result<(), ContextError>,
    ) -> Result<(), ContextError> {
        let names = sorted_names(&self.root)
            .map_err(|source| ContextError::Root { path: self.root.clone(), source })?;
        let mut open = vec![Folder { path: PathBuf::new(), names, judgement: None }];
        while let Some(folder) = open.last_mut() {
            let Some(name) = folder.names.next() else {
                open.pop();
                continue;
            };
            let path = folder.path.join(name);
            if path == Path::new(OWN_FOLDER) || !wanted(&path) {
                continue;
            }
            let judgement = self.rules.judge(&path, folder.judgement.as_ref());
            if judgement.is_excluded() && !self.rules.may_except_below(&path) {
                continue;
            }
            let absolute = self.root.join(&path);
            let metadata = match fs::symlink_metadata(&absolute) {
                Ok(metadata) => metadata,
                Err(e) if judgement.is_excluded() && e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(ContextError::read(&path, e)),
            };
            if !judgement.is_excluded() {
                visit(&path, &metadata)?;
            }
            if metadata.is_dir() {
                let names = sorted_names(&absolute).map_err(|e| ContextError::read(&path, e))?;
                open.push(Folder { path, names, judgement: Some(judgement) });
            }
        }
        Ok(())
    }
}

/// A folder that is being gone through.
struct Folder {
    path: PathBuf,
    names: vec::IntoIter<OsString>,
    /// `None` for the root, which is no entry.
    judgement: Option<Judgement>,
}

/// The path of a Dockerfile in the context, without links.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf, ContextError> {
    let resolved = root
        .join(path)
        .canonicalize()
        .map_err(|source| ContextError::Dockerfile { path: path.to_owned(), source })?;
    let inside = resolved
        .strip_prefix(root)
        .map_err(|_| ContextError::DockerfileOutside { path: path.to_owned(), root: root.to_owned() })?;
    Ok(inside.to_owned())
}

/// The names in a folder, in the order of their bytes.
fn sorted_names(folder: &Path) -> io::Result<vec::IntoIter<OsString>> {
    let mut names =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names.into_iter())
}

#[cfg(test)]
mod tests;
