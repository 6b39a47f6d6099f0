//! Exit codes: public, few, and decided here alone.

use deploy::{
    decide::{End, Leave},
    session::Kind,
    state::Outcome,
};

/// How a command ends. The numbers are public and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, and healthy; also a rollback, hold or pause that was asked for.
    Done = 0,
    /// A stage failed; nothing was deployed.
    StageFailed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Refused; nothing was changed.
    Refused = 3,
    /// The rollout failed and was rolled back: what stood before stands again, possibly nothing.
    RolledBack = 10,
    /// The rollback failed: a human is needed.
    RollbackFailed = 11,
    /// Held, paused or inconclusive: everything was left as it is, a human decides.
    Held = 12,
    /// The lease is held by another, or was lost.
    Locked = 13,
    /// Interrupted; the rollout can be resumed.
    Interrupted = 14,
    /// A defect of the program.
    Bug = 70,
}

/// What the operator asked for: the same outcome can be a success or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To carry a plan out, or to carry it on.
    Apply,
    /// To end an open rollout and bring back what stood before.
    Cancel,
    /// To end an open rollout and leave everything as it is.
    Hold,
    /// To pause an open rollout.
    Pause,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::StageFailed,
        Self::Usage,
        Self::Refused,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Held,
        Self::Locked,
        Self::Interrupted,
        Self::Bug,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, and healthy (also a rollback, hold or pause that was asked for)",
            Self::StageFailed => "a stage failed, nothing was deployed",
            Self::Usage => "the command line or the configuration is wrong",
            Self::Refused => {
                "refused, nothing was changed (stale plan, failed check, protected environment, freeze)"
            }
            Self::RolledBack => "rolled back: what stood before stands again, possibly nothing",
            Self::RollbackFailed => "the rollback failed, a human is needed",
            Self::Held => "held, paused or inconclusive, a human decides",
            Self::Locked => "the lease is held by another, or was lost",
            Self::Interrupted => "interrupted, can be resumed",
            Self::Bug => "a bug in Fairlead",
        }
    }

    /// How an executor came out of a rollout.
    pub fn of_end(end: &End, asked: Asked) -> Self {
        match (end, asked) {
            (End::Finished(Outcome::RolledBack { .. }), Asked::Cancel) => Self::Done,
            (End::Finished(Outcome::RolledBack { .. }), _) => Self::RolledBack,
            (End::Finished(Outcome::Succeeded), _) => Self::Done,
            (End::Finished(Outcome::Refused { .. }), _) => Self::Refused,
            (End::Finished(Outcome::Held { .. }), Asked::Hold) => Self::Done,
            (End::Finished(Outcome::Held { .. }), _) => Self::Held,
            (End::Finished(Outcome::RollbackFailed { .. }), _) => Self::RollbackFailed,
            (End::Left(Leave::Interrupted), _) => Self::Interrupted,
            (End::Left(Leave::Paused), Asked::Pause) => Self::Done,
            (End::Left(Leave::Paused), _) => Self::Held,
            (End::Left(Leave::Lost { .. }), _) => Self::Locked,
        }
    }

    /// How a rollout ended that another process carried out, by the word of its entry in the history. A rollout that
    /// succeeded before it could be ended or paused is a refusal: nothing was changed by whoever asked.
    pub fn of_entry(outcome: &str, asked: Asked) -> Self {
        match (outcome, asked) {
            ("succeeded", Asked::Apply) | ("rolled-back", Asked::Cancel) | ("held", Asked::Hold) => {
                Self::Done
            }
            ("succeeded" | "refused", _) => Self::Refused,
            ("rolled-back", _) => Self::RolledBack,
            ("rollback-failed", _) => Self::RollbackFailed,
            // A word of a later version: a human looks.
            (_, _) => Self::Held,
        }
    }

    /// What an error before or beside a rollout means.
    pub fn of_error(kind: Kind) -> Self {
        match kind {
            Kind::Stage => Self::StageFailed,
            Kind::Usage => Self::Usage,
            Kind::Refused | Kind::State => Self::Refused,
            Kind::Locked => Self::Locked,
            Kind::Bug => Self::Bug,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::failure;

    #[test]
    fn every_end_has_its_number() {
        let cause = || failure("api", "never-ready");
        let rolled_back = || End::Finished(Outcome::RolledBack { cause: cause() });
        let table = [
            (End::Finished(Outcome::Succeeded), Asked::Apply, 0),
            (End::Finished(Outcome::Succeeded), Asked::Cancel, 0),
            (End::Finished(Outcome::Refused { cause: cause() }), Asked::Apply, 3),
            (rolled_back(), Asked::Apply, 10),
            (rolled_back(), Asked::Cancel, 0),
            (
                End::Finished(Outcome::RollbackFailed { cause: cause(), failure: Box::new(cause()) }),
                Asked::Cancel,
                11,
            ),
            (End::Finished(Outcome::Held { cause: cause(), back: false }), Asked::Apply, 12),
            (End::Left(Leave::Lost { generation: 3 }), Asked::Apply, 13),
            (End::Left(Leave::Interrupted), Asked::Apply, 14),
            (End::Left(Leave::Paused), Asked::Apply, 12),
            (End::Left(Leave::Paused), Asked::Pause, 0),
            (End::Finished(Outcome::Held { cause: cause(), back: false }), Asked::Hold, 0),
            (End::Finished(Outcome::Held { cause: cause(), back: true }), Asked::Cancel, 12),
            (rolled_back(), Asked::Hold, 10),
        ];
        for (end, asked, code) in table {
            assert_eq!(Exit::of_end(&end, asked).code(), code, "{end:?} {asked:?}");
        }
    }

    #[test]
    fn whoever_asked_another_process_gets_what_was_asked_for_or_the_true_end() {
        let table = [
            ("rolled-back", Asked::Cancel, 0),
            ("rolled-back", Asked::Hold, 10),
            ("rolled-back", Asked::Pause, 10),
            ("rolled-back", Asked::Apply, 10),
            ("held", Asked::Hold, 0),
            ("held", Asked::Cancel, 12),
            ("succeeded", Asked::Apply, 0),
            ("succeeded", Asked::Cancel, 3),
            ("succeeded", Asked::Pause, 3),
            ("refused", Asked::Cancel, 3),
            ("rollback-failed", Asked::Cancel, 11),
        ];
        for (outcome, asked, code) in table {
            assert_eq!(Exit::of_entry(outcome, asked).code(), code, "{outcome} {asked:?}");
        }
    }

    #[test]
    fn every_error_has_its_number() {
        let table = [
            (Kind::Stage, 1),
            (Kind::Usage, 2),
            (Kind::Refused, 3),
            (Kind::State, 3),
            (Kind::Locked, 13),
            (Kind::Bug, 70),
        ];
        for (kind, code) in table {
            assert_eq!(Exit::of_error(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn the_numbers_are_the_published_ones() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 10, 11, 12, 13, 14, 70]);
    }
}
