//! Notices how units end, and ends those that do not stop by themselves.
//!
//! One path for all: a unit may be our child (also of the image before a hand-over), or that of a supervisor that was
//! killed. A unit that ends without being told to stays on record until it is stopped or started again; whoever wants
//! to start it again by itself reads that record.

use super::{
    Shared, now,
    state::{Life, RouterRecord, State},
    units,
};
use crate::{
    adapter::process::{
        bundle_folder,
        identity::{Ended, Process},
        procfs,
    },
    model::{Exit, UnitId},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{io, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How often units are looked at that are not our children, and the precision of the end of a grace time. Those that
/// are our children are noticed at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Notices the end of processes, for ever.
pub(super) async fn watch(shared: Arc<Shared>) -> io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    loop {
        collect(&shared).await;
        tokio::select! {
            _ = children.recv() => {}
            () = shared.reap.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Records every unit that has ended.
pub(super) async fn collect(shared: &Shared) {
    let (has_ended, router_ended) = {
        let mut store = shared.store.lock().await;
        let has_ended = collect_units(shared, &mut store.state);
        let has_retired = collect_routers(shared, &mut store.state);
        let has_migrated = shared.collect_migrations(&mut store);
        if has_ended || has_retired || has_migrated {
            shared.save(&store);
        }
        if has_migrated {
            shared.change();
        }
        (has_ended, store.state.router.as_ref().is_some_and(RouterRecord::has_ended))
    };
    if router_ended {
        shared.routes.wake();
    }
    if has_ended {
        shared.change();
        // Without a router there is no table to mend; the next one gets the new state.
        let _ = shared.apply_routes().await;
    }
}

fn collect_units(shared: &Shared, state: &mut State) -> bool {
    let mut has_ended = false;
    let ids: Vec<UnitId> = state.units.keys().cloned().collect();
    for id in ids {
        let Some(unit) = state.units.get_mut(&id) else { continue };
        let Some(process) = unit.process() else { continue };
        let kill_at = match unit.life {
            Life::Stopping { kill_at, .. } => Some(kill_at),
            _ => None,
        };
        if kill_at.is_some_and(|at| at <= now()) && process.signal_group(Signal::SIGKILL) {
            shared.log.line(format!("{} did not stop within its grace: SIGKILL", id.label()));
        }
        let Some(ended) = process.ended() else { continue };
        end_rest(&units::marks(&id), process);
        if kill_at.is_none() {
            let exit = exit_of(ended, unit.out_of_memory);
            shared.log.line(format!("{} ended: {exit}", id.label()));
            unit.ended = unit.process().map_or_else(String::new, |process| process.to_string());
            unit.life = Life::Exited(exit);
            unit.weight = 0;
        } else if procfs::group_members(process.pid).is_empty() {
            state.units.remove(&id);
            shared.log.line(format!("{} stopped", id.label()));
        } else {
            continue; // Some of its processes are still being killed; the name of their group stays until then.
        }
        process.reap();
        has_ended = true;
    }
    has_ended
}

/// Forgets the retiring routers that have ended.
fn collect_routers(shared: &Shared, state: &mut State) -> bool {
    let before = state.retiring.len();
    state.retiring.retain(|record| {
        let Some(process) = record.process.filter(|process| process.ended().is_some()) else { return true };
        process.reap();
        shared.forget_socket(record);
        shared.log.line(format!("router of version {} retired: {process}", record.version));
        false
    });
    state.retiring.len() != before
}

/// Ends what is left of a unit or migration whose first process has ended: it would keep ports and files from its
/// successor.
pub(super) fn end_rest(marks: &[(&'static str, String); 2], process: Process) {
    if process.signal_group(Signal::SIGKILL) {
        return;
    }
    // Somebody else has reaped it, so its group's number may belong to others by now: only processes that were started
    // as the same are touched.
    let marks = marks.each_ref().map(|(name, value)| (*name, value.as_str()));
    for pid in procfs::group_members(process.pid) {
        if procfs::has_environment(pid, &marks) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

fn exit_of(ended: Ended, out_of_memory: bool) -> Exit {
    Exit { code: ended.code, signal: ended.signal, out_of_memory, at: now() }
}

/// Finds again what was left of the units: those that run go on, those that ended are recorded, those that were about
/// to be started either were, or were not.
pub(super) fn adopt(shared: &Shared, state: &mut State) {
    let ids: Vec<UnitId> = state.units.keys().cloned().collect();
    for id in ids {
        let Some(unit) = state.units.get_mut(&id) else { continue };
        if unit.life != Life::Starting {
            continue; // The reaper looks at it.
        }
        match find(shared, &id, unit.port) {
            Some(process) => {
                shared.log.line(format!("{} found again: {process}", id.label()));
                unit.life = Life::Running(process);
            }
            None => {
                state.units.remove(&id);
            }
        }
    }
}

/// The process that was started as this unit, if one was. Its port tells it from the same unit of another environment.
fn find(shared: &Shared, unit: &UnitId, port: u16) -> Option<Process> {
    let bundle = bundle_folder::read(&shared.folders, &unit.bundle).ok()?;
    let [first, second] = units::marks(unit);
    let port = port.to_string();
    let marks =
        [(first.0, first.1.as_str()), (second.0, second.1.as_str()), (&bundle.port_env, port.as_str())];
    let leads = |pid: &u32| procfs::stat(*pid).is_some_and(|stat| stat.group == *pid && !stat.is_dead());
    let mut processes = procfs::processes().into_iter();
    let pid = processes.find(|pid| leads(pid) && procfs::has_environment(*pid, &marks))?;
    Process::of(pid)
}
