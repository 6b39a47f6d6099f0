//! The last part of a decision: what is to be done now is numbered and handed out; the rest is told as waiting.

use super::{Subject, Turn, Waiting, converge::Way, fleet::Fleet};
use crate::{
    model::{Action, Intent, IntentId, UnitId},
    plan::ServicePlan,
    state::{Flight, Phase, Step, Track},
    strategy::Allowed,
    verdict::{self, Verdict, seconds},
};
use std::borrow::Cow;

/// The weight of a unit that takes its full share. A hundred, so that a share can be given in per cent.
const FULL_WEIGHT: u16 = 100;

impl Turn<'_> {
    pub(super) fn launch(&mut self) {
        if self.state.interrupted || self.leave.is_some() || self.state.outcome().is_some() {
            return;
        }
        let mut due = Vec::new();
        for service in &self.plan.services {
            let Some(state) = self.state.services.get(&service.service) else { continue };
            let weights = self.weights(service);
            let idle = state.units.iter().filter(|(unit, _)| !self.busy.contains(*unit));
            let ready = idle.filter(|(_, track)| track.not_before <= self.seen.now);
            due.extend(ready.filter_map(|(unit, track)| {
                let weight = weights.get(self.plan.wave_of(&unit.target)).copied().unwrap_or(FULL_WEIGHT);
                self.action_for(service, unit, track, weight)
            }));
        }
        for action in due {
            self.ask_for(action);
        }
        let errands: Vec<Action> = self
            .state
            .errands
            .iter()
            .filter(|errand| {
                !errand.done && errand.not_before <= self.seen.now && self.is_current(&errand.action)
            })
            .map(|errand| errand.action.clone())
            .collect();
        for action in errands {
            if !self.state.flights.values().any(|flight| flight.intent.action == action) {
                self.ask_for(action);
            }
        }
    }

    fn ask_for(&mut self, action: Action) {
        let id = IntentId(self.state.next_intent);
        self.state.next_intent += 1;
        let intent = Intent { id, action };
        self.state.flights.insert(id, Flight { intent: intent.clone(), since: self.seen.now });
        self.intents.push(intent);
    }

    fn action_for(&self, service: &ServicePlan, unit: &UnitId, track: &Track, weight: u16) -> Option<Action> {
        let unit = unit.clone();
        let moves_units = matches!(self.state.phase, Phase::Forward | Phase::Back { .. });
        let out_of_sight = self.seen.unreachable.contains(&unit.target);
        match track.step {
            // What the rollout has not reached yet may have come round, out of sight.
            _ if out_of_sight && self.is_ahead(&unit) => None,
            Step::Draining if self.is_ahead(&unit) && !self.is_known(&unit) => None,
            Step::Draining if moves_units || matches!(self.state.phase, Phase::Collecting { .. }) => {
                self.drain_keeps_bound(&unit).then_some(Action::Drain { unit, deadline: service.drain })
            }
            _ if !moves_units => None,
            // Begun for the other way: it is taken away when its service's turn comes, and brought no further.
            Step::Starting | Step::Judging | Step::Admitting if !self.is_goal(&unit) => None,
            // Out of sight there is no evidence, and the request might arrive when it is back.
            Step::Admitting if out_of_sight || !self.may_be_admitted(service, &unit) => None,
            Step::Starting => Some(Action::Start { unit }),
            Step::Judging => Some(Action::Judge { unit }),
            Step::Admitting => Some(Action::Admit { unit, weight }),
            Step::Serving if self.is_goal(&unit) && self.is_to_be_weighed(service, &unit, weight) => {
                Some(Action::Admit { unit, weight })
            }
            Step::Stopping => Some(Action::Stop { unit, grace: service.stop_grace }),
            Step::Waiting
            | Step::Ready
            | Step::Serving
            | Step::Draining
            | Step::Drained
            | Step::Gone
            | Step::Broken(_) => None,
        }
    }

    /// The weight that each unit of the goal is to have at this moment, wave by wave; beyond them it is the full one.
    fn weights(&self, service: &ServicePlan) -> Vec<u16> {
        if self.is_back() {
            return Vec::new();
        }
        let current = self.state.wave.index;
        let weight = |index: usize| {
            let scoped = self.plan.in_wave(service, index);
            let fleet = self.fleet(&scoped, scoped.to.as_ref());
            let way = if index == current { Way::Forward } else { Way::Upheld };
            self.weight(&fleet, scoped.strategy.allowed(self.counts(&scoped, &fleet, way)))
        };
        (0..=current).map(weight).collect()
    }

    /// The weight of each unit of the goal: its part of the share that the strategy gives the new side, or the same as
    /// every other unit.
    pub(super) fn weight(&self, fleet: &Fleet, allowed: Allowed) -> u16 {
        let Some(share) = allowed.share else { return FULL_WEIGHT };
        let others = fleet.others.iter().filter(|other| self.step_of(other) == Step::Serving).count() as u32;
        let share = share.clamp(1, 99);
        let weight = u32::from(FULL_WEIGHT) * others * share / ((100 - share) * allowed.begun.max(1));
        weight.clamp(1, u32::from(u16::MAX)) as u16
    }

    /// Whether the router gives a unit this weight; one out of traffic has none to have.
    pub(super) fn has_weight(&self, unit: &UnitId, weight: u16) -> bool {
        let is = self.facts(unit).map_or(0, |facts| facts.weight);
        is == 0 || is == weight
    }

    /// Whether a unit that is to get traffic still answers as well as when that was decided: its service may be waiting for
    /// another one, and its executor may have taken over.
    fn may_be_admitted(&self, service: &ServicePlan, unit: &UnitId) -> bool {
        let (Some((facts, health)), Some(check)) = (self.seen.units.get(unit), service.check_of(unit)) else {
            return false;
        };
        verdict::starting(check, facts, health, self.seen.now, self.seen.now) == Verdict::Pass
    }

    /// Whether a unit in traffic is given another weight now. More of it needs evidence that it still answers; an executor
    /// that has just taken over has none yet.
    fn is_to_be_weighed(&self, service: &ServicePlan, unit: &UnitId, weight: u16) -> bool {
        let is = self.facts(unit).map_or(0, |facts| facts.weight);
        !self.has_weight(unit, weight) && (weight < is || self.answers_well(service, unit))
    }

    /// Whether a unit may still be drained: what was allowed when it was decided may no longer be when it is asked for
    /// again, after a failed attempt or by another executor.
    fn drain_keeps_bound(&self, unit: &UnitId) -> bool {
        let Some(service) = self.service(&unit.service) else { return false };
        let goal = if self.is_back() { &service.from } else { &service.to };
        // On the way back the bounds are those of the whole service.
        let scoped = match self.state.phase {
            Phase::Forward => self.plan.in_wave(service, self.plan.wave_of(&unit.target)),
            _ => Cow::Borrowed(service),
        };
        // While evidence is collected only what is broken goes: what was to make room may be wanted again.
        let may_make_room = !matches!(self.state.phase, Phase::Collecting { .. });
        (self.is_known(unit) && !self.is_available(service, unit))
            || self.track(unit).is_some_and(|track| track.given_up)
            || (may_make_room && self.fleet(&scoped, goal.as_ref()).keeps(self.bound(&scoped)))
    }

    /// What is waited for, for people.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for (name, service) in &self.state.services {
            for (unit, track) in &service.units {
                if let Some((for_what, until)) = self.waits_for(unit, track) {
                    waiting.push(Waiting { subject: Subject::Unit(unit.clone()), for_what, until });
                }
            }
            if let (Some(since), Some(plan), false) = (service.baking_since, self.service(name), service.done)
            {
                let until = since + plan.bake;
                if until > self.seen.now {
                    let for_what = format!("the bake, {} more", seconds(until - self.seen.now));
                    waiting.push(Waiting {
                        subject: Subject::Service(name.clone()),
                        for_what,
                        until: Some(until),
                    });
                }
            }
        }
        for flight in self.state.flights.values() {
            if flight.intent.action.unit().is_none() {
                let for_what = flight.intent.action.verb().to_owned();
                waiting.push(Waiting { subject: Subject::Rollout, for_what, until: None });
            }
        }
        waiting
    }

    fn waits_for(&self, unit: &UnitId, track: &Track) -> Option<(String, Option<u64>)> {
        let service = self.service(&unit.service)?;
        match track.step {
            Step::Waiting => {
                let (facts, health) = self.seen.units.get(unit)?;
                let check = service.check_of(unit)?;
                let deadline = track.since + check.healthy_deadline;
                match verdict::starting(check, facts, health, track.since, self.seen.now) {
                    Verdict::Pending(what) => Some((format!("healthy: {what}"), Some(deadline))),
                    _ => None,
                }
            }
            Step::Draining => {
                let in_flight = self.facts(unit).map_or(0, |facts| facts.in_flight);
                Some((format!("drained: {in_flight} in flight"), Some(track.since + service.drain)))
            }
            Step::Stopping => Some(("stopped".to_owned(), Some(track.since + service.stop_grace))),
            Step::Starting => Some(("started".to_owned(), None)),
            Step::Judging => Some(("the synthetic requests".to_owned(), None)),
            Step::Ready => Some(("the other units to be healthy too".to_owned(), None)),
            Step::Admitting => Some(("admitted to traffic".to_owned(), None)),
            Step::Serving | Step::Drained | Step::Gone | Step::Broken(_) => None,
        }
    }
}
