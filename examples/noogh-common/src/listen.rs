//! The listening socket: where it is bound, and how it closes without turning anybody away.

use crate::{lifecycle::Lifecycle, service::StartError, settings::Settings};
use axum::serve::Listener;
use std::{future::pending, io, net::SocketAddr};
use tokio::net::{TcpListener, TcpStream};

/// Binds to the address of the settings, or next to it if they ask for the wrong port.
///
/// # Errors
/// [`StartError::Listen`].
pub(crate) async fn bind(settings: &Settings) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = SocketAddr::new(settings.host, settings.port);
    let failed = |source| StartError::Listen { address, source };
    let listener = match settings.faults.wrong_port {
        true => bind_wrongly(address).await,
        false => TcpListener::bind(address).await,
    };
    let listener = listener.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn bind_wrongly(address: SocketAddr) -> io::Result<TcpListener> {
    let with_port = |port| SocketAddr::new(address.ip(), port);
    if let Some(next) = address.port().checked_add(1).filter(|_| address.port() != 0)
        && let Ok(listener) = TcpListener::bind(with_port(next)).await
    {
        return Ok(listener);
    }
    TcpListener::bind(with_port(0)).await
}

/// A listener that closes when the service drains.
///
/// Connections that the system has already accepted for it would be reset by closing it; so they are taken first.
pub(crate) struct Door {
    open: Option<TcpListener>,
    address: SocketAddr,
    lifecycle: Lifecycle,
}

impl Door {
    /// A door that is open until the drain begins.
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, lifecycle: Lifecycle) -> Self {
        Self { open: Some(listener), address, lifecycle }
    }
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let Some(listener) = &mut self.open else { return pending().await };
        tokio::select! {
            biased;
            (stream, address) = Listener::accept(listener) => {
                // Small chunks must not wait for the acknowledgement of the one before; without it they only come later.
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            () = self.lifecycle.draining() => {}
        }
        self.open = None;
        pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
