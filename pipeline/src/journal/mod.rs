//! The journal: the full story of one run, as JSON lines on the machine that ran it. It is for people and reports, and
//! is never read to decide.
//!
//! **Invariant.** Each step is on disk, in its order, before [`Journal::record`] returns; a crash can tear the last
//! line alone, which [`read`] reports and leaves out.

use crate::{
    crossing,
    secret::Redactor,
    store::{self, FileError, Format, ReadError},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// The format that this version writes; older ones are read, newer ones refused.
pub const FORMAT: Format = Format { what: "journal", version: 1 };

/// An event that can be journaled.
pub trait Journaled: Serialize {
    /// Whether it is a step, which is written, and not mere progress.
    fn is_step(&self) -> bool;
}

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    /// Format version.
    pub version: u32,
    /// The run that it is the story of.
    pub run: String,
    /// The version of Fairlead that wrote it.
    pub tool_version: String,
    /// When the run began.
    pub started_at: Timestamp,
}

/// Every line but the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Entry<E> {
    /// Its place in the story, from 1.
    pub number: u64,
    /// When it was recorded, by the clock of the machine that ran it.
    pub at: Timestamp,
    /// What happened.
    pub event: E,
}

/// A journal that is being written. It can be shared between tasks.
pub struct Journal<E> {
    path: PathBuf,
    redactor: Redactor,
    tail: Mutex<Tail>,
    events: PhantomData<fn(E)>,
}

/// The end of the file.
struct Tail {
    file: File,
    /// Bytes that are whole lines.
    length: u64,
    /// The number of the next entry.
    next: u64,
}

impl<E: Journaled> Journal<E> {
    /// Creates `<folder>/<run>.jsonl` with its header, durably. `run` must be usable as a file name.
    ///
    /// # Errors
    /// If there is one already, or it cannot be written; the error names the file.
    pub fn create(folder: &Path, run: &str, tool_version: &str, redactor: Redactor) -> io::Result<Self> {
        let path = folder.join(format!("{run}.jsonl"));
        let header = Header {
            version: FORMAT.version,
            run: run.to_owned(),
            tool_version: tool_version.to_owned(),
            started_at: Timestamp::now(),
        };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        store::create_folder(folder)?;
        store::create_exclusive(&path, &line, store::PUBLIC)?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|source| FileError::wrap("open", &path, source))?;
        let tail = Mutex::new(Tail { file, length: line.len() as u64, next: 1 });
        Ok(Self { path, redactor, tail, events: PhantomData })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a step, with known secrets masked, and waits until it is on disk; ignores progress.
    ///
    /// # Errors
    /// If it cannot be written; the error names the file, which still ends with a whole line.
    pub fn record(&self, event: &E) -> io::Result<()> {
        if !event.is_step() {
            return Ok(());
        }
        let mut event = serde_json::to_value(event)?;
        self.redactor.mask_json(&mut event);
        let mut tail = self.tail.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut line = serde_json::to_vec(&Entry { number: tail.next, at: Timestamp::now(), event })?;
        line.push(b'\n');
        tail.append(&line).map_err(|source| FileError::wrap("write", &self.path, source))
    }
}

impl Tail {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        crossing!("journal.before");
        if let Err(error) = self.file.write_all(line).and_then(|()| self.file.sync_data()) {
            // Best effort: the next line must not be glued to half of this one.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += line.len() as u64;
        self.next += 1;
        crossing!("journal.after");
        Ok(())
    }
}

/// A journal that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story<E> {
    /// The first line.
    pub header: Header,
    /// The whole lines after it.
    pub entries: Vec<Entry<E>>,
    /// The last line, if it was torn by a crash: how many bytes of it there are.
    pub torn_bytes: Option<usize>,
}

/// Reads a journal. `serde_json::Value` as the event reads the events of every version.
///
/// # Errors
/// See [`ReadError`]: a newer format is refused; so is a damaged line that is not the last, and a damaged header.
pub fn read<E: DeserializeOwned>(path: &Path) -> Result<Story<E>, ReadError> {
    let bytes = store::read(path).map_err(|source| ReadError::Io { what: FORMAT.what, source })?;
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    let header = store::parse_json(lines.next().unwrap_or_default(), path, FORMAT)?;
    let mut story = Story { header, entries: Vec::new(), torn_bytes: None };
    for line in lines {
        match serde_json::from_slice(line) {
            Ok(entry) => story.entries.push(entry),
            // Only the last line can be without a newline.
            Err(_) if !line.ends_with(b"\n") => story.torn_bytes = Some(line.len()),
            Err(source) => {
                return Err(ReadError::Malformed { what: FORMAT.what, path: path.to_owned(), source });
            }
        }
    }
    Ok(story)
}

#[cfg(test)]
mod tests;
