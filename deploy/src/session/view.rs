//! What an environment shows: status, history, lock, logs; and taking it down.

use super::{
    History, Kind, Lock, Place, Session, SessionError, UnitLog, clock::RealClock, freeze::freeze_status,
    planning::record_error,
};
use crate::{
    adapter::probe::RealProber,
    check::Answer,
    ledger::Standing as Stands,
    model::{UnitFacts, UnitPhase},
    plan::{Plan, merged},
    port::{Clock, Prober, TargetSeen},
    record::{
        self, Holder, Lease, Observer, OpenRollout as Open, Processes, Stamp, ThisMachine, describe, judge,
    },
    state::{Outcome, Phase, State},
    status::{HistoryEntry, LeaseStatus, OpenRollout, ServiceStatus, Standing, Status, UnitStatus},
};
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

impl Session {
    /// What stands. Every unit that runs is asked once.
    ///
    /// # Errors
    /// When a target does not answer or the record cannot be read.
    pub async fn status(&self) -> Result<Status, SessionError> {
        let targets = self.targets(None).await?;
        let standing = self.standing(&targets).await?;
        let record = self.store().load().map_err(record_error)?;
        let ledger = merged(&standing);
        let names: BTreeSet<Name> =
            self.loaded.environment.services.keys().chain(ledger.keys()).cloned().collect();
        let mut services = Vec::new();
        for name in names {
            services.push(self.service_status(&name, ledger.get(&name), &standing).await);
        }
        let health = summary(services.iter().map(|service| service.health));
        let rollout = record.open.as_ref().map(open_rollout);
        let mut next = self.next(health, rollout.as_ref());
        if record.freeze.is_some() {
            next.push(format!("{} lock --unfreeze {}", self.program(), self.environment()));
        }
        Ok(Status {
            version: Status::FORMAT,
            project: self.loaded.project.name.clone(),
            environment: self.environment().clone(),
            health,
            generation: record.generation,
            services,
            rollout,
            lease: record.lease.as_ref().map(lease_status).transpose()?,
            freeze: record.freeze.as_ref().map(freeze_status),
            next,
        })
    }

    /// Whether it can be told what stands; no unit is asked.
    ///
    /// # Errors
    /// When a target does not answer, or what it keeps cannot be read.
    pub async fn examine(&self) -> Result<(), SessionError> {
        self.standing(&self.targets(None).await?).await.map(drop)
    }

