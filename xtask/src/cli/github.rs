//! What can be typed to tell GitHub something.

use super::{Command, Environment, Plan, help};
use clap::{Args, Subcommand};
use std::str::FromStr;

/// What GitHub is told.
#[derive(Debug, Subcommand)]
pub(crate) enum Github {
    /// Report failed tests and findings of scans beside the lines of the commit, as a check run
    #[command(after_help = help::GITHUB_REPORT)]
    Report,
    /// Make a release of what was made here, with its notes and files
    #[command(after_help = help::GITHUB_RELEASE)]
    Release(GithubRelease),
    /// Send what GitHub was not told of the rollouts of an environment, in its order
    Send(Environment),
}

#[derive(Debug, Args)]
pub(crate) struct GithubRelease {
    /// The release: its name, or the path of a release-manifest.json; the one that was made last if left out
    #[arg(value_name = "RELEASE")]
    pub(crate) release: Option<String>,
}

/// What a command tells GitHub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// Nothing.
    Nothing,
    /// How a rollout goes, which nobody is in a hurry to undo: the part that does it may be built before.
    Deploy,
    /// How a rollout goes that must not wait for anything.
    Rollback,
    /// Something of its own: without the part that does it there is nothing to do.
    Itself,
}

impl Command {
    /// What it tells GitHub.
    pub(crate) fn tells(&self) -> Tells {
        match self {
            Self::Deploy(_) => Tells::Deploy,
            Self::Rollback(_) | Self::Resume(_) | Self::Promote(_) | Self::Cancel(_) => Tells::Rollback,
            Self::Github(_) | Self::Plan(Plan { comment: Some(_), .. }) => Tells::Itself,
            _ => Tells::Nothing,
        }
    }
}

/// A pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    /// That of this run of a workflow.
    This,
    /// By its number.
    Number(u64),
}

impl FromStr for Pull {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number @ 1..) => Ok(Self::Number(number)),
            _ if text == "this" => Ok(Self::This),
            _ => Err("the number of a pull request is expected"),
        }
    }
}
