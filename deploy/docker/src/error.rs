//! What an engine refuses or does not answer, and what that means for an effect.

use bollard::errors::Error;
use deploy::{port::EffectError, reason::ReasonCode};
use pipeline::causes::in_one_line;
use std::time::Duration;

/// A request to the engine that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{subject}`")]
pub(crate) struct EngineError {
    /// What was to be done.
    pub(crate) operation: &'static str,
    /// With what.
    pub(crate) subject: String,
    /// Why not.
    #[source]
    pub(crate) cause: Cause,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The engine said no.
    #[error("the engine answers {status}: {message}")]
    Refused { status: u16, message: String },
    /// The engine broke off what it had begun.
    #[error("the engine broke off: {0}")]
    BrokenOff(String),
    /// It was not heard.
    #[error("the engine was not heard")]
    Unheard(#[source] Error),
    /// It took too long.
    #[error("the engine did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: status_code, message: message.trim_end().to_owned() }
            }
            Error::DockerStreamError { error } => Self::BrokenOff(error),
            other => Self::Unheard(other),
        }
    }
}

impl EngineError {
    /// The HTTP status of a refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        match self.cause {
            Cause::Refused { status, .. } => Some(status),
            Cause::BrokenOff(_) | Cause::Unheard(_) | Cause::Deadline(_) => None,
        }
    }

    /// Whether there is no such thing.
    pub(crate) fn is_missing(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether something is in the way: a name that is taken, a container in another state.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// What it means for an effect. What the engine refuses for what was asked it will refuse again; what it could not do
    /// (no room, a network that is not up, an engine that ends) it may do later, unless its words say otherwise.
    pub(crate) fn effect(&self, reason: ReasonCode) -> EffectError {
        let message = in_one_line(self);
        let is_final = match &self.cause {
            Cause::Refused { status: 409 | 429, .. } => false,
            Cause::Refused { status: 400..=499, .. } => true,
            Cause::Refused { message, .. } | Cause::BrokenOff(message) => says_never(message),
            Cause::Unheard(_) | Cause::Deadline(_) => false,
        };
        if is_final { EffectError::Terminal { reason, message } } else { EffectError::Passing { message } }
    }
}

/// Words of engines for what does not pass, where their status does not tell: 20.10 and 28 alike.
const NEVER: [&str; 10] = [
    "exec format error",
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "manifest unknown",
    "no matching manifest",
    "not found",
    "does not match the detected host platform",
    "unauthorized",
    "access denied",
];

fn says_never(message: &str) -> bool {
    let message = message.to_lowercase();
    NEVER.iter().any(|words| message.contains(words)) || message.contains("no basic auth credentials")
}

/// An effect that may succeed later.
pub(crate) fn passing(message: impl Into<String>) -> EffectError {
    EffectError::Passing { message: message.into() }
}

/// An effect that fails for good.
pub(crate) fn terminal(reason: ReasonCode, message: impl Into<String>) -> EffectError {
    EffectError::Terminal { reason, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(cause: Cause) -> EffectError {
        EngineError { operation: "start the container", subject: "api".to_owned(), cause }
            .effect(ReasonCode::CannotStart)
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let refused = |status, message: &str| Cause::Refused { status, message: message.to_owned() };
        let never = [
            refused(400, "invalid mount"),
            refused(404, "no such image"),
            refused(500, "exec /bin/api: exec format error"),
            refused(500, "unauthorized: authentication required"),
            Cause::BrokenOff("manifest unknown".to_owned()),
            Cause::BrokenOff("no basic auth credentials".to_owned()),
        ];
        for cause in never {
            let error = effect(cause);
            assert!(
                matches!(error, EffectError::Terminal { reason: ReasonCode::CannotStart, .. }),
                "{error:?}"
            );
        }
        let later = [
            refused(409, "the name is in use"),
            refused(429, "too many requests"),
            refused(500, "no space left on device"),
            refused(500, "dial tcp 127.0.0.1:1: connect: connection refused"),
            refused(503, "shutting down"),
            Cause::Deadline(Duration::from_secs(1)),
            Cause::Unheard(Error::RequestTimeoutError),
        ];
        for cause in later {
            let error = effect(cause);
            assert!(matches!(error, EffectError::Passing { .. }), "{error:?}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_its_subject() {
        let EffectError::Passing { message } = effect(Cause::Unheard(Error::RequestTimeoutError)) else {
            panic!("it may pass")
        };
        assert_eq!(message, "cannot start the container `api`: the engine was not heard: Timeout error");
    }
}