    /// Runs that are over, newest first.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub async fn history(&self) -> Result<History, SessionError> {
        self.past()
    }

    /// Who holds the lease.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn lock(&self) -> Result<Lock, SessionError> {
        let record = self.store().load().map_err(record_error)?;
        let lease = record.lease.as_ref();
        let (liveness, verdict, now) = judged(lease)?;
        let lines = describe(lease, liveness, verdict, &now);
        let freeze = record.freeze.as_ref().map(freeze_status);
        Ok(Lock { lease: lease.map(lease_status).transpose()?, freeze, lines })
    }

    /// The rollout that is open: interrupted, held, crashed, or under way.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn open_rollout(&self) -> Result<Option<OpenRollout>, SessionError> {
        Ok(self.store().load().map_err(record_error)?.open.as_ref().map(open_rollout))
    }

    /// The logs of a service's units, or of all; current units first.
    ///
    /// # Errors
    /// When a target does not answer, or there is no such service.
    pub async fn logs(&self, service: Option<&Name>) -> Result<Vec<UnitLog>, SessionError> {
        if let Some(service) = service.filter(|name| !self.loaded.environment.services.contains_key(*name)) {
            let names: Vec<&str> = self.loaded.environment.services.keys().map(Name::as_str).collect();
            return Err(SessionError::new(Kind::Usage, format!("there is no service `{service}`"))
                .hint(format!("services are: {}", names.join(", "))));
        }
        let targets = self.targets(None).await?;
        let standing = self.standing(&targets).await?;
        let places: BTreeMap<Name, Place> =
            self.places().into_iter().map(|place| (place.target.clone(), place)).collect();
        let units = standing.values().flat_map(|seen| &seen.units);
        let mut units: Vec<&UnitFacts> =
            units.filter(|facts| service.is_none_or(|service| facts.unit.service == *service)).collect();
        units.sort_by_key(|facts| (facts.weight == 0, facts.unit.clone()));
        let mut logs = Vec::new();
        let services = self.loaded.environment.services.keys();
        for name in services.filter(|name| service.is_none_or(|service| service == *name)) {
            // A migration runs on the first target for all.
            let Some(place) = places.values().next() else { break };
            let source = self.platform(place.kind)?.migration_log(place, name);
            logs.extend(source.map(|source| UnitLog { label: format!("{name}/migration"), source }));
        }
        for facts in units {
            let Some(place) = places.get(&facts.unit.target) else { continue };
            let label = facts.unit.label_for(self.has_several_targets());
            logs.push(UnitLog { label, source: self.platform(place.kind)?.unit_log(place, &facts.unit) });
        }
        Ok(logs)
    }

    /// Stops every unit and the router of this environment; what was deployed stays recorded, and the next deploy
    /// restores it. Says whether anything ran.
    ///
    /// # Errors
    /// When the lease is held, or the supervisor does not stop.
    pub async fn down(&self) -> Result<bool, SessionError> {
        let record = self.store().load().map_err(record_error)?;
        if let Some(lease) = &record.lease
            && let (_, record::LeaseVerdict::Held { .. }, _) = judged(Some(lease))?
        {
            let text = format!("`{}` of {} is at work here", lease.command, lease.holder.user);
            return Err(SessionError::new(Kind::Locked, text).hint("wait until it has ended"));
        }
        self.take_down().await
    }

    pub(super) fn past(&self) -> Result<History, SessionError> {
        let history = self.store().history().map_err(|error| {
            SessionError::new(Kind::State, "the history could not be read").because(error)
        })?;
        let environment = self.environment();
        let entries = history.entries.into_iter().map(|entry| history_entry(environment, entry)).collect();
        let unreadable = history.damaged.into_iter().map(|entry| entry.error.to_string()).collect();
        Ok(History { entries, unreadable })
    }

    async fn service_status(
        &self,
        name: &Name,
        stands: Option<&Stands>,
        standing: &BTreeMap<Name, TargetSeen>,
    ) -> ServiceStatus {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let prober = RealProber::new(clock, self.mask());
        let current = stands.map(|stands| &stands.current);
        let currents =
            |seen: &TargetSeen| seen.ledger.services.get(name).map(|stands| stands.current.clone());
        let of_target = |seen: &TargetSeen| {
            let current = currents(seen);
            let facts = seen.units.iter().filter(|facts| facts.unit.service == *name).cloned();
            facts.map(|facts| (facts, current.clone())).collect::<Vec<_>>()
        };
        let several = self.has_several_targets();
        let mut units = Vec::new();
        for (facts, current) in standing.values().flat_map(of_target) {
            let current = current.as_ref();
            let answer = match current {
                Some(current) if facts.phase == UnitPhase::Running => {
                    Some(prober.look(&facts, &current.check).await.answer)
                }
                _ => None,
            };
            let is_current = current.is_some_and(|current| current.bundle == facts.unit.bundle);
            units.push(unit_status(&facts, is_current, answer, several));
        }
        let wanted = standing.values().filter_map(currents).map(|current| u32::from(current.replicas)).sum();
        ServiceStatus {
            service: name.clone(),
            health: service_health(current.is_some(), wanted, &units),
            release: current.map(|current| current.release.clone()),
            bundle: current.map(|current| current.bundle.short()),
            since: current.map(|current| current.at),
            previous_release: stands
                .and_then(|stands| stands.previous.first())
                .map(|entry| entry.release.clone()),
            port: current.map(|current| current.port),
            wanted,
            units,
        }
    }

    fn next(&self, health: Standing, rollout: Option<&OpenRollout>) -> Vec<String> {
        let (program, environment) = (self.program(), self.environment());
        match (rollout, health) {
            (Some(rollout), _) if rollout.phase == "paused" => {
                vec![format!("{program} promote {environment}"), format!("{program} rollback {environment}")]
            }
            (Some(_), _) => {
                vec![format!("{program} resume {environment}"), format!("{program} rollback {environment}")]
            }
            (None, Standing::Absent | Standing::Down) => vec![format!("{program} deploy {environment}")],
            (None, Standing::Degraded) => {
                vec![format!("{program} logs {environment}"), format!("{program} deploy {environment}")]
            }
            (None, Standing::Healthy) => Vec::new(),
        }
    }
}

fn service_health(is_deployed: bool, wanted: u32, units: &[UnitStatus]) -> Standing {
    let good = |unit: &&UnitStatus| unit.current && unit.weight > 0 && unit.answer == Some(Answer::Pass);
    match units.iter().filter(good).count() as u32 {
        _ if !is_deployed => Standing::Absent,
        healthy if healthy >= wanted && units.iter().all(|unit| unit.current) => Standing::Healthy,
        0 => Standing::Down,
        _ => Standing::Degraded,
    }
}

