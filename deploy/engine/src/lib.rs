//! Decides what is to be done, and judges what came of it: the pure half of deploying.
//!
//! Nothing here has I/O, a clock or randomness of its own: [`decide::decide`] is given a [`plan::Plan`], a
//! [`state::State`] and what was observed, and says what is to be done. What does it, and observes, stands behind
//! [`port`], in the crate `deploy`; [`world`] stands behind the same ports, simulated.

pub mod bundle;
pub mod check;
pub mod decide;
pub mod dossier;
pub mod event;
pub mod law;
pub mod ledger;
pub mod lint;
pub mod model;
pub mod plan;
pub mod port;
pub mod reason;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod simulate;
pub mod state;
pub mod status;
pub mod strategy;
pub mod verdict;
pub mod world;
