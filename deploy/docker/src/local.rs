//! The router of an engine on this machine: the same process that the process target uses.
//!
//! It is started by the first deploy and outlives it, as the containers do. It holds the listening sockets: whoever comes
//! later gets duplicates of them, sees which it has, and gives it those that it lacks. If it is killed, the next action that
//! is about traffic starts another.

use crate::routes::{Routes, RoutesError, Table};
use async_trait::async_trait;
use deploy::{
    adapter::{
        process::supervisor::ROUTER_SUBCOMMAND,
        router::{
            RouterClient,
            protocol::{self, PROTOCOL, Upstream, UpstreamStats},
        },
    },
    model::UnitId,
};
use pipeline::{crossing, name::Name};
use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::Command,
    sync::Mutex,
    time::{Instant, sleep},
};

/// The router's control socket in its folder.
const SOCKET: &str = "router.sock";

/// What the router has to tell, in the same folder.
const LOG: &str = "router.log";

/// How long a router that should be there may take to answer, and one that was just started, also on a busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How long a router may take to answer whoever only looks, and is told that none runs after that.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);

/// How long a router that is ended gets for what is still in flight: its units are gone, so it can only fail.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// How long a port that is taken may be on its way to the router: many times what a hand-over takes on a busy machine.
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);

/// Between two looks at it.
const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// Starts a router that outlives whoever started it.
#[async_trait]
pub trait LaunchRouter: Send + Sync {
    /// Starts one with its control socket at `folder`/`socket`. It need not answer yet.
    async fn start(&self, folder: &Path, socket: &str) -> io::Result<()>;
}

/// A router as a process of its own: `EXECUTABLE __router --control SOCKET --version VERSION`.
#[derive(Debug, Clone)]
pub struct RouterProgram {
    /// The program, by its absolute path; its hidden subcommand `__router` calls [`deploy::adapter::router::serve`].
    pub executable: PathBuf,
    /// Its version.
    pub version: String,
}

#[async_trait]
impl LaunchRouter for RouterProgram {
    async fn start(&self, folder: &Path, socket: &str) -> io::Result<()> {
        let mut open = OpenOptions::new();
        let log = open.append(true).create(true).mode(0o600).open(folder.join(LOG))?;
        let mut command = Command::new(&self.executable);
        command.args([ROUTER_SUBCOMMAND, "--control", socket, "--version", &self.version]);
        // Its socket is named relative to its working directory, because a long path would not fit.
        command.current_dir(folder).process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(())
    }
}

/// The router of this machine for one target.
pub struct LocalRoutes {
    folder: PathBuf,
    launch: Arc<dyn LaunchRouter>,
    /// Tables are applied one after the other.
    turn: Mutex<()>,
}

/// The process id of the router whose control socket is in `folder`; `None` if none runs, or it does not answer.
pub(crate) async fn router_process(folder: &Path) -> Option<u32> {
    let folder = File::open(folder).ok()?;
    let (_, hello) = RouterClient::connect(&socket(&folder), LOOK_DEADLINE).await.ok()?;
    Some(hello.pid)
}

/// A router that answered. The socket's path leads through the open folder.
struct Found {
    client: RouterClient,
    _folder: File,
}

