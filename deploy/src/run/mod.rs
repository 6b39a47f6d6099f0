//! The loop: write the intent down, perform it, observe, and ask again. It decides nothing.

mod collect;
mod effects;
mod evidence;

#[cfg(test)]
mod tests;

use crate::{
    decide::{Decision, End, Leave, Waiting, decide},
    event::Event,
    model::{Millis, UnitFacts, UnitId},
    plan::Plan,
    port::{Clock, EffectError, Hooks, Prober, RolloutRecord, SwapError, Target},
    state::{Command, Observation, State},
};
use effects::Effects;
use evidence::Evidence;
use pipeline::{crossing, name::Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// The longest time between two looks at the targets, in milliseconds, should they not tell of a change themselves:
/// short against every deadline, long against the cost of a look (under a millisecond on one machine).
const TICK: Millis = 250;

/// The shortest time between two changes of a target that are told: the loop needs about as long to look at the first.
const CHANGE_PAUSE: Duration = Duration::from_millis(10);

/// How long a target may take to say what stands, in milliseconds, before it counts as unreachable for this time.
const OBSERVE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a finished rollout waits for effects that are still under way.
const LAST_EFFECTS: Duration = Duration::from_secs(60);

/// Everything that one rollout needs from outside.
pub struct Rollout {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The generation that acts.
    pub generation: u64,
    /// The targets of the plan.
    pub targets: BTreeMap<Name, Arc<dyn Target>>,
    /// Who asks units.
    pub prober: Arc<dyn Prober>,
    /// Who runs the environment's hooks.
    pub hooks: Arc<dyn Hooks>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where the state is written down.
    pub record: Arc<dyn RolloutRecord>,
    /// Who is told what happened.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
    /// The folder into which the dossier of a failure is written.
    pub dossiers: PathBuf,
    /// What people type to run this program, for what the dossier tells them to do next.
    pub program: String,
    /// Masks secrets in what was read from units.
    pub mask: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// Ends everything when the lease is lost.
    pub lost: CancellationToken,
    /// How long it stays in a pause until it is promoted; none if it is left at once.
    pub stay_paused: Option<Duration>,
}

impl Rollout {
    /// Carries the rollout on from `state` to its end. `resumed` says that another executor had begun it.
    ///
    /// # Errors
    /// Only if the state cannot be written down: then nothing more was begun.
    pub async fn run(
        &self,
        state: State,
        resumed: bool,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<End, SwapError> {
        let began = self.clock.now();
        self.tell_beginning(resumed);
        let end = self.carry_on(state, &mut commands).await?;
        let took = self.clock.now().saturating_sub(began);
        self.tell_end(&end, took);
        Ok(end)
    }

    async fn carry_on(
        &self,
        mut state: State,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<End, SwapError> {
        let changed = Arc::new(Notify::new());
        let _watchers = self.watch_targets(&changed);
        let mut effects = Effects::default();
        let mut evidence = Evidence::new(self.prober.clone());
        let mut incoming = Incoming { fresh: true, ..Incoming::default() };
        // What was asked for before anything was decided counts in the first decision.
        while let Ok(command) = commands.try_recv() {
            incoming.commands.push(command);
        }
        let mut facts = BTreeMap::new();
        let mut told = Vec::new();
        let mut paused_since = None;
        loop {
            let unreachable = self.observe(&mut facts).await;
            evidence.follow(&self.plan, &facts, self.clock.now());
            let seen = incoming.observation(self.clock.now(), &facts, &evidence, unreachable);
            let decision = decide(&self.plan, &state, &seen);
            if decision.next != state {
                self.record.swap(&decision.next).await?;
            }
            crossing!("decision.taken");
            self.tell(&decision, &mut told);
            for intent in &decision.intents {
                let excerpt = effects.gate_excerpt.clone();
                let collect = || self.collect(&decision.next, &facts, &evidence, excerpt);
                let cause = decision.next.failures.last().cloned();
                effects.begin(self, intent, &facts, cause, collect);
            }
            let Decision { next, leave, .. } = decision;
            state = next;
            let stays = self.stays(leave, &mut paused_since);
            if let Some(leave) = leave.filter(|_| !stays) {
                if matches!(leave, Leave::Interrupted | Leave::Paused) {
                    effects.finish(LAST_EFFECTS).await;
                }
                return Ok(End::Left(leave));
            }
            if let Some(outcome) = state.outcome() {
                effects.finish(LAST_EFFECTS).await;
                return Ok(End::Finished(outcome.clone()));
            }
            incoming = Incoming::default();
            if self.wait(&mut effects, &mut evidence, commands, &changed, &mut incoming).await.is_err() {
                return Ok(End::Left(Leave::Lost { generation: self.generation + 1 }));
            }
        }
    }

    /// Whether it stays in the pause that it is in; `since` remembers when that began.
    fn stays(&self, leave: Option<Leave>, since: &mut Option<Millis>) -> bool {
        if leave != Some(Leave::Paused) {
            *since = None;
            return false;
        }
        let began = *since.get_or_insert(self.clock.now());
        let paused_for = self.clock.now().saturating_sub(began);
        self.stay_paused.is_some_and(|limit| u128::from(paused_for) < limit.as_millis())
    }

    /// Waits until there is something new to decide on.
    async fn wait(
        &self,
        effects: &mut Effects,
        evidence: &mut Evidence,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        changed: &Notify,
        incoming: &mut Incoming,
    ) -> Result<(), LeaseLost> {
        let tick = self.clock.now() + TICK;
        let until = evidence.next_due().map_or(tick, |due| due.min(tick));
        tokio::select! {
            biased;
            () = self.lost.cancelled() => return Err(LeaseLost),
            Some(command) = commands.recv() => incoming.commands.push(command),
            Some(ended) = effects.next(self) => incoming.effects.push(ended),
            Some((unit, look)) = evidence.next() => (self.events)(Event::Looked { unit, look }),
            () = changed.notified() => {}
            () = self.clock.sleep_until(until) => {}
        }
        // What else is there already is decided on together.
        while let Ok(command) = commands.try_recv() {
            incoming.commands.push(command);
        }
        while let Some(ended) = effects.try_next(self) {
            incoming.effects.push(ended);
        }
        while let Some((unit, look)) = evidence.try_next() {
            (self.events)(Event::Looked { unit, look });
        }
        Ok(())
    }

    fn watch_targets(&self, changed: &Arc<Notify>) -> Vec<AbortOnDropHandle<()>> {
        let watch = |target: &Arc<dyn Target>| {
            let (target, changed) = (target.clone(), changed.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                loop {
                    target.changed().await;
                    changed.notify_one();
                    tokio::time::sleep(CHANGE_PAUSE).await;
                }
            }))
        };
        self.targets.values().map(watch).collect()
    }

    /// Looks at every target, side by side. What is known of one that does not answer stays as it was last seen.
    async fn observe(&self, facts: &mut BTreeMap<UnitId, UnitFacts>) -> BTreeSet<Name> {
        let looks = self.targets.iter().map(|(name, target)| async move {
            (name, tokio::time::timeout(OBSERVE_DEADLINE, target.observe()).await)
        });
        let mut unreachable = BTreeSet::new();
        for (name, seen) in futures::future::join_all(looks).await {
            match seen {
                Ok(Ok(seen)) => {
                    facts.retain(|unit, _| unit.target != *name);
                    facts.extend(seen.units.into_iter().map(|facts| (facts.unit.clone(), facts)));
                }
                Ok(Err(
                    EffectError::Terminal { .. } | EffectError::Passing { .. } | EffectError::Fenced { .. },
                ))
                | Err(_) => {
                    unreachable.insert(name.clone());
                }
            }
        }
        unreachable
    }

    fn tell(&self, decision: &Decision, told: &mut Vec<Waiting>) {
        for reason in &decision.because {
            (self.events)(Event::Decided { reason: reason.clone() });
        }
        if decision.waiting != *told {
            told.clone_from(&decision.waiting);
            (self.events)(Event::Waited { waiting: decision.waiting.clone() });
        }
    }

    fn tell_beginning(&self, resumed: bool) {
        let changes = |service: &crate::plan::ServicePlan| {
            let fields = service.changes.iter().map(|change| change.field.clone());
            (service.service.clone(), fields.collect())
        };
        (self.events)(Event::RolloutBegan {
            run: self.plan.run.clone(),
            environment: self.plan.environment.clone(),
            release: self.plan.release.clone(),
            kind: self.plan.kind,
            services: self.plan.services.iter().map(changes).collect(),
            targets: self.targets.keys().cloned().collect(),
            resumed,
        });
    }

    fn tell_end(&self, end: &End, took: Millis) {
        let (run, environment) = (self.plan.run.clone(), self.plan.environment.clone());
        (self.events)(match end {
            End::Finished(outcome) => {
                let (release, outcome) = (self.plan.release.clone(), outcome.clone());
                Event::RolloutFinished { run, environment, release, outcome, took }
            }
            End::Left(leave) => Event::left(&run, &environment, *leave),
        });
    }
}

/// The lease was lost: everything ends.
struct LeaseLost;

/// What came in since the last decision.
#[derive(Default)]
struct Incoming {
    fresh: bool,
    commands: Vec<Command>,
    effects: Vec<effects::Ended>,
}

impl Incoming {
    fn observation(
        self,
        now: Millis,
        facts: &BTreeMap<UnitId, UnitFacts>,
        evidence: &Evidence,
        unreachable: BTreeSet<Name>,
    ) -> Observation {
        let units =
            facts.iter().map(|(unit, facts)| (unit.clone(), (facts.clone(), evidence.health(unit, facts))));
        Observation {
            now,
            units: units.collect(),
            unreachable,
            effects: self.effects,
            commands: self.commands,
            fresh: self.fresh,
        }
    }
}
