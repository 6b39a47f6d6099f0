//! Takes one [`pipeline::release::Release`] to one environment and keeps it there.
//!
//! *Nothing is decided while something is being done.* The pure half of this crate (`config`, `model`, `plan`,
//! `lint`, `strategy`, `decide`, `gate`, `verdict`) has no I/O, no clock and no randomness; the other half
//! (`run`, `adapter`, `record`, `ledger`, `dossier`) performs what was decided and observes what came of it.

// Pure.
pub mod bundle;
pub mod check;
pub mod config;
pub mod decide;
pub mod law;
pub mod lint;
pub mod model;
pub mod plan;
pub mod reason;
pub mod state;
pub mod strategy;
pub mod verdict;

// Effects.
pub mod adapter;
pub mod dossier;
pub mod event;
pub mod ledger;
pub mod port;
pub mod record;
pub mod run;
pub mod session;
pub mod simulate;
pub mod status;
pub mod world;

/// The folder in the project's root that holds all state of Fairlead on this machine: for each environment a folder,
/// and the fingerprints of the stages. It is not for the repository.
pub const STATE_FOLDER: &str = ".fairlead";
