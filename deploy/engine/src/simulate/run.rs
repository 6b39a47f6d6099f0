//! The simulated rollout itself: the engine's own `decide` on a simulated fleet, turn by turn. It is the loop of
//! [`crate::world::simulate`] with two differences: faults may begin while it runs, and no decision is kept, so that a
//! rollout of hours needs no more memory than one of seconds.

use super::{
    Availability, Blast, Broken, Detection, Fault, Finish, LIMIT, Mark, Mishap, Report, Scenario, Simulated,
    onset::Onsets, random::SplitMix64, timeline::Timeline,
};
use crate::{
    bundle::BundleHash,
    decide::{Decision, End, Reason, decide},
    law::{Happened, Judge, of_decision},
    model::{Millis, UnitId},
    plan::{Plan, ServicePlan, Side},
    state::{Command, Failure, Outcome, Phase, State, Step},
    world::{Behaviour, Rule, World},
};
use pipeline::name::Name;
use std::collections::{BTreeMap, BTreeSet};

/// The moment at which a simulated rollout begins: not 0, so that what happened before has a moment too.
const BEGINNING: Millis = 1_000_000;

/// Milliseconds from one turn to the next.
const TICK: Millis = 100;

/// A simulated rollout under way.
pub(super) struct Run<'a> {
    plan: &'a Plan,
    world: World,
    state: State,
    commands: Vec<(Millis, Command)>,
    /// Faults that wait for their batch.
    waiting: Vec<&'a Fault>,
    /// Faults that came to pass with their batch.
    begun: Vec<&'a Fault>,
    /// The batch of each service that has begun in the current wave, from 1.
    batches: BTreeMap<Name, usize>,
    /// The current wave, from 0, and the rules that hold in it alone.
    wave: (usize, Vec<Rule>),
    /// Units in traffic at the turn before, with their weight.
    in_traffic: BTreeMap<UnitId, u16>,
    services: Vec<Availability>,
    served: BTreeSet<Name>,
    onsets: Onsets,
    detection: Option<Detection>,
    timeline: Timeline,
    judge: Judge<'a>,
}

impl<'a> Run<'a> {
    /// A rollout that has not begun, on a fleet on which the plan's previous bundles stand and are healthy.
    pub(super) fn new(plan: &'a Plan, scenario: &'a Scenario) -> Self {
        let mut world = World::new(BEGINNING).with_previous(plan);
        world.effect_takes = scenario.effects_take;
        world.requests_per_second = scenario.traffic;
        // Only now: what stands was started before, and under no fault.
        world.rules = rules(plan, scenario);
        let mut timeline = Timeline::new(several_targets(plan));
        timeline.tell(0, "begins", String::new(), Mark::Step);
        let mut commands = scenario.commands.clone();
        commands.sort_by_key(|(at, _)| *at);
        let waits = |fault: &&Fault| {
            matches!(fault.mishap, Mishap::Exits { batch: Some(_) } | Mishap::ExitsInWave { .. })
        };
        Self {
            plan,
            state: State::new(plan, BEGINNING),
            commands,
            waiting: scenario.faults.iter().filter(waits).collect(),
            begun: Vec::new(),
            batches: BTreeMap::new(),
            wave: (0, Vec::new()),
            in_traffic: world.standing(),
            services: plan.services.iter().map(availability).collect(),
            served: BTreeSet::new(),
            onsets: Onsets::default(),
            detection: None,
            timeline,
            judge: Judge::new(plan, LIMIT),
            world,
        }
    }

    /// The same rollout before another judge, to show that this one would see what it is there for.
    #[cfg(test)]
    pub(super) fn judged_by(self, judge: Judge<'a>) -> Self {
        Self { judge, ..self }
    }

