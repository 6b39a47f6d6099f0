//! What must be looked at again and again: memory limits and the size of logs.

use super::{super::logs, Shared, state::Life};
use crate::{
    adapter::process::{identity::Process, procfs},
    model::UnitId,
};
use nix::sys::signal::Signal;
use pipeline::name::Name;
use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// How often memory is measured: a unit that grows by 1 GB/s is ended a quarter of a gigabyte above its limit at most.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// How often logs are measured.
const LOGS_EVERY: Duration = Duration::from_secs(2);

/// Ends units that use more memory than they may, for ever.
pub(super) async fn watch_memory(shared: Arc<Shared>) -> io::Result<()> {
    loop {
        tokio::time::sleep(MEMORY_EVERY).await;
        let limited: Vec<(Limited, Process, u64)> = {
            let store = shared.store.lock().await;
            let running = |life: &Life| match life {
                Life::Running(process) => Some(*process),
                _ => None,
            };
            let units = store.state.units.iter().filter_map(|(id, unit)| {
                Some((Limited::Unit(id.clone()), running(&unit.life)?, unit.memory_max_bytes?))
            });
            let migrations = store.state.migrations.iter().filter_map(|(service, run)| {
                Some((Limited::Migration(service.clone()), running(&run.life)?, run.memory_max_bytes?))
            });
            units.chain(migrations).collect()
        };
        for (who, process, limit) in limited {
            let used: u64 =
                procfs::group_members(process.pid).into_iter().filter_map(procfs::resident_bytes).sum();
            if used > limit {
                end(&shared, &who, process, used, limit).await;
            }
        }
    }
}

/// What has a limit of memory.
enum Limited {
    Unit(UnitId),
    Migration(Name),
}

/// Ends a unit or migration for its use of memory. Why is written down first.
async fn end(shared: &Shared, who: &Limited, process: Process, used: u64, limit: u64) {
    let mut store = shared.store.lock().await;
    let state = &mut store.state;
    let found = match who {
        Limited::Unit(id) => {
            state.units.get_mut(id).map(|unit| (&unit.life, &mut unit.out_of_memory, id.label()))
        }
        Limited::Migration(service) => state
            .migrations
            .get_mut(service)
            .map(|run| (&run.life, &mut run.out_of_memory, format!("the migration of {service}"))),
    };
    let Some((life, out_of_memory, label)) = found else { return };
    if *life != Life::Running(process) {
        return;
    }
    *out_of_memory = true;
    shared.save(&store);
    shared.log.line(format!("{label} uses {used} bytes, its limit is {limit}: SIGKILL"));
    process.signal_group(Signal::SIGKILL);
}

/// Rotates logs that have grown large, for ever.
pub(super) async fn watch_logs(shared: Arc<Shared>) -> io::Result<()> {
    loop {
        tokio::time::sleep(LOGS_EVERY).await;
        let logs: Vec<PathBuf> = {
            let store = shared.store.lock().await;
            let units = store.state.units.keys().map(|unit| shared.folders.log(unit));
            let runs = store.state.migrations.iter();
            let migrations = runs.map(|(service, run)| shared.folders.migration_log(service, &run.bundle));
            units.chain(migrations).collect()
        };
        for log in logs {
            if let Err(error) = logs::rotate(&log, logs::ROTATE_ABOVE) {
                shared.log.line(format!("cannot rotate `{}`: {error}", log.display()));
            }
        }
    }
}
