//! Who listens on this machine: asked of the kernel by `sock_diag`, which picks out the listening sockets alone. Where
//! that is not to be had (some sandboxes), they are read from `/proc/net/tcp`, for which the kernel also walks through its
//! whole table of connections: a millisecond and more, each time.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

/// State `LISTEN` as the kernel numbers it, in `sock_diag` and in its tables.
const LISTEN: u8 = 10;

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Names the socket among the open files of a process.
    pub(crate) inode: u64,
}

/// All listening TCP sockets of this machine's network.
pub(crate) fn listeners() -> Vec<Listener> {
    let asked =
        [AddressFamily::Inet, AddressFamily::Inet6].into_iter().map(ask).collect::<io::Result<Vec<_>>>();
    asked.map_or_else(|_| read_tables(), |found| found.concat())
}

/// Lengths and numbers of `linux/netlink.h` and `linux/inet_diag.h`.
mod wire {
    pub(super) const HEADER: usize = 16;
    pub(super) const REQUEST: usize = HEADER + 56;
    pub(super) const ANSWER: usize = HEADER + 72;
    pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    /// `NLM_F_REQUEST | NLM_F_DUMP`.
    pub(super) const DUMP: u16 = 0x301;
    pub(super) const TCP: u8 = 6;
}

/// Asks for the listening sockets of one family.
fn ask(family: AddressFamily) -> io::Result<Vec<Listener>> {
    let kernel =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    let mut request = [0u8; wire::REQUEST];
    request[..4].copy_from_slice(&(wire::REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&wire::SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&wire::DUMP.to_ne_bytes());
    request[wire::HEADER] = family as u8;
    request[wire::HEADER + 1] = wire::TCP;
    request[wire::HEADER + 4..wire::HEADER + 8].copy_from_slice(&(1u32 << LISTEN).to_ne_bytes());
    send(kernel.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut found = Vec::new();
    // As much as the kernel puts into one answer.
    let mut buffer = [0u8; 32 * 1024];
    loop {
        // The kernel answers a dump from within the request: there is no waiting.
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        if take(&buffer[..length], &mut found)? {
            return Ok(found);
        }
    }
}

/// Takes the messages of one answer; whether it was the last.
fn take(mut answer: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    while answer.len() >= wire::HEADER {
        let length = u32::from_ne_bytes(bytes(answer, 0)) as usize;
        let message = answer.get(..length).filter(|message| message.len() >= wire::HEADER);
        let message = message.ok_or(io::ErrorKind::InvalidData)?;
        match u16::from_ne_bytes(bytes(message, 4)) {
            wire::DONE => return Ok(true),
            wire::ERROR => return Err(io::ErrorKind::Unsupported.into()),
            wire::SOCK_DIAG_BY_FAMILY if length >= wire::ANSWER => {
                found.push(parse(&message[wire::HEADER..]))
            }
            _ => {}
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// An `inet_diag_msg`.
fn parse(message: &[u8]) -> Listener {
    let port = u16::from_be_bytes(bytes(message, 4));
    let ip = if i32::from(message[0]) == AddressFamily::Inet as i32 {
        IpAddr::V4(Ipv4Addr::from(bytes::<4>(message, 8)))
    } else {
        IpAddr::V6(Ipv6Addr::from(bytes::<16>(message, 8))).to_canonical()
    };
    Listener { address: SocketAddr::new(ip, port), inode: u32::from_ne_bytes(bytes(message, 68)).into() }
}

/// So many bytes from a place that was found to have them.
fn bytes<const N: usize>(from: &[u8], place: usize) -> [u8; N] {
    from[place..place + N].try_into().expect("a range of this length")
}

/// The same from the kernel's tables.
fn read_tables() -> Vec<Listener> {
    let listening = |table| {
        let file = File::open(table).into_iter();
        let lines = file.flat_map(|file| BufReader::new(file).lines()).map_while(Result::ok);
        // The kernel lists those that listen first; the connections of a busy machine, thousands, are not read.
        lines.skip(1).map_while(|line| parse_line(&line))
    };
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(listening).collect()
}

fn parse_line(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if u8::from_str_radix(fields.get(3)?, 16) != Ok(LISTEN) {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let address = SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { address, inode: fields.get(9)?.parse().ok()? })
}

/// The kernel prints addresses as 32-bit words of the machine's own byte order.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = hex::decode(text).ok()?;
    if cfg!(target_endian = "little") {
        bytes.chunks_mut(4).for_each(<[u8]>::reverse);
    }
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn both_ways_find_who_listens() {
        let mine: Vec<TcpListener> = ["127.0.0.1:0", "[::1]:0", "[::]:0"]
            .map(|host| TcpListener::bind(host).expect("a free port"))
            .into();
        let asked = [AddressFamily::Inet, AddressFamily::Inet6]
            .map(|family| ask(family).expect("the kernel answers"));
        for (way, found) in [("asked", asked.concat()), ("read", read_tables())] {
            for one in &mine {
                let address = one.local_addr().expect("it is bound");
                let is_it = |listener: &&Listener| listener.address == address && listener.inode > 0;
                assert!(
                    found.iter().any(|listener| is_it(&listener)),
                    "{way}: {address} is not in {found:?}"
                );
            }
        }
    }
}
