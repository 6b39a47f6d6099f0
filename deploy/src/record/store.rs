//! Where the record and the history of an environment are kept: a folder on its home.

use super::{FileRequests, Finished, Record};
use pipeline::{
    crossing,
    store::{self, FileError, Format, ReadError},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    marker::PhantomData,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

const RECORD: &str = "record.json";
const LOCK: &str = "record.lock";
const HISTORY: &str = "history";
const REQUESTS: &str = "requests";

/// What the lock file says once there is a record, so that one that disappears is missed.
const MARK: &[u8] = b"A rollout record stands beside this file.\n";

const RECORD_FORMAT: Format = Format { what: "rollout record", version: Record::<(), ()>::FORMAT };
const HISTORY_FORMAT: Format = Format { what: "history entry", version: Finished::FORMAT };

/// How long to wait for another process's write; one takes milliseconds.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// The record and the history of one environment. Cheap to clone; every operation is a blocking one.
pub struct RecordStore<P, S> {
    folder: PathBuf,
    lock_limit: Duration,
    kind: PhantomData<fn() -> (P, S)>,
}

/// Why the record could not be read or written. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read, is damaged, or was written by a newer Fairlead.
    #[error("cannot use the rollout record; nothing was changed")]
    Read(#[from] ReadError),
    /// It is gone.
    #[error(
        "the rollout record `{path}` is gone; put it back from a copy, or remove its whole folder to begin a new one"
    )]
    Missing {
        /// Its file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the rollout record")]
    Write(#[source] io::Error),
    /// What is to be written could not be read again: a fault of Fairlead.
    #[error("refused to write a rollout record that could not be read again; nothing was changed")]
    Unreadable(#[source] serde_json::Error),
    /// Another process has written it since it was read.
    #[error(
        "the rollout record was changed meanwhile (write {found}, expected {expected}); nothing was changed"
    )]
    Conflict {
        /// [`Record::seq`] that was expected.
        expected: u64,
        /// [`Record::seq`] that it has.
        found: u64,
    },
    /// The write would have lowered the generation.
    #[error("refused to take the rollout record back from generation {from} to {to}; nothing was changed")]
    Backwards {
        /// What it has.
        from: u64,
        /// What was to be written.
        to: u64,
    },
    /// Another process does not end its write.
    #[error(
        "`{path}` has been locked for {seconds} s by another process, perhaps a stopped one; \
         continue or end that process, then try again"
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The clocks or processes of this machine cannot be read.
    #[error("cannot read this machine's clocks")]
    Clock(#[source] io::Error),
    /// The holder of an expired lease could not be ended, so the lease was not taken over.
    #[error(
        "cannot end process {pid} of {user}, which holds an expired lease; end it by hand, then try again"
    )]
    CannotFence {
        /// Its process id.
        pid: u32,
        /// Whose it is.
        user: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The finished runs of an environment.
#[derive(Debug, Default)]
pub struct History {
    /// Newest first.
    pub entries: Vec<Finished>,
    /// Entries that cannot be read.
    pub damaged: Vec<Damaged>,
}

/// A history entry that cannot be read. The others are not affected.
#[derive(Debug)]
pub struct Damaged {
    /// Its file.
    pub path: PathBuf,
    /// Why.
    pub error: ReadError,
}

impl<P, S> RecordStore<P, S> {
    /// The store in this folder. Touches nothing: the folder is created by the first write.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), lock_limit: LOCK_LIMIT, kind: PhantomData }
    }

    /// The same store with another limit for the wait for other processes' writes.
    #[must_use]
    pub fn with_lock_limit(mut self, limit: Duration) -> Self {
        self.lock_limit = limit;
        self
    }

    /// The record's file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(RECORD)
    }

    /// Where requests to the executor are left.
    pub fn requests(&self) -> FileRequests {
        FileRequests::open(self.folder.join(REQUESTS))
    }

    /// Adds a finished run to the history. Adding the same run again replaces its entry, so it may be repeated after a
    /// crash.
    ///
    /// # Errors
    /// It cannot be written; names the file.
    pub fn append_history(&self, entry: &Finished) -> io::Result<()> {
        let folder = self.folder.join(HISTORY);
        store::create_folder(&folder)?;
        store::write_json(&folder.join(entry_name(entry)), entry, store::PRIVATE)
    }

    /// All finished runs.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn history(&self) -> io::Result<History> {
        let folder = self.folder.join(HISTORY);
        let mut history = History::default();
        let mut names = names_in(&folder)?;
        names.retain(|name| name.as_encoded_bytes().ends_with(b".json") && !is_hidden(name));
        names.sort_unstable_by(|a, b| b.cmp(a));
        for path in names.into_iter().map(|name| folder.join(name)) {
            match store::read_json(&path, HISTORY_FORMAT) {
                Ok(entry) => history.entries.push(entry),
                Err(error) => history.damaged.push(Damaged { path, error }),
            }
        }
        Ok(history)
    }

    /// Removes what writes that were cut off have left. Only called under the lock, when no write is under way.
    fn sweep(&self) {
        let prefix = format!(".{RECORD}.");
        for name in names_in(&self.folder).unwrap_or_default() {
            if name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
                // What cannot be removed does no harm.
                let _left = fs::remove_file(self.folder.join(name));
            }
        }
    }

    /// Waits for other processes' writes and keeps new ones off, as long as the file is kept.
    fn lock(&self) -> Result<File, RecordError> {
        store::create_folder(&self.folder).map_err(RecordError::Write)?;
        let path = self.folder.join(LOCK);
        let lock = || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(store::PRIVATE)
                .open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => lock_within(file, self.lock_limit),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        match lock() {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(RecordError::Busy { path, seconds: self.lock_limit.as_secs() }),
            Err(error) => Err(RecordError::Write(FileError::wrap("lock", &path, error))),
        }
    }
}

