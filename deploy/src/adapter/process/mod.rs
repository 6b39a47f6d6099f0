//! The process target: a supervisor that is the parent of the units of one environment on this machine.

mod bundle_folder;
mod client;
mod executable;
mod folders;
mod identity;
mod ledger_file;
mod listeners;
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
    ledger_file::{committed, needed},
    plan::{PlannedBundle, ProcessPlan},
    target::ProcessTarget,
};

/// The file that a unit's output goes to; rotated parts have `.1`, `.2` appended.
pub fn log_path(state_dir: &std::path::Path, unit: &crate::model::UnitId) -> std::path::PathBuf {
    state_dir.join("logs").join(format!("{}.log", unit.file_stem()))
}

/// The file that the last migration of a service wrote its output to, if there was one.
pub fn migration_log(
    state_dir: &std::path::Path,
    service: &pipeline::name::Name,
) -> Option<std::path::PathBuf> {
    let begins = format!("{service}.migration.");
    let is_one = |name: &str| name.starts_with(&begins) && name.ends_with(".log");
    let files = std::fs::read_dir(state_dir.join("logs")).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.file_name().to_str().is_some_and(is_one));
    logs.max_by_key(|file| file.metadata().and_then(|of| of.modified()).ok()).map(|file| file.path())
}

/// The target whose ledger is in a folder of state, if there is one that can be read.
pub fn owner(state_dir: &std::path::Path) -> Option<pipeline::name::Name> {
    ledger_file::owner(&folders::Folders::new(state_dir).ok()?)
}
