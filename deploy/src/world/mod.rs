//! World: a strict in-memory fleet with a virtual clock and scripted faults. What the engine's tests run on, and what a
//! simulated rollout happens in. It obeys the laws of [`crate::port::Target`] and tells when it was asked for nonsense.

mod unit;
mod witness;

use crate::{
    bundle::BundleHash,
    check::{Answer, Health},
    decide::{Decision, decide},
    model::{Action, HookMoment, Intent, IntentId, Millis, UnitFacts, UnitId},
    plan::Plan,
    port::{EffectError, GateResult},
    reason::ReasonCode,
    state::{Command, Effect, Observation, State},
};
use pipeline::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use unit::WorldUnit;

/// How a simulated unit behaves after it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers well from so many milliseconds after its start.
    Good(Millis),
    /// Exits so many milliseconds after its start; answers well until then.
    ExitsAfter(Millis),
    /// Ends at its memory limit so many milliseconds after its start.
    OutOfMemoryAfter(Millis),
    /// Answers 503.
    NeverReady,
    /// Accepts, and never answers.
    Hangs,
    /// Changes between well and 503 every so many milliseconds.
    Flaps(Millis),
    /// Says that it is another release.
    WrongRelease,
    /// Listens on another port.
    WrongPort,
    /// Answers its probes well, but fails this share of requests, in per cent.
    FailsRequests(u64),
    /// Cannot be probed: the probe itself is broken.
    Unprobeable,
}

/// What goes wrong with an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectFault {
    /// It fails before it takes hold, in a way that may pass.
    FailsBefore,
    /// It takes hold, but the answer says that it failed.
    FailsAfter,
    /// It fails for good.
    FailsForGood,
}

/// A rule of a script: the first that fits says how a unit behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which bundle; `None`: any.
    pub bundle: Option<BundleHash>,
    /// Which slot; `None`: any.
    pub slot: Option<u16>,
    /// How often it must have been started before, at most; `None`: any number.
    pub starts_below: Option<u32>,
    /// What it does.
    pub behaviour: Behaviour,
}

/// A target that cannot be reached for a while: nothing is seen of it, nothing takes hold there, and nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which target.
    pub target: Name,
    /// From this moment …
    pub from: Millis,
    /// … until before this one.
    pub until: Millis,
}

#[derive(Debug, Clone)]
struct Pending {
    at: Millis,
    generation: u64,
    intent: Intent,
    fault: Option<EffectFault>,
}

/// A simulated fleet.
#[derive(Debug, Clone)]
pub struct World {
    /// The moment.
    pub now: Millis,
    /// How long each effect takes, in milliseconds.
    pub effect_takes: Millis,
    /// Requests that each unit in traffic gets in a second.
    pub requests_per_second: u64,
    /// How units behave: the first rule that fits; without one they are good after 100 ms.
    pub rules: Vec<Rule>,
    /// Effects that go wrong: number of the effect, counted from 0 over the whole life of the world → how.
    pub effect_faults: BTreeMap<u64, EffectFault>,
    /// Targets that cannot be reached for a while.
    pub outages: Vec<Outage>,
    /// Whether the final gates pass.
    pub verify_passes: bool,
    /// Hooks that fail, by the moment at which they are run.
    pub failing_hooks: BTreeSet<HookMoment>,
    /// Whether migrations fail.
    pub migrations_fail: bool,
    /// Migrations that were run to a good end: target and service.
    pub migrated: Vec<(Name, Name)>,
    /// What each target's ledger says: target → service → bundle.
    pub ledgers: BTreeMap<Name, BTreeMap<Name, Option<BundleHash>>>,
    /// Nonsense that was asked for.
    pub violations: Vec<String>,
    /// Whether the evidence was asked for.
    pub collected: bool,
    units: BTreeMap<UnitId, WorldUnit>,
    prepared: BTreeSet<(Name, BundleHash)>,
    starts: BTreeMap<UnitId, u32>,
    pending: Vec<Pending>,
    effects: u64,
    generation: u64,
    landed: Vec<(u64, IntentId, Result<Effect, EffectError>)>,
    took_hold: Vec<(u64, Action)>,
    last_seen: BTreeMap<UnitId, (UnitFacts, Health)>,
}

/// Milliseconds from one observation to the next in a simulated rollout.
const TICK: Millis = 100;

/// Milliseconds that a simulated unit takes to end after it was told to.
const STOPS_IN: Millis = 50;

