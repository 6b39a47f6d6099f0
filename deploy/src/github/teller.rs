//! What GitHub is told of what happens, in full; secrets and length are seen to where it is written down. Pure.

use super::words::{Deployment, State, Status, What};
use crate::{
    decide::Reason,
    event::Event,
    plan::PlanKind,
    state::{Failure, Outcome},
};
use serde::{Deserialize, Serialize};

/// A rollout, as far as GitHub is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Story {
    /// The run, which stays the same however often it is taken up.
    pub run: String,
    /// Whether it brings something new or returns to what stood before.
    pub kind: PlanKind,
    /// What is to stand.
    pub release: Standing,
    /// What stood before, if anything did and its commit is known.
    pub before: Option<Standing>,
    /// Whether it is what users see.
    pub production: bool,
    /// Where its story can be read.
    pub log_url: Option<String>,
    /// Where what was deployed answers.
    pub environment_url: Option<String>,
}

/// A release, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Standing {
    /// The release, or several with commas between.
    pub release: String,
    /// The commit.
    pub commit: String,
}

/// How a rollout ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// What was planned stands.
    Succeeded,
    /// What stood before stands again.
    RolledBack(String),
    /// Nothing was changed.
    Refused(String),
    /// Everything was left as it is.
    Held(String),
    /// A human is needed.
    RollbackFailed(String),
}

impl Ending {
    /// Of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        let why = |failure: &Failure| format!("{}: {}", failure.reason, failure.message);
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::RolledBack { cause } => Self::RolledBack(why(cause)),
            Outcome::Refused { cause } => Self::Refused(why(cause)),
            Outcome::Held { cause, .. } => Self::Held(why(cause)),
            Outcome::RollbackFailed { failure, .. } => Self::RollbackFailed(why(failure)),
        }
    }

    /// Of an entry of the history; none of a word of a later version.
    pub fn of_entry(outcome: &str, why: &str) -> Option<Self> {
        let why = why.to_owned();
        Some(match outcome {
            "succeeded" => Self::Succeeded,
            "rolled-back" => Self::RolledBack(why),
            "refused" => Self::Refused(why),
            "held" => Self::Held(why),
            "rollback-failed" => Self::RollbackFailed(why),
            _ => return None,
        })
    }
}

/// Turns what happens into what is told.
#[derive(Debug, Clone)]
pub struct Teller {
    story: Story,
    /// The deployment that stands, as far as we have told.
    standing: Option<String>,
    /// What was told last, so that a pause is not taken back by leaving it.
    last: Option<State>,
}

impl Teller {
    /// One that tells this story; `standing` is the deployment that was said to stand last.
    pub fn new(story: Story, standing: Option<String>) -> Self {
        Self { story, standing, last: None }
    }

    /// The story.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// The deployment that stands, as far as was told.
    pub fn standing(&self) -> Option<&str> {
        self.standing.as_deref()
    }

    /// What is told of an event.
    pub fn hear(&mut self, event: &Event) -> Vec<What> {
        match event {
            Event::RolloutBegan { resumed, .. } => self.begin(*resumed),
            Event::Decided { reason } => self.decided(reason),
            Event::RolloutFinished { outcome, .. } => self.end(&Ending::of(outcome)),
            Event::RolloutLeft { taken_over_by: None, .. } if self.last != Some(State::Queued) => {
                vec![self.status(State::InProgress, "interrupted; `resume` carries it on")]
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, resumed: bool) -> Vec<What> {
        let Standing { release, commit } = self.story.release.clone();
        let words = match (self.story.kind, resumed) {
            (PlanKind::Deploy, false) => format!("rolling out release {release}"),
            (PlanKind::Rollback, false) => format!("returning to release {release}"),
            (_, true) => format!("release {release}: taken up again"),
        };
        let what = match self.story.kind {
            PlanKind::Deploy => format!("release {release}"),
            PlanKind::Rollback => format!("return to release {release}"),
        };
        let key = self.story.run.clone();
        let deployment = self.deployment(key, commit, release, &what);
        vec![deployment, self.status(State::InProgress, &words)]
    }

    fn decided(&mut self, reason: &Reason) -> Vec<What> {
        let state = match reason {
            Reason::WaveBegan { .. } | Reason::SoakBegan { .. } => State::InProgress,
            Reason::WavePaused { .. } | Reason::Paused { .. } | Reason::PauseReached => State::Queued,
            // It goes on; what it goes on with is told when it begins.
            Reason::Commanded { command: crate::state::Command::Promote } => State::InProgress,
            Reason::PhaseBegan { phase } if phase == crate::state::Phase::BACK => State::InProgress,
            _ => return Vec::new(),
        };
        vec![self.status(state, &reason.text())]
    }

    /// What is told of the end.
    pub fn end(&mut self, ending: &Ending) -> Vec<What> {
        let release = self.story.release.release.clone();
        let key = self.story.run.clone();
        match ending {
            Ending::Succeeded => {
                let words = match self.story.kind {
                    PlanKind::Deploy => format!("release {release} stands, healthy"),
                    PlanKind::Rollback => format!("release {release} stands again, healthy"),
                };
                let told = self.status(State::Success, &words);
                let mut told = vec![told];
                told.extend(self.stands(key, &release));
                told
            }
            Ending::RolledBack(why) => self.rolled_back(why),
            Ending::Refused(why) => {
                vec![self.status(State::Failure, &format!("refused, nothing was changed: {why}"))]
            }
            Ending::Held(why) => {
                vec![self.status(State::InProgress, &format!("held, a human decides: {why}"))]
            }
            Ending::RollbackFailed(why) => {
                vec![self.status(State::Error, &format!("the rollback failed, a human is needed: {why}"))]
            }
        }
    }

    fn rolled_back(&mut self, why: &str) -> Vec<What> {
        let Some(Standing { release, commit }) = self.story.before.clone() else {
            return vec![self.status(State::Failure, &format!("taken away again: {why}"))];
        };
        let failed = self.story.release.release.clone();
        let mut told = vec![self.status(State::Failure, &format!("rolled back to {release}: {why}"))];
        let key = format!("{}-restored", self.story.run);
        let words = format!("release {release}, restored after {failed} failed");
        told.push(self.deployment(key.clone(), commit, release.clone(), &words));
        told.push(self.status_of(key.clone(), State::Success, &format!("{words}: stands again, healthy")));
        told.extend(self.stands(key, &release));
        told
    }

    /// GitHub itself makes older deployments of an environment inactive, but not those that users see.
    fn stands(&mut self, key: String, release: &str) -> Option<What> {
        let old = self.standing.replace(key.clone()).filter(|old| *old != key)?;
        let words = format!("release {release} stands now");
        self.story.production.then(|| self.status_of(old, State::Inactive, &words))
    }

    fn deployment(&self, key: String, commit: String, release: String, words: &str) -> What {
        let production = self.story.production;
        What::Deployment(Deployment { key, commit, release, description: words.to_owned(), production })
    }

    fn status(&mut self, state: State, words: &str) -> What {
        self.last = Some(state);
        self.status_of(self.story.run.clone(), state, words)
    }

    fn status_of(&self, key: String, state: State, words: &str) -> What {
        What::Status(Status {
            key,
            state,
            description: words.to_owned(),
            log_url: self.story.log_url.clone(),
            environment_url: self.story.environment_url.clone(),
        })
    }
}
