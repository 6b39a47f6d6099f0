//! The laws of ARCHITECTURE.md, and the one judge of them.
//!
//! A [`Judge`] is shown what an observer saw from outside, moment by moment ([`Moment`]), and told what the executors did
//! and said ([`Happened`]). It answers which law was broken, when, and by what ([`Breach`]). It takes nothing that the
//! engine says of units for true: what runs, what has traffic and what answered is the observer's. So the same judge
//! sits over the simulated fleet, whose observer is [`crate::world::World::moment`], and over real targets, whose
//! observer is the test's own recorder. Pure.
//!
//! Judged here, and to what extent:
//!
//! | law | here | elsewhere |
//! |---|---|---|
//! | 1 ends | there is an outcome, and one that fits what was done | crash points of files and sockets: the tests on processes |
//! | 2 same bundle | by the bundle's name | byte for byte: `tests/long/same_bundle.rs` |
//! | 3 never twice | one turn, none of an irreversible release, no start of what is being taken back, the only healthy copy stays | releases marked bad: the plan |
//! | 4 bounds | at every moment and every action | |
//! | 5 evidence | nothing admitted, nothing successful without it | what counts as an answer: the prober's tests |
//! | 6 budget | the exact boundary, of the rollout and of each wave | |
//! | 7 probe errors | never lead back | |
//! | 8 deadlines | the whole rollout is bounded, what has ended is not waited for | each wait: `verdict/tests.rs`, `decide/tests` |
//! | 9 stale executors | begin nothing once refused, change nothing once replaced | refusal by real targets: their own tests |
//! | 10 empty plan | what was planned stands and is recorded | the plan made anew: `decide/tests/replan.rs` |
//! | 11 agreement | outcome, what stands, ledgers | exit code, journal, history: `xtask`, `tests/long` |
//!
//! Laws 12 (secrets) and 13 (restarts of the watchdog) are not visible in moments and are judged elsewhere alone.

mod begin;
mod end;
mod judge;
mod story;
#[cfg(test)]
mod tests;
mod watch;
mod wave;

use crate::{
    bundle::BundleHash,
    decide::{Decision, Reason},
    model::{Action, Millis, UnitId},
    port::EffectError,
    reason::ReasonCode,
    state::{Command, Observation, Outcome, Phase, State},
};
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub use judge::Judge;
pub use story::of_events;

/// A law or invariant that can be judged from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// 1: every rollout ends in an outcome that there is, and that fits what was done.
    Ends,
    /// 2: rolled back means the previous bundle.
    SameBundle,
    /// 3: a rollback is never rolled back, and the only healthy copy is kept.
    NeverTwice,
    /// 4: never too few available, never too many running.
    Bounds,
    /// 5: no evidence never passes.
    Evidence,
    /// 6: the failure budget stops at the exact boundary.
    Budget,
    /// 7: an error of the probe is not the unit's failure.
    ProbeErrors,
    /// 8: every wait has a deadline.
    Deadlines,
    /// 9: a stale executor can do nothing.
    Stale,
    /// 10: the plan after a success is empty.
    EmptyPlan,
    /// 11: outcome, ledgers and what stands agree.
    Agreement,
    /// The invariant that waves go one after the other, each complete and under watch for its soak.
    Waves,
    /// The invariant that hooks and migrations are run before anything is changed.
    Once,
    /// The invariant that evidence is collected before anything is undone.
    EvidenceFirst,
    /// The invariant that a target is never asked for what cannot be done: a start of what was not brought, a stop of
    /// what is in traffic.
    Sense,
}

