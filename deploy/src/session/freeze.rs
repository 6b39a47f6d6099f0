//! The freeze: after a manual rollback nothing is deployed to an environment until a human has looked.

use super::{ApplyOptions, Kind, Session, SessionError, planning::record_error, view::timestamp};
use crate::{
    model::Millis,
    plan::{Plan, PlanKind},
    reason::ReasonCode,
    record::{Freeze, RecordError},
    state::Outcome,
    status::FreezeStatus,
};
use std::collections::BTreeSet;

/// The environment that is never frozen: it is the developer's own.
const LOCAL: &str = "local";

impl Session {
    /// Why nothing is deployed for now, if so.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn freeze(&self) -> Result<Option<FreezeStatus>, SessionError> {
        Ok(self.store().load().map_err(record_error)?.freeze.as_ref().map(freeze_status))
    }

    /// Lifts the freeze, and returns what was lifted. Needs no lease: it changes nothing that a rollout rests on.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub async fn unfreeze(&self) -> Result<Option<FreezeStatus>, SessionError> {
        let Some(freeze) = self.freeze().await? else { return Ok(None) };
        let store = self.store();
        let lift = move || {
            store.update::<RecordError>(|mut record| {
                record.freeze = None;
                Ok(record)
            })
        };
        let lifted = tokio::task::spawn_blocking(lift).await;
        lifted.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map_err(record_error)?;
        Ok(Some(freeze))
    }

    /// Why this plan is not carried out while the environment is frozen. To go back is always allowed.
    pub(super) fn frozen(
        &self,
        freeze: Option<&Freeze>,
        plan: &Plan,
        options: &ApplyOptions,
    ) -> Result<(), SessionError> {
        match freeze {
            Some(freeze) if plan.kind == PlanKind::Deploy && !options.confirmed => {
                Err(self.refuse_frozen(&freeze_status(freeze)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The refusal of a deploy while the environment is frozen.
    pub fn refuse_frozen(&self, freeze: &FreezeStatus) -> SessionError {
        let (program, environment) = (self.program(), self.environment());
        let text = format!("`{environment}` is frozen: {}", freeze.sentence());
        SessionError::new(Kind::Refused, text)
            .hint(format!("`{program} lock --unfreeze {environment}` lifts the freeze"))
            .hint(format!(
                "or run `{program} deploy {environment}` without --yes at a terminal, and type the name"
            ))
    }

    /// The freeze that an ended rollout leaves, if it was a manual rollback; `asked_by` is who asked for its end from
    /// another process, `actor` who ran this one.
    pub(super) fn freeze_after(
        &self,
        plan: &Plan,
        outcome: &Outcome,
        options: &ApplyOptions,
        by: String,
        now: Millis,
    ) -> Option<Freeze> {
        let release = taken_back(plan, outcome, options.rollback_asked)?;
        (self.environment().as_str() != LOCAL).then(|| Freeze {
            since: now,
            actor: by,
            why: "it was rolled back by hand".to_owned(),
            release,
        })
    }
}

/// The release that a rollout took back because a human asked for it; none if it did not, or came back by itself. Pure.
fn taken_back(plan: &Plan, outcome: &Outcome, rollback_asked: bool) -> Option<String> {
    match outcome {
        Outcome::RolledBack { cause } if rollback_asked || cause.reason == ReasonCode::Cancelled => {
            Some(plan.release.clone())
        }
        Outcome::Succeeded if plan.kind == PlanKind::Rollback => {
            let before = plan.services.iter().filter_map(|service| service.from.as_ref());
            let before: BTreeSet<&str> = before.map(|side| side.release.as_str()).collect();
            Some(before.into_iter().collect::<Vec<_>>().join(", "))
        }
        Outcome::RolledBack { .. }
        | Outcome::Succeeded
        | Outcome::Refused { .. }
        | Outcome::Held { .. }
        | Outcome::RollbackFailed { .. } => None,
    }
}

/// The freeze, for people and scripts.
pub(super) fn freeze_status(freeze: &Freeze) -> FreezeStatus {
    let Freeze { since, actor, why, release } = freeze;
    let (actor, why, release) = (actor.clone(), why.clone(), release.clone());
    FreezeStatus { since: timestamp(*since), actor, why, release }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        samples::{Shape, plan_of},
        state::Failure,
    };

    fn rolled_back(reason: ReasonCode) -> Outcome {
        let cause = Failure { reason, unit: None, service: None, message: String::new(), at: 0 };
        Outcome::RolledBack { cause }
    }

    #[test]
    fn only_what_a_human_took_back_freezes() {
        let deploy = plan_of(&Shape { from: Some(("old", 2)), ..Shape::default() });
        let rollback = Plan { kind: PlanKind::Rollback, ..deploy.clone() };
        let new = deploy.release.clone();
        let cases = [
            (&deploy, rolled_back(ReasonCode::Cancelled), false, Some(new.clone())),
            (&deploy, rolled_back(ReasonCode::NeverReady), true, Some(new)),
            (&deploy, rolled_back(ReasonCode::NeverReady), false, None),
            (&deploy, Outcome::Succeeded, false, None),
            (&rollback, Outcome::Succeeded, false, Some("old".to_owned())),
        ];
        for (plan, outcome, asked, expected) in cases {
            assert_eq!(taken_back(plan, &outcome, asked), expected, "{:?} {outcome:?} {asked}", plan.kind);
        }
    }

    #[test]
    fn a_freeze_of_before_has_no_release() {
        let freeze: Freeze =
            serde_json::from_str(r#"{ "since": 1, "actor": "ann", "why": "it was rolled back" }"#).unwrap();
        assert_eq!(freeze.release, "");
    }
}
