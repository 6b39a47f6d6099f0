//! What can go wrong with a request to GitHub, what it means, and whether it is tried again.

use std::time::Duration;

/// The longest that one request may take until it is answered. GitHub ends its own after 10 s.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// How long a report, a release or a comment is tried, in all: its limits for bursts are told with waits of a minute at
/// most, and whoever waits for a stage has that much time.
pub const STAGE_DEADLINE: Duration = Duration::from_secs(60);

/// The first wait after an answer that says nothing of one; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait that is chosen here.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// 401.
    #[error("GitHub does not accept the token: {message}")]
    Unauthorised {
        /// What GitHub says.
        message: String,
    },
    /// 403 that is no limit.
    #[error("GitHub does not allow {doing}: {message}")]
    Forbidden {
        /// What was to be done.
        doing: String,
        /// The permission that it takes, as workflows name it: `deployments: write`.
        permission: &'static str,
        /// What GitHub says.
        message: String,
    },
    /// 403 or 429 with a limit that is used up.
    #[error("GitHub takes no more requests for {} s: {message}", wait.as_secs())]
    RateLimited {
        /// Until it takes some again, as it says.
        wait: Duration,
        /// What GitHub says.
        message: String,
    },
    /// 404: it is not there, or the token may not see it.
    #[error("GitHub does not find what is needed for {doing}: {message}")]
    NotFound {
        /// What was to be done.
        doing: String,
        /// The permission that it takes.
        permission: &'static str,
        /// What GitHub says.
        message: String,
    },
    /// 409.
    #[error("{doing} conflicts with what is there: {message}")]
    Conflict {
        /// What was to be done.
        doing: String,
        /// What GitHub says.
        message: String,
    },
    /// 400, 410, 413 or 422: it would be refused again.
    #[error("GitHub refuses {doing}: {message}{}", listed(errors))]
    Invalid {
        /// What was to be done.
        doing: String,
        /// What GitHub says.
        message: String,
        /// What it says of each field.
        errors: Vec<String>,
    },
    /// 5xx, or no answer.
    #[error("GitHub cannot be reached for {doing}: {message}")]
    Unavailable {
        /// What was to be done.
        doing: String,
        /// What happened.
        message: String,
        /// Whether it may have taken hold all the same.
        may_have_taken_hold: bool,
    },
    /// An answer that is none.
    #[error("GitHub's answer to {doing} is not understood: {message}")]
    Strange {
        /// What was to be done.
        doing: String,
        /// What is wrong with it.
        message: String,
    },
}

fn listed(errors: &[String]) -> String {
    if errors.is_empty() { String::new() } else { format!(" ({})", errors.join("; ")) }
}

impl Trouble {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unauthorised { .. } => {
                "GITHUB_TOKEN has expired, or is that of another server: in a workflow give the step \
                 `env: GITHUB_TOKEN: ${{ github.token }}`, and on GitHub Enterprise set GITHUB_API_URL"
                    .to_owned()
            }
            Self::Forbidden { permission, .. } => format!(
                "give the job `permissions: {permission}`; workflows of a pull request from a fork never have it"
            ),
            Self::NotFound { permission, .. } => format!(
                "is `repository` of `[github]` right, is the commit pushed, and has the job `permissions: {permission}`?"
            ),
            Self::RateLimited { .. } | Self::Unavailable { .. } => {
                "nothing else waits for it: try again later".to_owned()
            }
            Self::Conflict { .. } => "somebody else changes the same: look at it on GitHub".to_owned(),
            Self::Invalid { .. } => "GitHub would refuse it again: is the commit pushed?".to_owned(),
            Self::Strange { .. } => "is GITHUB_API_URL the address of GitHub's API?".to_owned(),
        }
    }

    /// Whether the same request may be done later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. })
    }

    /// Whether every other request would meet with it as well.
    pub fn is_of_all(&self) -> bool {
        matches!(self, Self::Unauthorised { .. } | Self::Forbidden { .. } | Self::Strange { .. })
    }

    /// Whether the request may have been done though it was not answered: who repeats it looks first.
    pub fn may_have_taken_hold(&self) -> bool {
        matches!(self, Self::Unavailable { may_have_taken_hold: true, .. })
    }
}

/// What to do after a request that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after this time.
    Again(Duration),
    /// It is not.
    GiveUp,
}

/// What to do after the attempt of this number, from 1, with so much time left. Pure.
pub fn next(attempt: u32, trouble: &Trouble, left: Duration) -> Next {
    let wait = match trouble {
        Trouble::RateLimited { wait, .. } => *wait,
        Trouble::Unavailable { .. } => {
            FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(5)).min(WAIT_MAX)
        }
        _ => return Next::GiveUp,
    };
    // A wait that leaves no time for the request itself is no use.
    if wait < left { Next::Again(wait) } else { Next::GiveUp }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> Trouble {
        let (doing, message) = ("a deployment".to_owned(), "502 Bad Gateway".to_owned());
        Trouble::Unavailable { doing, message, may_have_taken_hold: true }
    }

    #[test]
    fn what_may_pass_is_tried_again_ever_later_until_the_time_is_used_up() {
        let seconds = Duration::from_secs;
        let waits: Vec<Next> = (1..=7).map(|attempt| next(attempt, &unavailable(), seconds(60))).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30].map(|wait| Next::Again(seconds(wait))));
        assert_eq!(next(3, &unavailable(), seconds(4)), Next::GiveUp);
        assert_eq!(next(u32::MAX, &unavailable(), seconds(60)), Next::Again(seconds(30)));
    }

    #[test]
    fn a_limit_is_waited_out_as_github_says_or_not_at_all() {
        let limited = |wait| Trouble::RateLimited { wait: Duration::from_secs(wait), message: String::new() };
        assert_eq!(next(1, &limited(7), Duration::from_secs(60)), Next::Again(Duration::from_secs(7)));
        assert_eq!(next(1, &limited(3600), Duration::from_secs(60)), Next::GiveUp);
    }

    #[test]
    fn what_would_be_refused_again_is_not_repeated() {
        let (doing, message) = (String::new(), String::new());
        let permission = "deployments: write";
        for trouble in [
            Trouble::Unauthorised { message: message.clone() },
            Trouble::Forbidden { doing: doing.clone(), permission, message: message.clone() },
            Trouble::NotFound { doing: doing.clone(), permission, message: message.clone() },
            Trouble::Conflict { doing: doing.clone(), message: message.clone() },
            Trouble::Invalid { doing: doing.clone(), message: message.clone(), errors: Vec::new() },
            Trouble::Strange { doing, message },
        ] {
            assert_eq!(next(1, &trouble, Duration::from_secs(60)), Next::GiveUp, "{trouble}");
        }
    }
}
