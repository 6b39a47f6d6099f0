//! What happens while an image is published, in the past tense.

use pipeline::digest::Digest;
use std::{fmt, time::Duration};

/// Something that happened while an image was published. *Steps* are ordered and kept; *progress* may be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All of it was there already. A step.
    AlreadyThere {
        /// Under which name.
        reference: String,
        /// What it is.
        digest: Digest,
    },
    /// The engine came further with a layer. Progress.
    Layer {
        /// Which, in the engine's short form.
        layer: String,
        /// How far.
        state: LayerState,
    },
    /// The engine could not push, and will be asked again. A step.
    Retrying {
        /// Under which name.
        reference: String,
        /// Which attempt failed, from 1.
        attempt: u32,
        /// Why.
        reason: String,
        /// How long is waited before the next.
        wait: Duration,
    },
    /// The engine has pushed all of it. A step.
    ImagePushed {
        /// Under which name.
        reference: String,
    },
    /// It was read back, is the image, and all of it is there. A step.
    Verified {
        /// Under which name.
        reference: String,
        /// What it is.
        digest: Digest,
    },
    /// A tag points to it now. A step.
    TagMoved {
        /// The tag's whole name.
        reference: String,
        /// Where it pointed to, if it was there.
        from: Option<Digest>,
        /// Where it points to.
        digest: Digest,
    },
    /// A tag pointed to it already. A step.
    TagStays {
        /// The tag's whole name.
        reference: String,
        /// Where it points to.
        digest: Digest,
    },
}

/// How far the engine is with a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    /// It will be looked at.
    Waiting,
    /// It is on its way.
    Pushing {
        /// How many bytes of it are sent.
        sent: u64,
        /// How many there are, if the engine knows.
        total: Option<u64>,
    },
    /// It failed, and the engine will try again by itself.
    Failed {
        /// In the engine's words: `Retrying in 5 seconds`.
        said: String,
    },
    /// It has arrived.
    Pushed,
    /// It was there, or in another repository of the registry.
    WasThere,
}

/// For people: `ghcr.io/team/api:main points to 3f9a1c2b4d5e now`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyThere { reference, .. } => write!(f, "{reference} is there already"),
            Self::Layer { layer, state } => write!(f, "layer {layer}: {state}"),
            Self::Retrying { reference, attempt, reason, wait } => {
                let seconds = wait.as_secs();
                write!(
                    f,
                    "attempt {attempt} to push {reference} failed ({reason}); the next one in {seconds} s"
                )
            }
            Self::ImagePushed { reference } => write!(f, "pushed {reference}"),
            Self::Verified { reference, digest } => write!(f, "read back {reference}: {}", digest.short()),
            Self::TagMoved { reference, digest, .. } => {
                write!(f, "{reference} points to {} now", digest.short())
            }
            Self::TagStays { reference, .. } => write!(f, "{reference} points to it already"),
        }
    }
}

impl fmt::Display for LayerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waits"),
            Self::Pushing { sent, total: Some(total) } => write!(f, "{sent} of {total} bytes"),
            Self::Pushing { sent, total: None } => write!(f, "{sent} bytes"),
            Self::Failed { said } => f.write_str(said),
            Self::Pushed => f.write_str("has arrived"),
            Self::WasThere => f.write_str("was there"),
        }
    }
}

impl Event {
    /// Whether it is a step, not mere progress.
    pub fn is_step(&self) -> bool {
        !matches!(self, Self::Layer { .. })
    }
}
