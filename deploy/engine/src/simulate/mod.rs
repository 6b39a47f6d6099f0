//! What if: a plan is carried out by the engine itself, on a simulated fleet with a virtual clock, under faults that
//! were chosen. Pure: nothing is asked of any target, and the same plan and scenario give the same report.
//!
//! ```text
//! words ──parse──▶ Scenario ┐
//!                  Plan ────┴──▶ World ⇄ decide ──▶ Report (timeline, outcome, what users met)
//! ```

mod onset;
mod random;
mod report;
mod run;
mod timeline;
mod words;

#[cfg(test)]
mod tests;

use crate::{decide::End, model::Millis, plan::Plan, state::Command, world::Behaviour};
use pipeline::name::Name;

pub use report::{Availability, Blast, Broken, Detection, Entry, Finish, Mark, Report};
pub use words::{WordError, parse_fail, parse_fault, parse_strategy};

/// What is assumed of a simulated rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What goes wrong; where two concern a unit, the first counts.
    pub faults: Vec<Fault>,
    /// Milliseconds from a unit's start until it is ready.
    pub ready_after: Millis,
    /// Milliseconds that each effect takes: bringing a bundle, a start, a switch of traffic, …
    pub effects_take: Millis,
    /// What the operator asks for: milliseconds from the beginning, and what.
    pub commands: Vec<(Millis, Command)>,
    /// Spreads `ready_after` from unit to unit, between half and one and a half of it; `None`: all are alike.
    pub seed: Option<u64>,
    /// Requests that each unit in traffic gets in a second.
    pub traffic: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            // What a service takes that opens its files and a few connections.
            ready_after: 1_000,
            // What a start takes on this machine, with the bundle copied and the state written.
            effects_take: 150,
            commands: Vec::new(),
            seed: None,
            // Enough that a gate over the traffic has its minimum within seconds.
            traffic: 20,
        }
    }
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Of which service.
    pub service: Name,
    /// In which slot, on every target; `None`: in all of them.
    pub slot: Option<u16>,
    /// Whether it is the bundle that stood before which fails, when one of its units is started again on the way back.
    pub previous: bool,
    /// What goes wrong.
    pub mishap: Mishap,
}

/// How something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// Whenever it is started, a unit behaves like this.
    Behaves(Behaviour),
    /// A unit exits once: at its first start, or, with a batch (from 1), in it. Of a whole service these are the units
    /// that the batch brings; a unit that was named exits as soon as the batch begins, if it runs by then.
    Exits {
        /// In which batch, of every wave.
        batch: Option<usize>,
    },
    /// A unit exits at its first start, on each target of a wave.
    ExitsInWave {
        /// Which wave, from 1.
        wave: usize,
    },
}

/// What came of a simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// How the executor came out of it; `None`: the rollout did not end within [`LIMIT`].
    pub end: Option<End>,
    /// What happened.
    pub report: Report,
}

/// The longest simulated rollout, in milliseconds: a day. Above any rollout that anyone waits for.
pub const LIMIT: Millis = 24 * 60 * 60 * 1_000;

/// Carries a plan out on a simulated fleet.
pub fn simulate(plan: &Plan, scenario: &Scenario) -> Simulated {
    run::Run::new(plan, scenario).carry_out()
}