    /// Carries it out.
    pub(super) fn carry_out(mut self) -> Simulated {
        let mut fresh = true;
        let mut end = None;
        while end.is_none() && self.now() < LIMIT {
            let mut seen = self.world.observe(self.plan, TICK);
            seen.fresh = std::mem::take(&mut fresh);
            seen.commands = self.due_commands();
            self.measure();
            let in_traffic = self.world.standing();
            self.show_judge();
            let decision = decide(self.plan, &self.state, &seen);
            for happened in of_decision(self.world.generation(), &self.state, &seen, &decision) {
                self.judge.hear(happened);
            }
            self.take_over(&decision);
            for intent in &decision.intents {
                self.world.perform(intent);
            }
            self.in_traffic = in_traffic;
            end = decision.leave.map(End::Left);
            self.state = decision.next;
            end = end.or_else(|| self.state.outcome().cloned().map(End::Finished));
        }
        self.finish(end)
    }

    /// Shows the judge of the laws what stands at this moment.
    fn show_judge(&mut self) {
        for (generation, action) in self.world.take_what_took_hold() {
            self.judge.hear(Happened::TookHold { generation, action });
        }
        self.judge.see(self.world.moment());
    }

    fn now(&self) -> Millis {
        self.world.now - BEGINNING
    }

    fn due_commands(&mut self) -> Vec<Command> {
        let now = self.now();
        let due = self.commands.partition_point(|(at, _)| *at <= now);
        self.commands.drain(..due).map(|(_, command)| command).collect()
    }

    /// Counts what users meet at this moment.
    fn measure(&mut self) {
        let now = self.now();
        let forward = !self.state.is_back();
        for (service, plan) in self.services.iter_mut().zip(&self.plan.services) {
            let side = plan.to.as_ref().or(plan.from.as_ref());
            let failures = side.map_or(1, |side| side.check.unhealthy_failures);
            let available = self.world.available(failures);
            let available = available.iter().filter(|unit| unit.service == service.service).count() as u32;
            if available > 0 {
                self.served.insert(service.service.clone());
            } else if service.before > 0 || forward && self.served.contains(&service.service) {
                service.outage += TICK;
            }
            if available < service.lowest {
                (service.lowest, service.lowest_at) = (available, now);
            }
        }
    }

    /// Takes over what was decided, before any of it is performed.
    fn take_over(&mut self, decision: &Decision) {
        let now = self.now();
        self.timeline.add(now, decision);
        for reason in &decision.because {
            match reason {
                Reason::WaveBegan { wave, .. } => self.wave_began(*wave),
                Reason::BatchBegan { service, batch, .. } => self.batch_began(service, *batch),
                Reason::Stepped { unit, to, .. } => self.stepped(unit, *to, &decision.next),
                Reason::Failed(failure) => self.detect(failure),
                _ => {}
            }
        }
    }

    fn stepped(&mut self, unit: &UnitId, to: Step, next: &State) {
        self.onsets.stepped(unit, to, self.now());
        let forward = matches!(next.phase, Phase::Forward);
        if to != Step::Starting || !forward || !self.is_new(unit) {
            return;
        }
        // The engine tells of a batch from the second on; the first begins with its first unit.
        if !self.batches.contains_key(&unit.service) {
            self.batch_began(&unit.service, 1);
        }
        let current = self.batches[&unit.service];
        let concerns = |fault: &&Fault| {
            let Mishap::Exits { batch: Some(batch) } = fault.mishap else { return false };
            fault.service == unit.service && fault.slot.is_none() && batch == current
        };
        if let Some(fault) = self.waiting.iter().copied().find(concerns) {
            self.begun.push(fault);
            self.world.rules.insert(0, exits_at_first_start(unit.bundle, unit.slot));
        }
    }

    /// What was to go wrong in the wave before does so no more.
    fn wave_began(&mut self, number: usize) {
        self.batches.clear();
        let over = std::mem::take(&mut self.wave.1);
        self.world.rules.retain(|rule| !over.contains(rule));
        self.wave.0 = number - 1;
        for fault in self.waiting.clone() {
            let Some(side) = new_side(self.plan, &fault.service) else { continue };
            if fault.mishap != (Mishap::ExitsInWave { wave: number }) {
                continue;
            }
            self.begun.push(fault);
            let slots = fault.slot.map_or(0..side.replicas, |slot| slot..slot + 1);
            self.wave.1.extend(slots.map(|slot| exits_at_first_start(side.bundle, slot)));
        }
        self.world.rules.splice(0..0, self.wave.1.iter().cloned());
    }

