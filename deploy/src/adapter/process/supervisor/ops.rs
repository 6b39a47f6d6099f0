//! What each request does. All are idempotent, and every one that changes something is checked against the generation
//! under the same lock under which it acts.

use super::{
    Shared, Store,
    listen::ListenError,
    migrate::Asked,
    now, ports,
    router::RouterError,
    state::{Life, Listening, Unit},
    units::{self, Launch, Role},
};
use crate::{
    adapter::process::{
        bundle_folder, ledger_file, logs,
        protocol::{CommitEntry, Failed, FailedKind, Op, PROTOCOL, Reply, Request},
    },
    bundle::BundleHash,
    model::{Millis, UnitId},
};
use nix::sys::signal::Signal;
use pipeline::causes::in_one_line;
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tokio::sync::MutexGuard;

/// How long the processes of a unit may take to vanish after SIGKILL; longer means that they hang in the kernel.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long ending the router may take in a shutdown.
const ROUTER_GRACE: Duration = Duration::from_secs(5);

/// What comes of a request.
pub(super) struct Outcome {
    /// The answer.
    pub(super) reply: Reply,
    /// What to do once it was sent.
    pub(super) then: Then,
}

/// What to do after an answer.
pub(super) enum Then {
    /// Go on.
    GoOn,
    /// End: everything was stopped.
    End,
    /// Become another executable.
    Become {
        /// Which.
        executable: PathBuf,
        /// Its version.
        version: String,
    },
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self { reply, then: Then::GoOn }
    }
}

impl Shared {
    /// Does what is asked.
    pub(super) async fn handle(&self, request: Request) -> Outcome {
        let is_frozen = matches!(request.op, Op::Hello | Op::HandOver { .. });
        if request.protocol != PROTOCOL && !is_frozen {
            return Reply::WrongProtocol { protocol: PROTOCOL }.into();
        }
        match request.op {
            Op::Hello => self.hello().await.into(),
            Op::Observe => self.seen().await.into(),
            Op::Watch { after, timeout } => self.watch(after, timeout).await.into(),
            Op::HandOver { executable, version } => hand_over(executable, version),
            op => self.change_something(request.generation, op).await,
        }
    }

    async fn change_something(&self, generation: u64, op: Op) -> Outcome {
        let mut store = self.store.lock().await;
        if generation < store.state.generation {
            return Reply::Fenced { generation: store.state.generation }.into();
        }
        if generation > store.state.generation {
            let last = std::mem::replace(&mut store.state.generation, generation);
            if let Err(failed) = self.try_save(&store) {
                store.state.generation = last;
                return Reply::Failed(failed).into();
            }
            self.change();
        }
        let is_end = matches!(op, Op::Shutdown { .. });
        let begins =
            matches!(op, Op::Start { .. } | Op::Migrate { .. } | Op::Listen { .. } | Op::Admit { .. });
        if self.closes.is_cancelled() && begins {
            return Reply::Failed(other("the supervisor is shutting down".to_owned())).into();
        }
        let result = match op {
            Op::Fence | Op::Hello | Op::Observe | Op::Watch { .. } | Op::HandOver { .. } => Ok(()),
            Op::Listen { service, host, port, health_path } => {
                self.listen(store, service, Listening { host, port, health_path }).await
            }
            Op::Start { unit, release } => self.start(store, unit, release).await,
            Op::Migrate { service, bundle, release, args, timeout } => {
                self.migrate(store, Asked { service, bundle, release, args, timeout, generation }).await
            }
            Op::Admit { unit, weight } => self.admit(store, unit, weight).await,
            Op::Drain { unit, deadline } => self.drain(store, unit, deadline).await,
            Op::Stop { unit, grace } => self.stop(store, unit, grace).await,
            Op::Commit { services, keep } => self.commit(store, generation, services, keep).await,
            Op::Discard { bundle } => self.discard(&store, bundle),
            Op::Shutdown { grace } => {
                drop(store);
                self.shut_down(grace).await
            }
        };
        let then = if is_end { Then::End } else { Then::GoOn };
        Outcome { reply: result.map_or_else(Reply::Failed, |()| Reply::Done), then }
    }

    async fn listen(
        &self,
        mut store: MutexGuard<'_, Store>,
        service: Name,
        listening: Listening,
    ) -> Result<(), Failed> {
        self.listeners.hold(&service, &listening).map_err(|error| match error {
            ListenError::Taken { .. } | ListenError::Shared { .. } => failed(FailedKind::PortTaken, &error),
            ListenError::Bind { .. } => failed(FailedKind::Other, &error),
        })?;
        if store.state.listening.get(&service) != Some(&listening) {
            store.state.listening.insert(service.clone(), listening);
            self.try_save(&store)?;
            self.change();
        }
        drop(store);
        self.open_route(&service).await.map_err(router_failed)
    }

