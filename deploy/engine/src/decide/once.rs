//! What is done once in a rollout and is not on a unit: bundles are brought, hooks and migrations are run, evidence is
//! collected, what stands is recorded.

use super::Turn;
use crate::{
    model::{Action, HookMoment},
    plan::{PlanKind, ServicePlan, Side},
    reason::ReasonCode,
    state::{Failure, Outcome, Phase},
};
use pipeline::name::Name;
use std::collections::BTreeMap;

impl Turn<'_> {
    /// Bundles are brought everywhere, then the hooks are run, then the migrations: only then anything is changed.
    pub(super) fn preparing(&mut self) {
        let services = self.plan.services.iter();
        let wanted = services.flat_map(|service| prepare(service, service.to.as_ref())).collect();
        if !self.all_done(wanted) || !self.hooks_done(HookMoment::BeforeDeploy) {
            return;
        }
        let migrations: Vec<Action> = self.plan.services.iter().filter_map(migrate).collect();
        // From here on something that the units share may be changed.
        self.state.begun |= !migrations.is_empty();
        if self.done_in_turn(migrations) {
            self.state.begun = true;
            self.enter(Phase::Forward);
            self.tell_wave();
        }
    }

    pub(super) fn collecting(&mut self, cause: Failure, hold: bool) {
        self.shield_users();
        if !self.all_done(vec![Action::Collect]) || !self.no_flights() {
            return;
        }
        if !hold {
            // The hooks are run beside the way back: whoever is told of a failure must not keep users waiting.
            return self.enter(Phase::Back { cause });
        }
        if self.hooks_done(HookMoment::OnFailure) {
            self.enter(Phase::Finished(Outcome::Held { cause, back: false }));
        }
    }

    /// Asks for the hooks of a way back that has come to its end, and says whether all have been run. Where nothing was
    /// changed there is nothing to tell of.
    pub(super) fn told_of_rollback(&mut self, cause: &Failure) -> bool {
        self.told_of_failure(cause) && (!self.state.begun || self.hooks_done(HookMoment::OnRollback))
    }

    /// The hooks that are run when what is planned stands: to return to a past release is a rollback too.
    pub(super) fn closing_hooks(&self) -> HookMoment {
        match self.plan.kind {
            PlanKind::Deploy => HookMoment::AfterDeploy,
            PlanKind::Rollback => HookMoment::OnRollback,
        }
    }

    /// Asks for the hooks of a failure, and says whether all have been run. A rollout that was cancelled has not failed.
    pub(super) fn told_of_failure(&mut self, cause: &Failure) -> bool {
        cause.reason == ReasonCode::Cancelled || self.hooks_done(HookMoment::OnFailure)
    }

    pub(super) fn settling(&mut self, outcome: Outcome) {
        let back = self.state.is_back();
        let mut targets: BTreeMap<&Name, BTreeMap<Name, _>> = BTreeMap::new();
        for service in &self.plan.services {
            let side = if back { &service.from } else { &service.to };
            for target in &service.targets {
                let stands = side.as_ref().filter(|side| side.stands_on(target));
                let entry = stands.map(|side| side.bundle);
                targets.entry(target).or_default().insert(service.service.clone(), entry);
            }
        }
        let commits = targets.into_iter().map(|(target, services)| {
            let target = target.clone();
            Action::Commit { target, services }
        });
        let wanted = commits.collect();
        if self.all_done(wanted) && self.no_flights() {
            self.enter(Phase::Finished(outcome));
        }
    }

    /// Asks for the hooks of a moment, one after the other, and says whether all have been run.
    pub(super) fn hooks_done(&mut self, moment: HookMoment) -> bool {
        let count = self.plan.policy.hooks.get(&moment).map_or(0, Vec::len);
        self.done_in_turn((0..count).map(|index| Action::Hook { moment, index: index as u16 }).collect())
    }

    /// Asks for these actions, and says whether all are done.
    pub(super) fn all_done(&mut self, actions: Vec<Action>) -> bool {
        let mut all = true;
        for action in actions {
            all &= self.errand(&action).done;
        }
        all
    }

    /// Asks for the first of these actions that is not done, and says whether all are.
    fn done_in_turn(&mut self, actions: Vec<Action>) -> bool {
        actions.iter().all(|action| self.errand(action).done)
    }

    pub(super) fn no_flights(&self) -> bool {
        self.state.flights.is_empty()
    }

    /// Whether there is no way back any more.
    pub(super) fn is_past_return(&self) -> bool {
        self.plan.irreversible && self.state.begun
    }

    /// Whether an errand belongs to the phase that the rollout is in.
    pub(super) fn is_current(&self, action: &Action) -> bool {
        match (action, &self.state.phase) {
            (Action::Prepare { service, bundle, .. }, Phase::Back { .. }) => {
                let from = self.service(service).and_then(|service| service.from.as_ref());
                from.is_some_and(|from| from.bundle == *bundle)
            }
            (Action::Hook { moment, .. }, phase) => matches!(
                (moment, phase),
                (HookMoment::BeforeDeploy, Phase::Preparing)
                    | (HookMoment::AfterDeploy | HookMoment::OnRollback, Phase::Verifying)
                    | (HookMoment::OnFailure, Phase::Collecting { .. } | Phase::Back { .. })
                    | (HookMoment::OnRollback, Phase::Back { .. })
            ),
            (Action::Prepare { .. } | Action::Migrate { .. }, Phase::Preparing)
            | (Action::Verify { .. }, Phase::Verifying)
            | (Action::Collect, Phase::Collecting { .. })
            | (Action::Commit { .. }, Phase::Settling { .. }) => true,
            _ => false,
        }
    }
}

/// The errands that bring a side's bundle to every target.
pub(super) fn prepare(service: &ServicePlan, side: Option<&Side>) -> Vec<Action> {
    let bring = |side: &Side| {
        let action = |target: &Name| Action::Prepare {
            target: target.clone(),
            service: service.service.clone(),
            bundle: side.bundle,
        };
        service.targets.iter().filter(|target| side.stands_on(target)).map(action).collect()
    };
    side.map(bring).unwrap_or_default()
}

/// The errand that runs a service's migration: on one target, because what is migrated is shared by all.
fn migrate(service: &ServicePlan) -> Option<Action> {
    let (Some(_), Some(to), Some(target)) = (&service.migration, &service.to, service.targets.first()) else {
        return None;
    };
    Some(Action::Migrate { target: target.clone(), service: service.service.clone(), bundle: to.bundle })
}
