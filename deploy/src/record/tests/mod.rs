//! The record against real files, threads and processes.

mod claim;
mod faults;
mod keeper;
mod lease;
mod processes;
mod store;

use super::*;
use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

/// A record whose plan is a text and whose state is a number.
type Store = RecordStore<String, u32>;

const TTL: Millis = 2_000;

fn store_in(folder: &Path) -> Store {
    RecordStore::open(folder.join("record"))
}

fn me() -> Holder {
    Holder::this_process().unwrap()
}

/// A process of this machine that only [`Fleet`] knows.
fn holder(pid: u32) -> Holder {
    Holder { pid, start_time: 100, ..me() }
}

fn claim_of(holder: Holder) -> Claim {
    Claim {
        holder,
        command: "deploy production".to_owned(),
        run: "run-1".to_owned(),
        ttl: TTL,
        generation_floor: 0,
    }
}

fn stamp(wall: Millis, uptime: Millis) -> Stamp {
    Stamp { wall, boot_id: "boot".to_owned(), uptime }
}

fn lease_of(holder: Holder, renewed: Stamp) -> Lease {
    Lease {
        holder,
        command: "deploy production".to_owned(),
        run: "run-1".to_owned(),
        generation: 1,
        since: renewed.clone(),
        renewed,
        ttl: TTL,
    }
}

/// Lets time pass where nothing happens that could be awaited.
fn pause(length: Duration) {
    let end = Instant::now() + length;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Processes that are all in one condition, and die when they are ended.
struct Fleet {
    liveness: Mutex<Liveness>,
    ended: Mutex<Vec<u32>>,
}

impl Fleet {
    fn all(liveness: Liveness) -> Self {
        Self { liveness: Mutex::new(liveness), ended: Mutex::new(Vec::new()) }
    }
}

impl Processes for Fleet {
    fn liveness(&self, _holder: &Holder) -> Liveness {
        *self.liveness.lock().unwrap()
    }

    fn end(&self, holder: &Holder) -> std::io::Result<()> {
        self.ended.lock().unwrap().push(holder.pid);
        Ok(())
    }
}

fn take(store: &Store, holder: Holder, processes: &dyn Processes, now: &Stamp) -> Acquisition<String, u32> {
    acquire(store, &claim_of(holder), &mut Observer::default(), processes, now).unwrap()
}

fn acquired(acquisition: Acquisition<String, u32>) -> Acquired<String, u32> {
    match acquisition {
        Acquisition::Acquired(acquired) => *acquired,
        Acquisition::Held { lease, .. } => panic!("held: {lease:?}"),
    }
}

fn is_held(acquisition: &Acquisition<String, u32>) -> bool {
    matches!(acquisition, Acquisition::Held { .. })
}

fn finished(run: &str, finished_at: Millis) -> Finished {
    Finished {
        version: Finished::FORMAT,
        run: run.to_owned(),
        generation: 1,
        command: "deploy local".to_owned(),
        kind: crate::plan::PlanKind::Deploy,
        services: Vec::new(),
        targets: BTreeSet::new(),
        message: None,
        release: "abc".to_owned(),
        previous: BTreeSet::new(),
        outcome: "rolled-back".to_owned(),
        exit_code: 10,
        reasons: vec![ReasonCode::NeverReady],
        started_at: 0,
        finished_at,
        actor: "ada".to_owned(),
    }
}