/// The control socket in an open folder. Short, whatever the folder's path.
fn socket(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl LocalRoutes {
    /// The router whose control socket is in `folder`, which belongs to the user alone and is made when it is needed.
    pub fn new(folder: PathBuf, launch: Arc<dyn LaunchRouter>) -> Self {
        Self { folder, launch, turn: Mutex::default() }
    }

    /// The router that runs, if one does.
    async fn find(&self) -> Result<Option<Found>, BoxedError> {
        if !self.folder.join(SOCKET).exists() {
            return Ok(None);
        }
        // The router replaces a socket that nobody listens on.
        if let Err(error) = tokio::net::UnixStream::connect(socket(&File::open(&self.folder)?)).await
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return Ok(None);
        }
        self.connect().await.map(Some)
    }

    /// Ends the router that runs, if one does: what it answers is answered to its end, for [`END_DEADLINE`] at most. Says
    /// whether one ran.
    pub(crate) async fn end(&self) -> Result<bool, BoxedError> {
        let _turn = self.turn.lock().await;
        let Some(router) = self.find().await? else { return Ok(false) };
        router.client.retire(END_DEADLINE).await?;
        router.client.ended(END_DEADLINE + ANSWER_DEADLINE).await?;
        Ok(true)
    }

    async fn connect(&self) -> Result<Found, BoxedError> {
        let folder = File::open(&self.folder)?;
        let (client, hello) = RouterClient::connect(&socket(&folder), ANSWER_DEADLINE).await?;
        if hello.protocol != PROTOCOL {
            let text = format!(
                "the router that runs (process {}) speaks protocol {}, not {PROTOCOL}: end it (SIGTERM), and deploy again",
                hello.pid, hello.protocol
            );
            return Err(text.into());
        }
        Ok(Found { client, _folder: folder })
    }

    async fn start(&self) -> Result<Found, BoxedError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.launch.start(&self.folder, SOCKET).await?;
        self.connect().await
    }

    async fn apply_now(&self, table: &Table) -> Result<(), RoutesError> {
        let failed = |operation| move |source: BoxedError| RoutesError::Failed { operation, source };
        let found = self.find().await.map_err(failed("reach the router"))?;
        let router = match found {
            Some(router) => router,
            None if table.is_empty() => return Ok(()),
            None => self.start().await.map_err(failed("start the router"))?,
        };
        let client = &router.client;
        let held =
            client.take_listeners().await.map_err(|e| failed("ask the router for its ports")(e.into()))?;
        let held: BTreeMap<Name, Option<SocketAddr>> =
            held.into_iter().map(|(service, socket)| (service, socket.local_addr().ok())).collect();
        // Ports first: one that is taken leaves everything as it was.
        let mut opened = Vec::new();
        for (service, route) in table {
            if held.get(service) != Some(&Some(route.address)) {
                opened.extend(open(client, service, route.address).await?.map(|socket| (service, socket)));
            }
        }
        // Then the table, so that no request meets one that does not know its service.
        crossing!("routes.table.before");
        client.set(routed(table)).await.map_err(|e| failed("give the router a table")(e.into()))?;
        crossing!("routes.table.after");
        for (service, socket) in &opened {
            crossing!("routes.port.before");
            client
                .add_listener(service, socket)
                .await
                .map_err(|e| failed("give the router a port")(e.into()))?;
        }
        for service in held.keys().filter(|service| !table.contains_key(*service)) {
            client
                .remove_listener(service)
                .await
                .map_err(|e| failed("take a port from the router")(e.into()))?;
        }
        Ok(())
    }
}

/// A socket that listens on a stable port; none if the router has got it in the meantime. Another program that routes at
/// the same moment may have it on its way to the router, which is not held against it at once.
async fn open(
    client: &RouterClient,
    service: &Name,
    address: SocketAddr,
) -> Result<Option<TcpListener>, RoutesError> {
    let until = Instant::now() + SETTLE_DEADLINE;
    loop {
        match bind(service, address) {
            Err(RoutesError::Taken { .. }) if Instant::now() < until => {}
            bound => return bound.map(Some),
        }
        sleep(SETTLE_EVERY).await;
        let held = client.take_listeners().await.map_err(|error| RoutesError::Failed {
            operation: "ask the router for its ports",
            source: error.into(),
        })?;
        if held.get(service).is_some_and(|socket| socket.local_addr().is_ok_and(|held| held == address)) {
            return Ok(None);
        }
    }
}

fn bind(service: &Name, address: SocketAddr) -> Result<TcpListener, RoutesError> {
    let bound = TcpListener::bind(address).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => RoutesError::Taken { service: service.clone(), address },
        _ => RoutesError::Failed { operation: "listen on a stable port", source: Box::new(error) },
    })
}

/// The table as the router takes it.
fn routed(table: &Table) -> protocol::Table {
    let route = |route: &crate::routes::Route| {
        let upstreams = route.units.iter().map(|(unit, (address, weight))| Upstream {
            name: unit.to_string(),
            address: *address,
            weight: *weight,
        });
        protocol::Route { health_path: route.health_path.clone(), upstreams: upstreams.collect() }
    };
    protocol::Table(table.iter().map(|(service, one)| (service.clone(), route(one))).collect())
}

#[async_trait]
impl Routes for LocalRoutes {
    async fn apply(&self, table: &Table) -> Result<(), RoutesError> {
        let _turn = self.turn.lock().await;
        self.apply_now(table).await
    }

    async fn counts(&self) -> Option<BTreeMap<String, UpstreamStats>> {
        let router = self.find().await.ok().flatten()?;
        router.client.stats().await.ok()
    }

    async fn idle(&self, unit: &UnitId, deadline: Duration) -> Result<u32, RoutesError> {
        let failed = |source| RoutesError::Failed { operation: "wait for a unit's last requests", source };
        // A router that is no more has nothing in flight.
        let Some(router) = self.find().await.map_err(failed)? else { return Ok(0) };
        router.client.idle(&unit.to_string(), deadline).await.map_err(|error| failed(error.into()))
    }
}
