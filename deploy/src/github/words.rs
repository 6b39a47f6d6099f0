//! What is delivered to GitHub, as it is written down until it is.

use pipeline::{
    github::{DESCRIPTION_MAX, fit},
    name::Name,
};
use serde::{Deserialize, Serialize};

/// One thing that GitHub is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Delivery {
    /// Format version; see [`Delivery::FORMAT`].
    pub version: u32,
    /// The environment.
    pub environment: Name,
    /// When it was written down.
    pub at: jiff::Timestamp,
    /// What.
    pub what: What,
}

impl Delivery {
    /// The format that this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;
}

/// What GitHub is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A deployment is there.
    Deployment(Deployment),
    /// How a deployment stands.
    Status(Status),
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Deployment {
    /// What tells it from all others of the environment: the run, or the run and `restored`.
    pub key: String,
    /// The commit.
    pub commit: String,
    /// The release.
    pub release: String,
    /// In words.
    pub description: String,
    /// Whether it is what users see.
    pub production: bool,
}

/// A status of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Status {
    /// Of which deployment.
    pub key: String,
    /// How it stands.
    pub state: State,
    /// In words.
    pub description: String,
    /// Where its story can be read.
    pub log_url: Option<String>,
    /// Where what was deployed answers.
    pub environment_url: Option<String>,
}

/// How a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a human.
    Queued,
    /// It is under way, or was left.
    InProgress,
    /// It stands, and is healthy.
    Success,
    /// It does not stand.
    Failure,
    /// It does not stand, and neither does what stood before.
    Error,
    /// Another stands now.
    Inactive,
}

impl State {
    /// As GitHub calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Inactive => "inactive",
        }
    }
}

impl What {
    /// The deployment that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Deployment(deployment) => &deployment.key,
            Self::Status(status) => &status.key,
        }
    }

    /// With secrets masked in what is said of it, and then as long as GitHub takes: half of a secret is one, too.
    #[must_use]
    pub fn masked(mut self, mask: &dyn Fn(&str) -> String) -> Self {
        let description = match &mut self {
            Self::Deployment(deployment) => &mut deployment.description,
            Self::Status(status) => &mut status.description,
        };
        *description = fit(&mask(description), DESCRIPTION_MAX);
        self
    }

    /// In a few words: `the deployment of 3f9a1c2b4d5e`, `the status success`.
    pub fn about(&self) -> String {
        match self {
            Self::Deployment(deployment) => format!("the deployment of {}", deployment.release),
            Self::Status(status) => format!("the status `{}`: {}", status.state.as_str(), status.description),
        }
    }
}
