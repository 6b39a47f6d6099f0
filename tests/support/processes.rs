//! Processes, as the kernel shows them in `/proc`.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// One process as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// When it was started, in clock ticks since boot: with the pid, it tells two lives apart.
    pub started: u64,
    /// Its parent's id.
    pub parent: i32,
    /// The kernel's letter for its state: `S`, `T`, `Z`, … `S` also for `R` and `D`: whether it computes or waits for a disk
    /// just now is no difference.
    pub state: char,
    /// Its executable; a removed one has ` (deleted)` appended.
    pub exe: PathBuf,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its arguments.
    pub cmdline: Vec<String>,
}

impl Process {
    /// The process with this id, if it lives: a zombie does not.
    pub fn of(pid: i32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let exe = fs::read_link(folder.join("exe")).ok()?;
        let cwd = fs::read_link(folder.join("cwd")).ok()?;
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name in parentheses may hold anything; what follows the last one is fields 3 and on.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(Self {
            pid,
            started: fields.get(19)?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            state: match fields.first()?.chars().next()? {
                'R' | 'D' => 'S',
                state => state,
            },
            exe,
            cwd,
            cmdline: arguments(&fs::read(folder.join("cmdline")).ok()?),
        })
    }

    /// The variables that it was started with.
    pub fn environ(&self) -> BTreeMap<String, String> {
        let bytes = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let pairs = arguments(&bytes).into_iter();
        pairs.filter_map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect()
    }

    /// Whether this very life of it goes on.
    pub fn lives(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// The file name of its executable.
    pub fn name(&self) -> &str {
        self.exe.file_name().and_then(OsStr::to_str).unwrap_or_default().trim_end_matches(" (deleted)")
    }
}

/// The ids of all processes.
///
/// # Panics
/// Without `/proc`.
pub fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Every process whose executable or working directory is in a folder.
pub fn processes_under(folder: &Path) -> Vec<Process> {
    let is_inside = |path: PathBuf| path.starts_with(folder);
    let belongs = |pid: &i32| {
        let link = |name| fs::read_link(format!("/proc/{pid}/{name}"));
        link("exe").is_ok_and(is_inside) || link("cwd").is_ok_and(is_inside)
    };
    all_pids().into_iter().filter(belongs).filter_map(Process::of).collect()
}

/// Sends a signal to one process; one that is gone does not mind.
pub fn signal(pid: i32, signal: Signal) {
    // The only other error is that it is not ours, and every process that we signal is.
    let _ = kill(Pid::from_raw(pid), signal);
}

fn arguments(bytes: &[u8]) -> Vec<String> {
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| OsStr::from_bytes(part).to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn sees_a_process_in_a_folder_and_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut child =
            Command::new("sleep").arg("60").env("MARK", "a=b").current_dir(&folder).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seen = crate::wait_for("the process", std::time::Duration::from_secs(5), || {
            processes_under(folder.path()).into_iter().find(|one| one.name() == "sleep")
        });
        assert_eq!((seen.pid, seen.cmdline.join(" ").as_str()), (pid, "sleep 60"));
        assert_eq!(seen.environ().get("MARK").map(String::as_str), Some("a=b"));
        assert_eq!(Some(seen.parent), i32::try_from(std::process::id()).ok());
        assert!(seen.lives());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!seen.lives() && processes_under(folder.path()).is_empty());
    }
}
