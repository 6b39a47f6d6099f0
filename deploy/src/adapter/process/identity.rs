//! One process, told from every other that ever had its id.

use super::procfs;
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A process of this run of the machine. Each that we start leads a process group of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub(crate) start_time: u64,
}

/// How a process ended; neither is known when its parent was another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

impl Process {
    /// The process that has this id now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start_time: procfs::stat(pid)?.start_time })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(self) -> bool {
        procfs::stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_dead())
    }

    /// How it ended, if it has. A child stays unreaped, and with it the name of its process group.
    pub(crate) fn ended(self) -> Option<Ended> {
        if procfs::stat(self.pid).is_none_or(|stat| stat.start_time != self.start_time) {
            return Some(Ended::default());
        }
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.raw()), look) {
            Ok(WaitStatus::Exited(_, code)) => Some(Ended { code: Some(code), signal: None }),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ended { code: None, signal: Some(signal as i32) }),
            Ok(_) | Err(Errno::EINTR) => None,
            // Not our child: its parent was an earlier supervisor.
            Err(Errno::ECHILD) => (!self.is_alive()).then(Ended::default),
            // Ended by a signal that has no name.
            Err(_) => Some(Ended::default()),
        }
    }

    /// Lets the kernel forget a child that has ended.
    pub(crate) fn reap(self) {
        // Not a child, or already reaped: nothing to forget.
        let _ = waitpid(self.raw(), Some(WaitPidFlag::WNOHANG));
    }

    /// Sends a signal to its whole process group, if it still is that process. Returns whether there was anything to
    /// send it to.
    pub(crate) fn signal_group(self, signal: Signal) -> bool {
        let is_same = procfs::stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time);
        is_same && killpg(self.raw(), signal).is_ok()
    }

    fn raw(self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid).unwrap_or(i32::MAX))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} (start {})", self.pid, self.start_time)
    }
}

/// A text is not a [`Process`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a process: expected `pid N (start N)`")]
pub(crate) struct ProcessParseError;

impl FromStr for Process {
    type Err = ProcessParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (pid, start) = text.strip_prefix("pid ")?.strip_suffix(')')?.split_once(" (start ")?;
            Some(Self { pid: pid.parse().ok()?, start_time: start.parse().ok()? })
        };
        parse().ok_or(ProcessParseError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command};

    #[expect(clippy::zombie_processes, reason = "reaping is what is tested")]
    fn start(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        let child = command.args(["-c", script]).process_group(0).spawn().expect("sh starts");
        Process::of(child.id()).expect("it is not reaped yet")
    }

    fn wait(process: Process) -> Ended {
        // The deadline of the test harness bounds this wait.
        loop {
            if let Some(ended) = process.ended() {
                return ended;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn tells_how_a_child_ended_until_it_is_reaped() {
        let exited = start("exit 7");
        assert_eq!(wait(exited), Ended { code: Some(7), signal: None });
        assert_eq!(exited.ended(), Some(Ended { code: Some(7), signal: None }), "looking does not reap");
        exited.reap();
        assert_eq!(exited.ended(), Some(Ended::default()), "what is reaped is gone");

        let killed = start("exec sleep 60");
        assert!(killed.is_alive() && killed.ended().is_none());
        assert!(killed.signal_group(Signal::SIGKILL));
        assert_eq!(wait(killed), Ended { code: None, signal: Some(9) });
        killed.reap();
        assert!(!killed.signal_group(Signal::SIGTERM), "its id belongs to nobody now");
    }

    #[test]
    fn another_process_with_the_same_id_is_another() {
        let own = Process::of(std::process::id()).expect("this process runs");
        let earlier = Process { start_time: own.start_time - 1, ..own };
        assert!(own.is_alive() && !earlier.is_alive());
        assert!(earlier.ended().is_some());
        assert!(!earlier.signal_group(Signal::SIGCONT));
    }

    #[test]
    fn its_text_reads_back() {
        let process = Process { pid: 4711, start_time: 123_456 };
        assert_eq!(process.to_string().parse(), Ok(process));
        assert_eq!("pid x (start 1)".parse::<Process>(), Err(ProcessParseError));
    }
}