impl Law {
    /// Its number in ARCHITECTURE.md; `None` for an invariant without one.
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Ends => Some(1),
            Self::SameBundle => Some(2),
            Self::NeverTwice => Some(3),
            Self::Bounds => Some(4),
            Self::Evidence => Some(5),
            Self::Budget => Some(6),
            Self::ProbeErrors => Some(7),
            Self::Deadlines => Some(8),
            Self::Stale => Some(9),
            Self::EmptyPlan => Some(10),
            Self::Agreement => Some(11),
            Self::Waves | Self::Once | Self::EvidenceFirst | Self::Sense => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::SameBundle => "same bundle",
            Self::NeverTwice => "never rolled back twice",
            Self::Bounds => "bounds",
            Self::Evidence => "no evidence never passes",
            Self::Budget => "failure budget",
            Self::ProbeErrors => "errors of the probe",
            Self::Deadlines => "deadlines",
            Self::Stale => "stale executor",
            Self::EmptyPlan => "empty plan",
            Self::Agreement => "agreement",
            Self::Waves => "waves in order",
            Self::Once => "hooks and migrations first",
            Self::EvidenceFirst => "evidence first",
            Self::Sense => "sense",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "law {number} ({})", self.name()),
            None => write!(f, "invariant ({})", self.name()),
        }
    }
}

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub law: Law,
    /// When.
    pub at: Millis,
    /// By what: a unit's label, a service, or `rollout`.
    pub subject: String,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms, {}: {}", self.law, self.at, self.subject, self.seen)
    }
}

/// What an observer knows of one unit's health from its own looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Answers of the unit; those of the observer's own failures do not count.
    pub answers: u32,
    /// Good answers in a row up to now.
    pub passes: u32,
    /// Milliseconds from the first to the last of these.
    pub held_for: Millis,
    /// Bad answers in a row up to now.
    pub failures: u32,
    /// Answers of another release in a row up to now.
    pub wrong_release: u32,
    /// Milliseconds since the last answer; `None`: there was none.
    pub age: Option<Millis>,
    /// Whether it ever answered well.
    pub ever_passed: bool,
}

/// One unit at one moment, as an observer sees it. Its bundle is in its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnitNow {
    /// Whether its process is there.
    pub running: bool,
    /// Whether it was told to stop.
    pub told_to_stop: bool,
    /// Its share of the traffic; 0 = out of traffic.
    pub weight: u16,
    /// What the observer knows of its health; `None`: it does not ask, so nothing that needs it is judged.
    pub looked: Option<Looked>,
}

/// What is seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Millis,
    /// Every unit that runs, stops, or ended without being told to.
    pub units: BTreeMap<UnitId, UnitNow>,
    /// What the ledgers say: target → service → bundle.
    pub ledgers: BTreeMap<Name, BTreeMap<Name, Option<BundleHash>>>,
    /// Targets that the executor cannot reach; what it does not see there is not held against it.
    pub unreachable: BTreeSet<Name>,
}

/// Something that an executor did or said, or that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// An executor took the rollout over, with this generation.
    TookOver {
        /// Its generation.
        generation: u64,
    },
    /// An executor began an action.
    Began {
        /// Its generation.
        generation: u64,
        /// What.
        action: Action,
    },
    /// An action took hold on its target.
    TookHold {
        /// The generation that had asked for it.
        generation: u64,
        /// What.
        action: Action,
    },
    /// An executor heard how an action of it ended.
    Ended {
        /// What.
        action: Action,
    },
    /// An executor was refused as stale.
    Fenced {
        /// Its generation.
        generation: u64,
    },
    /// The operator asked for something.
    Commanded(Command),
    /// The rollout said that a wave began.
    WaveBegan {
        /// Its place among the waves, from 0.
        index: usize,
    },
    /// A failure was counted.
    Failed {
        /// Whose, if it is a unit's.
        unit: Option<UnitId>,
        /// Why.
        reason: ReasonCode,
    },
    /// The rollout turned: it goes no further forward.
    Turned {
        /// Why.
        reason: ReasonCode,
        /// For which unit, if it is for one.
        unit: Option<UnitId>,
    },
    /// The way forward began, or was gone on with.
    WentForward,
    /// The way back began.
    WentBack {
        /// Why.
        reason: ReasonCode,
    },
    /// What stands was taken for what is to stand.
    Settled {
        /// Whether it is what stood before.
        back: bool,
    },
    /// A human opened the rollout again.
    Reopened,
    /// It is over.
    Finished(Outcome),
}