    async fn start(
        &self,
        mut store: MutexGuard<'_, Store>,
        id: UnitId,
        release: String,
    ) -> Result<(), Failed> {
        match store.state.units.get(&id).map(|unit| &unit.life) {
            Some(Life::Running(_) | Life::Starting) => return Ok(()),
            Some(Life::Stopping { .. }) => {
                return Err(other(format!(
                    "{} is still being stopped: start it again after that",
                    id.label()
                )));
            }
            Some(Life::Exited(_)) | None => {}
        }
        let bundle = bundle_folder::read(&self.folders, &id.bundle)
            .map_err(|error| failed(FailedKind::NotPrepared, &error))?;
        let port = ports::assign(&store.state, self.folders.root(), &id)
            .ok_or_else(|| other(format!("no port from 20000 to 29999 is free for {}", id.label())))?;
        let unit = Unit {
            release,
            port,
            weight: 0,
            started_at: now(),
            memory_max_bytes: bundle.limits.memory_max_bytes,
            out_of_memory: false,
            ended: String::new(),
            life: Life::Starting,
        };
        store.state.ports.insert(id.clone(), port);
        let release = unit.release.clone();
        store.state.units.insert(id.clone(), unit);
        self.try_save(&store).inspect_err(|_| drop(store.state.units.remove(&id)))?;

        let (folder, log) = (self.folders.bundle(&id.bundle), self.folders.log(&id));
        let role = Role::Unit { unit: &id, port };
        let launch = Launch { role, release: &release, bundle: &bundle, folder: &folder, log: &log };
        let started = units::launch(&launch).await;
        match (started, store.state.units.get_mut(&id)) {
            (Ok(process), Some(unit)) => {
                unit.life = Life::Running(process);
                self.log.line(format!("{} started: {process}, port {port}", id.label()));
            }
            (Ok(_), None) => unreachable!("the lock is held since it was inserted"),
            (Err(error), _) => {
                store.state.units.remove(&id);
                self.save(&store);
                return Err(failed(FailedKind::CannotStart, &error));
            }
        }
        // If this fails, the state says `Starting`, and a later supervisor looks for the process.
        self.save(&store);
        self.change();
        self.reap.notify_one();
        Ok(())
    }

    async fn admit(&self, mut store: MutexGuard<'_, Store>, id: UnitId, weight: u16) -> Result<(), Failed> {
        if !store.state.listening.contains_key(&id.service) {
            return Err(other(format!(
                "no stable port is held for {}: prepare its bundle first",
                id.service
            )));
        }
        let running = store.state.units.get_mut(&id).filter(|unit| matches!(unit.life, Life::Running(_)));
        let Some(unit) = running else {
            let message = format!("{} does not run (any more), so it gets no traffic", id.label());
            return Err(Failed { kind: FailedKind::NoSuchUnit, message });
        };
        unit.weight = weight;
        self.try_save(&store)?;
        drop(store);
        self.apply_routes().await.map_err(router_failed)
    }

    async fn drain(
        &self,
        mut store: MutexGuard<'_, Store>,
        id: UnitId,
        deadline: Millis,
    ) -> Result<(), Failed> {
        let Some(unit) = store.state.units.get_mut(&id).filter(|unit| unit.process().is_some()) else {
            return Ok(()); // What does not run has nothing in flight.
        };
        unit.weight = 0;
        self.try_save(&store)?;
        drop(store);
        self.apply_routes().await.map_err(router_failed)?;
        self.routes.idle(&id, Duration::from_millis(deadline)).await.map_err(router_failed)
    }

    async fn stop(&self, mut store: MutexGuard<'_, Store>, id: UnitId, grace: Millis) -> Result<(), Failed> {
        let Some(unit) = store.state.units.get_mut(&id) else { return Ok(()) };
        let process = match unit.life {
            Life::Running(process) => process,
            // Told again: the shorter grace holds.
            Life::Stopping { process, kill_at } => {
                unit.life = Life::Stopping { process, kill_at: kill_at.min(now() + grace) };
                drop(store);
                return self.gone(&id, grace).await;
            }
            Life::Starting | Life::Exited(_) => {
                store.state.units.remove(&id);
                self.try_save(&store)?;
                self.change();
                return Ok(());
            }
        };
        unit.weight = 0;
        unit.life = Life::Stopping { process, kill_at: now() + grace };
        self.try_save(&store)?;
        drop(store);
        self.change();
        // No new request may reach it. Without a router there is none.
        if let Err(error) = self.apply_routes().await {
            self.log.line(format!("{} is stopped while the router does not answer: {error}", id.label()));
        }
        process.signal_group(Signal::SIGTERM);
        self.reap.notify_one();
        self.gone(&id, grace).await
    }

