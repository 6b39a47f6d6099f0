//! The tar stream of a build context, entry by entry, and the digest over it.

use super::{
    context::{ContextError, Sent, Times},
    file::{BUFFER, ContextFile, mode},
};
use crate::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    io::{self, BufWriter, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::FileTypeExt,
    },
    path::{Path, PathBuf},
};
use tar::{EntryType, Header};

/// Entries of a tar are padded to this many bytes.
const BLOCK: u64 = 512;

/// Begins the digest, so that another way to fold can never give the same one.
const FOLD: &[u8] = b"build context, version 1\n";

/// Writes entries and folds them into the digest.
pub(super) struct Sender<W: Write> {
    archive: tar::Builder<Gate<W>>,
    times: Times,
    fold: Sha256,
    buffer: Vec<u8>,
    entries: u64,
    content_bytes: u64,
    sockets: Vec<PathBuf>,
}

impl<W: Write> Sender<W> {
    /// Begins a stream.
    pub(super) fn new(receiver: W, times: Times) -> Self {
        let gate = Gate { receiver: Some(BufWriter::with_capacity(BUFFER, receiver)), bytes: 0 };
        Self {
            archive: tar::Builder::new(gate),
            times,
            fold: Sha256::new_with_prefix(FOLD),
            buffer: vec![0; BUFFER],
            entries: 0,
            content_bytes: 0,
            sockets: Vec::new(),
        }
    }

    /// Sends one path of the context.
    pub(super) fn entry(
        &mut self,
        path: &Path,
        absolute: &Path,
        metadata: &Metadata,
    ) -> Result<(), ContextError> {
        let kind = metadata.file_type();
        if kind.is_file() {
            self.file(path, absolute)
        } else if kind.is_dir() {
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            self.header(Path::new(&name), metadata, EntryType::Directory, 0, &[])?;
            self.folded(path, metadata, EntryType::Directory, Digest::of_bytes([]));
            Ok(())
        } else if kind.is_symlink() {
            let target = fs::read_link(absolute).map_err(|e| ContextError::read(path, e))?;
            let target = target.into_os_string().into_vec();
            self.header(path, metadata, EntryType::Symlink, 0, &target)?;
            self.folded(path, metadata, EntryType::Symlink, Digest::of_bytes(&target));
            Ok(())
        } else if kind.is_fifo() {
            self.header(path, metadata, EntryType::Fifo, 0, &[])?;
            self.folded(path, metadata, EntryType::Fifo, Digest::of_bytes([]));
            Ok(())
        } else if kind.is_socket() {
            self.sockets.push(path.to_owned());
            Ok(())
        } else {
            Err(ContextError::Device { path: path.to_owned() })
        }
    }

    fn file(&mut self, path: &Path, absolute: &Path) -> Result<(), ContextError> {
        let file = ContextFile::open(path, absolute)?;
        let metadata = file.metadata().clone();
        self.header(path, &metadata, EntryType::Regular, metadata.len(), &[])?;
        let mut content = Sha256::new();
        let (buffer, archive) = (&mut self.buffer, &mut self.archive);
        file.read(buffer, |piece| {
            content.update(piece);
            archive.get_mut().write_all(piece).map_err(ContextError::Write)
        })?;
        let padding = vec![0; (metadata.len().next_multiple_of(BLOCK) - metadata.len()) as usize];
        self.archive.get_mut().write_all(&padding).map_err(ContextError::Write)?;
        self.content_bytes += metadata.len();
        self.folded(path, &metadata, EntryType::Regular, Digest::from_bytes(content.finalize().into()));
        Ok(())
    }

    /// Writes the header of an entry, whose content the caller then writes.
    fn header(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        kind: EntryType,
        size: u64,
        target: &[u8],
    ) -> Result<(), ContextError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode(metadata));
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.times.of(metadata));
        header.set_size(size);
        let written = if target.is_empty() {
            self.archive.append_data(&mut header, path, io::empty())
        } else if header.set_link_name_literal(target).is_ok() {
            // Not `append_link`, which would change the text of the link: `./a//b` into `./a/b`.
            self.archive.append_data(&mut header, path, io::empty())
        } else {
            // Too long for the header: it goes before it as it is.
            self.archive.append_link(&mut header, path, OsStr::from_bytes(target))
        };
        written.map_err(ContextError::Write)
    }

    fn folded(&mut self, path: &Path, metadata: &Metadata, kind: EntryType, content: Digest) {
        let path = path.as_os_str().as_bytes();
        self.fold.update([kind.as_byte()]);
        self.fold.update((path.len() as u64).to_be_bytes());
        self.fold.update(path);
        self.fold.update(mode(metadata).to_be_bytes());
        self.fold.update(content.hex());
        self.entries += 1;
    }

    /// Writes the end mark.
    pub(super) fn finish(&mut self) -> Result<Sent, ContextError> {
        self.archive.finish().map_err(ContextError::Write)?;
        let gate = self.archive.get_mut();
        gate.flush().map_err(ContextError::Write)?;
        Ok(Sent {
            digest: Digest::from_bytes(self.fold.clone().finalize().into()),
            entries: self.entries,
            content_bytes: self.content_bytes,
            stream_bytes: gate.bytes,
            sockets: std::mem::take(&mut self.sockets),
        })
    }
}

impl<W: Write> Drop for Sender<W> {
    /// An archive that is dropped before its end writes the end mark, and a buffer what it still has: after a failure
    /// neither may reach the receiver.
    fn drop(&mut self) {
        if let Some(receiver) = self.archive.get_mut().receiver.take() {
            drop(receiver.into_parts());
        }
    }
}

/// Counts what goes through, until the receiver is taken away.
struct Gate<W: Write> {
    receiver: Option<BufWriter<W>>,
    bytes: u64,
}

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let receiver = self.receiver.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = receiver.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.receiver.as_mut().map_or(Ok(()), Write::flush)
    }
}
