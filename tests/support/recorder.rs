//! The availability recorder: which units run, looked at every 20 ms, whatever the program says of them.

use crate::{
    processes::all_pids,
    sockets::{listening_sockets, ports_among},
    units::is_unit,
    wait::pause,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks that must have been made in the time, so that a starved recorder does not pass for a quiet one.
const LEAST_SHARE: f64 = 0.3;

/// One look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When, since the recorder was started.
    pub at: Duration,
    /// Service → units that run and were not told to stop: a unit that is told to stop closes its listening socket.
    pub running: BTreeMap<String, usize>,
    /// Service → units that accept connections.
    pub listening: BTreeMap<String, usize>,
}

/// Looks until it is stopped.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
    begun: Instant,
}

impl Recorder {
    /// Begins to look at the units below a folder.
    pub fn start(folder: &Path) -> Self {
        let (stop, folder, begun) = (Arc::new(AtomicBool::new(false)), folder.to_owned(), Instant::now());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut watch = Watch { folder, heard: BTreeSet::new() };
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.push(watch.look(begun.elapsed()));
                pause(INTERVAL);
            }
            samples
        });
        Self { stop, thread, begun }
    }

    /// Ends and returns what was seen.
    ///
    /// # Panics
    /// If it could not look often enough to say anything.
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.thread.join().expect("the recorder does not panic");
        let possible = self.begun.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
        let made = samples.len() as f64;
        assert!(made >= possible * LEAST_SHARE, "the recorder made {made} of {possible:.0} looks: too few");
        samples
    }
}

impl Sample {
    /// Units of a service that run.
    pub fn running(&self, service: &str) -> usize {
        self.running.get(service).copied().unwrap_or(0)
    }

    /// Units of a service that accept connections.
    pub fn listening(&self, service: &str) -> usize {
        self.listening.get(service).copied().unwrap_or(0)
    }
}

struct Watch {
    folder: PathBuf,
    /// Units that were seen to listen at some time.
    heard: BTreeSet<i32>,
}

impl Watch {
    fn look(&mut self, at: Duration) -> Sample {
        let mut sample = Sample { at, running: BTreeMap::new(), listening: BTreeMap::new() };
        let units = self.units();
        // Asked after the look at every process, which lasts on a busy machine: nothing that stopped meanwhile counts
        // beside what took its place.
        let sockets = listening_sockets();
        for (pid, service) in units {
            let listens = !ports_among(pid, &sockets).is_empty();
            if listens {
                self.heard.insert(pid);
                *sample.listening.entry(service.clone()).or_default() += 1;
            }
            if listens || !self.heard.contains(&pid) {
                *sample.running.entry(service).or_default() += 1;
            }
        }
        sample
    }

    /// The processes that are units, and of which service.
    fn units(&self) -> Vec<(i32, String)> {
        let mut units = Vec::new();
        for pid in all_pids() {
            let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            if !exe.starts_with(&self.folder) || !is_unit(&exe) {
                continue;
            }
            let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            units.push((pid, name.trim_start_matches("noogh-").trim_end_matches(" (deleted)").to_owned()));
        }
        units
    }
}
