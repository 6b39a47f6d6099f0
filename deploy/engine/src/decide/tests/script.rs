//! Scripts: a rollout with everything that happens to it, played on the simulated fleet before the judge. A script that
//! fails prints as what can be pasted into `regressions.rs`.

use crate::samples::{Shape, bundle, plan_of};
use crate::{
    decide::{Decision, Leave, decide},
    law::{Breach, Happened, Judge, of_decision},
    model::{HookMoment, Millis},
    plan::Plan,
    reason::ReasonCode,
    state::{Command, Outcome, Phase, State},
    world::{EffectFault, Outage, Rule, Silence, World},
};
use std::{collections::BTreeMap, fmt};

/// Milliseconds from one observation to the next.
const TICK: Millis = 100;

/// When every script begins.
pub(super) const EPOCH: Millis = 1_000_000;

/// Three hours: above the sum of all deadlines of the largest shape, so that a rollout that takes longer hangs.
pub(super) const LIMIT: Millis = 3 * 60 * 60 * 1_000;

/// Failures and ailments that a state may remember: each is written down with every change, so they must not grow for ever.
const REMEMBERED: usize = 500;

/// Observations after the end, in which a stale executor still could do harm.
const AFTERMATH: u32 = 30;

/// A rollout with everything that happens to it.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) shape: Shape,
    /// How units behave: the first that fits.
    pub(super) rules: Vec<Rule>,
    /// Effects that go wrong, by number.
    pub(super) faults: BTreeMap<u64, EffectFault>,
    /// What happens, and when.
    pub(super) events: Vec<(When, Event)>,
    /// Whether the smoke tests pass.
    pub(super) verify: bool,
    /// How often a human opens the rollout again after it was held.
    pub(super) reopens: u32,
    /// Moments at which hooks fail.
    pub(super) failing_hooks: Vec<HookMoment>,
    /// Whether migrations fail.
    pub(super) migrations_fail: bool,
    /// How long each effect takes, in milliseconds.
    pub(super) effect_takes: Millis,
}

/// How long an effect usually takes, in milliseconds.
pub(super) const EFFECT_TAKES: Millis = 150;

/// When something happens: at the first observation that is not earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// So many milliseconds after the beginning.
    At(Millis),
    /// So many milliseconds after the rollout turned back.
    Back(Millis),
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The process of a standing unit ends: its place among them, counted round.
    Kill(usize),
    /// The clock jumps forward.
    Jump(Millis),
    /// A target cannot be reached: its place, and for how long.
    Outage(usize, Millis),
    /// Nobody is asked how it is: for how long.
    Silence(Millis),
    /// The operator asks for something.
    Command(Command),
    /// The executor is killed, and another takes over.
    Crash,
    /// The executor is taken for dead, and another takes over; but it goes on with what it remembers.
    Usurp,
}

/// What a script came to.
pub(super) struct Played {
    pub(super) state: State,
    pub(super) world: World,
    pub(super) breaches: Vec<Breach>,
    pub(super) met: Met,
}

/// What was met on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    pub(super) rollback: bool,
    /// The budget was used up to its last failure, or exceeded by exactly one.
    pub(super) boundary: bool,
    pub(super) cancel: bool,
    pub(super) takeover: bool,
    pub(super) takeover_in_rollback: bool,
    /// A replaced executor asked for something, and was refused.
    pub(super) stale: bool,
    pub(super) reopened: bool,
    pub(super) held: bool,
    pub(super) succeeded: bool,
    /// It was paused, and promoted.
    pub(super) paused: bool,
    /// A second wave was begun.
    pub(super) second_wave: bool,
    /// It turned after the second wave had begun.
    pub(super) turned_in_second_wave: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            rules: Vec::new(),
            faults: BTreeMap::new(),
            events: Vec::new(),
            verify: true,
            reopens: 0,
            failing_hooks: Vec::new(),
            migrations_fail: false,
            effect_takes: EFFECT_TAKES,
        }
    }
}

impl fmt::Debug for Script {
    /// A line for each thing, so that a shrunk script can be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  {:?}", self.shape)?;
        for Rule { bundle: of, slot, starts_below, behaviour } in &self.rules {
            let word = if *of == Some(bundle("new")) { "new" } else { "old" };
            writeln!(f, "  rule: {word}, slot {slot:?}, starts below {starts_below:?}: {behaviour:?}")?;
        }
        for (number, fault) in &self.faults {
            writeln!(f, "  effect {number}: {fault:?}")?;
        }
        for (when, event) in &self.events {
            writeln!(f, "  {when:?}: {event:?}")?;
        }
        writeln!(f, "  effects take {} ms", self.effect_takes)?;
        writeln!(f, "  failing hooks: {:?}, migrations fail: {}", self.failing_hooks, self.migrations_fail)?;
        write!(f, "  verify: {}, reopens: {}", self.verify, self.reopens)
    }
}

