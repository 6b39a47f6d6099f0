//! The laws that can be judged from outside: by what the world shows, never by what the engine says of itself.

use crate::{
    decide::Decision,
    model::{Action, UnitId},
    plan::Plan,
    state::{Outcome, Phase, State},
    world::World,
};
use std::collections::BTreeMap;

/// Watches a rollout, and remembers what it broke.
pub(super) struct Laws<'a> {
    plan: &'a Plan,
    broken: Vec<String>,
    available: BTreeMap<String, u32>,
    outcome: Option<Outcome>,
    settled: Option<BTreeMap<UnitId, u16>>,
    collected_before_back: bool,
}

impl<'a> Laws<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            broken: Vec::new(),
            available: BTreeMap::new(),
            outcome: None,
            settled: None,
            collected_before_back: true,
        }
    }

    pub(super) fn watch(&mut self, world: &World, state: &State, decision: Option<&Decision>) {
        self.outcome = state.outcome().cloned();
        match decision {
            None => self.bounds(world),
            Some(decision) => {
                self.actions(world, decision);
                if self.settled.is_none() && matches!(state.phase, Phase::Settling { .. }) {
                    // What dies after that is for the watchdog, not for the rollout.
                    self.settled = Some(world.standing());
                }
                self.evidence_first(world, state, decision);
            }
        }
    }

    /// Law 4, at every observation.
    fn bounds(&mut self, world: &World) {
        for service in &self.plan.services {
            let units = world.standing();
            let running = units.keys().filter(|unit| unit.service == service.service).count() as u32;
            if running > service.running_max() {
                let max = service.running_max();
                self.broken
                    .push(format!("{}: {running} run at {}, at most {max}", service.service, world.now));
            }
        }
    }

    /// Law 4 of actions: none takes away what is available below the bound.
    fn actions(&mut self, world: &World, decision: &Decision) {
        for service in &self.plan.services {
            let available = world.available(super::setup::check().unhealthy_failures);
            let mine: Vec<_> = available.iter().filter(|unit| unit.service == service.service).collect();
            let broken = |unit: &&&UnitId| {
                decision.next.failures.iter().any(|failure| failure.unit.as_ref() == Some(**unit))
            };
            let drained = decision.intents.iter().filter_map(|intent| match &intent.action {
                Action::Drain { unit, .. } => Some(unit),
                _ => None,
            });
            let lost = drained.filter(|unit| mine.contains(unit) && !broken(&unit)).count() as u32;
            let left = (mine.len() as u32).saturating_sub(lost);
            if lost > 0 && left < service.available_min() {
                let min = service.available_min();
                self.broken.push(format!(
                    "{}: {left} left available at {}, at least {min}",
                    service.service, world.now
                ));
            }
            self.available.insert(service.service.to_string(), mine.len() as u32);
        }
    }

    /// Nothing is undone before the evidence is collected.
    fn evidence_first(&mut self, world: &World, state: &State, decision: &Decision) {
        let Phase::Back { cause } = &state.phase else { return };
        let cancelled = cause.reason == crate::reason::ReasonCode::Cancelled;
        if !decision.intents.is_empty() && !world.collected && !cancelled {
            self.collected_before_back = false;
        }
    }

    pub(super) fn broken(&mut self, world: &World) -> Vec<String> {
        let mut broken = std::mem::take(&mut self.broken);
        broken.extend(world.violations.iter().cloned());
        if !self.collected_before_back {
            broken.push("something was undone before the evidence was collected".to_owned());
        }
        match &self.outcome {
            Some(Outcome::RolledBack { .. } | Outcome::Refused { .. }) => {
                broken.extend(self.stands(world, true))
            }
            Some(Outcome::Succeeded) => broken.extend(self.stands(world, false)),
            Some(Outcome::Held { .. } | Outcome::RollbackFailed { .. }) | None => {}
        }
        broken
    }

    /// Laws 2 and 10: what the outcome says stands, stands, and nothing else.
    fn stands(&self, world: &World, back: bool) -> Vec<String> {
        let mut broken = Vec::new();
        for service in &self.plan.services {
            let side = if back { &service.from } else { &service.to };
            let mut wanted = service.units_of(side.as_ref());
            wanted.sort();
            let standing = self.settled.clone().unwrap_or_default();
            let is: Vec<_> = standing.iter().filter(|(unit, _)| unit.service == service.service).collect();
            if is.iter().map(|(unit, _)| (*unit).clone()).ne(wanted.iter().cloned()) {
                broken.push(format!("{} stands as {is:?}, wanted {wanted:?}", service.service));
            }
            if is.iter().any(|(_, weight)| **weight == 0) {
                broken.push(format!("{}: a unit stands without traffic: {is:?}", service.service));
            }
            for target in &service.targets {
                let entry = world.ledgers.get(target).and_then(|ledger| ledger.get(&service.service));
                if entry != Some(&side.as_ref().map(|side| side.bundle)) {
                    broken.push(format!("{}: the ledger of {target} says {entry:?}", service.service));
                }
            }
        }
        broken
    }
}
