//! Telling GitHub of rollouts: deployments of an environment, and their statuses.
//!
//! ```text
//! events ──▶ teller (pure) ──▶ outbox (files, in order) ──▶ sender ──▶ GitHub
//! ```
//!
//! **Invariant.** Nothing waits for GitHub: what is to be told is written down, and sent beside whatever else is done. What
//! was not sent when the command ends is sent by the next one, in its order. What GitHub was told is never more than what
//! came of the rollout.

mod outbox;
mod sender;
mod teller;
mod words;

pub use outbox::{Outbox, OutboxError};
pub use sender::{END_DEADLINE, Left, Post, Sender, Told};
pub use teller::{Ending, Standing, Story, Teller};
pub use words::{Delivery, Deployment, State, Status, What};

#[cfg(test)]
mod tests;
