//! The supervisor's side of the control socket.

use super::{
    protocol::{Hello, Reply, Request, Table, UpstreamStats},
    wire::Wire,
};
use pipeline::name::Name;
use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout, timeout_at},
};

/// How long a router may take to answer what it does at once. Generous, because a loaded machine is no reason to
/// believe that the router is gone.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// How often a socket that is not there yet is tried while a router starts.
const CONNECT_EVERY: Duration = Duration::from_millis(10);

/// Asks one router. Each call is a connection of its own, so calls may go side by side, and one that was given up
/// leaves nothing behind.
#[derive(Debug, Clone)]
pub struct RouterClient {
    control: PathBuf,
}

/// Why a router was not heard.
#[derive(Debug, thiserror::Error)]
pub enum RouterClientError {
    /// Nothing listens on its control socket: it has ended, or has not started yet.
    #[error("no router answers on {}", control.display())]
    Connect {
        /// Its control socket.
        control: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or what came over it was not an answer.
    #[error("cannot {operation} at the router on {}", control.display())]
    Broken {
        /// What was asked.
        operation: &'static str,
        /// Its control socket.
        control: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("the router on {} did not {operation} within {} ms", control.display(), after.as_millis())]
    TimedOut {
        /// What was asked.
        operation: &'static str,
        /// Its control socket.
        control: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// It said no.
    #[error("the router refused to {operation}: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Its own words.
        message: String,
    },
}

type Result<T> = std::result::Result<T, RouterClientError>;

impl RouterClient {
    /// Waits until the router behind `control` answers, at most `deadline` long, and says who it is.
    pub async fn connect(control: &Path, deadline: Duration) -> Result<(Self, Hello)> {
        let client = Self { control: control.to_owned() };
        let until = Instant::now() + deadline;
        loop {
            match timeout_at(until, client.hello()).await {
                Ok(Ok(hello)) => return Ok((client, hello)),
                Ok(Err(RouterClientError::Connect { .. })) if Instant::now() + CONNECT_EVERY < until => {
                    sleep(CONNECT_EVERY).await;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(client.timed_out("say who it is", deadline)),
            }
        }
    }

    /// Who it is.
    pub async fn hello(&self) -> Result<Hello> {
        let operation = "say who it is";
        match self.call(operation, &Request::Hello, &[], CALL_DEADLINE).await? {
            (Reply::Hello(hello), _) => Ok(hello),
            (other, _) => Err(self.unexpected(operation, &other)),
        }
    }

    /// Replaces its whole table; when this returns, new requests go by the new one.
    pub async fn set(&self, table: Table) -> Result<()> {
        self.done("take a new table", &Request::Set(table), &[]).await
    }

    /// What it counted: upstream → counts.
    pub async fn stats(&self) -> Result<BTreeMap<String, UpstreamStats>> {
        let operation = "report its counts";
        match self.call(operation, &Request::Stats, &[], CALL_DEADLINE).await? {
            (Reply::Stats(stats), _) => Ok(stats),
            (other, _) => Err(self.unexpected(operation, &other)),
        }
    }

    /// Waits until nothing is in flight on an upstream, at most `deadline` long; returns how much still is: 0 unless
    /// the deadline has passed. A router that retires may end meanwhile, or have ended: that is an error here, and
    /// nothing is in flight any more.
    pub async fn idle(&self, upstream: &str, deadline: Duration) -> Result<u32> {
        let operation = "wait for an upstream";
        let request = Request::Idle { upstream: upstream.to_owned(), deadline: millis(deadline) };
        match self.call(operation, &request, &[], deadline + CALL_DEADLINE).await? {
            (Reply::Done, _) => Ok(0),
            (Reply::Stats(stats), _) => Ok(stats.get(upstream).map_or(0, |counts| counts.in_flight)),
            (other, _) => Err(self.unexpected(operation, &other)),
        }
    }

    /// Breaks off what is still in flight on an upstream.
    pub async fn sever(&self, upstream: &str) -> Result<()> {
        self.done("break off requests", &Request::Sever { upstream: upstream.to_owned() }, &[]).await
    }

    /// Tells it to stop accepting and to end within `deadline`; returns when it has stopped accepting.
    pub async fn retire(&self, deadline: Duration) -> Result<()> {
        self.done("retire", &Request::Retire { deadline: millis(deadline) }, &[]).await
    }

    /// Waits until it has ended, at most `deadline` long.
    pub async fn ended(&self, deadline: Duration) -> Result<()> {
        let mut wire = match self.dial().await {
            Ok(wire) => wire,
            Err(RouterClientError::Connect { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // A connection that breaks is as good as one that closes: either way nobody is there any more.
        timeout(deadline, wire.closed()).await.map(drop).map_err(|_| self.timed_out("end", deadline))
    }

    /// Gives it a listening socket for a service; the caller keeps its own.
    pub async fn add_listener(&self, service: &Name, socket: impl AsFd) -> Result<()> {
        let request = Request::AddListener { service: service.clone() };
        self.done("listen for a service", &request, &[socket.as_fd()]).await
    }

    /// Lets it accept no more connections for a service.
    pub async fn remove_listener(&self, service: &Name) -> Result<()> {
        self.done("stop listening for a service", &Request::RemoveListener { service: service.clone() }, &[])
            .await
    }

    /// A duplicate of each of its listening sockets, for a supervisor that has lost its own.
    pub async fn take_listeners(&self) -> Result<BTreeMap<Name, TcpListener>> {
        let operation = "hand over its sockets";
        match self.call(operation, &Request::Listeners, &[], CALL_DEADLINE).await? {
            (Reply::Listeners(names), files) if names.len() == files.len() => {
                Ok(names.into_iter().zip(files.into_iter().map(TcpListener::from)).collect())
            }
            (other, _) => Err(self.unexpected(operation, &other)),
        }
    }

    async fn done(&self, operation: &'static str, request: &Request, files: &[BorrowedFd<'_>]) -> Result<()> {
        match self.call(operation, request, files, CALL_DEADLINE).await? {
            (Reply::Done, _) => Ok(()),
            (other, _) => Err(self.unexpected(operation, &other)),
        }
    }

    async fn call(
        &self,
        operation: &'static str,
        request: &Request,
        files: &[BorrowedFd<'_>],
        deadline: Duration,
    ) -> Result<(Reply, Vec<OwnedFd>)> {
        let exchange = async {
            let mut wire = self.dial().await?;
            exchange(&mut wire, request, files).await.map_err(|source| self.broken(operation, source))
        };
        match timeout(deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(operation, deadline)),
        }
    }

    async fn dial(&self) -> Result<Wire> {
        let stream = UnixStream::connect(&self.control).await;
        stream
            .map(Wire::new)
            .map_err(|source| RouterClientError::Connect { control: self.control.clone(), source })
    }

    fn unexpected(&self, operation: &'static str, reply: &Reply) -> RouterClientError {
        match reply {
            Reply::Failed(message) => RouterClientError::Refused { operation, message: message.clone() },
            _ => self
                .broken(operation, io::Error::new(io::ErrorKind::InvalidData, "it answered something else")),
        }
    }

    fn broken(&self, operation: &'static str, source: io::Error) -> RouterClientError {
        RouterClientError::Broken { operation, control: self.control.clone(), source }
    }

    fn timed_out(&self, operation: &'static str, after: Duration) -> RouterClientError {
        RouterClientError::TimedOut { operation, control: self.control.clone(), after }
    }
}

async fn exchange(
    wire: &mut Wire,
    request: &Request,
    files: &[BorrowedFd<'_>],
) -> io::Result<(Reply, Vec<OwnedFd>)> {
    wire.send(request, files).await?;
    let (line, files) = wire.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(&line)?, files))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