/// What a decision means to the judge, in order: what was heard, what was found, what is begun.
pub fn of_decision(
    generation: u64,
    before: &State,
    seen: &Observation,
    decision: &Decision,
) -> Vec<Happened> {
    let mut happened = Vec::new();
    for (id, result) in &seen.effects {
        if let Some(flight) = before.flights.get(id) {
            happened.push(Happened::Ended { action: flight.intent.action.clone() });
        }
        if matches!(result, Err(EffectError::Fenced { .. })) {
            happened.push(Happened::Fenced { generation });
        }
    }
    for reason in &decision.because {
        match reason {
            Reason::Commanded { command } => happened.push(Happened::Commanded(*command)),
            Reason::WaveBegan { wave, .. } => {
                happened.push(Happened::WaveBegan { index: wave.saturating_sub(1) })
            }
            Reason::Failed(failure) => {
                happened.push(Happened::Failed { unit: failure.unit.clone(), reason: failure.reason });
            }
            _ => {}
        }
    }
    let cancelled = happened.contains(&Happened::Commanded(Command::Cancel));
    happened.extend(of_phases(&before.phase, &decision.next.phase, cancelled));
    let begun = decision.intents.iter();
    happened.extend(begun.map(|intent| Happened::Began { generation, action: intent.action.clone() }));
    happened
}

/// What it means that one decision led from one phase to another.
fn of_phases(before: &Phase, after: &Phase, cancelled: bool) -> Vec<Happened> {
    let forward = |phase: &Phase| matches!(phase, Phase::Preparing | Phase::Forward | Phase::Verifying);
    if before == after {
        return Vec::new();
    }
    let mut happened = Vec::new();
    let cause = match after {
        Phase::Collecting { cause, .. } | Phase::Back { cause } => Some(cause),
        Phase::Settling { outcome } | Phase::Finished(outcome) => match outcome {
            Outcome::Succeeded => None,
            Outcome::RolledBack { cause }
            | Outcome::Refused { cause }
            | Outcome::Held { cause, .. }
            | Outcome::RollbackFailed { cause, .. } => Some(cause),
        },
        Phase::Preparing | Phase::Forward | Phase::Verifying => None,
    };
    if let (true, Some(cause)) = (forward(before), cause) {
        happened.push(Happened::Turned { reason: cause.reason, unit: cause.unit.clone() });
    }
    let way_back = |phase: &Phase| {
        use Outcome::{Held, Refused, RollbackFailed, RolledBack};
        let outcome = match phase {
            Phase::Back { .. } => return true,
            Phase::Settling { outcome } | Phase::Finished(outcome) => outcome,
            _ => return false,
        };
        matches!(
            outcome,
            RolledBack { .. } | Refused { .. } | RollbackFailed { .. } | Held { back: true, .. }
        )
    };
    // One decision may lead through the way back and out of it again; its cause then is the one of before.
    let cause = match before {
        Phase::Collecting { cause, .. } => Some(cause),
        _ => cause,
    };
    if let (false, true, Some(cause)) = (way_back(before), way_back(after), cause) {
        let reason = if cancelled { ReasonCode::Cancelled } else { cause.reason };
        happened.push(Happened::WentBack { reason });
    }
    match after {
        Phase::Forward => happened.push(Happened::WentForward),
        Phase::Settling { outcome } => {
            happened.push(Happened::Settled { back: !matches!(outcome, Outcome::Succeeded) });
        }
        Phase::Finished(outcome) => happened.push(Happened::Finished(outcome.clone())),
        _ => {}
    }
    happened
}
