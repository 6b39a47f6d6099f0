//! Keeps one router running whose table is what the state says, whatever happens to router and supervisor.

use super::{
    Shared, now,
    router::{Router, RouterError, Routers},
    state::{Life, RouterRecord, State},
    units::HOST,
};
use crate::{
    adapter::router::protocol::{Route, Table, Upstream, UpstreamStats},
    model::UnitId,
};
use nix::sys::signal::Signal;
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard, Notify};

/// The first pause before a router that ended is started again; it doubles up to [`BACK_OFF_MAX`] as long as routers
/// do not come up.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);

/// The longest such pause: still short against what a client waits.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// How long a new router may take to answer, also on a busy machine.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long `observe` waits for the router's counts before it answers with the last ones.
const STATS_DEADLINE: Duration = Duration::from_secs(1);

/// How often a router that was told to end is looked at.
const END_LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often the keeper looks without being called.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The router, and those before it that still answer what they were asked.
pub(super) struct Routes {
    pub(super) routers: Arc<dyn Routers>,
    current: Mutex<Current>,
    /// What the router has switched to, and what it last counted.
    known: StdMutex<Known>,
    /// Wakes [`keep`].
    wake: Notify,
}

/// The routers that run.
#[derive(Default)]
pub(super) struct Current {
    pub(super) router: Option<Arc<dyn Router>>,
    pub(super) retiring: Vec<Arc<dyn Router>>,
    /// Whether the supervisor ends, so that no router may start any more.
    ends: bool,
}

/// What is known of the router without asking it.
#[derive(Debug, Clone, Default)]
struct Known {
    weights: BTreeMap<UnitId, u16>,
    stats: BTreeMap<String, UpstreamStats>,
}

/// The table that a state asks for: the running units of each service that has a stable port.
pub(super) fn table(state: &State) -> Table {
    let routes = state.listening.iter().map(|(service, listening)| {
        let units = state.units.iter().filter(|(unit, _)| unit.service == *service);
        let upstreams = units.filter(|(_, facts)| facts.process().is_some()).map(|(unit, facts)| Upstream {
            name: unit.to_string(),
            address: SocketAddr::from((HOST, facts.port)),
            weight: if matches!(facts.life, Life::Running(_)) { facts.weight } else { 0 },
        });
        let route = Route { health_path: listening.health_path.clone(), upstreams: upstreams.collect() };
        (service.clone(), route)
    });
    Table(routes.collect())
}

impl Routes {
    pub(super) fn new(routers: Arc<dyn Routers>) -> Self {
        Self { routers, current: Mutex::default(), known: StdMutex::default(), wake: Notify::new() }
    }

    /// Calls the keeper: ports were opened or closed, or a process ended.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The weight that the router has switched to, and what it counted for a unit.
    pub(super) fn of(&self, unit: &UnitId) -> (u16, UpstreamStats) {
        let known = self.known();
        let weight = known.weights.get(unit).copied().unwrap_or(0);
        (weight, known.stats.get(&unit.to_string()).cloned().unwrap_or_default())
    }

    /// Asks the router for its counts; without an answer the last ones stay.
    pub(super) async fn refresh(&self) {
        let (router, retiring) = {
            let current = self.current.lock().await;
            (current.router.clone(), current.retiring.clone())
        };
        let Some(router) = router else { return };
        let Ok(Ok(mut stats)) = tokio::time::timeout(STATS_DEADLINE, router.stats()).await else { return };
        for old in retiring {
            let Ok(Ok(counts)) = tokio::time::timeout(STATS_DEADLINE, old.stats()).await else { continue };
            for (upstream, counts) in counts {
                stats.entry(upstream).or_default().in_flight += counts.in_flight;
            }
        }
        self.known().stats = stats;
    }

    /// Waits until nothing is in flight on a unit, at most `deadline` long.
    pub(super) async fn idle(&self, unit: &UnitId, deadline: Duration) -> Result<(), RouterError> {
        let (router, retiring) = {
            let current = self.current.lock().await;
            (current.router.clone(), current.retiring.clone())
        };
        let name = unit.to_string();
        // A router that is no more has nothing in flight: what it had is broken already.
        let olds = futures::future::join_all(retiring.iter().map(|old| old.idle(&name, deadline)));
        let newest = async {
            match &router {
                Some(router) => router.idle(&name, deadline).await,
                None => Ok(()),
            }
        };
        let (_, newest) = tokio::join!(olds, newest);
        newest
    }

