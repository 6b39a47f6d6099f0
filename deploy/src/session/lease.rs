//! The lease of a rollout: taken, kept, written under, and given back.

use super::{
    ApplyOptions, Events, Kind, Session, SessionError, apply::stands_already, planning::record_error,
};
use crate::{
    event::Event,
    plan::Plan,
    port::{RolloutRecord, SwapError},
    reason::ReasonCode,
    record::{
        Acquired, Acquisition, Claim, Finished, Freeze, Holder, LeaseError, LeaseKeeper, Observer,
        OpenRollout, Record, Stamp, ThisMachine, acquire, describe,
    },
    state::{Outcome, State},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// The lease of a rollout, kept alive.
pub(super) type Keeper = LeaseKeeper<Plan, State>;

/// A lease that was just taken.
pub(super) struct Held {
    pub(super) keeper: Arc<Keeper>,
    pub(super) open: Option<OpenRollout<Plan, State>>,
    pub(super) freeze: Option<Freeze>,
    pub(super) generation: u64,
    pub(super) actor: String,
    /// Whose lease was taken over, for people.
    pub(super) took_over: Option<String>,
}

impl Session {
    pub(super) async fn acquire(
        &self,
        run: &str,
        options: &ApplyOptions,
        floor: u64,
        events: &Events,
    ) -> Result<Held, SessionError> {
        let system =
            |error| SessionError::new(Kind::State, "this process could not be identified").because(error);
        let holder = Holder::this_process().map_err(system)?;
        let lease = &self.loaded.environment.lease;
        let claim = Claim {
            holder: holder.clone(),
            command: options.command.clone(),
            run: run.to_owned(),
            ttl: lease.ttl,
            generation_floor: floor,
        };
        let now = Stamp::now().map_err(system)?;
        let processes = ThisMachine::new(holder.clone());
        let acquired = acquire(&self.store(), &claim, &mut Observer::default(), &processes, &now);
        match acquired.map_err(record_error)? {
            Acquisition::Held { lease, liveness, verdict } => {
                let lines = describe(Some(&lease), liveness, verdict, &now);
                let text = format!("the lease of environment `{}` is held by another", self.environment());
                let error = SessionError::new(Kind::Locked, format!("{text}\n{}", lines.join("\n")));
                let (program, environment) = (self.program(), self.environment());
                Err(error
                    .hint(format!("`{program} lock {environment}` shows it"))
                    .hint(format!("`{program} cancel {environment}` has its rollout ended and undone")))
            }
            Acquisition::Acquired(acquired) => {
                let Acquired { tenure, record, taken_over } = *acquired;
                let generation = tenure.generation;
                let took_over = taken_over.map(|(lease, _)| {
                    format!(
                        "`{}` of {} on {}, process {}",
                        lease.command, lease.holder.user, lease.holder.host, lease.holder.pid
                    )
                });
                events(Event::LeaseAcquired { generation, took_over: took_over.clone() });
                let (ttl, beat) = (Duration::from_millis(lease.ttl), Duration::from_millis(lease.heartbeat));
                let keeper = Arc::new(Keeper::start(self.store(), tenure, ttl, beat));
                let actor = format!("{}@{}", holder.user, holder.host);
                let Record { open, freeze, .. } = record;
                Ok(Held { keeper, open, freeze, generation, actor, took_over })
            }
        }
    }
}

impl Held {
    pub(super) async fn give_back(self) {
        if let Ok(keeper) = Arc::try_unwrap(self.keeper) {
            // Lost already, or given back by its expiry.
            let _released = keeper.release().await;
        }
    }

    /// Writes the end of the rollout and gives the lease back, in one write. What needs a human stays open; a
    /// freeze is set if one follows from it.
    pub(super) async fn finish(
        self,
        plan: &Plan,
        outcome: Outcome,
        entry: Finished,
        freeze: Option<Freeze>,
    ) -> Result<(), SessionError> {
        let bad = match &outcome {
            // A release that stands is not a bad one: it was its new configuration that failed.
            Outcome::RolledBack { cause } => cause.reason != ReasonCode::Cancelled && !stands_already(plan),
            _ => false,
        };
        let stays_open = matches!(outcome, Outcome::Held { .. } | Outcome::RollbackFailed { .. });
        let release = plan.release.clone();
        let keeper = Arc::try_unwrap(self.keeper).map_err(|_| {
            SessionError::new(Kind::Bug, "the lease is still in use after the rollout has ended")
        })?;
        let written = keeper.finish(move |record| {
            if !stays_open {
                record.open = None;
            }
            if bad {
                record.bad_releases.insert(release);
            } else if outcome == Outcome::Succeeded {
                record.bad_releases.remove(&release);
            }
            if freeze.is_some() {
                record.freeze = freeze;
            }
            record.last = Some(entry);
        });
        written.await.map(|_| ()).map_err(lease_error)
    }
}

/// The record of the loop: written under the lease.
pub(super) struct Kept(pub(super) Arc<Keeper>);

#[async_trait]
impl RolloutRecord for Kept {
    async fn swap(&self, state: &State) -> Result<(), SwapError> {
        let state = state.clone();
        let written = self.0.write(move |record| {
            if let Some(open) = &mut record.open {
                open.state = state;
            }
        });
        match written.await {
            Ok(_) => Ok(()),
            Err(LeaseError::Lost { by }) => {
                Err(SwapError::Lost { generation: by.map_or(0, |lease| lease.generation) })
            }
            Err(LeaseError::NotRenewed { .. }) => Err(SwapError::Lost { generation: 0 }),
            Err(LeaseError::Record(error)) => Err(SwapError::Write(std::io::Error::other(error))),
        }
    }
}

pub(super) fn lease_error(error: LeaseError) -> SessionError {
    match error {
        LeaseError::Record(error) => record_error(error),
        lost => SessionError::new(Kind::Locked, "the lease was lost").because(lost),
    }
}

pub(super) fn lost(keeper: &Keeper) -> SessionError {
    let error = SessionError::new(Kind::Locked, "the lease was lost: this run changes nothing more");
    match keeper.cause() {
        Some(cause) => error.because(cause.to_string()),
        None => error,
    }
}