impl When {
    /// At the observation of this number, from 0.
    pub(super) fn turn(turn: u64) -> Self {
        Self::At((turn + 1) * TICK)
    }
}

impl Script {
    pub(super) fn play(&self) -> Played {
        self.play_before(|_, _| ())
    }

    /// Plays it; `watch` sees every decision of the executor that acts.
    pub(super) fn play_before(&self, watch: impl FnMut(Millis, &Decision)) -> Played {
        let plan = plan_of(&self.shape);
        let mut world = World::new(EPOCH);
        world.rules.clone_from(&self.rules);
        world.effect_faults.clone_from(&self.faults);
        world.verify_passes = self.verify;
        world.failing_hooks = self.failing_hooks.iter().copied().collect();
        world.migrations_fail = self.migrations_fail;
        world.effect_takes = self.effect_takes;
        world.requests_per_second = 40;
        let world = world.with_previous(&plan);
        play(&plan, world, self.events.clone(), self.reopens, watch)
    }
}

/// Plays events on a world until the rollout has ended; `watch` sees every decision of the executor that acts.
pub(super) fn play(
    plan: &Plan,
    world: World,
    events: Vec<(When, Event)>,
    reopens: u32,
    watch: impl FnMut(Millis, &Decision),
) -> Played {
    let state = State::new(plan, world.now);
    let began = world.now;
    let executor = Executor { generation: world.generation(), state, fresh: true };
    Stage {
        plan,
        judge: Judge::new(plan, LIMIT),
        world,
        executor,
        stale: Vec::new(),
        events,
        began,
        back_at: None,
        commands: Vec::new(),
        jump: 0,
        reopens,
        failures: 0,
        turned: false,
        met: Met::default(),
    }
    .play(watch)
}

struct Executor {
    generation: u64,
    state: State,
    fresh: bool,
}

struct Stage<'a> {
    plan: &'a Plan,
    judge: Judge<'a>,
    world: World,
    executor: Executor,
    stale: Vec<Executor>,
    events: Vec<(When, Event)>,
    began: Millis,
    back_at: Option<Millis>,
    commands: Vec<Command>,
    jump: Millis,
    reopens: u32,
    failures: u32,
    turned: bool,
    met: Met,
}

