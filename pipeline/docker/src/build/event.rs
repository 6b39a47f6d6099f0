//! What happens while an image is built.

use std::{fmt, sync::Arc, time::Duration};

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    /// Counted from 1 in the order in which steps are heard of: what tells two of the same name apart.
    pub number: u32,
    /// As the builder calls it: `[build 2/4] RUN cargo build`; secrets masked.
    pub name: Arc<str>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// Something that happened while an image was built.
///
/// Of one step more than one end may be told, because builders look at what goes into a step before they do it: the last
/// one counts. Steps run side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEvent {
    /// The engine has taken this much of what is sent. Progress.
    Sending {
        /// Bytes so far.
        bytes: u64,
    },
    /// All was sent.
    Sent {
        /// Bytes in all.
        bytes: u64,
    },
    /// A step began.
    StepBegan {
        /// Which.
        step: Step,
    },
    /// A step need not be done again. It may not have begun.
    StepCached {
        /// Which.
        step: Step,
    },
    /// A step was done.
    StepDone {
        /// Which.
        step: Step,
        /// How long it took.
        took: Duration,
    },
    /// A step failed, or was given up because another one did.
    StepFailed {
        /// Which.
        step: Step,
    },
    /// A program of a step wrote a line. Progress.
    Output {
        /// Which step.
        step: Step,
        /// The line, without its end and at most 4096 characters long; secrets masked.
        line: String,
    },
    /// The builder warns of something in the Dockerfile.
    Warning {
        /// Of what; secrets masked.
        message: String,
    },
}
