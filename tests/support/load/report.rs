//! What came of a load.

use super::LoadConfig;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Failures that are kept with their details.
const KEPT: usize = 20;

/// The share of the wanted rate below which nothing was shown.
const LEAST_RATE: f64 = 0.9;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// Answered, but not with 2xx.
    NotSuccess,
    /// The connection was refused.
    Refused,
    /// The connection broke before the answer began.
    Reset,
    /// Not answered in time.
    TimedOut,
    /// The answer ended too early, or is not the whole of what was asked for.
    Truncated,
    /// Anything else.
    Other,
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When the request was sent, since the load began.
    pub sent: Duration,
    /// When it failed.
    pub failed: Duration,
    /// How.
    pub class: FailureClass,
    /// What was asked, over what kind of connection, and what went wrong.
    pub detail: String,
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was asked for.
    pub config: LoadConfig,
    /// How long it went on.
    pub took: Duration,
    /// Arrivals that were sent, without slow requests and uploads.
    pub arrivals: u64,
    /// Requests of every kind that were answered whole and with 2xx.
    pub ok: u64,
    /// Slow requests among them.
    pub slow_ok: u64,
    /// Uploads among them.
    pub uploads_ok: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Requests that found their kept connection closed before a byte of them was sent, and took another. A client
    /// does that by itself, so they are no failures.
    pub moved: u64,
    /// Failures by class.
    pub failures: BTreeMap<FailureClass, u64>,
    /// The first of them.
    pub first: Vec<Seen>,
}

impl Report {
    /// Failures of every class.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Arrivals each second.
    pub fn rate(&self) -> f64 {
        self.arrivals as f64 / self.took.as_secs_f64()
    }

    /// Asserts that the generator did what it was asked to: else it has shown nothing.
    ///
    /// # Panics
    /// If it could not keep up, or had no slow request or upload to show.
    #[track_caller]
    pub fn assert_valid(&self) {
        let wanted = f64::from(self.config.rate);
        assert!(
            self.rate() >= wanted * LEAST_RATE,
            "invalid: {:.0} of {wanted} arrivals/s\n{self:#?}",
            self.rate()
        );
        assert!(
            self.config.slow == 0 || self.slow_ok > 0,
            "invalid: no slow request was answered\n{self:#?}"
        );
        assert!(
            self.config.uploads == 0 || self.uploads_ok > 0,
            "invalid: no upload was answered\n{self:#?}"
        );
    }

    /// Asserts that no request was lost, by a generator that kept up.
    ///
    /// # Panics
    /// If one was.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        assert_eq!(self.failed(), 0, "{self:#?}");
        self.assert_valid();
    }
}

/// Counts while a load goes on.
pub(super) struct Tally {
    pub(super) begun: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) arrivals: u64,
    pub(super) ok: u64,
    pub(super) slow_ok: u64,
    pub(super) uploads_ok: u64,
    pub(super) connections: u64,
    pub(super) moved: u64,
    failures: BTreeMap<FailureClass, u64>,
    first: Vec<Seen>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), counts: Mutex::default() }
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn failed(&self, sent: Instant, class: FailureClass, detail: String) {
        let mut counts = self.counts();
        *counts.failures.entry(class).or_default() += 1;
        if counts.first.len() < KEPT {
            let since = |at: Instant| at.saturating_duration_since(self.begun);
            counts.first.push(Seen { sent: since(sent), failed: self.begun.elapsed(), class, detail });
        }
    }

    pub(super) fn report(&self, config: &LoadConfig, took: Duration) -> Report {
        let counts = self.counts();
        Report {
            config: config.clone(),
            took,
            arrivals: counts.arrivals,
            ok: counts.ok,
            slow_ok: counts.slow_ok,
            uploads_ok: counts.uploads_ok,
            connections: counts.connections,
            moved: counts.moved,
            failures: counts.failures.clone(),
            first: counts.first.clone(),
        }
    }
}