impl World {
    /// A world at this moment in which nothing stands.
    pub fn new(now: Millis) -> Self {
        Self {
            now,
            effect_takes: 150,
            requests_per_second: 0,
            rules: Vec::new(),
            effect_faults: BTreeMap::new(),
            outages: Vec::new(),
            verify_passes: true,
            failing_hooks: BTreeSet::new(),
            migrations_fail: false,
            migrated: Vec::new(),
            ledgers: BTreeMap::new(),
            violations: Vec::new(),
            collected: false,
            units: BTreeMap::new(),
            prepared: BTreeSet::new(),
            starts: BTreeMap::new(),
            pending: Vec::new(),
            effects: 0,
            generation: 1,
            landed: Vec::new(),
            took_hold: Vec::new(),
            last_seen: BTreeMap::new(),
        }
    }

    /// Lets the previous bundles of a plan stand, healthy and in traffic.
    pub fn with_previous(mut self, plan: &Plan) -> Self {
        for service in &plan.services {
            for unit in service.units_of(service.from.as_ref()) {
                self.prepared.insert((unit.target.clone(), unit.bundle));
                self.ledgers
                    .entry(unit.target.clone())
                    .or_default()
                    .insert(unit.service.clone(), Some(unit.bundle));
                self.place(&unit, 100);
            }
        }
        self
    }

    /// The units that stand, with their weight: those told to stop excluded.
    pub fn standing(&self) -> BTreeMap<UnitId, u16> {
        let stands =
            self.units.iter().filter(|(_, unit)| unit.ends_at.is_none() && !unit.has_exited(self.now));
        stands.map(|(id, unit)| (id.clone(), unit.weight)).collect()
    }

    /// The units that stand, take traffic, and did not fail so many probes in a row.
    pub fn available(&self, unhealthy_failures: u32) -> BTreeSet<UnitId> {
        let healthy = |health: &Health| health.ever_passed && health.failures < unhealthy_failures;
        let good = |unit: &WorldUnit| unit.weight > 0 && unit.ends_at.is_none() && healthy(&unit.health);
        let units = self.units.iter().filter(|(_, unit)| good(unit) && !unit.has_exited(self.now));
        units.map(|(id, _)| id.clone()).collect()
    }

    /// The newest generation: only what it asks for takes hold.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Another executor takes over: the generation is raised, and returned. The evidence was in the memory of the one
    /// before, so units are asked anew.
    pub fn take_over(&mut self) -> u64 {
        self.generation += 1;
        self.last_seen.clear();
        for unit in self.units.values_mut() {
            unit.health = Health::default();
            // The first answer comes only after the first observation.
            unit.next_probe = self.now + 1;
        }
        self.generation
    }

    /// Begins an effect for the newest executor.
    pub fn perform(&mut self, intent: &Intent) {
        self.perform_as(self.generation, intent);
    }

    /// Begins an effect for the executor of a generation. It is refused where it would take hold if that is not the
    /// newest by then.
    pub fn perform_as(&mut self, generation: u64, intent: &Intent) {
        let fault = self.effect_faults.get(&self.effects).copied();
        self.effects += 1;
        self.collected |= intent.action == Action::Collect;
        let takes = match &intent.action {
            Action::Drain { deadline, .. } => self.effect_takes.min(*deadline),
            _ => self.effect_takes,
        };
        self.pending.push(Pending { at: self.now + takes, generation, intent: intent.clone(), fault });
    }

    /// Forgets what is under way, as a killed executor does: half of it takes hold, nobody hears of it.
    pub fn crash(&mut self) {
        for (index, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if index % 2 == 0 {
                let _unheard = self.reach(&pending);
            }
        }
        self.landed.clear();
    }

