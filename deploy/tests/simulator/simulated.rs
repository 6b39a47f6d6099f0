//! A script in the simulated fleet: the real `decide` and [`World`] take turns.

use crate::{
    kind::{Kind, OUTAGE, SETTLED, Simulated, paced},
    script::Script,
    story::{Story, Teller},
};
use deploy::{
    decide::{Decision, Reason, decide},
    model::{Action, Intent, Millis, UnitId},
    plan::{Plan, Side},
    state::State,
    world::{Behaviour, EffectFault, Outage, Rule, World},
};
use std::collections::BTreeMap;

/// When it begins: not 0, so that what happened before has a moment too.
const BEGINNING: Millis = 1_000_000;

/// From one observation to the next, in milliseconds: half of the probes' interval.
const TICK: Millis = 50;

/// No script takes longer, in milliseconds.
const LIMIT: Millis = 600_000;

/// Milliseconds that each effect takes: about as long as on processes.
const EFFECTS_TAKE: Millis = 50;

/// Tells the story of a script. A fault of the kind `without` is not known to the fleet: all goes well instead.
pub(crate) fn play(script: &Script, plan: &Plan, without: Option<Kind>) -> Story {
    let mut world = World::new(BEGINNING).with_previous(plan);
    world.effect_takes = EFFECTS_TAKE;
    let fault = script.kind.filter(|kind| Some(*kind) != without).map(|kind| kind.row().simulated);
    let mut stage = Stage { script, plan, world, fault, performed: 0, is_hit: false, due: None };
    stage.prepare();
    stage.play()
}

struct Stage<'a> {
    script: &'a Script,
    plan: &'a Plan,
    world: World,
    fault: Option<Simulated>,
    /// Effects that were begun.
    performed: u64,
    /// Whether an effect that goes wrong once has done so.
    is_hit: bool,
    /// When what is done in the bake is due.
    due: Option<Millis>,
}

impl Stage<'_> {
    /// What goes wrong from the beginning on.
    fn prepare(&mut self) {
        let side = self.new_side();
        let rule = |slot, behaviour: Behaviour| Rule {
            bundle: Some(side.bundle),
            slot,
            starts_below: None,
            behaviour: paced(behaviour, self.script.pace),
        };
        match self.fault {
            Some(Simulated::Unit(behaviour)) => {
                self.world.rules = vec![rule(Some(self.script.slot), behaviour)];
            }
            Some(Simulated::Units(behaviour)) => self.world.rules = vec![rule(None, behaviour)],
            Some(Simulated::Verify) => self.world.verify_passes = false,
            _ => {}
        }
    }

    fn play(mut self) -> Story {
        let mut teller = Teller::new(self.plan);
        let mut state = State::new(self.plan, BEGINNING);
        let mut actions = BTreeMap::new();
        let mut fresh = true;
        while self.world.now < BEGINNING + LIMIT && state.outcome().is_none() {
            self.happen();
            let mut seen = self.world.observe(self.plan, TICK);
            seen.fresh = std::mem::take(&mut fresh);
            let decision = decide(self.plan, &state, &seen);
            actions.extend(decision.intents.iter().map(|intent| (intent.id, intent.action.clone())));
            for reason in &decision.because {
                let action = match reason {
                    Reason::Retried { intent, .. } => actions.get(intent),
                    _ => None,
                };
                teller.decided(reason, action);
            }
            self.take_over(&decision);
            state = decision.next;
        }
        assert_eq!(self.world.violations, [""; 0], "{}", self.script);
        teller.end(state.outcome())
    }

    fn take_over(&mut self, decision: &Decision) {
        let bake_began = |reason: &Reason| matches!(reason, Reason::BakeBegan { .. });
        let is_in_bake = matches!(self.fault, Some(Simulated::Kill | Simulated::Outage));
        if is_in_bake && !self.is_hit && decision.because.iter().any(bake_began) {
            self.is_hit = true;
            self.due = Some(self.world.now + SETTLED * self.script.pace);
        }
        for intent in &decision.intents {
            if let Some(fault) = self.fault_of(intent) {
                self.world.effect_faults.insert(self.performed, fault);
            }
            self.performed += 1;
            self.world.perform(intent);
        }
    }

    /// What is done in the bake.
    fn happen(&mut self) {
        let now = self.world.now;
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        match self.fault {
            Some(Simulated::Kill) => {
                let is_it = |unit: &&UnitId| unit.slot == self.script.slot && self.is_new(unit);
                if let Some(unit) = self.world.standing().keys().find(is_it) {
                    self.world.kill(unit);
                }
            }
            Some(Simulated::Outage) => {
                let target = self.plan.services[0].targets[0].clone();
                self.world.outages.push(Outage { target, from: now, until: now + OUTAGE });
            }
            _ => {}
        }
    }

    fn fault_of(&mut self, intent: &Intent) -> Option<EffectFault> {
        let is_slot = |unit: &UnitId| unit.slot == self.script.slot;
        let (fault, once) = match (self.fault?, &intent.action) {
            (Simulated::Start(fault), Action::Start { unit }) if is_slot(unit) && self.is_new(unit) => {
                (fault, true)
            }
            (Simulated::Starts(fault), Action::Start { unit }) if self.is_new(unit) => (fault, false),
            (Simulated::Stop(fault), Action::Stop { unit, .. }) if is_slot(unit) && !self.is_new(unit) => {
                (fault, true)
            }
            _ => return None,
        };
        let again = std::mem::replace(&mut self.is_hit, true);
        (!again || !once).then_some(fault)
    }

    fn new_side(&self) -> Side {
        self.plan.services[0].to.clone().expect("every script brings a release")
    }

    fn is_new(&self, unit: &UnitId) -> bool {
        unit.bundle == self.new_side().bundle
    }
}
