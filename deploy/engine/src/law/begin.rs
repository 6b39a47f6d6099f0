//! What is judged when something is begun: by whom, in which direction, within which bounds, and on what evidence.

use super::{
    Law, Looked, Moment,
    judge::{Judge, is_stale, stands, wants},
};
use crate::{
    check::Check,
    model::{Action, HookMoment, UnitId},
    plan::ServicePlan,
    reason::ReasonCode,
};

impl Judge<'_> {
    pub(super) fn action_began(&mut self, generation: u64, action: &Action) {
        if self.fenced.contains(&generation) {
            let text = format!("generation {generation} was refused, and began to {}", action.verb());
            self.broken(Law::Stale, "rollout", text);
        }
        if generation < self.generation {
            return; // What it begins is for the target to refuse.
        }
        self.collected |= *action == Action::Collect;
        self.watch.begins(action);
        self.keeps_once(action);
        let Some(unit) = action.unit() else { return };
        if self.back.is_none() && !matches!(action, Action::Judge { .. }) {
            self.touched = true;
        }
        if self.back.is_some_and(|reason| reason != ReasonCode::Cancelled) && !self.collected {
            self.broken(
                Law::EvidenceFirst,
                unit.label(),
                format!("{} before there is a dossier", action.verb()),
            );
        }
        match action {
            Action::Start { unit } => self.start_began(unit),
            Action::Admit { unit, weight } => self.admit_began(unit, *weight),
            Action::Drain { unit, .. } | Action::Stop { unit, .. } => {
                self.loses(unit);
                self.leaving.insert(unit.clone());
            }
            _ => {}
        }
    }

    /// Hooks and migrations are run before anything that they are to precede.
    fn keeps_once(&mut self, action: &Action) {
        let is_first =
            matches!(action, Action::Migrate { .. } | Action::Hook { moment: HookMoment::BeforeDeploy, .. });
        if is_first && self.acted {
            let text = format!("{} after units were acted on", action.verb());
            self.broken(Law::Once, "rollout", text);
        }
        self.touched |= matches!(action, Action::Migrate { .. });
        let Some(unit) = action.unit() else { return };
        self.acted = true;
        let migrates = |service: &ServicePlan| service.migration.is_some() && service.to.is_some();
        let to_come = self.plan.services.iter().filter(|service| migrates(service));
        let missing = to_come.map(|service| &service.service).find(|name| !self.migrated.contains(*name));
        if let (Some(name), None, false) = (missing, self.back, self.cancelled) {
            let text = format!("{} before the migration of {name} was run", action.verb());
            self.broken(Law::Once, unit.label(), text);
        }
    }

    fn start_began(&mut self, unit: &UnitId) {
        self.failed.remove(unit);
        self.leaving.remove(unit);
        if self.back.is_none() && !self.cancelled {
            if self.waves.is_ahead(self.plan, unit) && self.is_previous(unit) {
                return; // It had failed by itself, and the rollout has not reached it.
            }
            self.keeps_waves(unit);
        }
        self.keeps_direction(unit, "start");
        self.keeps_budget(unit, "start");
    }

    fn admit_began(&mut self, unit: &UnitId, weight: u16) {
        self.leaving.remove(unit);
        let is_kept = self.waves.is_ahead(self.plan, unit) && self.is_previous(unit) && self.back.is_none();
        if !is_kept {
            self.keeps_direction(unit, "admit");
            self.keeps_budget(unit, "admit");
        }
        let Some(check) = self.check_of(unit) else { return };
        let Some(now) = self.now.units.get(unit).copied() else {
            return self.broken(Law::Evidence, unit.label(), "admitted, and it is not there");
        };
        if (1..=now.weight).contains(&weight) {
            return; // It gets no more than it has: what is taken from a unit needs no evidence.
        }
        if let (Some(looked), false) = (now.looked, self.now.unreachable.contains(&unit.target))
            && let Some(lack) = lacks(&looked, check, now.weight > 0)
        {
            self.broken(Law::Evidence, unit.label(), format!("admitted with {lack}"));
        }
    }

    /// Law 3: nothing is begun that is being taken back, and nothing that was not planned.
    fn keeps_direction(&mut self, unit: &UnitId, verb: &str) {
        let Some(service) = self.plan.service(&unit.service) else { return };
        let back = self.back.is_some() || self.cancelled;
        let side = if back { &service.from } else { &service.to };
        if !wants(side.as_ref(), unit) {
            let way = if back { "back" } else { "forward" };
            self.broken(
                Law::NeverTwice,
                unit.label(),
                format!("{verb} on the way {way}, which does not want it"),
            );
        }
    }

    /// Law 6: once the budget is exceeded nothing more is begun on the way forward.
    fn keeps_budget(&mut self, unit: &UnitId, verb: &str) {
        let limit = self.plan.policy.failure_limit;
        let failures = self.failures.max(self.deaths);
        if self.back.is_none() && failures > limit {
            self.broken(
                Law::Budget,
                unit.label(),
                format!("{verb} after {failures} failures, {limit} allowed"),
            );
        }
        if let (None, Some((name, failures, limit))) = (self.back, self.waves.exceeded(self.plan)) {
            let text = format!("{verb} after {failures} failures in wave {name}, {limit} allowed");
            self.broken(Law::Budget, unit.label(), text);
        }
    }

    /// Law 4: no action takes away what is available below the bound.
    fn loses(&mut self, unit: &UnitId) {
        let Some(service) = self.plan.service(&unit.service) else { return };
        if !self.is_available(unit) || self.failed.contains(unit) {
            self.watch.given_up(unit);
            return;
        }
        let forward = self.back.is_none() && !self.cancelled;
        if forward && !self.leaving.contains(unit) {
            self.keeps_waves(unit);
        }
        let wave = self.plan.wave_of(&unit.target);
        let scoped = self.plan.in_wave(service, wave);
        // Forward each wave has bounds of its own besides those of the whole.
        let scopes = [
            (service.targets.clone(), service.available_min()),
            (scoped.targets.clone(), scoped.available_min()),
        ];
        for (targets, min) in scopes.into_iter().take(if forward { 2 } else { 1 }) {
            let mine = |other: &&UnitId| other.service == service.service && targets.contains(&other.target);
            let left = self.now.units.keys().filter(mine);
            let left = left.filter(|other| *other != unit && self.is_available(other)).count() as u32;
            if left < min {
                let text = format!("taken away, {left} stay available, at least {min} must");
                return self.broken(Law::Bounds, unit.label(), text);
            }
        }
    }

    fn is_available(&self, unit: &UnitId) -> bool {
        self.answers(&self.now, unit) && !self.leaving.contains(unit)
    }

    /// Whether a unit stands, has traffic and answers well.
    pub(super) fn answers(&self, moment: &Moment, unit: &UnitId) -> bool {
        let Some(now) = moment.units.get(unit) else { return false };
        let unhealthy = self.check_of(unit).map_or(1, |check| check.unhealthy_failures.max(1));
        let healthy = now.looked.is_none_or(|looked| looked.ever_passed && looked.failures < unhealthy);
        stands(now) && now.weight > 0 && healthy
    }
}

/// What the evidence of a unit lacks to be admitted, or to be given another share of the traffic that it has.
fn lacks(looked: &Looked, check: &Check, serves: bool) -> Option<String> {
    let passes = check.healthy_passes.max(1);
    if looked.wrong_release > 0 {
        return Some("another release answering".to_owned());
    }
    if serves && looked.failures < check.unhealthy_failures.max(1) {
        return None;
    }
    if looked.failures > 0 {
        return Some(format!("{} bad answers in a row", looked.failures));
    }
    if looked.passes < passes || looked.held_for < check.healthy_for {
        return Some(format!("{} of {passes} passes over {} ms", looked.passes, looked.held_for));
    }
    is_stale(looked, check).then(|| format!("an answer {:?} ms old", looked.age))
}