    /// Ends a unit's process, as a fault outside of the rollout would.
    pub fn kill(&mut self, unit: &UnitId) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.behaviour = Behaviour::ExitsAfter(0);
        }
    }

    /// Lets time pass, and says what the newest executor sees then.
    pub fn observe(&mut self, plan: &Plan, after: Millis) -> Observation {
        self.pass(plan, after);
        self.seen_by(self.generation, plan)
    }

    /// Lets time pass: effects land, told units end, and those that stand are asked and get their requests.
    pub fn pass(&mut self, plan: &Plan, after: Millis) {
        self.now += after;
        let now = self.now;
        let (due, later) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.at <= now);
        self.pending = later;
        for pending in due {
            let result = self.land(&pending);
            self.landed.push((pending.generation, pending.intent.id, result));
        }
        self.units.retain(|_, unit| unit.ends_at.is_none_or(|at| at > now));
        let (rate, unreachable) = (self.requests_per_second, self.unreachable());
        for (id, unit) in &mut self.units {
            let Some(check) = plan.service(&id.service).and_then(|service| service.check_of(id)) else {
                continue;
            };
            unit.probe(now, check.interval, !unreachable.contains(&id.target));
            unit.serve(rate * after / 1_000);
        }
    }

    /// What the executor of a generation sees at this moment: of targets that cannot be reached what was seen last.
    pub fn seen_by(&mut self, generation: u64, plan: &Plan) -> Observation {
        let (now, unreachable) = (self.now, self.unreachable());
        self.last_seen.retain(|id, _| unreachable.contains(&id.target));
        for (id, unit) in &self.units {
            let is_planned = plan.service(&id.service).is_some_and(|service| service.check_of(id).is_some());
            if is_planned && !unreachable.contains(&id.target) {
                self.last_seen.insert(id.clone(), (unit.facts(id, now), unit.health.clone()));
            }
        }
        let (mine, others) =
            std::mem::take(&mut self.landed).into_iter().partition(|(by, ..)| *by == generation);
        self.landed = others;
        let mine: Vec<_> = mine;
        let effects = mine.into_iter().map(|(_, id, result)| (id, result)).collect();
        Observation { now, units: self.last_seen.clone(), unreachable, effects, ..Observation::default() }
    }

    /// Targets that cannot be reached at this moment.
    pub fn unreachable(&self) -> BTreeSet<Name> {
        let is_out = |outage: &&Outage| (outage.from..outage.until).contains(&self.now);
        self.outages.iter().filter(is_out).map(|outage| outage.target.clone()).collect()
    }

    /// Lets time pass until `now` and says what every unit's target would report.
    pub fn facts(&mut self, now: Millis) -> Vec<UnitFacts> {
        self.now = self.now.max(now);
        let now = self.now;
        self.units.retain(|_, unit| unit.ends_at.is_none_or(|at| at > now));
        self.units.iter().map(|(id, unit)| unit.facts(id, now)).collect()
    }

    /// What a unit answers to a probe at this moment; `None`: it is not there.
    pub fn probe(&mut self, unit: &UnitId) -> Option<Answer> {
        let now = self.now;
        let unit = self.units.get_mut(unit).filter(|unit| !unit.has_exited(now))?;
        let answer = unit.answer(now);
        unit.hear(now, &answer);
        Some(answer)
    }

    /// Lets an action take hold at this moment.
    pub fn act(&mut self, action: &Action) -> Result<Effect, EffectError> {
        self.collected |= *action == Action::Collect;
        self.take_hold(action)
    }

    fn land(&mut self, pending: &Pending) -> Result<Effect, EffectError> {
        let passing = || EffectError::Passing { message: "simulated fault".to_owned() };
        match pending.fault {
            Some(EffectFault::FailsBefore) => Err(passing()),
            Some(EffectFault::FailsForGood) => Err(EffectError::Terminal {
                reason: ReasonCode::ActionFailed,
                message: "simulated fault".to_owned(),
            }),
            Some(EffectFault::FailsAfter) => {
                self.reach(pending)?;
                Err(passing())
            }
            None => self.reach(pending),
        }
    }

    /// An effect arrives at its target, which takes nothing from a stale executor.
    fn reach(&mut self, pending: &Pending) -> Result<Effect, EffectError> {
        let action = &pending.intent.action;
        let target = match action {
            Action::Prepare { target, .. }
            | Action::Migrate { target, .. }
            | Action::Commit { target, .. } => Some(target),
            _ => action.unit().map(|unit| &unit.target),
        };
        if target.is_some_and(|target| self.unreachable().contains(target)) {
            return Err(EffectError::Passing { message: "the target cannot be reached".to_owned() });
        }
        if pending.generation < self.generation && target.is_some() {
            return Err(EffectError::Fenced { generation: self.generation });
        }
        if target.is_some() {
            self.took_hold.push((pending.generation, action.clone()));
        }
        self.take_hold(action)
    }

    fn take_hold(&mut self, action: &Action) -> Result<Effect, EffectError> {
        match action {
            Action::Prepare { target, bundle, .. } => {
                self.prepared.insert((target.clone(), *bundle));
            }
            Action::Start { unit } => self.start(unit),
            Action::Judge { unit } => return Ok(Effect::Gate(self.judge(unit))),
            Action::Admit { unit, weight } => self.admit(unit, *weight),
            Action::Drain { unit, .. } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.weight = 0;
                }
            }
            Action::Stop { unit, .. } => self.stop(unit),
            Action::Verify { .. } => {
                let errors = u64::from(!self.verify_passes);
                return Ok(Effect::Gate(GateResult { samples: 9, errors, slow: 0, excerpt: Vec::new() }));
            }
            Action::Hook { moment, .. } if self.failing_hooks.contains(moment) => {
                return Err(failed(ReasonCode::HookFailed));
            }
            Action::Migrate { .. } if self.migrations_fail => {
                return Err(failed(ReasonCode::MigrationFailed));
            }
            Action::Migrate { target, service, bundle } => {
                if !self.prepared.contains(&(target.clone(), *bundle)) {
                    self.violations.push(format!("migration of {service}, whose bundle is not there"));
                }
                self.migrated.push((target.clone(), service.clone()));
            }
            Action::Hook { .. } | Action::Collect => {}
            Action::Commit { target, services } => {
                self.ledgers.entry(target.clone()).or_default().extend(services.clone());
            }
        }
        Ok(Effect::Done)
    }

    fn start(&mut self, unit: &UnitId) {
        if !self.prepared.contains(&(unit.target.clone(), unit.bundle)) {
            self.violations.push(format!("start of {unit:?}, whose bundle is not there"));
        }
        if !self.units.get(unit).is_some_and(|unit| !unit.has_exited(self.now) && unit.ends_at.is_none()) {
            self.place(unit, 0);
        }
    }

    fn place(&mut self, id: &UnitId, weight: u16) {
        let starts = self.starts.entry(id.clone()).or_default();
        let fits = |rule: &&Rule| {
            rule.bundle.is_none_or(|bundle| bundle == id.bundle)
                && rule.slot.is_none_or(|slot| slot == id.slot)
                && rule.starts_below.is_none_or(|limit| *starts < limit)
        };
        let behaviour = self.rules.iter().find(fits).map_or(Behaviour::Good(100), |rule| rule.behaviour);
        *starts += 1;
        let unit = WorldUnit {
            behaviour,
            started_at: self.now,
            weight,
            ends_at: None,
            health: Health::default(),
            witness: Health::default(),
            next_probe: self.now,
            requests: 0,
            errors: 0,
        };
        self.units.insert(id.clone(), unit);
    }

    fn judge(&self, unit: &UnitId) -> GateResult {
        let share = match self.units.get(unit).map(|unit| unit.behaviour) {
            Some(Behaviour::FailsRequests(percent)) => percent,
            Some(_) => 0,
            None => 100,
        };
        GateResult { samples: 100, errors: share, slow: 0, excerpt: Vec::new() }
    }

    fn admit(&mut self, id: &UnitId, weight: u16) {
        let now = self.now;
        match self.units.get_mut(id) {
            Some(unit) => {
                if !unit.health.ever_passed && !unit.has_exited(now) {
                    self.violations.push(format!("{id:?} got traffic before it was ever healthy"));
                }
                unit.weight = weight;
            }
            None => self.violations.push(format!("{id:?} got traffic and is not there")),
        }
    }

    fn stop(&mut self, id: &UnitId) {
        let now = self.now;
        if let Some(unit) = self.units.get_mut(id) {
            let exited = unit.has_exited(now);
            if unit.weight > 0 && !exited {
                self.violations.push(format!("{id:?} was stopped while in traffic"));
            }
            unit.ends_at = Some(if exited { now } else { now + STOPS_IN });
        }
    }
}

