//! The process target: a supervisor that is the parent of the units of one environment on this machine.

mod bundle_folder;
mod client;
mod executable;
mod folders;
mod identity;
mod ledger_file;
mod logs;
mod plan;
mod procfs;
pub mod protocol;
mod socket;
pub mod supervisor;
mod target;

pub use self::{
    bundle_folder::SecretResolver,
    client::{Client, ClientError, Launch, ensure, shutdown, take_down},
    plan::{PlannedBundle, ProcessPlan},
    target::ProcessTarget,
};

/// The file that a unit's output goes to; rotated parts have `.1`, `.2` appended.
pub fn log_path(state_dir: &std::path::Path, unit: &crate::model::UnitId) -> std::path::PathBuf {
    state_dir.join("logs").join(format!("{}.log", unit.file_stem()))
}

use std::{error::Error, fmt::Write};

/// An error with its causes, in one line: it goes over a socket, where causes cannot follow.
fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a text cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
