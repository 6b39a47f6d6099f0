//! The supervisor: the parent of the units of one environment, which records how they end.
//!
//! It outlives the command that started it, and what it knows outlives it: `state.json` is written before an effect and
//! after it, so that the next supervisor finds every process again. A new version takes its place by `exec`.
//!
//! **Locks.** [`Routes`]' before [`Store`]'s, never the other way round.

mod adopt;
mod handover;
mod listen;
mod log;
mod migrate;
mod observe;
mod ops;
mod options;
mod ports;
mod process_router;
mod reaper;
mod router;
mod routes;
pub(crate) mod state;
mod units;
mod upkeep;

#[cfg(test)]
mod tests;

pub(crate) use self::observe::plain_facts;
pub use self::{
    options::{Options, OptionsError, SUBCOMMAND},
    process_router::ROUTER_SUBCOMMAND,
    state::StateError,
};

use self::{
    handover::Inherited,
    listen::Listeners,
    log::Log,
    ops::{Outcome, Then},
    router::Routers,
    routes::Routes,
    state::State,
};
use super::{
    folders::Folders,
    procfs,
    protocol::{Failed, FailedKind, PROTOCOL, Reply, Request},
    socket,
};
use crate::model::Millis;
use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io,
    net::TcpListener,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::BufReader,
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{Mutex, Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// The grace of units when the supervisor itself is told to end.
const TERM_GRACE: Millis = 10_000;

/// How long a lock is waited for that another supervisor holds: one that was killed lets go at once, but a process that
/// it had just forked holds it until it executes something.
const LOCK_DEADLINE: Duration = Duration::from_secs(2);

/// The pause between two tries of the lock.
const LOCK_EVERY: Duration = Duration::from_millis(20);

/// The pause after a connection could not be accepted: no file descriptor was free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a supervisor did not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A file or folder of the environment could not be used.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was to be done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another one runs.
    #[error("another supervisor holds `{path}`")]
    Runs {
        /// The lock.
        path: PathBuf,
    },
    /// What an earlier one left cannot be read. Nothing is assumed, because units may run.
    #[error(transparent)]
    State(state::StateError),
    /// The system lacks something.
    #[error("cannot {operation}")]
    System {
        /// What was to be done.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// All that the tasks of a supervisor share.
struct Shared {
    options: Options,
    folders: Folders,
    log: Log,
    /// Held as long as this supervisor is the one.
    lock: File,
    control: UnixListener,
    store: Mutex<Store>,
    listeners: Listeners,
    routes: Routes,
    /// Wakes the reaper.
    reap: Notify,
    /// Grows with every change; it starts with the time, so that it also grows from one supervisor to the next.
    changed: watch::Sender<u64>,
    /// Cancelled when it shuts down: nothing new is started.
    closes: CancellationToken,
    /// Cancelled when it has shut down.
    end: CancellationToken,
}

/// What is written to `state.json`.
struct Store {
    state: State,
}

/// Runs the supervisor of an environment until it is shut down. It hands over to another version by becoming it, so
/// that this function does not return then.
///
/// # Errors
/// See [`SupervisorError`].
pub async fn serve(options: Options) -> Result<(), SupervisorError> {
    let folders = Folders::new(&options.state_dir).map_err(|source| SupervisorError::File {
        operation: "use",
        path: options.state_dir.clone(),
        source,
    })?;
    let routers = Arc::new(process_router::ProcessRouters::new(&options, folders.supervisor_log()));
    serve_with(options, routers).await
}

/// [`serve`] with routers from elsewhere.
async fn serve_with(options: Options, routers: Arc<dyn Routers>) -> Result<(), SupervisorError> {
    if options.owns_process {
        // Out of the terminal's reach. It fails only where it is needless: in a process that leads a session already,
        // as every image after a hand-over does.
        let _ = nix::unistd::setsid();
    }
    let shared = Arc::new(start(options, routers).await?);
    {
        let mut store = shared.store.lock().await;
        reaper::adopt(&shared, &mut store.state);
        shared.adopt_migrations(&mut store.state);
        shared.save(&store);
    }
    // Before the first request is answered: what ended meanwhile is recorded, and a port that our own router holds is
    // not taken for another's.
    reaper::collect(&shared).await;
    shared.adopt_router().await;
    shared.log.line(format!("supervisor {} serves, version {}", std::process::id(), shared.options.version));
    let mut tasks = JoinSet::new();
    tasks.spawn(reaper::watch(shared.clone()));
    tasks.spawn(upkeep::watch_memory(shared.clone()));
    tasks.spawn(upkeep::watch_logs(shared.clone()));
    tasks.spawn(routes::keep(shared.clone()));
    tasks.spawn(accept(shared.clone()));
    if shared.options.owns_process {
        tasks.spawn(heed_signals(shared.clone()));
    }
    let result = tokio::select! {
        () = shared.end.cancelled() => Ok(()),
        task = first_failure(&mut tasks) => Err(task),
    };
    tasks.shutdown().await;
    if result.is_ok() {
        // Only tidiness: a socket that nobody listens on is as good as none.
        let _ = std::fs::remove_file(shared.folders.supervisor().join(socket::CONTROL));
        shared.log.line("supervisor ends");
    }
    result
}

/// Opens everything that a supervisor needs.
async fn start(options: Options, routers: Arc<dyn Routers>) -> Result<Shared, SupervisorError> {
    let file = |operation, path: PathBuf| move |source| SupervisorError::File { operation, path, source };
    let folders = Folders::new(&options.state_dir).map_err(file("use", options.state_dir.clone()))?;
    folders.create().map_err(file("create folders in", folders.root().to_owned()))?;
    let inherited = options.inherit.as_deref().map(Inherited::take).transpose();
    let inherited =
        inherited.map_err(|source| SupervisorError::System { operation: "take over open files", source })?;
    let (lock, control, ports) = match inherited {
        Some(inherited) => (inherited.lock, Some(inherited.control), inherited.ports),
        None => (acquire(&folders).await?, None, Vec::new()),
    };
    let boot_id = procfs::boot_id()
        .map_err(|source| SupervisorError::System { operation: "tell this run of the machine", source })?;
    let state = State::read(&folders).map_err(SupervisorError::State)?.after_boot(&boot_id);
    let listeners = Listeners::default();
    listeners.adopt(by_service(&state, ports));
    let control_path = folders.supervisor().join(socket::CONTROL);
    let control = control_socket(&folders, control).map_err(file("listen on", control_path))?;
    let log = Log::open(&folders).map_err(file("open", folders.supervisor_log()))?;
    Ok(Shared {
        routes: Routes::new(routers),
        store: Mutex::new(Store { state }),
        reap: Notify::new(),
        changed: watch::Sender::new(now()),
        closes: CancellationToken::new(),
        end: CancellationToken::new(),
        options,
        folders,
        log,
        lock,
        control,
        listeners,
    })
}

/// Takes the lock that makes this supervisor the only one.
async fn acquire(folders: &Folders) -> Result<File, SupervisorError> {
    let path = folders.lock();
    let file_error = |operation, source| SupervisorError::File { operation, path: folders.lock(), source };
    let mut open = OpenOptions::new();
    let lock = open.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(|e| file_error("open", e))?;
    let until = tokio::time::Instant::now() + LOCK_DEADLINE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {
                // One that answers is not about to let go.
                let answers = socket::connect(&folders.supervisor(), socket::CONTROL).await.is_ok();
                if answers || tokio::time::Instant::now() > until {
                    return Err(SupervisorError::Runs { path });
                }
                tokio::time::sleep(LOCK_EVERY).await;
            }
            Err(TryLockError::Error(e)) => return Err(file_error("lock", e)),
        }
    }
}