    /// Starts and changes no router as long as this is held.
    pub(super) async fn pause(&self) -> MutexGuard<'_, Current> {
        self.current.lock().await
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shared {
    /// Lets the router switch to what the state says now. Without a router this is an error; the keeper will do it as
    /// soon as there is one.
    pub(super) async fn apply_routes(&self) -> Result<(), RouterError> {
        let mut current = self.routes.current.lock().await;
        let router = current.router.clone().ok_or("no router runs; it is being started")?;
        self.switch(&mut current, router.as_ref()).await
    }

    /// Gives the router the listening socket of a service and the table that knows the service. The first service
    /// needs a router first; it is waited for.
    pub(super) async fn open_route(&self, service: &Name) -> Result<(), RouterError> {
        let mut current = self.routes.current.lock().await;
        let router = match current.router.clone() {
            Some(router) => router,
            // A new router gets all sockets and the table.
            None => return self.bring_up(&mut current).await,
        };
        // The table first, so that no request meets one that does not know the service.
        self.switch(&mut current, router.as_ref()).await?;
        let socket = self.listeners.get(service)?.ok_or("the port is not held")?;
        router.add_listener(service, &socket).await
    }

    /// Takes a service's listening socket away from the router.
    pub(super) async fn close_route(&self, service: &Name) -> Result<(), RouterError> {
        let mut current = self.routes.current.lock().await;
        let Some(router) = current.router.clone() else { return Ok(()) };
        router.remove_listener(service).await?;
        self.switch(&mut current, router.as_ref()).await
    }

    /// Sets the table. The state is read while `current` is held, so a later table never gives way to an earlier one.
    async fn switch(&self, current: &mut Current, router: &dyn Router) -> Result<(), RouterError> {
        let (table, weights) = {
            let store = self.store.lock().await;
            let weights =
                store.state.units.iter().filter(|(_, facts)| matches!(facts.life, Life::Running(_)));
            (table(&store.state), weights.map(|(unit, facts)| (unit.clone(), facts.weight)).collect())
        };
        router.set(&table).await?;
        self.routes.known().weights = weights;
        // A retiring router sends its kept-alive connections by the new table too; one that ended is forgotten.
        let answers = futures::future::join_all(current.retiring.iter().map(|old| old.set(&table))).await;
        let mut answered = answers.iter().map(Result::is_ok);
        current.retiring.retain(|_| answered.next().unwrap_or(false));
        self.change();
        Ok(())
    }

    /// Starts a router with all sockets and the table. One before it that still lives is on record as retiring then, and
    /// is yet to be told so.
    pub(super) async fn bring_up(&self, current: &mut Current) -> Result<(), RouterError> {
        let folder = self.folders.supervisor();
        // Unique also after a hand-over, which keeps the process id.
        let socket = format!("router-{}.sock", now());
        let record = RouterRecord {
            process: None,
            socket: socket.clone().into(),
            version: self.options.version.clone(),
        };
        {
            let mut store = self.store.lock().await;
            store.state.starting = Some(record.clone());
            // Where nothing can be written, a service without a router would be worse than a router without a record.
            self.save(&store);
        }
        let process = self.routes.routers.start(&folder, &socket).await?;
        let router = match self.routes.routers.connect(&folder, &socket, CONNECT_DEADLINE).await {
            Ok(router) => router,
            Err(error) => {
                if let Some(process) = process {
                    process.signal_group(Signal::SIGKILL);
                }
                return Err(error);
            }
        };
        {
            let mut store = self.store.lock().await;
            let state = &mut store.state;
            state.starting = None;
            match state.router.replace(RouterRecord { process, ..record }) {
                Some(last) if last.has_ended() => self.forget_socket(&last),
                // The reaper forgets it once it has ended.
                Some(last) if last.process.is_some() => state.retiring.push(last),
                _ => {}
            }
            self.save(&store);
        }
        self.complete(current, router.as_ref(), &BTreeSet::new()).await?;
        current.router = Some(router);
        self.log.line(format!("router started: {}", process.map_or_else(String::new, |p| p.to_string())));
        Ok(())
    }

    /// Gives a router the sockets that it does not have, and the table.
    pub(super) async fn complete(
        &self,
        current: &mut Current,
        router: &dyn Router,
        has: &BTreeSet<Name>,
    ) -> Result<(), RouterError> {
        // In this order no request meets a table that does not know its service.
        self.switch(current, router).await?;
        for (service, socket) in self.listeners.all()? {
            if !has.contains(&service) {
                router.add_listener(&service, &socket).await?;
            }
        }
        Ok(())
    }

    /// Ends all routers, and waits for it.
    pub(super) async fn end_router(&self, deadline: Duration) {
        let mut current = self.routes.current.lock().await;
        current.ends = true;
        let all = current.router.take().into_iter().chain(current.retiring.drain(..));
        let retired =
            futures::future::join_all(all.map(|router| async move { router.retire(deadline).await }));
        let until = tokio::time::Instant::now() + deadline;
        let _ = tokio::time::timeout_at(until, retired).await;
        let records: Vec<RouterRecord> = {
            let mut store = self.store.lock().await;
            let records =
                store.state.router.take().into_iter().chain(std::mem::take(&mut store.state.retiring));
            let records = records.collect();
            self.save(&store);
            records
        };
        for record in records {
            if let Some(process) = record.process {
                while process.ended().is_none() && tokio::time::Instant::now() < until {
                    tokio::time::sleep(END_LOOK_EVERY).await;
                }
                process.signal_group(Signal::SIGKILL);
                process.reap();
            }
            self.forget_socket(&record);
        }
    }

    pub(super) fn forget_socket(&self, record: &RouterRecord) {
        // Gone already when the router cleaned up after itself.
        let _ = std::fs::remove_file(self.folders.supervisor().join(&record.socket));
    }
}

/// Starts a router whenever there should be one and is none.
pub(super) async fn keep(shared: Arc<Shared>) -> std::io::Result<()> {
    let mut pause = BACK_OFF_FIRST;
    loop {
        if let Err(error) = keep_once(&shared).await {
            shared
                .log
                .line(format!("cannot start the router, next try in {} ms: {error}", pause.as_millis()));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
            continue;
        }
        pause = BACK_OFF_FIRST;
        let _ = tokio::time::timeout(LOOK_EVERY, shared.routes.wake.notified()).await;
    }
}

async fn keep_once(shared: &Shared) -> Result<(), RouterError> {
    let mut current = shared.routes.current.lock().await;
    if current.ends {
        return Ok(());
    }
    let (is_wanted, process) = {
        let store = shared.store.lock().await;
        let router = store.state.router.as_ref();
        (!store.state.listening.is_empty(), router.and_then(|record| record.process))
    };
    if let Some(process) = process.filter(|process| process.ended().is_some()) {
        process.reap();
        if current.router.take().is_some() {
            shared.log.line(format!("router ended: {process}"));
        }
    }
    if is_wanted && current.router.is_none() {
        return shared.bring_up(&mut current).await;
    }
    Ok(())
}
