//! What the units log.
//!
//! A unit appends to its file itself, so that it goes on logging whatever becomes of the supervisor, and a full disk
//! costs it lines, never its life. The price: a file is rotated by copying and truncating it, and lines that are
//! written between the two are lost.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A log is rotated above this size, in bytes: some 100,000 lines, and still opened by any editor.
pub(crate) const ROTATE_ABOVE: u64 = 10 * 1024 * 1024;

/// Older files that are kept beside the current one (`.1` is the newest): with it at most 30 MiB a unit.
const OLDER_KEPT: u32 = 2;

/// How much of a file's end is looked at for its last lines, in bytes.
const TAIL_MAX: u64 = 1024 * 1024;

/// Opens a unit's log to append to it. Logs may hold what only the owner should read.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Rotates a log if it is larger than `above` bytes.
pub(crate) fn rotate(path: &Path, above: u64) -> io::Result<bool> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    if size <= above {
        return Ok(false);
    }
    for number in (1..OLDER_KEPT).rev() {
        match fs::rename(older(path, number), older(path, number + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    let copied = fs::copy(path, older(path, 1));
    // Truncated also when the copy failed: a disk that is full of logs must not stay so.
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    copied.map(|_| true)
}

/// The last lines of a log and its older files, oldest first.
pub(crate) fn tail(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let files = std::iter::once(path.to_owned()).chain((1..=OLDER_KEPT).map(|number| older(path, number)));
    let mut lines: Vec<String> = Vec::new();
    for file in files {
        if lines.len() >= count {
            break;
        }
        let mut earlier = match last_lines(&file) {
            Ok(earlier) => earlier,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        earlier.append(&mut lines);
        lines = earlier;
    }
    Ok(lines.split_off(lines.len().saturating_sub(count)))
}

/// Removes logs (with their older files) of units whose bundle is not among `kept` (short hashes), if nothing was
/// written to them since `before`: the log of a failed unit outlives it until newer bundles have pushed it out.
pub(crate) fn prune(folder: &Path, kept: &BTreeSet<String>, before: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let bundle = name.split('.').nth(2).unwrap_or_default();
        let is_old = entry.metadata().and_then(|m| m.modified()).is_ok_and(|modified| modified < before);
        if is_old && !kept.contains(bundle) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The lines at a file's end.
fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // A line that was cut at its beginning is left out.
    Ok(text.lines().skip(usize::from(start > 0)).map(str::to_owned).collect())
}

/// The name of an older file.
fn older(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn rotates_under_a_writer_that_goes_on_and_keeps_the_last_lines_readable() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("api.0.0123456789ab.log");
        let mut writer = open(&path).expect("it opens");
        for round in 0..4 {
            for line in 0..10 {
                writeln!(writer, "round {round} line {line}").expect("it writes");
            }
            assert!(rotate(&path, 100).expect("it rotates"));
        }
        writeln!(writer, "last").expect("the same writer goes on");

        assert_eq!(fs::read_to_string(&path).expect("it is there"), "last\n");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "the log and two older");
        let lines = tail(&path, 12).expect("its tail");
        assert_eq!(lines.len(), 12);
        assert_eq!(
            [&lines[0], &lines[1], &lines[10], &lines[11]],
            ["round 2 line 9", "round 3 line 0", "round 3 line 9", "last"]
        );
        assert_eq!(tail(&path, 1000).expect("all there is").len(), 21);
    }

    #[test]
    fn a_small_or_missing_log_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.0.b.log");
        assert!(!rotate(&path, 10).expect("missing"));
        fs::write(&path, "0123456789").expect("it writes");
        assert!(!rotate(&path, 10).expect("not above"));
        assert_eq!(tail(&folder.path().join("none"), 5).expect("empty"), Vec::<String>::new());
    }

    #[test]
    fn prunes_old_logs_of_forgotten_bundles_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["api.0.kept.log", "api.0.gone.log", "api.0.gone.log.1"] {
            fs::write(folder.path().join(name), "x").expect("it writes");
        }
        let kept = BTreeSet::from(["kept".to_owned()]);
        let left = || fs::read_dir(folder.path()).expect("a folder").count();
        prune(folder.path(), &kept, SystemTime::UNIX_EPOCH).expect("it prunes");
        assert_eq!(left(), 3, "all were written since");
        prune(folder.path(), &kept, SystemTime::now() + std::time::Duration::from_secs(60))
            .expect("it prunes");
        assert_eq!(left(), 1);
    }
}
