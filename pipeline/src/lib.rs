//! Makes one [`release::Release`] out of one commit: tests, executables, images and their way into a
//! registry, with what a scanner found, and the report of it all.
//!
//! **Invariant.** This crate knows nothing of servers and cannot deploy: it does not link `deploy`.
//! It prints nothing; what happens is told as [`event::Event`]s.

pub mod causes;
pub mod config;
pub mod digest;
pub mod event;
pub mod failpoint;
pub mod fingerprint;
pub mod git;
pub mod github;
pub mod image;
pub mod journal;
pub mod name;
pub mod process;
pub mod release;
pub mod report;
pub mod scan;
pub mod secret;
pub mod stage;
pub mod store;
