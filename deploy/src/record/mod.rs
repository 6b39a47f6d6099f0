//! The rollout record: one an environment, at its home; who may act (the lease) and how far the open rollout is.
//!
//! With a fresh observation it is all that `resume` and `rollback` need.
//!
//! **Invariants.** Every write is a compare-and-swap under a lock, seen as a whole or not at all, and raises
//! [`Record::seq`]. [`Record::generation`] never falls: whoever holds a lower one is a stale executor and can write
//! nothing. A record that is damaged or gone is an error, never taken for an empty one.

mod claim;
mod holder;
mod keeper;
mod lease;
mod requests;
mod store;

pub use claim::{Acquired, Acquisition, Claim, LeaseError, Tenure, acquire, release, renew, write};
pub use holder::{Death, Holder, Liveness, Processes, ThisMachine};
pub use keeper::LeaseKeeper;
pub use lease::{Lease, LeaseVerdict, Observer, Stamp, describe, judge};
pub use requests::FileRequests;
pub use store::{Damaged, History, RecordError, RecordStore};

use crate::{model::Millis, plan::PlanKind, reason::ReasonCode};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is known of an environment's rollouts. `P` is a rollout's plan, `S` its state; both are only kept here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Record<P, S> {
    /// Format version; see [`Record::FORMAT`].
    pub version: u32,
    /// Grows by one with each write; 0 = never written.
    pub seq: u64,
    /// The fencing token: raised by each acquired lease, so by each rollout, resume and takeover. Never falls.
    pub generation: u64,
    /// Who may act now.
    pub lease: Option<Lease>,
    /// The rollout that has begun and not finished.
    pub open: Option<OpenRollout<P, S>>,
    /// Set by a manual rollback: no deploy until it is lifted.
    pub freeze: Option<Freeze>,
    /// Releases that must not be rolled back onto.
    pub bad_releases: BTreeSet<String>,
    /// The rollout that finished last.
    pub last: Option<Finished>,
}

impl<P, S> Record<P, S> {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;

    /// The record of an environment that never had a rollout.
    pub fn empty() -> Self {
        Self {
            version: Self::FORMAT,
            seq: 0,
            generation: 0,
            lease: None,
            open: None,
            freeze: None,
            bad_releases: BTreeSet::new(),
            last: None,
        }
    }
}

/// A rollout that has begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OpenRollout<P, S> {
    /// The run that began it; names its journal.
    pub run: String,
    /// What it does.
    pub plan: P,
    /// How far it is.
    pub state: S,
    /// When it began.
    pub started_at: Millis,
    /// Who began it.
    pub actor: String,
}

/// Why nothing is deployed for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Freeze {
    /// Since when.
    pub since: Millis,
    /// Who.
    pub actor: String,
    /// Why, for people.
    pub why: String,
    /// The release that was taken back.
    #[serde(default)]
    pub release: String,
}

/// How a rollout ended: an entry of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Finished {
    /// Format version; see [`Finished::FORMAT`].
    pub version: u32,
    /// The run that ended it; names its journal and its history entry.
    pub run: String,
    /// The generation that it ended with.
    pub generation: u64,
    /// The command, as it was typed.
    pub command: String,
    /// Whether it was to bring something new or to return.
    pub kind: PlanKind,
    /// The services that it changed.
    pub services: Vec<Name>,
    /// The targets that it reached; none where it was written before there could be several.
    #[serde(default)]
    pub targets: BTreeSet<Name>,
    /// The release that was rolled out.
    pub release: String,
    /// The releases that stood before, if any.
    pub previous: BTreeSet<String>,
    /// The outcome in one word: `succeeded`, `rolled-back`, `held`, …
    pub outcome: String,
    /// The exit code that goes with the outcome.
    pub exit_code: u8,
    /// Why it did not succeed.
    pub reasons: Vec<ReasonCode>,
    /// The words for it, if it did not succeed.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub finished_at: Millis,
    /// Who began it.
    pub actor: String,
}

impl Finished {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;
}

#[cfg(test)]
mod tests;
