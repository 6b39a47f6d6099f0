//! A whole rollout on the simulated fleet: `decide` and the world take turns.

use super::World;
use crate::{
    decide::{Decision, decide},
    model::Millis,
    plan::Plan,
    state::{Command, State},
};
use std::collections::BTreeMap;

/// Milliseconds from one observation to the next in a simulated rollout.
const TICK: Millis = 100;

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