    fn batch_began(&mut self, service: &Name, batch: usize) {
        self.batches.insert(service.clone(), batch);
        let now = self.now();
        for fault in self.waiting.clone() {
            let (Mishap::Exits { batch: Some(wanted) }, Some(slot)) = (fault.mishap, fault.slot) else {
                continue;
            };
            let Some(side) = new_side(self.plan, &fault.service) else { continue };
            if fault.service != *service || wanted != batch {
                continue;
            }
            self.begun.push(fault);
            let standing = self.world.standing();
            let concerned = |unit: &&UnitId| {
                unit.service == *service
                    && unit.slot == slot
                    && unit.bundle == side.bundle
                    && self.plan.wave_of(&unit.target) == self.wave.0
            };
            let mut running = standing.keys().filter(concerned).peekable();
            if running.peek().is_none() {
                self.world.rules.insert(0, exits_at_first_start(side.bundle, slot));
            }
            for unit in running {
                self.onsets.ended(unit, now);
                self.world.exit(unit);
            }
        }
    }

    fn detect(&mut self, failure: &Failure) {
        if self.detection.is_some() {
            return;
        }
        let at = self.now();
        let since = failure.unit.as_ref().and_then(|unit| self.onsets.of(unit, &self.world.rules));
        self.detection = Some(Detection {
            at,
            unit: failure.unit.clone(),
            reason: failure.reason,
            took: since.map(|since| at.saturating_sub(since)),
            blast: self.blast(),
        });
    }

    /// How much the new bundles held of the traffic up to this turn: what has failed just now still counts.
    fn blast(&self) -> Blast {
        let serving = || self.in_traffic.iter().filter(|(_, weight)| **weight > 0);
        let new = || serving().filter(|(unit, _)| self.is_new(unit));
        let weight_of = |weight: &u16| u64::from(*weight);
        let all: u64 = serving().map(|(_, weight)| weight_of(weight)).sum();
        let held: u64 = new().map(|(_, weight)| weight_of(weight)).sum();
        Blast {
            units: new().count() as u32,
            of: serving().count() as u32,
            percent: (held * 100).div_ceil(all.max(1)) as u32,
        }
    }

    fn is_new(&self, unit: &UnitId) -> bool {
        self.plan.service(&unit.service).is_some_and(|service| {
            let is = |side: &Option<Side>| side.as_ref().is_some_and(|side| side.bundle == unit.bundle);
            is(&service.to) && !is(&service.from)
        })
    }

    fn finish(mut self, end: Option<End>) -> Simulated {
        let took = self.now();
        let outcome = finish_of(end.as_ref());
        let why = outcome.reason.map(|reason| reason.to_string()).unwrap_or_default();
        let mark = if outcome.word == SUCCEEDED { Mark::Good } else { Mark::Bad };
        self.timeline.tell(took, &outcome.word, why, mark);
        let back_after = match &end {
            Some(End::Finished(Outcome::RolledBack { cause })) => {
                Some(self.world.now.saturating_sub(cause.at))
            }
            _ => None,
        };
        let unmet = self.waiting.iter().filter(|fault| !self.begun.contains(fault));
        let unmet = unmet.map(|fault| unmet_words(fault)).collect();
        self.show_judge();
        for violation in std::mem::take(&mut self.world.violations) {
            self.judge.nonsense(violation);
        }
        let Self { services, detection, timeline, judge, .. } = self;
        let timeline = timeline.finish();
        // What was left open is not over: it may be resumed.
        let breaches = if matches!(end, Some(End::Left(_))) { judge.adjourn() } else { judge.finish() };
        let breaches = breaches.iter().map(|breach| Broken::of(breach, BEGINNING)).collect();
        let report = Report { outcome, took, services, detection, back_after, unmet, breaches, timeline };
        Simulated { end, report }
    }
}

