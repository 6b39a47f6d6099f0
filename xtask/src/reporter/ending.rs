//! The final line: outcome, release, environment, duration, and what to type next.

use crate::exit::{Asked, Exit};
use deploy::{
    decide::{End, Leave},
    model::Millis,
    state::Outcome,
    verdict::seconds,
};

/// How a command ended that was to change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The outcome in a sentence, without the duration.
    pub(crate) sentence: String,
    /// Commands to type next, the likeliest first; none if all is well.
    pub(crate) next: Vec<String>,
    /// How long the whole command took, in milliseconds.
    pub(crate) took: Millis,
}

/// What a rollout was for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// The program as people type it.
    pub(crate) program: &'a str,
    /// The environment.
    pub(crate) environment: &'a str,
    /// The release that was to stand.
    pub(crate) release: &'a str,
    /// What the operator asked for.
    pub(crate) asked: Asked,
}

impl Ending {
    /// Done, in these words.
    pub(crate) fn done(sentence: impl Into<String>, took: Millis) -> Self {
        Self { exit: Exit::Done, sentence: sentence.into(), next: Vec::new(), took }
    }

    /// How an executor came out of a rollout.
    pub(crate) fn of(end: &End, about: About<'_>, took: Millis) -> Self {
        let About { program, environment, release, asked } = about;
        let exit = Exit::of_end(end, asked);
        let to = |command: &str| format!("{program} {command} {environment}");
        let (sentence, next) = match end {
            End::Finished(Outcome::Succeeded) => {
                (format!("done: release {release} stands on {environment}, healthy"), Vec::new())
            }
            End::Finished(Outcome::RolledBack { .. }) if asked == Asked::Cancel => (
                format!(
                    "done: release {release} was taken back on {environment}, what stood before stands again"
                ),
                Vec::new(),
            ),
            End::Finished(Outcome::RolledBack { cause }) => {
                let logs =
                    to("logs") + &cause.of_service().map_or_else(String::new, |name| format!(" {name}"));
                let why = cause.reason;
                let sentence = format!(
                    "rolled back: release {release} on {environment} ({why}), what stood before stands again"
                );
                (sentence, vec![logs, to("status")])
            }
            End::Finished(Outcome::Refused { cause }) => {
                let sentence = format!(
                    "refused: release {release} on {environment} ({}: {}), nothing that runs was changed",
                    cause.reason,
                    cause.message.lines().next().unwrap_or_default()
                );
                (sentence, vec![to("status")])
            }
            End::Finished(Outcome::RollbackFailed { cause, failure }) => {
                let why = format!("{}, then {}", cause.reason, failure.reason);
                (
                    format!("rollback failed: release {release} on {environment} ({why})"),
                    vec![to("status"), to("rollback")],
                )
            }
            End::Finished(Outcome::Held { .. }) if asked == Asked::Hold => {
                let sentence =
                    format!("done: release {release} on {environment} is held, everything was left as it is");
                (sentence, vec![to("resume"), to("rollback")])
            }
            End::Finished(Outcome::Held { cause, back }) => {
                let why = if *back {
                    format!("{}, on the way back", cause.reason)
                } else {
                    cause.reason.to_string()
                };
                let sentence =
                    format!("held: release {release} on {environment} ({why}), everything was left as it is");
                (sentence, vec![to("resume"), to("rollback"), to("status")])
            }
            End::Left(Leave::Paused) => {
                let sentence = format!("paused: release {release} on {environment}");
                (sentence, vec![to("promote"), to("rollback"), to("status")])
            }
            End::Left(Leave::Interrupted) => {
                let sentence =
                    format!("interrupted: release {release} on {environment}, the rollout is open");
                (sentence, vec![to("resume"), to("rollback")])
            }
            End::Left(Leave::Lost { generation }) => {
                let who = format!("generation {generation} has taken over");
                (
                    format!("lease lost: release {release} on {environment} ({who})"),
                    vec![to("lock"), to("status")],
                )
            }
        };
        Self { exit, sentence, next, took }
    }

    /// The final line.
    pub(crate) fn line(&self) -> String {
        let next: Vec<String> = self.next.iter().map(|command| format!("`{command}`")).collect();
        let next = if next.is_empty() { String::new() } else { format!("; next: {}", next.join(" or ")) };
        format!("{} ({}){next}", self.sentence, seconds(self.took))
    }
}
