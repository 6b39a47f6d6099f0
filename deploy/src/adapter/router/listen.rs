//! The clients' side: listening sockets, connections, and how they end when the router retires.

use super::{forward::Frontend, table::Routes};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use pipeline::name::Name;
use std::{
    collections::BTreeMap,
    io,
    net::{self, SocketAddr},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take to send the head of a request, and how long a connection is kept without one: hyper has
/// one timer for both. More than the 60 s that load balancers keep idle connections, so that it is they who close
/// them and no request of theirs meets a closing one; little enough to be rid of those that only hold them open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long the last answers over the control socket may take when everything else has been broken off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long accepting rests after an error that is likely to come back at once (no descriptors left, …).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a connection without a request is left open once the router retires. A client that uses it in that time
/// is answered and told to close; one that has not used it for this long is unlikely to do so in the very instant
/// that it is closed.
const RETIRED_IDLE: Duration = Duration::from_secs(5);

/// How often a retiring router looks at each connection.
const RETIRED_LOOK: Duration = Duration::from_millis(250);

/// The most services of one router: as many sockets as one line can carry.
pub(super) const MOST_SERVICES: usize = super::wire::MOST_FILES;

/// What every connection shares.
pub(super) struct Shared {
    /// Where requests go.
    pub(super) routes: Routes,
    /// Every connection and tunnel, and every request over the control socket that is not answered yet.
    pub(super) tasks: TaskTracker,
    /// Cancelled when what is still in flight is to be broken off.
    pub(super) ended: CancellationToken,
    /// Cancelled when the router is no more.
    pub(super) gone: CancellationToken,
    listeners: Mutex<BTreeMap<Name, Listening>>,
    /// When the router must have ended, once it retires.
    retirement: watch::Sender<Option<Instant>>,
    retiring: CancellationToken,
}

struct Listening {
    socket: net::TcpListener,
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    /// Nothing yet.
    pub(super) fn new() -> Arc<Self> {
        let ended = CancellationToken::new();
        Arc::new(Self {
            routes: Routes::new(ended.clone()),
            tasks: TaskTracker::new(),
            ended,
            gone: CancellationToken::new(),
            listeners: Mutex::default(),
            retirement: watch::Sender::new(None),
            retiring: CancellationToken::new(),
        })
    }

    /// Accepts a service's connections from this socket from now on, instead of any it had.
    ///
    /// # Errors
    /// When it is not a listening socket, when there are too many, when the router retires.
    pub(super) fn listen(self: &Arc<Self>, service: Name, socket: net::TcpListener) -> io::Result<()> {
        if !getsockopt(&socket, AcceptConn)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
        }
        let mut listeners = self.listeners();
        // Under the lock, so that a retirement either is seen here or clears away what is added here.
        if self.is_retiring() {
            return Err(io::Error::other("the router is retiring"));
        }
        if listeners.len() >= MOST_SERVICES && !listeners.contains_key(&service) {
            return Err(io::Error::other("too many services"));
        }
        socket.set_nonblocking(true)?;
        let accepting = TcpListener::from_std(socket.try_clone()?)?;
        let stop = self.retiring.child_token();
        self.tasks.spawn(accept(self.clone(), service.clone(), accepting, stop.clone()));
        listeners.insert(service, Listening { socket, stop });
        Ok(())
    }

    /// Accepts no more connections of a service.
    pub(super) fn stop_listening(&self, service: &Name) {
        self.listeners().remove(service);
    }

    /// A duplicate of each listening socket.
    pub(super) fn sockets(&self) -> io::Result<Vec<(Name, OwnedFd)>> {
        let listeners = self.listeners();
        listeners.iter().map(|(service, one)| Ok((service.clone(), one.socket.try_clone()?.into()))).collect()
    }

    /// Stops accepting, and ends by `deadline` at the latest; a second call can only bring the end nearer.
    pub(super) fn retire(&self, deadline: Instant) {
        self.retirement.send_modify(|end| *end = Some(end.map_or(deadline, |end| end.min(deadline))));
        self.retiring.cancel();
        self.listeners().clear();
    }

    /// Whether it has been told to retire.
    pub(super) fn is_retiring(&self) -> bool {
        self.retiring.is_cancelled()
    }

    /// Waits for the router's end: told to retire, and everything answered or the deadline passed.
    pub(super) async fn served(&self) {
        self.retiring.cancelled().await;
        self.tasks.close();
        let mut changed = self.retirement.subscribe();
        loop {
            let end = changed.borrow_and_update().unwrap_or_else(Instant::now);
            tokio::select! {
                () = self.tasks.wait() => break,
                () = sleep_until(end) => break,
                // Its sender is `self`: this resolves only when the deadline has moved.
                _ = changed.changed() => {}
            }
        }
        self.ended.cancel();
        let _ = timeout(LAST_WORDS, self.tasks.wait()).await;
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<Name, Listening>> {
        // A map of sockets is whole at every instant, whoever panicked.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until told to stop. No error ends it: a router that no longer accepts is an outage.
async fn accept(shared: Arc<Shared>, service: Name, listener: TcpListener, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, client)) => {
                shared.tasks.spawn(serve(shared.clone(), service.clone(), stream, client));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => {
                stop.run_until_cancelled(sleep(ACCEPT_REST)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves one connection to its end.
async fn serve(shared: Arc<Shared>, service: Name, stream: TcpStream, client: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    // Without it small answers would wait for the client's acknowledgements; if it fails the connection is dead.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let activity = Arc::new(Activity::new());
    let frontend =
        Arc::new(Frontend { shared: shared.clone(), service, client, local, activity: activity.clone() });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service_fn(move |request| frontend.clone().answer(request)))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the client's affair; what a unit did wrong is counted where it is seen.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shared.retiring.cancelled() => {}
    }
    let retired = Instant::now();
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = shared.ended.cancelled() => return,
            () = sleep(RETIRED_LOOK) => {
                if retired.elapsed() >= RETIRED_IDLE && activity.is_idle_for(RETIRED_IDLE) {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Whether a client's connection is being used.
pub(super) struct Activity {
    born: Instant,
    /// Milliseconds after `born` at which it became idle; [`Activity::BUSY`] while a request is being answered.
    idle_since: AtomicU64,
}

impl Activity {
    const BUSY: u64 = u64::MAX;

    fn new() -> Self {
        Self { born: Instant::now(), idle_since: AtomicU64::new(0) }
    }

    /// A request has come; it is being answered until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.idle_since.store(Self::BUSY, Relaxed);
        Busy(self.clone())
    }

    fn is_idle_for(&self, span: Duration) -> bool {
        let since = self.idle_since.load(Relaxed);
        since != Self::BUSY && self.born.elapsed() >= Duration::from_millis(since) + span
    }
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(Activity::BUSY - 1);
        self.0.idle_since.store(now, Relaxed);
    }
}
