//! What the kernel tells of processes. Everything here is a look at one moment: a process may be gone right after.

use super::listeners::{Listener, listeners};
use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// A part of a process's status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `R`, `S`, `Z`, …
    pub(crate) state: char,
    /// Its process group.
    pub(crate) group: u32,
    /// When it was started, in clock ticks since the machine was: with the pid it names one process for ever.
    pub(crate) start_time: u64,
}

impl Stat {
    /// Whether the process has ended and only waits to be reaped.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Names this run of the machine: a pid and start time of another run say nothing.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The status of a process; `None` if there is none.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Everything after the last `)`: a process may call itself `) R 1`.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    // The first of them is the third in the kernel's documentation.
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// The ids of all processes.
pub(crate) fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The living members of a process group.
pub(crate) fn group_members(group: u32) -> Vec<u32> {
    let member = |pid: &u32| stat(*pid).is_some_and(|stat| stat.group == group && !stat.is_dead());
    processes().into_iter().filter(member).collect()
}

/// Whether the process was started with all of these variables. Needs the same user.
pub(crate) fn has_environment(pid: u32, variables: &[(&str, &str)]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    variables.iter().all(|(name, value)| {
        environment.split(|byte| *byte == 0).any(|pair| {
            pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
                == Some(value.as_bytes())
        })
    })
}

/// The living processes that run in or from a folder. Needs the same user.
pub(crate) fn processes_under(folder: &Path) -> Vec<u32> {
    let link = |pid: u32, name| fs::read_link(format!("/proc/{pid}/{name}"));
    let is_under =
        |pid| ["cwd", "exe"].iter().any(|name| link(pid, name).is_ok_and(|to| to.starts_with(folder)));
    processes().into_iter().filter(|pid| is_under(*pid)).collect()
}

/// Whether the process was started with this variable, whatever its value. Needs the same user.
pub(crate) fn has_variable(pid: u32, name: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let is_it =
        |pair: &[u8]| pair.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
    environment.split(|byte| *byte == 0).any(is_it)
}

/// Whether this is among the arguments of a process.
pub(crate) fn has_argument(pid: u32, argument: &str) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).any(|found| found == argument.as_bytes())
}

/// The name that the kernel has for a process.
pub(crate) fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Resident memory in bytes. Pages shared with others count in full.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    Some(status_number(pid, "VmRSS:")? * 1024)
}

/// How many threads it has.
pub(crate) fn threads(pid: u32) -> Option<u64> {
    status_number(pid, "Threads:")
}

/// How many files it has open. Needs the same user.
pub(crate) fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// The TCP ports that a process listens on, in order, out of all that [`listeners`] found. Needs the same user.
pub(crate) fn listening_ports(pid: u32, listeners: &[Listener]) -> Vec<u16> {
    let inodes = socket_inodes(pid);
    let ports: BTreeSet<u16> =
        listeners.iter().filter(|l| inodes.contains(&l.inode)).map(|l| l.address.port()).collect();
    ports.into_iter().collect()
}

/// Who listens where `address` wants to: pid and name, as far as this user may know.
pub(crate) fn listener_of(address: SocketAddr) -> Option<(u32, String)> {
    let clash = |ip: IpAddr| ip.is_unspecified() || address.ip().is_unspecified() || ip == address.ip();
    let inodes: BTreeSet<u64> = listeners()
        .into_iter()
        .filter(|l| l.address.port() == address.port() && clash(l.address.ip()))
        .map(|l| l.inode)
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let pid = processes().into_iter().find(|pid| !socket_inodes(*pid).is_disjoint(&inodes))?;
    Some((pid, name(pid)?))
}

/// The sockets that a process has open.
fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    entries.flatten().filter_map(|entry| inode(fs::read_link(entry.path()).ok()?)).collect()
}

/// The number behind a key of `/proc/PID/status`.
fn status_number(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_process_cannot_hide_behind_its_name() {
        let line = "42 (a) R 1 1 (x) S 1 40 40 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 1 0 777 1 1 1";
        assert_eq!(parse_stat(line), Some(Stat { state: 'S', group: 40, start_time: 777 }));
        assert_eq!(parse_stat("42 (cut of"), None);
    }

    #[test]
    fn reads_itself() {
        let own = std::process::id();
        let stat = stat(own).expect("this process runs");
        assert!(stat.start_time > 0 && !stat.is_dead());
        assert!(resident_bytes(own).expect("it has memory") > 100_000);
        assert!(threads(own).expect("it has threads") >= 1);
        assert!(open_files(own).expect("it has open files") >= 3);
        assert!(!boot_id().expect("the machine was started").is_empty());
        assert!(!has_environment(own, &[("FAIRLEAD_NO_SUCH_VARIABLE", "")]));
    }

    #[test]
    fn finds_who_listens() {
        for host in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(host).expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            assert!(listening_ports(std::process::id(), &listeners()).contains(&address.port()), "{host}");
            assert_eq!(listener_of(address).map(|(pid, _)| pid), Some(std::process::id()), "{host}");
        }
    }
}
