//! The end of a case: whether the outcome fits what was done, what stands and what is recorded.

use super::{
    Breach, Law, Moment,
    judge::{Judge, stands},
};
use crate::{
    model::UnitId,
    plan::{ServicePlan, Side},
    reason::ReasonCode,
    state::Outcome,
};
use std::collections::{BTreeMap, BTreeSet};

impl Judge<'_> {
    /// What was broken up to now in a rollout that was left open, first to last: it may still come to its end.
    pub fn adjourn(self) -> Vec<Breach> {
        self.breaches
    }

    /// Ends the case: what was broken, first to last.
    pub fn finish(mut self) -> Vec<Breach> {
        let took = self.now.at.saturating_sub(self.began.unwrap_or(self.now.at));
        if took > self.limit {
            let text = format!("it took {took} ms, at most {} ms", self.limit);
            self.broken(Law::Deadlines, "rollout", text);
        }
        match self.outcome.clone() {
            None => self.broken(Law::Ends, "rollout", "it never ended"),
            Some(Outcome::Succeeded) => self.stands(false),
            Some(Outcome::RolledBack { .. }) => self.stands(true),
            Some(Outcome::Refused { .. }) => {
                if self.touched {
                    self.broken(Law::Agreement, "rollout", "refused, and yet units were acted on");
                }
                self.stands(true);
            }
            Some(Outcome::Held { cause, .. }) => {
                self.ledgers_are_of_the_plan();
                if cause.reason == ReasonCode::OnlyHealthyCopy {
                    self.something_serves();
                }
            }
            Some(Outcome::RollbackFailed { .. }) => self.ledgers_are_of_the_plan(),
        }
        self.breaches
    }

    /// Laws 2, 10 and 11: what the outcome says stands, stands and is recorded, and nothing else.
    fn stands(&mut self, back: bool) {
        let Some((moment, _)) = self.settled.take().filter(|(_, settled_back)| *settled_back == back) else {
            return self.broken(Law::Agreement, "rollout", "it ended without having settled what stands");
        };
        let law = if back { Law::SameBundle } else { Law::EmptyPlan };
        for service in &self.plan.services {
            let side = if back { &service.from } else { &service.to };
            self.units_are(law, &moment, service, side.as_ref());
            for target in &service.targets {
                let entry = self.now.ledgers.get(target).and_then(|ledger| ledger.get(&service.service));
                let stands = side.as_ref().filter(|side| side.stands_on(target));
                if entry != Some(&stands.map(|side| side.bundle)) {
                    let text = format!("the ledger of {target} says {entry:?}");
                    self.broken(Law::Agreement, &service.service, text);
                }
            }
        }
    }

    fn units_are(&mut self, law: Law, moment: &Moment, service: &ServicePlan, side: Option<&Side>) {
        let seen = |unit: &UnitId| !moment.unreachable.contains(&unit.target);
        let wanted: BTreeSet<UnitId> = service.units_of(side).into_iter().filter(seen).collect();
        let standing: BTreeMap<&UnitId, u16> = moment
            .units
            .iter()
            .filter(|(unit, now)| unit.service == service.service && stands(now) && seen(unit))
            .map(|(unit, now)| (unit, now.weight))
            .collect();
        if standing.keys().copied().ne(wanted.iter()) {
            let text = format!("stands as {:?}, wanted {wanted:?}", standing.keys());
            self.broken(law, &service.service, text);
        } else if standing.values().any(|weight| *weight == 0) {
            self.broken(law, &service.service, format!("a unit is out of traffic: {standing:?}"));
        }
    }

    /// Law 11: whatever is held or half back, the ledgers name nothing that the plan does not know.
    fn ledgers_are_of_the_plan(&mut self) {
        for service in &self.plan.services {
            for target in &service.targets {
                let sides = [&service.from, &service.to]
                    .map(|side| side.as_ref().filter(|side| side.stands_on(target)).map(|side| side.bundle));
                let entry = self.now.ledgers.get(target).and_then(|ledger| ledger.get(&service.service));
                if entry.is_some_and(|entry| !sides.contains(entry)) {
                    let text = format!("the ledger of {target} says {entry:?}");
                    self.broken(Law::Agreement, &service.service, text);
                }
            }
        }
    }

    /// Law 3: what was kept because nothing else is healthy serves.
    fn something_serves(&mut self) {
        for service in self.plan.services.iter().filter(|service| service.from.is_some()) {
            let mine = self.finished.units.iter().filter(|(unit, _)| unit.service == service.service);
            let unreachable = !self.finished.unreachable.is_empty();
            if !unreachable && !mine.into_iter().any(|(_, now)| stands(now) && now.weight > 0) {
                self.broken(
                    Law::NeverTwice,
                    &service.service,
                    "held for its only healthy copy, and nothing serves",
                );
            }
        }
    }
}
