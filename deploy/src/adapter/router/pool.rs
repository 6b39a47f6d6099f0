//! Connections to one unit: made, kept open between requests, and used again.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Empty};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a unit may take to accept a connection: it is on this machine or the next, so a second is an age.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection is kept without use: half of what servers commonly allow (60 s and more), so that it is the
/// router that closes it, never the unit under a request.
pub(super) const KEEP_IDLE: Duration = Duration::from_secs(30);

/// A connection used this lately has not been closed for idleness by any server in common use (the shortest limit
/// seen is 2 s). A request that must not be sent twice goes on no other; a break on an older one is nobody's error.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// How many connections are kept without use: more than a unit has workers; beyond that a burst pays by connecting.
const MOST_IDLE: usize = 64;

/// What is sent to a unit: the client's body as it comes, or none.
pub(super) type Outgoing = Either<Incoming, Empty<Bytes>>;

/// An open connection to a unit.
pub(super) struct Connection {
    sender: http1::SendRequest<Outgoing>,
    severed: CancellationToken,
}

impl Connection {
    /// Opens one. It breaks when `severed` is cancelled, whatever it carries then, upgraded or not.
    pub(super) async fn open(address: SocketAddr, severed: CancellationToken) -> io::Result<Self> {
        let dial = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = match severed.run_until_cancelled(dial).await {
            Some(Ok(stream)) => stream?,
            Some(Err(_)) => return Err(io::ErrorKind::TimedOut.into()),
            None => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        stream.set_nodelay(true)?;
        let (sender, driver) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let until = severed.clone();
        tokio::spawn(async move {
            // Its error reaches whoever waits for the response or reads its body.
            let _ = until.run_until_cancelled(driver.with_upgrades()).await;
        });
        Ok(Self { sender, severed })
    }

    /// Sends a request and waits for the response's head; a request that was not sent comes back with the error.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Box<TrySendError<Request<Outgoing>>>> {
        self.sender.try_send_request(request).await.map_err(Box::new)
    }

    /// Whether it was broken off on purpose.
    pub(super) fn is_severed(&self) -> bool {
        self.severed.is_cancelled()
    }

    /// Cancelled when what it carries is to be broken off.
    pub(super) fn severed(&self) -> CancellationToken {
        self.severed.clone()
    }

    /// Whether the next request can go out now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until the next request can go out; false if that will never be.
    pub(super) async fn becomes_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// Connections that nobody uses just now, the last used on top.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// The connection used last, if it was used within `lately`, and how long it has been idle.
    pub(super) fn take(&self, lately: Duration) -> Option<(Connection, Duration)> {
        let mut idle = self.lock();
        while let Some(Idle { connection, since }) = idle.pop() {
            let rested = since.elapsed();
            if rested > lately {
                idle.push(Idle { connection, since });
                return None;
            }
            if connection.is_ready() {
                return Some((connection, rested));
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes what has been idle for too long, or was closed by the unit.
    pub(super) fn sweep(&self) {
        self.lock().retain(|idle| idle.since.elapsed() < KEEP_IDLE && idle.connection.is_ready());
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A list of connections is whole at every instant, whoever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
