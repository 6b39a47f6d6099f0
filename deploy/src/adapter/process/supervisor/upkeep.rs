//! What must be looked at again and again: memory limits and the size of logs.

use super::{super::logs, Shared, state::Life};
use crate::{
    adapter::process::{identity::Process, procfs},
    model::UnitId,
};
use nix::sys::signal::Signal;
use std::{io, sync::Arc, time::Duration};

/// How often memory is measured: a unit that grows by 1 GB/s is ended a quarter of a gigabyte above its limit at most.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// How often logs are measured.
const LOGS_EVERY: Duration = Duration::from_secs(2);

/// Ends units that use more memory than they may, for ever.
pub(super) async fn watch_memory(shared: Arc<Shared>) -> io::Result<()> {
    loop {
        tokio::time::sleep(MEMORY_EVERY).await;
        let limited: Vec<(UnitId, Process, u64)> = {
            let store = shared.store.lock().await;
            let limit = |(id, unit): (&UnitId, &super::state::Unit)| match unit.life {
                Life::Running(process) => Some((id.clone(), process, unit.memory_max_bytes?)),
                _ => None,
            };
            store.state.units.iter().filter_map(limit).collect()
        };
        for (id, process, limit) in limited {
            let used: u64 =
                procfs::group_members(process.pid).into_iter().filter_map(procfs::resident_bytes).sum();
            if used > limit {
                end(&shared, &id, process, used, limit).await;
            }
        }
    }
}

/// Ends a unit for its use of memory. Why is written down first.
async fn end(shared: &Shared, id: &UnitId, process: Process, used: u64, limit: u64) {
    let mut store = shared.store.lock().await;
    let Some(unit) = store.state.units.get_mut(id) else { return };
    if unit.life != Life::Running(process) {
        return;
    }
    unit.out_of_memory = true;
    shared.save(&store);
    shared.log.line(format!("{} uses {used} bytes, its limit is {limit}: SIGKILL", id.label()));
    process.signal_group(Signal::SIGKILL);
}

/// Rotates logs that have grown large, for ever.
pub(super) async fn watch_logs(shared: Arc<Shared>) -> io::Result<()> {
    loop {
        tokio::time::sleep(LOGS_EVERY).await;
        let units: Vec<UnitId> = shared.store.lock().await.state.units.keys().cloned().collect();
        for unit in units {
            if let Err(error) = logs::rotate(&shared.folders.log(&unit), logs::ROTATE_ABOVE) {
                shared.log.line(format!("cannot rotate the log of {}: {error}", unit.label()));
            }
        }
    }
}