/// A step of a simulated rollout: what was decided, and when.
#[derive(Debug, Clone)]
pub struct SimulatedStep {
    /// When.
    pub at: Millis,
    /// What.
    pub decision: Decision,
}

/// Runs a rollout in a world until it ends or is left, at most `limit` milliseconds long. `watch` sees the world at
/// every observation, before and after the decision's effects were begun.
pub fn simulate(
    plan: &Plan,
    world: &mut World,
    mut state: State,
    commands: &BTreeMap<u64, Command>,
    limit: Millis,
    mut watch: impl FnMut(&World, &State, Option<&Decision>),
) -> (State, Vec<SimulatedStep>) {
    let mut steps = Vec::new();
    let end = world.now + limit;
    let mut turn = 0;
    while world.now < end {
        let mut seen = world.observe(plan, TICK);
        seen.fresh = turn == 0;
        seen.commands.extend(commands.get(&turn));
        turn += 1;
        watch(world, &state, None);
        let decision = decide(plan, &state, &seen);
        for intent in &decision.intents {
            world.perform(intent);
        }
        watch(world, &decision.next, Some(&decision));
        state = decision.next.clone();
        let leave = decision.leave.is_some() || state.outcome().is_some();
        steps.push(SimulatedStep { at: world.now, decision });
        if leave {
            break;
        }
    }
    (state, steps)
}

fn failed(reason: ReasonCode) -> EffectError {
    EffectError::Terminal { reason, message: "simulated fault".to_owned() }
}