/// How the units of a plan behave: what was asked for first, then a good start. The world takes the first that fits.
fn rules(plan: &Plan, scenario: &Scenario) -> Vec<Rule> {
    let mut rules = Vec::new();
    for fault in &scenario.faults {
        let Some(service) = plan.service(&fault.service) else { continue };
        let side = if fault.previous { &service.from } else { &service.to };
        let Some(side) = side else { continue };
        let (starts_below, behaviour) = match fault.mishap {
            Mishap::Behaves(behaviour) => (None, behaviour),
            Mishap::Exits { batch: None } => (Some(first_start(fault.previous)), Behaviour::ExitsAfter(0)),
            Mishap::Exits { batch: Some(_) } | Mishap::ExitsInWave { .. } => continue,
        };
        rules.push(Rule { bundle: Some(side.bundle), slot: fault.slot, starts_below, behaviour });
    }
    let mut sequence = scenario.seed.map(SplitMix64::new);
    for service in &plan.services {
        for side in [&service.to, &service.from].into_iter().flatten() {
            for slot in 0..side.replicas {
                let ready = |sequence: &mut SplitMix64| sequence.around(scenario.ready_after);
                let ready_after = sequence.as_mut().map_or(scenario.ready_after, ready);
                let behaviour = Behaviour::Good(ready_after);
                rules.push(Rule {
                    bundle: Some(side.bundle),
                    slot: Some(slot),
                    starts_below: None,
                    behaviour,
                });
            }
        }
    }
    rules
}

/// So many starts a unit may have had for the next to be its first in the rollout: what stands was started once.
fn first_start(previous: bool) -> u32 {
    if previous { 2 } else { 1 }
}

fn exits_at_first_start(bundle: BundleHash, slot: u16) -> Rule {
    Rule {
        bundle: Some(bundle),
        slot: Some(slot),
        starts_below: Some(first_start(false)),
        behaviour: Behaviour::ExitsAfter(0),
    }
}

/// Whether units must be told apart by their target, too.
fn several_targets(plan: &Plan) -> bool {
    let targets: BTreeSet<&Name> = plan.services.iter().flat_map(|service| &service.targets).collect();
    targets.len() > 1
}

fn new_side<'p>(plan: &'p Plan, service: &Name) -> Option<&'p Side> {
    plan.service(service)?.to.as_ref()
}

fn availability(service: &ServicePlan) -> Availability {
    let before = service.count_of(service.from.as_ref());
    Availability {
        service: service.service.clone(),
        before,
        wanted: service.count_of(service.to.as_ref()),
        promised: service.available_min(),
        lowest: before,
        lowest_at: 0,
        outage: 0,
    }
}

const SUCCEEDED: &str = "succeeded";

fn finish_of(end: Option<&End>) -> Finish {
    let of = |word: &str, cause: &Failure, message: String| Finish {
        word: word.to_owned(),
        reason: Some(cause.reason),
        unit: cause.unit.clone(),
        message,
    };
    let bare = |word: &str, message: &str| Finish {
        word: word.to_owned(),
        reason: None,
        unit: None,
        message: message.to_owned(),
    };
    match end {
        Some(End::Finished(Outcome::Succeeded)) => bare(SUCCEEDED, ""),
        Some(End::Finished(Outcome::RolledBack { cause })) => of("rolled back", cause, cause.message.clone()),
        Some(End::Finished(Outcome::Refused { cause })) => of("refused", cause, cause.message.clone()),
        Some(End::Finished(Outcome::Held { cause, .. })) => of("held", cause, cause.message.clone()),
        Some(End::Finished(Outcome::RollbackFailed { cause, failure })) => {
            let message = format!("{}; then {}: {}", cause.message, failure.reason, failure.message);
            of("rollback failed", cause, message)
        }
        Some(End::Left(_)) => bare("left", "the rollout is open and can be resumed"),
        None => bare("not ended", "a day has passed and the rollout has not ended"),
    }
}

fn unmet_words(fault: &Fault) -> String {
    let slot = fault.slot.map(|slot| format!("/{slot}")).unwrap_or_default();
    let when = match fault.mishap {
        Mishap::Exits { batch: Some(batch) } => format!("batch {batch}"),
        Mishap::ExitsInWave { wave } => format!("wave {wave}"),
        _ => "batch 1".to_owned(),
    };
    format!("{}{slot} was to fail in {when}, which never began", fault.service)
}