/// The worst of all; a service that was never deployed among others is a degradation.
fn summary(services: impl Iterator<Item = Standing>) -> Standing {
    let all: BTreeSet<Standing> = services.collect();
    match (all.first(), all.last()) {
        (Some(first), Some(last)) if first == last => *last,
        (Some(Standing::Absent), Some(Standing::Healthy)) => Standing::Degraded,
        (Some(_), Some(Standing::Down)) => Standing::Degraded,
        (_, Some(last)) => *last,
        _ => Standing::Absent,
    }
}

fn unit_status(facts: &UnitFacts, current: bool, answer: Option<Answer>, several: bool) -> UnitStatus {
    UnitStatus {
        unit: facts.unit.label_for(several),
        target: facts.unit.target.clone(),
        current,
        phase: facts.phase.clone(),
        answer,
        weight: facts.weight,
        address: facts.address.map(|address| address.to_string()),
        handle: facts.handle.clone(),
        started_at: timestamp(facts.started_at),
    }
}

pub(super) fn open_rollout(open: &Open<Plan, State>) -> OpenRollout {
    let held = match &open.state.phase {
        Phase::Finished(Outcome::Held { cause, .. }) => Some(cause),
        Phase::Finished(Outcome::RollbackFailed { failure, .. }) => Some(failure.as_ref()),
        _ => None,
    };
    OpenRollout {
        run: open.run.clone(),
        release: open.plan.release.clone(),
        phase: match &open.state.phase {
            Phase::Finished(Outcome::Held { .. }) => "held".to_owned(),
            Phase::Finished(Outcome::RollbackFailed { .. }) => "rollback failed".to_owned(),
            _ if open.state.is_paused() => "paused".to_owned(),
            phase => phase.word().to_owned(),
        },
        held: held.map(|cause| format!("{}: {}", cause.reason, cause.message)),
        started_at: timestamp(open.started_at),
    }
}

pub(super) fn judged(
    lease: Option<&Lease>,
) -> Result<(record::Liveness, record::LeaseVerdict, Stamp), SessionError> {
    let system =
        |error| SessionError::new(Kind::State, "this process could not be identified").because(error);
    let me = Holder::this_process().map_err(system)?;
    let now = Stamp::now().map_err(system)?;
    let liveness =
        lease.map_or(record::Liveness::Unknown, |lease| ThisMachine::new(me.clone()).liveness(&lease.holder));
    let unchanged = Observer::default().unchanged(lease, Instant::now());
    let verdict = judge(lease, &me, liveness, &now, unchanged);
    Ok((liveness, verdict, now))
}

fn lease_status(lease: &Lease) -> Result<LeaseStatus, SessionError> {
    let (liveness, verdict, now) = judged(Some(lease))?;
    let left = match verdict {
        record::LeaseVerdict::Held { until } => until,
        _ => lease.renewed.wall.saturating_add(lease.ttl).min(now.wall),
    };
    let words = match (verdict, liveness) {
        (record::LeaseVerdict::DeadHolder, _) => "holder provably dead",
        (record::LeaseVerdict::Expired, _) => "expired",
        (_, record::Liveness::Stopped) => "holder stopped",
        (_, record::Liveness::Unknown) => "holder not visible from here",
        _ => "holder alive",
    };
    Ok(LeaseStatus {
        holder: format!("{}@{}, process {}", lease.holder.user, lease.holder.host, lease.holder.pid),
        command: lease.command.clone(),
        since: timestamp(lease.since.wall),
        renewed_at: timestamp(lease.renewed.wall),
        expires_at: timestamp(left),
        verdict: words.to_owned(),
    })
}

pub(super) fn history_entry(environment: &Name, entry: record::Finished) -> HistoryEntry {
    HistoryEntry {
        version: HistoryEntry::FORMAT,
        run: entry.run,
        environment: environment.clone(),
        kind: entry.kind,
        release: entry.release,
        services: entry.services,
        outcome: entry.outcome,
        reason: entry.reasons.first().copied(),
        message: entry.message,
        actor: entry.actor,
        started_at: timestamp(entry.started_at),
        took: entry.finished_at.saturating_sub(entry.started_at),
    }
}

pub(super) fn timestamp(millis: u64) -> jiff::Timestamp {
    i64::try_from(millis).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
}
