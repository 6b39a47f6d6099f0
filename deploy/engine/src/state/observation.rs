//! What comes in from one decision to the next: what is seen, what ended, and what the operator asks for.

use crate::{
    check::Health,
    model::{IntentId, Millis, UnitFacts, UnitId},
    port::{EffectError, GateResult},
};
use pipeline::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is known at one moment. Time is one of its fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The moment.
    pub now: Millis,
    /// Every unit on every target of the plan.
    pub units: BTreeMap<UnitId, (UnitFacts, Health)>,
    /// Targets that could not be observed; what is said of their units above is what was last seen.
    pub unreachable: BTreeSet<Name>,
    /// Effects that ended since the last observation.
    pub effects: Vec<(IntentId, Result<Effect, EffectError>)>,
    /// What the operator asked for since the last observation.
    pub commands: Vec<Command>,
    /// Whether this is the first observation of an executor: flights of before are lost, waits begin anew.
    pub fresh: bool,
}

/// What an effect came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It took hold.
    Done,
    /// A gate's evidence.
    Gate(GateResult),
}

/// What an operator can ask of a running rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Stop at the next safe point; the rollout can be resumed.
    Interrupt,
    /// Pause: begin nothing more, let what is under way come to its end, and leave the rollout open.
    Pause,
    /// Go on from a pause.
    Promote,
    /// End the rollout and bring back what stood before.
    Cancel,
    /// End the rollout and leave everything as it is.
    Hold,
}
