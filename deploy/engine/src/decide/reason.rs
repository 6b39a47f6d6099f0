//! Why a decision was made, and what is waited for: data for events, made into words here.

use crate::{
    model::{IntentId, Millis, UnitId},
    state::{Failure, Step},
    verdict::seconds,
};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why something was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The rollout entered a phase.
    PhaseBegan {
        /// Its word.
        phase: String,
    },
    /// A unit moved.
    Stepped {
        /// Which.
        unit: UnitId,
        /// From where.
        from: Step,
        /// To where.
        to: Step,
    },
    /// A unit has been healthy for long enough.
    Healthy {
        /// Which.
        unit: UnitId,
        /// Passes in a row.
        passes: u32,
    },
    /// A unit, gate or action failed.
    Failed(Failure),
    /// A failure that the budget still allows.
    Tolerated {
        /// Failures up to now.
        failures: u32,
        /// Failures that are tolerated.
        limit: u32,
    },
    /// An effect failed in a way that may pass, and is tried again.
    Retried {
        /// Which.
        intent: IntentId,
        /// What failed.
        message: String,
        /// After so many milliseconds.
        after: Millis,
    },
    /// A batch began.
    BatchBegan {
        /// Of which service.
        service: Name,
        /// Its number, from 1.
        batch: usize,
        /// Of so many.
        batches: usize,
    },
    /// A batch is complete, and the next one waits to be promoted.
    Paused {
        /// Of which service.
        service: Name,
        /// The batch that is complete, from 1.
        batch: usize,
        /// Of so many.
        batches: usize,
    },
    /// A wave began.
    WaveBegan {
        /// What it is called.
        name: Name,
        /// Its number, from 1.
        wave: usize,
        /// Of so many.
        waves: usize,
    },
    /// All units of a wave take traffic, and are under watch.
    SoakBegan {
        /// The wave.
        name: Name,
        /// For so many milliseconds.
        soak: Millis,
    },
    /// A wave is complete, and the next one waits to be promoted.
    WavePaused {
        /// What it is called.
        name: Name,
        /// Its number, from 1.
        wave: usize,
        /// Of so many.
        waves: usize,
    },
    /// The operator's pause is reached.
    PauseReached,
    /// A unit that the rollout has not reached yet failed, and is started again.
    Ailed(Failure),
    /// A hook that stands in nobody's way failed.
    HookIgnored {
        /// When it was run.
        moment: crate::model::HookMoment,
        /// What failed.
        message: String,
    },
    /// All units of a batch take traffic, and are under watch.
    BakeBegan {
        /// Of which service.
        service: Name,
        /// For so many milliseconds.
        bake: Millis,
    },
    /// A service is where it should be.
    ServiceDone {
        /// Which.
        service: Name,
    },
    /// The operator asked for something.
    Commanded {
        /// What.
        command: crate::state::Command,
    },
    /// A rollout was taken up again.
    TakenUp,
}

/// What a reason is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The whole rollout.
    Rollout,
    /// A service.
    Service(Name),
    /// A unit.
    Unit(UnitId),
}

/// Something that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Waiting {
    /// By what.
    pub subject: Subject,
    /// For what.
    pub for_what: String,
    /// Until when at the latest, if there is a deadline of its own.
    pub until: Option<Millis>,
}

impl Reason {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Stepped { unit, .. } | Self::Healthy { unit, .. } => Subject::Unit(unit.clone()),
            Self::Failed(failure) | Self::Ailed(failure) => match (&failure.unit, &failure.service) {
                (Some(unit), _) => Subject::Unit(unit.clone()),
                (None, Some(service)) => Subject::Service(service.clone()),
                (None, None) => Subject::Rollout,
            },
            Self::BatchBegan { service, .. }
            | Self::Paused { service, .. }
            | Self::BakeBegan { service, .. }
            | Self::ServiceDone { service } => Subject::Service(service.clone()),
            Self::PhaseBegan { .. }
            | Self::PauseReached
            | Self::WaveBegan { .. }
            | Self::SoakBegan { .. }
            | Self::WavePaused { .. }
            | Self::HookIgnored { .. }
            | Self::Tolerated { .. }
            | Self::Retried { .. }
            | Self::Commanded { .. }
            | Self::TakenUp => Subject::Rollout,
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::PhaseBegan { phase } => phase.clone(),
            Self::Stepped { to, .. } => to.word().to_owned(),
            Self::Healthy { passes, .. } => format!("healthy after {passes} passes in a row"),
            Self::Failed(failure) => format!("{}: {}", failure.reason, failure.message),
            Self::Tolerated { failures, limit } => format!("{failures} of {limit} tolerated failures"),
            Self::Retried { message, after, .. } => format!("{message}; again in {}", seconds(*after)),
            Self::BatchBegan { batch, batches, .. } => format!("batch {batch} of {batches}"),
            Self::Paused { batch, batches, .. } => format!("paused after batch {batch} of {batches}"),
            Self::PauseReached => "paused".to_owned(),
            Self::Ailed(failure) => {
                format!(
                    "{}: {}; not reached by this rollout, so it is started again",
                    failure.reason, failure.message
                )
            }
            Self::WaveBegan { name, wave, waves } => format!("wave {wave} of {waves}: {name}"),
            Self::SoakBegan { name, soak } => format!("wave {name} soaking for {}", seconds(*soak)),
            Self::WavePaused { name, wave, waves } => format!("paused after wave {wave} of {waves}: {name}"),
            Self::HookIgnored { moment, message } => {
                format!("hook {} failed, which changes nothing: {message}", moment.word())
            }
            Self::BakeBegan { bake, .. } => format!("baking for {}", seconds(*bake)),
            Self::ServiceDone { .. } => "done".to_owned(),
            Self::Commanded { command } => match command {
                crate::state::Command::Interrupt => "stopping at the next safe point".to_owned(),
                crate::state::Command::Pause => "pausing".to_owned(),
                crate::state::Command::Promote => "promoted".to_owned(),
                crate::state::Command::Cancel => "cancelled".to_owned(),
                crate::state::Command::Hold => "held by the operator".to_owned(),
            },
            Self::TakenUp => "taken up again".to_owned(),
        }
    }
}
