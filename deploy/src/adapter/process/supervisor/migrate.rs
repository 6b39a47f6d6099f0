//! Migrations: one-shot processes that run inside a new bundle before any of its units is started.
//!
//! At most one of a service runs at a time. It belongs to the supervisor, not to who asked for it: an executor that
//! dies leaves it running to its end, and who asks again waits for that end. What it came to is written to the ledger
//! before anybody is answered. Where a supervisor dies meanwhile, its successor finds the process again and waits for
//! it, but cannot learn how it ended; unless it had been written down, the migration is then run again when it is asked
//! for.

use super::{
    super::{
        bundle_folder,
        identity::{Ended, Process},
        ledger_file, logs, procfs,
        protocol::{Failed, FailedKind},
    },
    Shared, Store, now, ops,
    state::{Life, Migration, State},
    units::{self, Launch, Role},
};
use crate::{
    bundle::BundleHash,
    ledger::Ledger,
    model::{Exit, Millis},
};
use nix::sys::signal::Signal;
use pipeline::{
    name::Name,
    secret::{Redactor, Secret},
};
use std::{fs, path::Path, time::Duration};
use tokio::sync::MutexGuard;

/// From SIGTERM at the deadline to SIGKILL, in milliseconds: enough to break off a transaction.
const GRACE: Millis = 5_000;

/// Lines of a failed migration's log that are told with its failure: a short trace of an error.
const LOG_LINES: usize = 20;

/// What is asked to be run.
pub(super) struct Asked {
    pub(super) service: Name,
    pub(super) bundle: BundleHash,
    pub(super) release: String,
    pub(super) args: Vec<String>,
    pub(super) timeout: Millis,
    /// Of who asks; it is written to the ledger.
    pub(super) generation: u64,
}

impl Shared {
    /// Runs a migration to its end, unless it was run for this release already.
    pub(super) async fn migrate(&self, mut store: MutexGuard<'_, Store>, asked: Asked) -> Result<(), Failed> {
        if self.ledger()?.has_migrated(&asked.service, &asked.release) {
            return Ok(());
        }
        let Asked { service, release, .. } = &asked;
        match store.state.migrations.get(service) {
            Some(run) if run.has_succeeded() && run.release == *release => {
                return self.settle(&mut store, service);
            }
            Some(run) if !run.is_over() => {
                let (run, service, release) = (run.clone(), service.clone(), release.clone());
                drop(store);
                self.come_to_end(&service, &run).await?;
                if run.release == release {
                    return Ok(());
                }
                // Whoever asks again is judged by its generation again.
                return Err(other(format!(
                    "the migration of {service} for release {} had to end first, and has",
                    run.release
                )));
            }
            Some(_) | None => {}
        }
        let run = self.begin(&mut store, &asked).await?;
        drop(store);
        self.change();
        self.reap.notify_one();
        self.come_to_end(&asked.service, &run).await
    }

    /// Starts the process. The record of it is written first, so that no later supervisor starts a second one.
    async fn begin(&self, store: &mut MutexGuard<'_, Store>, asked: &Asked) -> Result<Migration, Failed> {
        let Asked { service, bundle: hash, release, args, timeout, generation } = asked;
        let bundle = bundle_folder::read(&self.folders, hash)
            .map_err(|error| ops::failed(FailedKind::NotPrepared, &error))?;
        let run = Migration {
            release: release.clone(),
            bundle: *hash,
            generation: *generation,
            started_at: now(),
            timeout: *timeout,
            memory_max_bytes: bundle.limits.memory_max_bytes,
            out_of_memory: false,
            ended_for: None,
            life: Life::Starting,
        };
        store.state.migrations.insert(service.clone(), run.clone());
        self.try_save(store).inspect_err(|_| drop(store.state.migrations.remove(service)))?;

        let (folder, log) = (self.folders.bundle(hash), self.folders.migration_log(service, hash));
        let role = Role::Migration { service, bundle: hash, args };
        let launch = Launch { role, release, bundle: &bundle, folder: &folder, log: &log };
        let started = units::launch(&launch).await;
        let Some(kept) = store.state.migrations.get_mut(service) else {
            unreachable!("the lock is held since it was inserted")
        };
        match started {
            Ok(process) => {
                kept.life = Life::Running(process);
                let run = kept.clone();
                self.log.line(format!("migration of {service} for {release} started: {process}"));
                self.save(store);
                Ok(run)
            }
            Err(error) => {
                store.state.migrations.remove(service);
                self.save(store);
                Err(ops::failed(FailedKind::MigrationFailed, &error))
            }
        }
    }

