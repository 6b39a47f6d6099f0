//! What happened, in the past tense: the only thing that reporters and the journal ever see.

use crate::{
    check::Look,
    decide::{Leave, Reason, Waiting},
    dossier::Dossier,
    model::{Intent, Millis, UnitId},
    plan::PlanKind,
    port::GateResult,
    state::{Command, Outcome},
};
use pipeline::name::Name;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// The lease was acquired.
    LeaseAcquired {
        /// The generation that acts from now on.
        generation: u64,
        /// Whose lease was taken over, and why that was allowed.
        took_over: Option<String>,
    },
    /// A rollout began, or was taken up again.
    RolloutBegan {
        /// Its run.
        run: String,
        /// The environment.
        environment: Name,
        /// The release that is to stand.
        release: String,
        /// Whether it brings something new or returns to what stood before.
        kind: PlanKind,
        /// What changes: service → what.
        services: Vec<(Name, Vec<String>)>,
        /// The targets that are reached.
        targets: Vec<Name>,
        /// Whether it had begun before.
        resumed: bool,
    },
    /// An operator asked something of the executor, from another process.
    Requested {
        /// What.
        command: Command,
        /// Who: user and host.
        by: String,
    },
    /// Something was decided.
    Decided {
        /// Why.
        reason: Reason,
    },
    /// An action was begun.
    ActionBegan {
        /// Which.
        intent: Intent,
    },
    /// An action ended.
    ActionEnded {
        /// Which.
        intent: Intent,
        /// How long it took, in milliseconds.
        took: Millis,
        /// What came of it.
        result: ActionResult,
    },
    /// A unit was looked at. Progress: may be dropped.
    Looked {
        /// Which.
        unit: UnitId,
        /// What was seen.
        look: Look,
    },
    /// What is waited for has changed. Progress: may be dropped.
    Waited {
        /// For what.
        waiting: Vec<Waiting>,
    },
    /// The evidence of a failure was collected.
    EvidenceCollected {
        /// The evidence.
        dossier: Box<Dossier>,
        /// Where it was written, if it could be.
        path: Option<PathBuf>,
    },
    /// The rollout ended.
    RolloutFinished {
        /// Its run.
        run: String,
        /// The environment.
        environment: Name,
        /// The release that was to stand.
        release: String,
        /// How.
        outcome: Outcome,
        /// How long it took, in milliseconds.
        took: Millis,
    },
    /// The rollout was left unfinished.
    RolloutLeft {
        /// Its run.
        run: String,
        /// The environment.
        environment: Name,
        /// Why: interrupted, or taken over by this generation.
        taken_over_by: Option<u64>,
    },
    /// The run has ended, and its journal has not all that was told before. This event is in no journal.
    JournalIncomplete {
        /// How many lines could not be written.
        lost: u64,
        /// Why the first of them could not.
        why: String,
    },
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionResult {
    /// It took hold.
    Done {
        /// A line for people; empty if there is nothing to say.
        note: String,
    },
    /// A gate's evidence.
    Gate(GateResult),
    /// It failed.
    Failed {
        /// What failed and why.
        message: String,
        /// Whether it may work when it is tried again.
        may_pass: bool,
    },
}

impl Event {
    /// Whether it is part of the story that is kept in order and journaled; the rest is progress and may be dropped.
    pub fn is_step(&self) -> bool {
        !matches!(self, Self::Looked { .. } | Self::Waited { .. })
    }

    /// The event of leaving a rollout.
    pub fn left(run: &str, environment: &Name, leave: Leave) -> Self {
        let taken_over_by = match leave {
            Leave::Interrupted | Leave::Paused => None,
            Leave::Lost { generation } => Some(generation),
        };
        Self::RolloutLeft { run: run.to_owned(), environment: environment.clone(), taken_over_by }
    }
}
