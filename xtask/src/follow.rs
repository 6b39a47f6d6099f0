//! Following the log of a unit, through rotation, truncation and replacement of its file.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Bytes that are read from the end of a file at first, and at once later: many lines, little memory.
const BLOCK: u64 = 64 * 1024;

/// A line that is longer is shown in parts.
const LINE_MAX: usize = 64 * 1024;

/// A log that is being followed.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
}

impl Follower {
    /// Opens a log and reads its last lines, oldest first. A log that is not there yet has none.
    pub(crate) fn open(path: &Path, lines: usize) -> io::Result<(Self, Vec<String>)> {
        let mut follower = Self { path: path.to_owned(), file: None, partial: Vec::new() };
        let mut last = Vec::new();
        if let Some(mut file) = open(path)? {
            last = follower.split(&tail(&mut file, lines)?);
            follower.file = Some(file);
        }
        // What is missing was rotated away.
        let missing = lines.saturating_sub(last.len());
        if missing > 0
            && let Some(mut rotated) = open(&rotated(path))?
        {
            let mut before = Self { path: path.to_owned(), file: None, partial: Vec::new() };
            let mut older = before.split(&tail(&mut rotated, missing)?);
            older.append(&mut last);
            last = older;
        }
        last.drain(..last.len().saturating_sub(lines));
        Ok((follower, last))
    }

    /// The lines that were written since.
    pub(crate) fn poll(&mut self) -> io::Result<Vec<String>> {
        // First what stands at the path, then the rest of what was open: nothing is lost in between.
        let current = open(&self.path)?;
        let mut lines = self.read()?;
        let Some(current) = current else { return Ok(lines) };
        let is_other = match &self.file {
            Some(file) => identity(&file.metadata()?) != identity(&current.metadata()?),
            None => true,
        };
        if is_other {
            lines.extend(self.end_line());
            self.file = Some(current);
            lines.extend(self.read()?);
        }
        Ok(lines)
    }

    fn read(&mut self) -> io::Result<Vec<String>> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        if file.metadata()?.len() < file.stream_position()? {
            file.rewind()?;
            self.partial.clear();
        }
        let mut bytes = Vec::new();
        // A log that grows faster than it is read must not keep us here.
        file.take(16 * BLOCK).read_to_end(&mut bytes)?;
        Ok(self.split(&bytes))
    }

    fn split(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if part.ends_with(b"\n") || self.partial.len() >= LINE_MAX {
                lines.extend(self.end_line());
            }
        }
        lines
    }

    fn end_line(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        (!bytes.is_empty()).then(|| text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// The end of a file with at least this many lines, if it has as many; the file is read to its end.
fn tail(file: &mut File, lines: usize) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut size = BLOCK;
    loop {
        let start = length.saturating_sub(size);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(length - start).read_to_end(&mut bytes)?;
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        if start == 0 {
            return Ok(bytes);
        }
        if ends > lines {
            // The first line is cut.
            let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            return Ok(bytes.split_off(first));
        }
        size *= 4;
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write as _};

    struct Log {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Log {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("api.0.log");
            fs::write(&path, text).unwrap();
            Self { _folder: folder, path }
        }

        fn append(&self, text: &str) {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            fs::rename(&self.path, rotated(&self.path)).unwrap();
        }
    }

    #[test]
    fn begins_with_the_last_lines() {
        let log = Log::new("one\ntwo\nthree\n");
        assert_eq!(Follower::open(&log.path, 2).unwrap().1, ["two", "three"]);
        assert_eq!(Follower::open(&log.path, 9).unwrap().1, ["one", "two", "three"]);
        assert_eq!(Follower::open(&log.path, 0).unwrap().1, [""; 0]);
    }

    #[test]
    fn the_last_lines_of_a_long_log_are_whole() {
        let text: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
        let log = Log::new(&text);
        let last = Follower::open(&log.path, 9_000).unwrap().1;
        assert_eq!(last.len(), 9_000);
        assert_eq!(last[0], "line 41000");
        assert_eq!(last[8_999], "line 49999");
    }

    #[test]
    fn lines_that_were_rotated_away_are_found() {
        let log = Log::new("one\ntwo\n");
        log.rotate();
        log.append("three\n");
        assert_eq!(Follower::open(&log.path, 2).unwrap().1, ["two", "three"]);
    }

    #[test]
    fn a_line_is_shown_when_it_is_whole() {
        let log = Log::new("");
        let (mut follower, _) = Follower::open(&log.path, 5).unwrap();
        log.append("be");
        assert_eq!(follower.poll().unwrap(), [""; 0]);
        log.append("gun\nnext\n");
        assert_eq!(follower.poll().unwrap(), ["begun", "next"]);
    }

    #[test]
    fn nothing_is_lost_when_the_log_is_rotated() {
        let log = Log::new("one\n");
        let (mut follower, _) = Follower::open(&log.path, 5).unwrap();
        log.append("two\n");
        log.rotate();
        log.append("three\n");
        assert_eq!(follower.poll().unwrap(), ["two", "three"]);
        log.append("four\n");
        assert_eq!(follower.poll().unwrap(), ["four"]);
    }

    #[test]
    fn a_log_that_was_emptied_is_read_from_its_beginning() {
        let log = Log::new("one\ntwo\n");
        let (mut follower, _) = Follower::open(&log.path, 5).unwrap();
        fs::write(&log.path, "").unwrap();
        assert_eq!(follower.poll().unwrap(), [""; 0]);
        log.append("new\n");
        assert_eq!(follower.poll().unwrap(), ["new"]);
    }

    #[test]
    fn a_log_may_come_later() {
        let log = Log::new("");
        fs::remove_file(&log.path).unwrap();
        let (mut follower, last) = Follower::open(&log.path, 5).unwrap();
        assert!(last.is_empty());
        assert_eq!(follower.poll().unwrap(), [""; 0]);
        log.append("here\n");
        assert_eq!(follower.poll().unwrap(), ["here"]);
    }

    #[test]
    fn bytes_that_are_not_text_and_endless_lines_do_no_harm() {
        let log = Log::new("");
        let (mut follower, _) = Follower::open(&log.path, 5).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&log.path).unwrap();
        file.write_all(b"a\xffb\n").unwrap();
        file.write_all(&vec![b'x'; LINE_MAX + 10]).unwrap();
        let lines = follower.poll().unwrap();
        assert_eq!(lines[0], "a\u{fffd}b");
        assert_eq!(lines.len(), 2, "the endless line is shown in parts");
    }
}