/// The control socket: the one of the image before, or a new one in the place of one that nobody listens on.
fn control_socket(
    folders: &Folders,
    inherited: Option<std::os::unix::net::UnixListener>,
) -> io::Result<UnixListener> {
    if let Some(control) = inherited {
        control.set_nonblocking(true)?;
        return UnixListener::from_std(control);
    }
    let folder = folders.supervisor();
    let path = folder.join(socket::CONTROL);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Until its mode is set, the mode of its folder keeps others out.
    let control = socket::bind(&folder, socket::CONTROL)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(control)
}

/// Tells inherited sockets apart by their addresses.
fn by_service(
    state: &State,
    ports: Vec<TcpListener>,
) -> std::collections::BTreeMap<pipeline::name::Name, TcpListener> {
    let service = |socket: &TcpListener| {
        let address = socket.local_addr().ok()?;
        let held = state.listening.iter().find(|(_, listening)| listening.address() == address);
        held.map(|(service, _)| service.clone())
    };
    ports.into_iter().filter_map(|socket| Some((service(&socket)?, socket))).collect()
}

/// Accepts connections, for ever.
async fn accept(shared: Arc<Shared>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = shared.control.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(converse(shared.clone(), stream))),
                Err(error) => {
                    shared.log.line(format!("cannot accept: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // A conversation that panicked has been one of many.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the requests of one connection, in order.
async fn converse(shared: Arc<Shared>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Ok(Some(line)) = socket::read_line(&mut reader).await {
        let outcome = match parse(&line) {
            Ok(request) => shared.handle(request).await,
            Err(refusal) => Outcome::from(*refusal),
        };
        let answered = socket::write_document(&mut writer, &outcome.reply).await;
        match outcome.then {
            Then::GoOn => {}
            Then::End => shared.end.cancel(),
            Then::Become { executable, version } => {
                let error = shared.become_other(&executable, &version).await;
                shared.log.line(format!("cannot hand over to version {version}: {error}"));
            }
        }
        if answered.is_err() {
            return;
        }
    }
}

/// Reads a request; what is not one may still say which protocol it belongs to.
fn parse(line: &[u8]) -> Result<Request, Box<Reply>> {
    serde_json::from_slice(line).map_err(|error| {
        let document: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        let protocol = document.as_ref().and_then(|d| d.get("protocol")?.as_u64());
        Box::new(match protocol {
            Some(other) if other != u64::from(PROTOCOL) => Reply::WrongProtocol { protocol: PROTOCOL },
            _ => Reply::Failed(Failed {
                kind: FailedKind::Other,
                message: format!("this is not a request to a supervisor: {error}"),
            }),
        })
    })
}

/// Shuts down on SIGTERM; terminals and sessions that end are no reason to.
async fn heed_signals(shared: Arc<Shared>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
            _ = terminate.recv() => {
                shared.log.line("SIGTERM: stopping all units");
                if let Err(failed) = shared.shut_down(TERM_GRACE).await {
                    shared.log.line(failed.message);
                }
                shared.end.cancel();
            }
        }
    }
}

/// The error of the first task that ends: all are for ever.
async fn first_failure(tasks: &mut JoinSet<io::Result<()>>) -> SupervisorError {
    let source = match tasks.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => io::Error::other(panic),
        Some(Ok(Ok(()))) | None => io::Error::other("a task ended that should run for ever"),
    };
    SupervisorError::System { operation: "go on supervising", source }
}

impl Shared {
    /// Tells everybody who watches that something has changed.
    fn change(&self) {
        self.changed.send_modify(|seq| *seq += 1);
    }

    /// Writes the state; a request that depends on it fails otherwise.
    fn try_save(&self, store: &Store) -> Result<(), Failed> {
        store.state.write(&self.folders).map_err(|error| ops::failed(FailedKind::State, &error))
    }

    /// Writes the state after something that has happened already, and goes on when that fails.
    fn save(&self, store: &Store) {
        if let Err(failed) = self.try_save(store) {
            self.log.line(failed.message);
        }
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> Millis {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX)
}
