//! A moment of a rollout that is made by hand, where the simulated fleet never comes to it, or not to the millisecond.

use super::*;
use crate::{
    check::{Answer, Health},
    model::{Action, Exit, IntentId, Traffic, UnitFacts, UnitPhase},
    port::EffectError,
    state::Effect,
};

/// When it is.
pub(super) const NOW: Millis = 1_000_000;

/// A rollout at one moment: what it remembers, and what is seen.
pub(super) struct Moment {
    pub(super) plan: Plan,
    pub(super) state: State,
    pub(super) seen: Observation,
}

impl Moment {
    /// On the way forward, with nothing that stands.
    pub(super) fn forward(shape: &Shape) -> Self {
        let plan = plan_of(shape);
        let state = State { phase: Phase::Forward, begun: true, ..State::new(&plan, NOW) };
        Self { plan, state, seen: Observation { now: NOW, ..Observation::default() } }
    }

    /// Lets a unit of the only service stand, and be well for a while: in traffic if it serves.
    pub(super) fn with(mut self, word: &str, target: &str, slot: u16, step: Step) -> Self {
        let unit = unit(word, target, slot);
        let track = Track { step, since: NOW - 5_000, attempts: 0, not_before: 0, given_up: false };
        let service = self.state.services.get_mut(&unit.service).expect("it is planned");
        service.units.insert(unit.clone(), track);
        let facts = UnitFacts {
            unit: unit.clone(),
            phase: UnitPhase::Running,
            address: None,
            other_ports: Vec::new(),
            handle: String::new(),
            release: word.to_owned(),
            weight: if step == Step::Serving { 100 } else { 0 },
            in_flight: 0,
            traffic: Traffic::default(),
            started_at: NOW - 5_000,
        };
        let health = [3_000, 2_000, 1_000, 0]
            .into_iter()
            .fold(Health::default(), |health, ago| health.with(NOW - ago, Answer::Pass));
        self.seen.units.insert(unit, (facts, health));
        self
    }

    /// Three units on the only target, which serve.
    pub(super) fn with_three(self, word: &str) -> Self {
        (0..3).fold(self, |moment, slot| moment.with(word, "local", slot, Step::Serving))
    }

    /// A unit is no longer reported.
    pub(super) fn vanishes(&mut self, unit: &UnitId) {
        assert!(self.seen.units.remove(unit).is_some());
    }

    /// A unit's process has ended by a signal.
    pub(super) fn is_killed(&mut self, unit: &UnitId) {
        let (facts, _) = self.seen.units.get_mut(unit).expect("it stands");
        facts.phase = UnitPhase::Exited(Exit { code: None, signal: Some(9), out_of_memory: false, at: NOW });
    }

    /// Decides, and goes on from that: so much later, when units have answered once more.
    pub(super) fn decide(&mut self, after: Millis) -> Decision {
        let decision = decide(&self.plan, &self.state, &self.seen);
        self.state = decision.next.clone();
        self.seen.effects.clear();
        self.seen.now += after;
        for (_, health) in self.seen.units.values_mut() {
            *health = std::mem::take(health).with(self.seen.now, Answer::Pass);
        }
        decision
    }

    /// What the only intent under way came to is heard of.
    pub(super) fn hears(&mut self, result: Result<Effect, EffectError>) {
        let ids: Vec<IntentId> = self.state.flights.keys().copied().collect();
        let [id] = ids[..] else { panic!("not one under way: {:?}", self.state.flights) };
        self.seen.effects.push((id, result));
    }

    pub(super) fn step(&self, unit: &UnitId) -> Step {
        self.state.services[&unit.service].units[unit].step
    }
}

pub(super) fn unit(word: &str, target: &str, slot: u16) -> UnitId {
    let (service, target) = ("api".parse().expect("a name"), target.parse().expect("a name"));
    UnitId { service, target, slot, bundle: bundle(word) }
}

/// What is asked for, in words.
pub(super) fn asked(decision: &Decision) -> Vec<String> {
    let words = |action: &Action| match action.unit() {
        Some(unit) => format!("{} {}/{} {}", action.verb(), unit.target, unit.slot, bundle_word(unit)),
        None => action.verb().to_owned(),
    };
    decision.intents.iter().map(|intent| words(&intent.action)).collect()
}

pub(super) fn cause(reason: ReasonCode) -> Failure {
    Failure { reason, unit: None, service: None, message: String::new(), at: NOW }
}