    /// Waits until a unit that was told to stop is forgotten.
    async fn gone(&self, id: &UnitId, grace: Millis) -> Result<(), Failed> {
        let mut changes = self.changed.subscribe();
        let gone = async {
            while self.store.lock().await.state.units.contains_key(id) {
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_millis(grace) + KILL_DEADLINE, gone).await.map_err(|_| {
            other(format!("{} still runs, although it was told to stop and then killed", id.label()))
        })
    }

    async fn commit(
        &self,
        store: MutexGuard<'_, Store>,
        generation: u64,
        services: BTreeMap<Name, Option<CommitEntry>>,
        keep: usize,
    ) -> Result<(), Failed> {
        for entry in services.values().flatten() {
            bundle_folder::read(&self.folders, &entry.bundle)
                .map_err(|error| failed(FailedKind::NotPrepared, &error))?;
        }
        let ledger = ledger_file::read(&self.folders, &self.options.environment, &self.options.target)
            .map_err(|error| failed(FailedKind::State, &error))?;
        let ledger = ledger_file::committed(ledger, generation, &services, keep, jiff::Timestamp::now());
        ledger_file::write(&self.folders, &ledger).map_err(|error| failed(FailedKind::State, &error))?;
        self.change();

        let mut store = store;
        let gone: Vec<Name> =
            services.iter().filter(|(_, entry)| entry.is_none()).map(|(s, _)| s.clone()).collect();
        for service in &gone {
            store.state.listening.remove(service);
        }
        self.prune(&mut store, &services.into_keys().collect(), &ledger);
        self.save(&store);
        drop(store);
        for service in gone {
            self.listeners.release(&service);
            self.close_route(&service).await.map_err(router_failed)?;
        }
        Ok(())
    }

    /// Removes what nothing needs any more. What cannot be removed is left for the next commit.
    fn prune(&self, store: &mut Store, services: &BTreeSet<Name>, ledger: &crate::ledger::Ledger) {
        let mut needed = ledger_file::needed(ledger);
        needed.extend(store.state.bundles());
        let pruned = bundle_folder::prune(&self.folders, services, &needed).and_then(|kept| {
            store.state.ports.retain(|unit, _| kept.contains(&unit.bundle.short()));
            let standings = ledger.services.values();
            let oldest =
                standings.flat_map(|s| std::iter::once(&s.current).chain(&s.previous)).map(|e| e.at).min();
            let before = oldest.map_or_else(SystemTime::now, SystemTime::from);
            logs::prune(&self.folders.logs(), &kept, before)
        });
        if let Err(error) = pruned {
            self.log.line(format!("cannot prune: {error}"));
        }
    }

    fn discard(&self, store: &Store, bundle: BundleHash) -> Result<(), Failed> {
        let ledger = ledger_file::read(&self.folders, &self.options.environment, &self.options.target)
            .map_err(|error| failed(FailedKind::State, &error))?;
        if ledger_file::needed(&ledger).contains(&bundle) || store.state.bundles().contains(&bundle) {
            return Ok(());
        }
        bundle_folder::remove(&self.folders, &bundle).map_err(|error| failed(FailedKind::State, &error))
    }

    /// Stops every unit, migration and the router. The supervisor ends after that, also when something could not be stopped:
    /// the next one goes on with it.
    pub(super) async fn shut_down(&self, grace: Millis) -> Result<(), Failed> {
        self.closes.cancel();
        let units: Vec<UnitId> = self.store.lock().await.state.units.keys().cloned().collect();
        let stops = units.into_iter().map(|unit| async {
            let store = self.store.lock().await;
            self.stop(store, unit, grace).await
        });
        let (stopped, ended) = tokio::join!(futures::future::join_all(stops), self.end_migrations(grace));
        self.end_router(ROUTER_GRACE).await;
        stopped.into_iter().chain([ended]).collect()
    }
}

/// Only looks whether it can work: the rest is done when the answer is on its way.
fn hand_over(executable: PathBuf, version: String) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let can_run = std::fs::metadata(&executable)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    if can_run {
        return Outcome { reply: Reply::Done, then: Then::Become { executable, version } };
    }
    let message = format!("cannot hand over to `{}`: it is not an executable file", executable.display());
    Reply::Failed(other(message)).into()
}

/// A failure with its causes.
pub(super) fn failed(kind: FailedKind, error: &dyn Error) -> Failed {
    Failed { kind, message: in_one_line(error) }
}

fn other(message: String) -> Failed {
    Failed { kind: FailedKind::Other, message }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function to map errors with")]
fn router_failed(error: RouterError) -> Failed {
    failed(FailedKind::Router, error.as_ref())
}
