//! Listening TCP sockets, and whose they are: from `/proc/net/tcp`, `/proc/net/tcp6` and the file descriptors.

use crate::processes::all_pids;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The kernel's number for the state of a listening socket.
const LISTEN: &str = "0A";

/// Port → the ids of the processes that listen on it. Several may: a socket is handed on to a child.
pub fn listening_ports() -> BTreeMap<u16, BTreeSet<i32>> {
    let sockets = listening_sockets();
    let mut ports: BTreeMap<u16, BTreeSet<i32>> =
        sockets.values().map(|port| (*port, BTreeSet::new())).collect();
    for pid in all_pids() {
        for port in ports_among(pid, &sockets) {
            ports.entry(port).or_default().insert(pid);
        }
    }
    ports
}

/// The ports that one process listens on.
pub fn listening_ports_of(pid: i32) -> BTreeSet<u16> {
    ports_among(pid, &listening_sockets())
}

/// The ports that each of these processes listens on, in their order. One look for all: it takes milliseconds.
pub fn listening_ports_of_each(pids: impl IntoIterator<Item = i32>) -> Vec<BTreeSet<u16>> {
    let sockets = listening_sockets();
    pids.into_iter().map(|pid| ports_among(pid, &sockets)).collect()
}

/// Inode of each listening socket → its port.
pub(crate) fn listening_sockets() -> BTreeMap<u64, u16> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    tables.flat_map(|table| table.lines().skip(1).filter_map(parse).collect::<Vec<_>>()).collect()
}

/// The ports of those of these sockets that a process has open.
pub(crate) fn ports_among(pid: i32, sockets: &BTreeMap<u64, u16>) -> BTreeSet<u16> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| sockets.get(&inode(&entry.path())?).copied()).collect()
}

fn inode(descriptor: &Path) -> Option<u64> {
    let link = fs::read_link(descriptor).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn parse(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    (fields.get(3)? == &LISTEN).then_some((fields.get(9)?.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn finds_who_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(listening_ports().get(&port), Some(&BTreeSet::from([me])));
        assert!(listening_ports_of(me).contains(&port));
        drop(listener);
        assert!(!listening_ports_of(me).contains(&port));
    }
}
