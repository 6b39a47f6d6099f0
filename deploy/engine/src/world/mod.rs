//! World: a strict in-memory fleet with a virtual clock and scripted faults. What the engine's tests run on, and what a
//! simulated rollout happens in. It obeys the laws of [`crate::port::Target`] and tells when it was asked for nonsense.

mod actions;
mod rollout;
mod unit;
mod witness;

use crate::{
    bundle::BundleHash,
    check::{Answer, Health},
    model::{Action, HookMoment, Intent, IntentId, Millis, UnitFacts, UnitId},
    plan::Plan,
    port::EffectError,
    state::{Effect, Observation},
};
use pipeline::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use unit::WorldUnit;

pub use rollout::{SimulatedStep, simulate};

/// How a simulated unit behaves after it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers well from so many milliseconds after its start.
    Good(Millis),
    /// Exits so many milliseconds after its start; answers well until then.
    ExitsAfter(Millis),
    /// Is ended by a signal that nobody here sent so many milliseconds after its start; answers well until then.
    KilledAfter(Millis),
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

/// A target that cannot be reached for a while: nothing new is seen of it, and nothing takes hold there. Its units are
/// asked all the same, as the loop does by the addresses it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which target.
    pub target: Name,
    /// From this moment …
    pub from: Millis,
    /// … until before this one.
    pub until: Millis,
}

/// Nobody is asked for a while, as when the executor's machine has no time for its probes: evidence grows old. It befalls
/// the executor and is no fault of the fleet; the fleet knows it because it has the executor's probes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
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

/// An effect that has ended, whoever asked for it, and when that is told.
#[derive(Debug, Clone)]
struct Landed {
    told_at: Millis,
    generation: u64,
    id: IntentId,
    result: Result<Effect, EffectError>,
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
    /// Times in which nobody is asked.
    pub silences: Vec<Silence>,
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
    landed: Vec<Landed>,
    took_hold: Vec<(u64, Action)>,
    last_seen: BTreeMap<UnitId, (UnitFacts, Health)>,
}

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
            silences: Vec::new(),
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

    /// Ends a unit's process by a signal, as somebody outside of the rollout would.
    pub fn kill(&mut self, unit: &UnitId) {
        self.change(unit, Behaviour::KilledAfter(0));
    }

    /// Lets a unit's process exit by itself.
    pub fn exit(&mut self, unit: &UnitId) {
        self.change(unit, Behaviour::ExitsAfter(0));
    }

    fn change(&mut self, unit: &UnitId, behaviour: Behaviour) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.behaviour = behaviour;
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
            let told_at = self.told_at(&pending, &result);
            self.landed.push(Landed {
                told_at,
                generation: pending.generation,
                id: pending.intent.id,
                result,
            });
        }
        self.units.retain(|_, unit| unit.ends_at.is_none_or(|at| at > now));
        let rate = self.requests_per_second;
        let is_silent = self.silences.iter().any(|silence| (silence.from..silence.until).contains(&now));
        for (id, unit) in &mut self.units {
            let Some(check) = plan.service(&id.service).and_then(|service| service.check_of(id)) else {
                continue;
            };
            if !is_silent {
                unit.probe(now, check.interval);
            }
            unit.serve(rate * after / 1_000);
        }
    }

    /// What the executor of a generation sees at this moment: of targets that cannot be reached the
    /// facts that were seen last.
    pub fn seen_by(&mut self, generation: u64, plan: &Plan) -> Observation {
        let (now, unreachable) = (self.now, self.unreachable());
        self.last_seen.retain(|id, _| unreachable.contains(&id.target));
        for (id, unit) in &self.units {
            let is_planned = plan.service(&id.service).is_some_and(|service| service.check_of(id).is_some());
            if !is_planned {
                continue;
            }
            if !unreachable.contains(&id.target) {
                self.last_seen.insert(id.clone(), (unit.facts(id, now), unit.health.clone()));
            } else if let Some((_, health)) = self.last_seen.get_mut(id) {
                health.clone_from(&unit.health);
            }
        }
        let is_told = |landed: &Landed| landed.generation == generation && landed.told_at <= now;
        let (told, others) = std::mem::take(&mut self.landed).into_iter().partition(is_told);
        self.landed = others;
        let told: Vec<Landed> = told;
        let effects = told.into_iter().map(|landed| (landed.id, landed.result)).collect();
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
}