impl Stage<'_> {
    fn play(mut self, mut watch: impl FnMut(Millis, &Decision)) -> Played {
        while self.world.now < self.began + LIMIT {
            self.pass();
            self.act_stale();
            let decision = self.act();
            watch(self.world.now, &decision);
            if decision.next.failures.len() + decision.next.ailments.len() > REMEMBERED {
                self.judge.nonsense("the state grows without end");
                break;
            }
            if let Some(leave) = decision.leave {
                // A human comes back to it, at once.
                if leave == Leave::Paused {
                    self.met.paused = true;
                    self.commands.push(Command::Promote);
                }
                self.replace(false);
            } else if let Some(outcome) = self.executor.state.outcome().cloned()
                && self.is_over(&outcome)
            {
                break;
            }
        }
        for _ in 0..AFTERMATH {
            self.pass();
            self.act_stale();
        }
        for violation in std::mem::take(&mut self.world.violations) {
            self.judge.nonsense(violation);
        }
        let limit = self.plan.policy.failure_limit;
        let used_up = self.failures == limit + u32::from(self.turned);
        self.met.boundary = limit > 0 && used_up;
        Played { state: self.executor.state, world: self.world, breaches: self.judge.finish(), met: self.met }
    }

    /// Time passes, and what is due happens.
    fn pass(&mut self) {
        let jump = std::mem::take(&mut self.jump);
        self.world.pass(self.plan, TICK + jump);
        self.tell_what_took_hold();
        let (now, began, back_at) = (self.world.now, self.began, self.back_at);
        let is_due = |when: When| match when {
            When::At(after) => now >= began + after,
            When::Back(after) => back_at.is_some_and(|at| now >= at + after),
        };
        let (due, later) = std::mem::take(&mut self.events).into_iter().partition(|(when, _)| is_due(*when));
        self.events = later;
        let due: Vec<(When, Event)> = due;
        for (_, event) in due {
            self.happen(event);
        }
        self.judge.see(self.world.moment());
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Kill(place) => {
                let standing = self.world.standing();
                if let Some(unit) = standing.keys().nth(place % standing.len().max(1)) {
                    self.world.kill(unit);
                }
            }
            Event::Jump(by) => self.jump = by,
            Event::Outage(place, lasts) => {
                let targets = &self.plan.services[0].targets;
                let (target, from) = (targets[place % targets.len()].clone(), self.world.now);
                self.world.outages.push(Outage { target, from, until: from + lasts });
            }
            Event::Silence(lasts) => {
                let from = self.world.now;
                self.world.silences.push(Silence { from, until: from + lasts });
            }
            Event::Command(command) => self.commands.push(command),
            Event::Crash | Event::Usurp if self.executor.state.outcome().is_some() => {}
            Event::Crash => {
                self.world.crash();
                self.tell_what_took_hold();
                self.take_over(false);
            }
            Event::Usurp => self.take_over(true),
        }
    }

    fn take_over(&mut self, usurps: bool) {
        self.met.takeover = true;
        self.met.takeover_in_rollback |= self.executor.state.is_back();
        self.replace(usurps);
    }

    /// Another executor goes on from what was written down.
    fn replace(&mut self, usurps: bool) {
        let generation = self.world.take_over();
        self.judge.hear(Happened::TookOver { generation });
        let next = Executor { generation, state: self.executor.state.clone(), fresh: true };
        let old = std::mem::replace(&mut self.executor, next);
        if usurps {
            self.stale.push(old);
        }
    }

    fn tell_what_took_hold(&mut self) {
        for (generation, action) in self.world.take_what_took_hold() {
            self.judge.hear(Happened::TookHold { generation, action });
        }
    }

    /// The one that acts observes, decides and begins.
    fn act(&mut self) -> Decision {
        let mut seen = self.world.seen_by(self.executor.generation, self.plan);
        seen.fresh = std::mem::take(&mut self.executor.fresh);
        seen.commands = std::mem::take(&mut self.commands);
        let decision = decide(self.plan, &self.executor.state, &seen);
        for happened in of_decision(self.executor.generation, &self.executor.state, &seen, &decision) {
            self.note(&happened, &decision);
            self.judge.hear(happened);
        }
        for intent in &decision.intents {
            self.world.perform_as(self.executor.generation, intent);
        }
        self.met.second_wave |= decision.next.wave.index > 0;
        self.executor.state = decision.next.clone();
        decision
    }

    /// Those that were replaced and do not know it go on.
    fn act_stale(&mut self) {
        let (world, judge, plan) = (&mut self.world, &mut self.judge, self.plan);
        let met = &mut self.met;
        self.stale.retain_mut(|executor| {
            let seen = world.seen_by(executor.generation, plan);
            let decision = decide(plan, &executor.state, &seen);
            for happened in of_decision(executor.generation, &executor.state, &seen, &decision) {
                met.stale |= matches!(happened, Happened::Fenced { .. });
                if matches!(happened, Happened::Began { .. } | Happened::Fenced { .. }) {
                    judge.hear(happened);
                }
            }
            for intent in &decision.intents {
                world.perform_as(executor.generation, intent);
            }
            executor.state = decision.next;
            decision.leave.is_none() && executor.state.outcome().is_none()
        });
    }

    fn note(&mut self, happened: &Happened, decision: &Decision) {
        match happened {
            Happened::WentBack { reason } => {
                self.back_at.get_or_insert(self.world.now);
                self.met.rollback = true;
                self.met.cancel |= *reason == ReasonCode::Cancelled;
            }
            Happened::Failed { unit: Some(_), .. } if !self.turned => self.failures += 1,
            Happened::Turned { .. } => {
                self.met.turned_in_second_wave |= decision.next.wave.index > 0;
                let counted =
                    matches!(&decision.next.phase, Phase::Collecting { cause, .. } if cause.unit.is_some());
                self.turned = true;
                if !counted {
                    self.failures = u32::MAX;
                }
            }
            _ => {}
        }
    }

    /// Whether nobody goes on after this outcome.
    fn is_over(&mut self, outcome: &Outcome) -> bool {
        self.met.held |= matches!(outcome, Outcome::Held { .. });
        self.met.succeeded |= *outcome == Outcome::Succeeded;
        let is_open = matches!(outcome, Outcome::Held { .. } | Outcome::RollbackFailed { .. });
        if !is_open || self.reopens == 0 {
            return true;
        }
        self.reopens -= 1;
        self.met.reopened = true;
        self.failures = 0;
        self.turned = false;
        self.executor.state.reopen();
        self.judge.hear(Happened::Reopened);
        self.replace(false);
        false
    }
}
