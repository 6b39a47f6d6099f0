//! This machine as a [`Target`].

use super::{
    bundle_folder::{self, BundleError, SecretResolver},
    client::{self, Client, ClientError, Launch},
    folders::Folders,
    ledger_file, listeners, logs,
    plan::{PlannedBundle, ProcessPlan},
    procfs,
    protocol::{CommitEntry, FailedKind, Op, Reply, Seen},
    supervisor::{
        plain_facts,
        state::{Life, State},
    },
};
use crate::{
    bundle::{Bundle, BundleHash},
    model::{Action, Exit, Intent, Millis, UnitFacts, UnitId, UnitPhase},
    plan::Migration,
    port::{EffectError, EffectOutput, Target, TargetSeen},
    reason::ReasonCode,
};
use async_trait::async_trait;
use pipeline::causes::in_one_line;
use pipeline::{crossing, name::Name};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The longest wait of [`Target::changed`], in milliseconds.
const CHANGED_TIMEOUT: Millis = 1_000;

/// This machine: units are processes, their parent is the environment's supervisor.
///
/// It observes without starting anything: without a supervisor it tells what is on record and which of it still runs.
/// Once it has acted it needs a supervisor, and starts one whenever there is none.
pub struct ProcessTarget {
    launch: Launch,
    folders: Folders,
    plan: ProcessPlan,
    secrets: Arc<dyn SecretResolver>,
    client: Client,
    /// Whether it has acted.
    acts: AtomicBool,
    /// The supervisor's count of changes at the last observation.
    seen: AtomicU64,
}

impl ProcessTarget {
    /// The target of an environment on this machine.
    ///
    /// # Errors
    /// When the state folder is relative and there is no working directory.
    pub fn new(launch: Launch, plan: ProcessPlan, secrets: Arc<dyn SecretResolver>) -> io::Result<Self> {
        let folders = Folders::new(&launch.state_dir)?;
        let client = Client::new(&launch.state_dir)?;
        let (acts, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { launch, folders, plan, secrets, client, acts, seen })
    }

    /// A supervisor to act with.
    async fn acting(&self) -> Result<Client, EffectError> {
        self.acts.store(true, Ordering::Relaxed);
        client::ensure(&self.launch).await.map_err(client_error)
    }

    async fn act(&self, generation: u64, op: Op) -> Result<(), EffectError> {
        let client = self.acting().await?;
        crossing!("target.asked");
        let reply = client.call(generation, op).await.map_err(client_error)?;
        crossing!("target.answered");
        done(reply)
    }

    async fn seen(&self) -> Result<Box<Seen>, EffectError> {
        match self.client.call(0, Op::Observe).await.map_err(client_error)? {
            Reply::Seen(seen) => Ok(seen),
            other => match done(other) {
                Err(error) => Err(error),
                Ok(()) => Err(passing("the supervisor answered something else than was asked".to_owned())),
            },
        }
    }

    fn planned(&self, bundle: &BundleHash) -> Result<&PlannedBundle, EffectError> {
        self.plan.bundles.get(bundle).ok_or_else(|| EffectError::Terminal {
            reason: ReasonCode::ActionFailed,
            message: format!("bundle {} is not in the plan", bundle.short()),
        })
    }

    async fn prepare(&self, generation: u64, service: &Name, bundle: &BundleHash) -> Result<(), EffectError> {
        let planned = self.planned(bundle)?.clone();
        // The folder is filled by this process and not by the supervisor: a stale executor is refused before it is.
        self.act(generation, Op::Fence).await?;
        let (folders, secrets) = (self.folders.clone(), self.secrets.clone());
        let (service_name, hash) = (service.clone(), *bundle);
        let source = planned.source;
        let write = move || {
            let source = source.as_ref().map(|(bundle, source)| (bundle, source));
            bundle_folder::prepare(&folders, &hash, &service_name, source, secrets.as_ref())
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|e| passing(format!("preparing was broken off: {e}")))?.map_err(bundle_error)?;
        crossing!("prepare.bundle-written");
        let (host, port) = (planned.host, planned.entry.port);
        let op = Op::Listen { service: service.clone(), host, port, health_path: planned.health_path };
        self.act(generation, op).await
    }

    async fn drain(
        &self,
        generation: u64,
        unit: &UnitId,
        deadline: Millis,
    ) -> Result<EffectOutput, EffectError> {
        self.act(generation, Op::Drain { unit: unit.clone(), deadline }).await?;
        let seen = self.seen().await?;
        let left = seen.units.iter().find(|facts| facts.unit == *unit).map_or(0, |facts| facts.in_flight);
        let note = match left {
            0 => String::new(),
            1 => "1 request still in flight at the drain deadline".to_owned(),
            _ => format!("{left} requests still in flight at the drain deadline"),
        };
        Ok(EffectOutput { note })
    }

