//! What the Noogh services share, so that each of them is little more than its own routes.
//!
//! A service says what it is ([`Spec`]) and hands its routes to [`run`], which does the rest: reads the [`settings`],
//! answers `/health`, `/ready` and `/metrics`, counts requests, drains on SIGTERM and SIGINT, and misbehaves on purpose
//! when `NOOGH_FAULT` says so (the table of faults is in [`fault`]).
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | told to stop, and everything in flight was answered |
//! | 1 | could not start, broke off requests at the drain limit, or a fault asked for it |
//! | 2 | a setting has a bad value |

pub mod answer;
pub mod cabinet;
pub mod client;
pub mod fault;
pub mod fingerprint;
mod health;
mod key_values;
pub mod lifecycle;
mod listen;
pub mod log;
pub mod metrics;
mod misbehave;
mod service;
pub mod settings;
pub mod testing;
mod traffic;

pub use service::{Routes, Service, Spec, StartError, run};