    /// Waits for the end of a run, which its own deadline brings about, and says what it came to.
    async fn come_to_end(&self, service: &Name, run: &Migration) -> Result<(), Failed> {
        let mut changes = self.changed.subscribe();
        let end = async {
            loop {
                let mut store = self.store.lock().await;
                match store.state.migrations.get(service) {
                    Some(found) if found.is_same(run) && !found.is_over() => {}
                    Some(found) if found.is_same(run) && found.has_succeeded() => {
                        return self.settle(&mut store, service);
                    }
                    Some(found) if found.is_same(run) => return Err(self.failure(service, found)),
                    Some(_) | None => return self.as_recorded(service, run),
                }
                drop(store);
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        let left = (run.started_at + run.timeout + GRACE).saturating_sub(now());
        tokio::time::timeout(Duration::from_millis(left) + ops::KILL_DEADLINE, end).await.map_err(|_| {
            other(format!("the migration of {service} still runs, although it was killed at its time limit"))
        })?
    }

    /// What became of a run that is no more on record.
    fn as_recorded(&self, service: &Name, run: &Migration) -> Result<(), Failed> {
        if self.ledger()?.has_migrated(service, &run.release) {
            return Ok(());
        }
        Err(unseen(service, run))
    }

    /// Writes a run that succeeded to the ledger, and forgets it.
    fn settle(&self, store: &mut Store, service: &Name) -> Result<(), Failed> {
        let Some(run) = store.state.migrations.get(service) else { return Ok(()) };
        let mut ledger = self.ledger()?;
        ledger.version = Ledger::FORMAT;
        ledger.generation = ledger.generation.max(run.generation);
        ledger.add_migrated(service, &run.release);
        ledger_file::write(&self.folders, &ledger).map_err(|error| ops::failed(FailedKind::State, &error))?;
        store.state.migrations.remove(service);
        self.save(store);
        self.change();
        Ok(())
    }

    fn ledger(&self) -> Result<Ledger, Failed> {
        ledger_file::read(&self.folders, &self.options.environment, &self.options.target)
            .map_err(|error| ops::failed(FailedKind::State, &error))
    }

    /// A failure with the last lines of its log, in which the bundle's secrets are masked.
    fn failure(&self, service: &Name, run: &Migration) -> Failed {
        let why = match (&run.ended_for, &run.life) {
            (Some(why), _) => why.clone(),
            (None, Life::Exited(exit)) if exit.code.is_some() || exit.signal.is_some() => exit.to_string(),
            // Its supervisor was another one. It may have succeeded, so it has not failed: it is asked for again.
            _ => return unseen(service, run),
        };
        let mut message = format!("migration of {service} for release {}: {why}", run.release);
        let lines = logs::tail(&self.folders.migration_log(service, &run.bundle), LOG_LINES);
        let redactor = redactor(&self.folders.bundle(&run.bundle));
        for line in lines.unwrap_or_default() {
            message.push_str("\n  | ");
            message.push_str(&redactor.mask(&line));
        }
        Failed { kind: FailedKind::MigrationFailed, message }
    }

    /// Tells every migration to end, and waits for it.
    pub(super) async fn end_migrations(&self, grace: Millis) -> Result<(), Failed> {
        let running: Vec<(Name, Migration)> = {
            let mut store = self.store.lock().await;
            for run in store.state.migrations.values_mut() {
                end(run, grace, "ended, because its supervisor was told to end");
            }
            self.save(&store);
            let runs = store.state.migrations.iter().filter(|(_, run)| !run.is_over());
            runs.map(|(service, run)| (service.clone(), run.clone())).collect()
        };
        self.reap.notify_one();
        let gone = async {
            let mut changes = self.changed.subscribe();
            while self.store.lock().await.state.migrations.values().any(|run| !run.is_over()) {
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        let limit = Duration::from_millis(grace) + ops::KILL_DEADLINE;
        match tokio::time::timeout(limit, gone).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let names: Vec<&str> = running.iter().map(|(service, _)| service.as_str()).collect();
                Err(other(format!("migrations still run, although they were killed: {}", names.join(", "))))
            }
        }
    }

    /// Ends migrations at their deadlines, and records those that have ended. Returns whether anything changed.
    pub(super) fn collect_migrations(&self, store: &mut Store) -> bool {
        let mut has_changed = false;
        let services: Vec<Name> = store.state.migrations.keys().cloned().collect();
        for service in services {
            let Some(run) = store.state.migrations.get_mut(&service) else { continue };
            has_changed |= at_deadline(run);
            let Some(process) = run.process() else { continue };
            let Some(exit) = exit_of(&service, run, process) else { continue };
            self.log.line(format!("migration of {service} for {} ended: {exit}", run.release));
            run.life = Life::Exited(exit);
            let has_succeeded = run.has_succeeded();
            process.reap();
            has_changed = true;
            // Should the ledger not be writable now, it is written when the migration is asked for again.
            if has_succeeded && let Err(failed) = self.settle(store, &service) {
                self.log.line(failed.message);
            }
        }
        has_changed
    }

    /// Finds again what an earlier supervisor was about to start.
    pub(super) fn adopt_migrations(&self, state: &mut State) {
        let folder = self.folders.bundles();
        state.migrations.retain(|service, run| {
            if run.life != Life::Starting {
                return true; // The reaper looks at it.
            }
            let marks = units::migration_marks(service, &run.bundle);
            let marks = marks.each_ref().map(|(name, value)| (*name, value.as_str()));
            let leads = |pid: &u32| procfs::stat(*pid).is_some_and(|stat| stat.group == *pid);
            let mut processes = procfs::processes_under(&folder).into_iter();
            let found = processes.find(|pid| leads(pid) && procfs::has_environment(*pid, &marks));
            let Some(process) = found.and_then(Process::of) else { return false };
            self.log.line(format!("migration of {service} found again: {process}"));
            run.life = Life::Running(process);
            true
        });
    }
}

/// Ends a run by force if its time is over. Returns whether that is new.
fn at_deadline(run: &mut Migration) -> bool {
    match run.life {
        Life::Running(_) if run.started_at + run.timeout <= now() => {
            let limit = Duration::from_millis(run.timeout).as_secs_f32();
            end(run, GRACE, &format!("ended after {limit} s, its time limit"));
            true
        }
        Life::Stopping { process, kill_at } if kill_at <= now() => {
            process.signal_group(Signal::SIGKILL);
            false
        }
        _ => false,
    }
}

/// Tells a run to end, and why.
pub(super) fn end(run: &mut Migration, grace: Millis, why: &str) {
    if let Life::Running(process) = run.life {
        run.ended_for = Some(why.to_owned());
        run.life = Life::Stopping { process, kill_at: now() + grace };
        process.signal_group(Signal::SIGTERM);
    }
}

/// How a run ended, once nothing is left of it: what its first process has left behind is ended.
fn exit_of(service: &Name, run: &Migration, process: Process) -> Option<Exit> {
    let Ended { code, signal } = process.ended()?;
    let marks = units::migration_marks(service, &run.bundle);
    super::reaper::end_rest(&marks, process);
    let is_left = !procfs::group_members(process.pid).is_empty();
    (!is_left).then(|| Exit { code, signal, out_of_memory: run.out_of_memory, at: now() })
}

/// Knows the secrets that a bundle has. The supervisor never resolved one: it reads what was brought with the bundle.
fn redactor(folder: &Path) -> Redactor {
    let redactor = Redactor::default();
    let secrets = bundle_folder::secrets(folder);
    for value in fs::read_dir(secrets).into_iter().flatten().flatten().map(|entry| fs::read(entry.path())) {
        redactor.learn(&Secret::new(value.unwrap_or_default()));
    }
    redactor
}

fn unseen(service: &Name, run: &Migration) -> Failed {
    other(format!("the migration of {service} for release {} has ended, and nobody saw how", run.release))
}

fn other(message: String) -> Failed {
    Failed { kind: FailedKind::Other, message }
}
