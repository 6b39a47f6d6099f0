//! Fairlead: takes a commit to healthy production, and back.
//!
//! This is the hall: command line, wiring, reporters and exit codes. It holds no rules of its own; those are in
//! `pipeline` (makes a release) and `deploy` (takes it to an environment and keeps it there).
//!
//! Another repository uses it as its own `xtask`:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     fairlead::main()
//! }
//! ```

mod app;
mod cli;
mod commands;
mod context;
mod doctor;
mod engines;
mod exit;
mod failure;
mod follow;
mod github;
mod output;
mod paint;
mod parts;
mod plan_file;
mod render;
mod reporter;
mod reports;
#[cfg(test)]
mod schema;
mod signals;
mod stages;
mod wire;

#[cfg(test)]
mod samples;

pub use app::main;
pub use exit::{Asked, Exit};
