//! The stable ports: bound by the supervisor, so that they outlive every router.

use super::super::procfs;
use super::state::Listening;
use pipeline::name::Name;
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The listening sockets of all services.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    sockets: Mutex<BTreeMap<Name, TcpListener>>,
}

/// Why a stable port is not held.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// Something else has it.
    #[error(
        "port {} of {service} is held by {holder}: end that, or give the service another port", .address.port()
    )]
    Taken { service: Name, address: SocketAddr, holder: String },
    /// Another service of this environment has it.
    #[error(
        "port {} of {service} is held for service {other} of this environment: give one of them another port; to rename \
         a service, take {other} away with one deploy and bring {service} with the next", .address.port()
    )]
    Shared { service: Name, address: SocketAddr, other: Name },
    /// The system refused.
    #[error("cannot listen on {address} for {service}")]
    Bind {
        service: Name,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

impl Listeners {
    /// Holds an address for a service from now on; one that it holds already stays as it is. Another address takes the
    /// place of the one before.
    pub(super) fn hold(&self, service: &Name, listening: &Listening) -> Result<(), ListenError> {
        let mut sockets = self.sockets();
        let address = listening.address();
        if sockets.get(service).is_some_and(|socket| socket.local_addr().is_ok_and(|held| held == address)) {
            return Ok(());
        }
        let has_port =
            |socket: &TcpListener| socket.local_addr().is_ok_and(|held| held.port() == address.port());
        let other = sockets.iter().find(|(name, socket)| *name != service && has_port(socket));
        let other = other.map(|(name, _)| name.clone());
        let socket = bind(address).map_err(|source| match (source.kind(), other) {
            (io::ErrorKind::AddrInUse, Some(other)) => {
                ListenError::Shared { service: service.clone(), address, other }
            }
            (io::ErrorKind::AddrInUse, None) => {
                ListenError::Taken { service: service.clone(), address, holder: holder(address) }
            }
            _ => ListenError::Bind { service: service.clone(), address, source },
        })?;
        sockets.insert(service.clone(), socket);
        Ok(())
    }

    /// Takes over sockets that something else had opened for the same services.
    pub(super) fn adopt(&self, adopted: BTreeMap<Name, TcpListener>) {
        let mut sockets = self.sockets();
        for (service, socket) in adopted {
            sockets.entry(service).or_insert(socket);
        }
    }

    /// Lets a service's port go.
    pub(super) fn release(&self, service: &Name) {
        self.sockets().remove(service);
    }

    /// A duplicate of a service's socket.
    pub(super) fn get(&self, service: &Name) -> io::Result<Option<TcpListener>> {
        self.sockets().get(service).map(TcpListener::try_clone).transpose()
    }

    /// A duplicate of every socket.
    pub(super) fn all(&self) -> io::Result<BTreeMap<Name, TcpListener>> {
        self.sockets().iter().map(|(service, socket)| Ok((service.clone(), socket.try_clone()?))).collect()
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<Name, TcpListener>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds with `SO_REUSEADDR`, as the standard library does on Unix: connections of an earlier holder that linger do
/// not keep the port from us.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Who holds an address, for people.
fn holder(address: SocketAddr) -> String {
    match procfs::listener_of(address) {
        Some((pid, name)) => format!("process {pid} ({name})"),
        None => "another process (of another user, or in another container)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(port: u16) -> Listening {
        Listening { host: "127.0.0.1".parse().expect("an address"), port, health_path: None }
    }

    #[test]
    fn a_taken_port_is_told_with_its_holder_and_the_old_one_stays() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = other.local_addr().expect("bound").port();
        let free = {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
            socket.local_addr().expect("bound").port()
        };
        let api: Name = "api".parse().expect("a name");
        let listeners = Listeners::default();
        listeners.hold(&api, &listening(free)).expect("it is free");
        listeners.hold(&api, &listening(free)).expect("holding it again is nothing new");
        let renamed: Name = "web".parse().expect("a name");
        let message = listeners.hold(&renamed, &listening(free)).expect_err("api has it").to_string();
        assert!(message.contains("held for service api"), "its own router is nothing to end: {message}");

        let message = listeners.hold(&api, &listening(taken)).expect_err("it is taken").to_string();
        assert!(message.contains(&format!("port {taken}")), "{message}");
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        let held = listeners.get(&api).expect("it duplicates").expect("it is held");
        assert_eq!(held.local_addr().expect("bound").port(), free);

        listeners.release(&api);
        drop(held);
        TcpListener::bind(("127.0.0.1", free)).expect("it was let go");
    }
}
