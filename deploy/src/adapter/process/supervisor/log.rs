//! What a supervisor tells of itself: `supervisor.log`, one line an event.

use super::super::{folders::Folders, logs};
use std::{fs::File, io, io::Write, sync::Mutex};

/// Appends lines to the supervisor's log.
#[derive(Debug)]
pub(super) struct Log {
    file: Mutex<File>,
}

impl Log {
    /// Opens the log; a large one is rotated first.
    pub(super) fn open(folders: &Folders) -> io::Result<Self> {
        let path = folders.supervisor_log();
        logs::rotate(&path, logs::ROTATE_ABOVE)?;
        Ok(Self { file: Mutex::new(logs::open(&path)?) })
    }

    /// Appends one line. A log that cannot be written must not stop anything.
    pub(super) fn line(&self, text: impl AsRef<str>) {
        let line = format!("{} {}\n", jiff::Timestamp::now(), text.as_ref().replace('\n', " "));
        if let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
