//! Stable ports: free, or held by our own router.

use super::Finding;
use pipeline::name::Name;
use std::{
    fs, io,
    net::{IpAddr, TcpListener},
};

/// Looks at the stable port of a service. `router` is the process id of our router, if it runs.
pub(super) fn finding(service: &Name, host: IpAddr, port: u16, router: Option<u32>) -> Finding {
    let check = format!("port {port} ({service})");
    match TcpListener::bind((host, port)) {
        Ok(_) => Finding::ok(&check, "free"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match router {
            Some(pid) if listens(pid, port) => {
                Finding::ok(&check, format!("held by our router, process {pid}"))
            }
            Some(_) | None => Finding::fail(
                &check,
                "held by another process",
                format!("end it (`ss -ltnp 'sport = :{port}'` names it), or give {service} another port"),
            ),
        },
        Err(error) => Finding::fail(
            &check,
            format!("cannot be bound on {host}: {error}"),
            "choose an address of this machine, and a port above 1023",
        ),
    }
}

/// Whether a process listens on a port: one of its sockets is in the kernel's table of listening ones.
fn listens(pid: u32, port: u16) -> bool {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
    let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| link.to_str().is_some_and(|link| inodes.iter().any(|inode| inode == link)))
}

/// The inode of a line of `/proc/net/tcp`, if it is of a socket that listens on the port.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    /// The state of a listening socket.
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, hex) = fields.get(1)?.rsplit_once(':')?;
    let is_ours = u16::from_str_radix(hex, 16) == Ok(port) && *fields.get(3)? == LISTEN;
    is_ours.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn a_port_is_free_ours_or_another_s() {
        let service: Name = "api".parse().unwrap();
        let host: IpAddr = "127.0.0.1".parse().unwrap();
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(finding(&service, host, port, Some(std::process::id())).grade, Grade::Ok);
        let other = finding(&service, host, port, None);
        assert_eq!((other.grade, other.found.as_str()), (Grade::Fail, "held by another process"));
        drop(listener);
        // A process that another test is just starting holds a copy of every socket until it has begun to run.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while finding(&service, host, port, None).found != "free" {
            assert!(std::time::Instant::now() < deadline, "it is not free again");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let finding = finding(&"api".parse().unwrap(), "192.0.2.1".parse().unwrap(), 8000, None);
        assert_eq!(finding.grade, Grade::Fail);
        assert!(finding.found.contains("192.0.2.1"));
    }
}