impl<P, S> RecordStore<P, S>
where
    P: Serialize + DeserializeOwned,
    S: Serialize + DeserializeOwned,
{
    /// The record as it stands.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn load(&self) -> Result<Record<P, S>, RecordError> {
        // The mark is read first: it is made after the first record.
        let lock = self.folder.join(LOCK);
        let marked = match fs::metadata(&lock) {
            Ok(metadata) => metadata.len() > 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => {
                let source = FileError::wrap("read", &lock, source);
                return Err(ReadError::Io { what: RECORD_FORMAT.what, source }.into());
            }
        };
        self.read(marked)
    }

    /// Replaces the record that was read with this [`Record::seq`], and returns what was written.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] if it was written since; see [`RecordError`].
    pub fn swap(&self, expected: u64, new: Record<P, S>) -> Result<Record<P, S>, RecordError> {
        self.update(|found| {
            if found.seq == expected {
                Ok(new)
            } else {
                Err(RecordError::Conflict { expected, found: found.seq })
            }
        })
    }

    /// Replaces the record by what `change` makes of it, and returns what was written. Nobody else writes meanwhile.
    ///
    /// # Errors
    /// That of `change`, then nothing was written; see [`RecordError`].
    pub fn update<E: From<RecordError>>(
        &self,
        change: impl FnOnce(Record<P, S>) -> Result<Record<P, S>, E>,
    ) -> Result<Record<P, S>, E> {
        let mut lock = self.lock()?;
        self.sweep();
        let marked = lock.metadata().map_err(RecordError::Write)?.len() > 0;
        let before = self.read(marked)?;
        crossing!("record.locked");
        let (seq, generation) = (before.seq, before.generation);
        let mut after = change(before)?;
        if after.generation < generation {
            return Err(RecordError::Backwards { from: generation, to: after.generation }.into());
        }
        after.version = RECORD_FORMAT.version;
        after.seq = seq + 1;
        self.replace(&after)?;
        if !marked {
            crossing!("record.mark.before");
            lock.write_all(MARK).and_then(|()| lock.sync_all()).map_err(RecordError::Write)?;
        }
        Ok(after)
    }

    fn replace(&self, record: &Record<P, S>) -> Result<(), RecordError> {
        let mut bytes = serde_json::to_vec_pretty(record).map_err(RecordError::Unreadable)?;
        bytes.push(b'\n');
        // Once it is written, nobody could repair it.
        let _again: Record<P, S> = serde_json::from_slice(&bytes).map_err(RecordError::Unreadable)?;
        store::write_atomic(&self.path(), &bytes, store::PRIVATE).map_err(RecordError::Write)
    }

    fn read(&self, marked: bool) -> Result<Record<P, S>, RecordError> {
        match store::read_json_if_exists(&self.path(), RECORD_FORMAT)? {
            Some(record) => Ok(record),
            None if marked => Err(RecordError::Missing { path: self.path() }),
            None => Ok(Record::empty()),
        }
    }
}

impl<P, S> Clone for RecordStore<P, S> {
    fn clone(&self) -> Self {
        Self { folder: self.folder.clone(), lock_limit: self.lock_limit, kind: PhantomData }
    }
}

impl<P, S> std::fmt::Debug for RecordStore<P, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RecordStore").field(&self.folder).finish()
    }
}

/// Locks a file that is locked by another process; `None` after the limit. The system has no such wait with a limit,
/// so a thread waits; it ends, and unlocks, as soon as it gets the lock that nobody waits for any more.
fn lock_within(file: File, limit: Duration) -> io::Result<Option<File>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().name("record-lock".to_owned()).spawn(move || {
        let locked = file.lock().map(|()| file);
        let _nobody_waits = sender.send(locked);
    })?;
    match receiver.recv_timeout(limit) {
        Ok(locked) => locked.map(Some),
        Err(_) => Ok(None),
    }
}

/// Sorts by the end of the run. Run ids come from outside, so nothing in them may lead out of the folder.
fn entry_name(entry: &Finished) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let run: String = entry.run.chars().map(plain).take(80).collect();
    format!("{:014}-{run}.json", entry.finished_at)
}

pub(super) fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| FileError::wrap("list", folder, error)),
    }
}

pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
