//! Takes one [`pipeline::release::Release`] to one environment and keeps it there.
//!
//! *Nothing is decided while something is being done.* What is decided stands in the crate [`engine`], which has no I/O, no
//! clock and no randomness; this crate performs what was decided and observes what came of it.

pub mod adapter;
pub mod config;
pub mod github;
pub mod record;
pub mod run;
pub mod session;
pub mod story;

#[cfg(test)]
use engine::samples;
pub use engine::{
    bundle, check, decide, dossier, event, law, ledger, lint, model, plan, port, reason, simulate, state,
    status, strategy, verdict, world,
};

/// The folder in the project's root that holds all state of Fairlead on this machine: for each environment a folder,
/// and the fingerprints of the stages. It is not for the repository.
pub const STATE_FOLDER: &str = ".fairlead";