    fn migrate(&self, service: &Name, bundle: &BundleHash) -> Result<Op, EffectError> {
        let Migration { args, timeout } =
            self.plan.migrations.get(service).cloned().ok_or_else(|| EffectError::Terminal {
                reason: ReasonCode::MigrationFailed,
                message: format!("the plan has no migration of {service}"),
            })?;
        let release = self.planned(bundle)?.entry.release.clone();
        Ok(Op::Migrate { service: service.clone(), bundle: *bundle, release, args, timeout })
    }

    fn commit(
        &self,
        services: &BTreeMap<Name, Option<BundleHash>>,
    ) -> Result<BTreeMap<Name, Option<CommitEntry>>, EffectError> {
        let entry = |bundle: &BundleHash| Ok(self.planned(bundle)?.entry.clone());
        services
            .iter()
            .map(|(service, bundle)| Ok((service.clone(), bundle.as_ref().map(entry).transpose()?)))
            .collect()
    }

    /// What is on record, and which of it still runs.
    fn on_record(&self) -> Result<TargetSeen, EffectError> {
        let ledger = ledger_file::read(&self.folders, &self.launch.environment, &self.launch.target)
            .map_err(|error| unreadable(&error))?;
        let state = State::read(&self.folders).map_err(|error| unreadable(&error))?;
        let state = state.after_boot(&procfs::boot_id().unwrap_or_default());
        let routes = state.router.as_ref().and_then(|router| router.process).is_some_and(|p| p.is_alive());
        let units = state.units.iter().filter_map(|(id, unit)| {
            let is_alive = unit.process().is_some_and(|process| process.is_alive());
            let facts = plain_facts(id, unit);
            let weight = if routes { facts.weight } else { 0 };
            match unit.life {
                _ if is_alive => Some(UnitFacts { weight, ..facts }),
                Life::Exited(_) => Some(facts),
                Life::Running(_) => Some(gone(facts)),
                Life::Starting | Life::Stopping { .. } => None,
            }
        });
        let generation = state.generation.max(ledger.generation);
        Ok(TargetSeen { generation, units: units.collect(), ledger })
    }
}

#[async_trait]
impl Target for ProcessTarget {
    fn name(&self) -> &Name {
        &self.launch.target
    }

    async fn observe(&self) -> Result<TargetSeen, EffectError> {
        if self.acts.load(Ordering::Relaxed) {
            self.acting().await?;
        } else if self.client.hello().await.map_err(client_error)?.is_none() {
            return self.on_record();
        }
        let seen = self.seen().await?;
        self.seen.store(seen.seq, Ordering::Relaxed);
        Ok(TargetSeen { generation: seen.generation, ledger: seen.ledger, units: seen.units })
    }

    async fn changed(&self) {
        let watch = Op::Watch { after: self.seen.load(Ordering::Relaxed), timeout: CHANGED_TIMEOUT };
        if !matches!(self.client.call(0, watch).await, Ok(Reply::Seen(_))) {
            tokio::time::sleep(Duration::from_millis(CHANGED_TIMEOUT)).await;
        }
    }

    async fn fence(&self, generation: u64) -> Result<(), EffectError> {
        match self.act(generation, Op::Fence).await {
            // The supervisor was killed before it answered: another one is asked, and to fence twice is to fence once.
            Err(EffectError::Passing { .. }) => self.act(generation, Op::Fence).await,
            ended => ended,
        }
    }

    async fn perform(&self, generation: u64, intent: &Intent) -> Result<EffectOutput, EffectError> {
        let op = match &intent.action {
            Action::Prepare { service, bundle, .. } => {
                self.prepare(generation, service, bundle).await?;
                return Ok(EffectOutput::default());
            }
            Action::Drain { unit, deadline } => return self.drain(generation, unit, *deadline).await,
            Action::Start { unit } => {
                let release = self.planned(&unit.bundle)?.entry.release.clone();
                Op::Start { unit: unit.clone(), release }
            }
            Action::Admit { unit, weight } => Op::Admit { unit: unit.clone(), weight: *weight },
            Action::Stop { unit, grace } => Op::Stop { unit: unit.clone(), grace: *grace },
            Action::Commit { services, .. } => {
                Op::Commit { services: self.commit(services)?, keep: self.plan.keep }
            }
            Action::Migrate { service, bundle, .. } => self.migrate(service, bundle)?,
            Action::Hook { .. } | Action::Judge { .. } | Action::Verify { .. } | Action::Collect => {
                let message = format!("a target does not {}: that is done elsewhere", intent.action.verb());
                return Err(EffectError::Terminal { reason: ReasonCode::ActionFailed, message });
            }
        };
        let note = match &op {
            Op::Migrate { release, .. } => format!("done for release {release}"),
            _ => String::new(),
        };
        self.act(generation, op).await?;
        Ok(EffectOutput { note })
    }

