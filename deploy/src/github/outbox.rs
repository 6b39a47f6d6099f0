//! The outbox: what GitHub is to be told, one file each, in order, until it was.

use super::{
    teller::Story,
    words::{Delivery, What},
};
use pipeline::{
    name::Name,
    store::{self, Format, ReadError},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Notify;

const FORMAT: Format = Format { what: "delivery to GitHub", version: Delivery::FORMAT };
const NUMBERS: Format = Format { what: "list of deployments on GitHub", version: 1 };
const STORY: Format = Format { what: "story of what GitHub is told", version: 1 };

/// How many deliveries wait at most: some hundred rollouts. Where nobody ever has a token, the oldest go.
const WAITING_MAX: usize = 1000;

/// How many deployments are remembered by their number: each rollout needs its own and the one before.
const REMEMBERED: usize = 100;

/// What is wrong with the outbox.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A file cannot be read or written.
    #[error("the outbox of what GitHub is told cannot be used")]
    Io(#[from] io::Error),
    /// A file is damaged, or of a newer format.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The outbox of one environment.
#[derive(Debug, Clone)]
pub struct Outbox {
    folder: PathBuf,
    environment: Name,
    news: Arc<Notify>,
}

/// What is remembered of the story that is being told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Remembered {
    version: u32,
    /// The story whose end was not told yet.
    pub(crate) open: Option<Story>,
    /// The deployment that was said to stand.
    pub(crate) standing: Option<String>,
}

/// The numbers that GitHub gave, by key, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Numbers {
    version: u32,
    numbers: Vec<(String, u64)>,
}

impl Outbox {
    /// The one in an environment's folder of state. Touches nothing yet.
    pub fn new(state: &Path, environment: Name) -> Self {
        Self { folder: state.join("github"), environment, news: Arc::default() }
    }

    /// The environment.
    pub fn environment(&self) -> &Name {
        &self.environment
    }

    /// Puts something in, behind what is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&self, whats: impl IntoIterator<Item = What>) -> io::Result<()> {
        store::create_folder(&self.waiting_folder())?;
        for what in whats {
            let delivery = Delivery {
                version: Delivery::FORMAT,
                environment: self.environment.clone(),
                at: jiff::Timestamp::now(),
                what,
            };
            let bytes = serde_json::to_vec_pretty(&delivery)?;
            let mut waiting = self.waiting()?;
            let mut number = waiting.last().map_or(1, |last| last + 1).max(self.next_number()?);
            // Somebody else may put something in at the same moment.
            while let Err(error) = store::create_exclusive(&self.path(number), &bytes, store::PRIVATE) {
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
                number += 1;
            }
            let surplus = (waiting.len() + 1).saturating_sub(WAITING_MAX);
            for old in waiting.drain(..surplus) {
                self.remove(old)?;
            }
        }
        self.news.notify_one();
        Ok(())
    }

    /// The numbers of what waits, in order.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn waiting(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(self.waiting_folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok();
        let mut numbers: Vec<u64> = entries.filter_map(Result::ok).filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Waits until something was put in.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    pub(crate) fn read(&self, number: u64) -> Result<Delivery, ReadError> {
        store::read_json(&self.path(number), FORMAT)
    }

    /// It was taken.
    pub(crate) fn remove(&self, number: u64) -> io::Result<()> {
        match fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// It would never be taken: it is put aside, and what comes behind it goes on.
    pub(crate) fn put_aside(&self, number: u64) -> io::Result<()> {
        let folder = self.folder.join("refused");
        store::create_folder(&folder)?;
        fs::rename(self.path(number), folder.join(format!("{number:08}.json")))
    }

    /// Holds it, so that nobody else sends at the same time; `None` if somebody does.
    pub(crate) fn hold(&self) -> io::Result<Option<File>> {
        store::create_folder(&self.folder)?;
        let file = File::options().create(true).truncate(false).write(true).open(self.folder.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// The number that GitHub gave to a deployment.
    pub(crate) fn number_of(&self, key: &str) -> Result<Option<u64>, ReadError> {
        let known = self.numbers()?.numbers;
        Ok(known.into_iter().rev().find(|(known, _)| known == key).map(|(_, number)| number))
    }

    pub(crate) fn remember_number(&self, key: &str, number: u64) -> Result<(), OutboxError> {
        let mut known = self.numbers()?;
        known.version = NUMBERS.version;
        known.numbers.retain(|(old, _)| old != key);
        known.numbers.push((key.to_owned(), number));
        let surplus = known.numbers.len().saturating_sub(REMEMBERED);
        known.numbers.drain(..surplus);
        Ok(store::write_json(&self.folder.join("deployments.json"), &known, store::PRIVATE)?)
    }

    pub(crate) fn remembered(&self) -> Result<Remembered, ReadError> {
        Ok(store::read_json_if_exists(&self.folder.join("story.json"), STORY)?.unwrap_or_default())
    }

    pub(crate) fn remember(&self, open: Option<Story>, standing: Option<String>) -> io::Result<()> {
        store::create_folder(&self.folder)?;
        let remembered = Remembered { version: STORY.version, open, standing };
        store::write_json(&self.folder.join("story.json"), &remembered, store::PRIVATE)
    }

    fn numbers(&self) -> Result<Numbers, ReadError> {
        let path = self.folder.join("deployments.json");
        Ok(store::read_json_if_exists(&path, NUMBERS)?.unwrap_or_default())
    }

    /// Behind what was put aside, too, whose names stay.
    fn next_number(&self) -> io::Result<u64> {
        let entries = match fs::read_dir(self.folder.join("refused")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(1),
            entries => entries?,
        };
        let number =
            |entry: fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok();
        Ok(entries.filter_map(Result::ok).filter_map(number).max().map_or(1, |last| last + 1))
    }

    fn waiting_folder(&self) -> PathBuf {
        self.folder.join("outbox")
    }

    fn path(&self, number: u64) -> PathBuf {
        self.waiting_folder().join(format!("{number:08}.json"))
    }
}
