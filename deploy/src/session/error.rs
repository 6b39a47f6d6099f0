//! What can go wrong before or beside a rollout: never the failure of a rollout itself, which is an outcome.

/// Something that went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SessionError {
    /// What kind: decides the exit code.
    pub kind: Kind,
    /// What failed, and why.
    pub message: String,
    /// What to do next, each a sentence or a command.
    pub hints: Vec<String>,
    /// What it was caused by.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of error, by what they mean for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request or the configuration is wrong (exit 2).
    Usage,
    /// A stage of the pipeline failed; nothing was deployed (exit 1).
    Stage,
    /// Refused; nothing was changed (exit 3).
    Refused,
    /// The lease is held by another, was lost, or an open rollout stands in the way (exit 13).
    Locked,
    /// State could not be read or written, or the target does not answer (exit 3 when nothing had begun).
    State,
    /// A defect of the program (exit 70).
    Bug,
}

impl SessionError {
    /// An error without cause or hints.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