    async fn bundle(&self, hash: &BundleHash) -> Result<Bundle, EffectError> {
        bundle_folder::read(&self.folders, hash).map_err(bundle_error)
    }

    async fn log_tail(&self, unit: &UnitId, lines: usize) -> Result<Vec<String>, EffectError> {
        logs::tail(&self.folders.log(unit), lines)
            .map_err(|error| passing(format!("cannot read the log of {}: {error}", unit.label())))
    }

    async fn resources(&self, unit: &UnitId) -> Vec<(String, String)> {
        let state = State::read(&self.folders).ok();
        let process = state.and_then(|state| state.units.get(unit)?.process());
        let Some(process) = process.filter(|process| process.is_alive()) else { return Vec::new() };
        let group = procfs::group_members(process.pid);
        let resident: u64 = group.iter().copied().filter_map(procfs::resident_bytes).sum();
        let listeners = listeners::listeners();
        let ports = group.iter().flat_map(|pid| procfs::listening_ports(*pid, &listeners));
        let ports: Vec<String> = ports.map(|port| port.to_string()).collect();
        let mut pairs = vec![("resident memory", format!("{} MiB", resident.div_ceil(1024 * 1024)))];
        pairs.push(("processes", group.len().to_string()));
        pairs.extend(procfs::threads(process.pid).map(|count| ("threads", count.to_string())));
        pairs.extend(procfs::open_files(process.pid).map(|count| ("open files", count.to_string())));
        pairs.push(("listens on", if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") }));
        pairs.into_iter().map(|(what, value)| (what.to_owned(), value)).collect()
    }
}

/// A unit that is no more and whose end nobody saw.
fn gone(facts: UnitFacts) -> UnitFacts {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX);
    let exit = Exit { code: None, signal: None, out_of_memory: false, at };
    UnitFacts { phase: UnitPhase::Exited(exit), address: None, weight: 0, ..facts }
}

/// What an answer to a request that changes something means.
fn done(reply: Reply) -> Result<(), EffectError> {
    let failed = match reply {
        Reply::Done => return Ok(()),
        Reply::Fenced { generation } => return Err(EffectError::Fenced { generation }),
        Reply::Failed(failed) => failed,
        other => {
            let message = client::unexpected(&other).to_string();
            return Err(EffectError::Terminal { reason: ReasonCode::ActionFailed, message });
        }
    };
    let reason = match failed.kind {
        FailedKind::NotPrepared => ReasonCode::PrepareFailed,
        FailedKind::CannotStart => ReasonCode::CannotStart,
        FailedKind::MigrationFailed => ReasonCode::MigrationFailed,
        FailedKind::PortTaken => ReasonCode::PortTaken,
        // A unit that is gone shows in the next observation, with a better reason than this one. A router is
        // started again, and a disk may have room again.
        FailedKind::NoSuchUnit | FailedKind::Router | FailedKind::State | FailedKind::Other => {
            return Err(passing(failed.message));
        }
    };
    Err(EffectError::Terminal { reason, message: failed.message })
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function to map errors with")]
fn client_error(error: ClientError) -> EffectError {
    let message = in_one_line(&error);
    match error {
        ClientError::Start { .. }
        | ClientError::State(_)
        | ClientError::Ended { .. }
        | ClientError::Refused { .. } => EffectError::Terminal { reason: ReasonCode::ActionFailed, message },
        ClientError::NotRunning { .. } | ClientError::Broken { .. } | ClientError::TimedOut { .. } => {
            passing(message)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function to map errors with")]
fn bundle_error(error: BundleError) -> EffectError {
    let reason = match &error {
        BundleError::Secret { .. } => ReasonCode::SecretUnavailable,
        _ => ReasonCode::PrepareFailed,
    };
    EffectError::Terminal { reason, message: in_one_line(&error) }
}

fn unreadable(error: &dyn std::error::Error) -> EffectError {
    EffectError::Terminal { reason: ReasonCode::ActionFailed, message: in_one_line(error) }
}

fn passing(message: String) -> EffectError {
    EffectError::Passing { message }
}
