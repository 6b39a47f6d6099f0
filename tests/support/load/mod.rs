//! An independent load: a constant rate of arrivals, whatever the answers do (an open loop, so that a slow service is
//! not spared), over connections that are kept alive and over new ones, with slow requests and uploads in flight at
//! every moment.

mod client;
mod report;
#[cfg(test)]
mod tests;

use client::{Client, Kind};
use report::Tally;
pub use report::{FailureClass, Report, Seen};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

/// Between two looks at how many arrivals are due.
const TICK: Duration = Duration::from_millis(5);

/// Worker threads: one would be a bottleneck at every pause of the scheduler.
const THREADS: usize = 2;

/// Short pause after a request of a loop that failed at once, so that a refusing service is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What kind of load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadConfig {
    /// The port of 127.0.0.1 that it goes to.
    pub port: u16,
    /// Arrivals each second.
    pub rate: u32,
    /// Of a hundred arrivals, how many come over a new connection.
    pub fresh_percent: u32,
    /// Slow requests (2 s) that are in flight at every moment.
    pub slow: usize,
    /// Uploads (1 MiB in pieces, about a second) that are in flight at every moment.
    pub uploads: usize,
    /// The longest that any request may take.
    pub timeout: Duration,
}

impl LoadConfig {
    /// 500 arrivals a second, a tenth of them over new connections, four slow requests and two uploads at a time.
    pub fn new(port: u16) -> Self {
        Self { port, rate: 500, fresh_percent: 10, slow: 4, uploads: 2, timeout: Duration::from_secs(10) }
    }
}

/// A load that goes on until it is stopped.
pub struct Load {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    all: tokio::task::JoinHandle<()>,
    tally: Arc<Tally>,
    config: LoadConfig,
}

impl Load {
    /// Begins.
    ///
    /// # Panics
    /// If the machine gives no threads.
    pub fn start(config: LoadConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .expect("threads for the load");
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::new());
        let client = Arc::new(Client::new(config.clone(), tally.clone()));
        let all = runtime.spawn(run(client, config.clone(), stopped));
        Self { runtime, stop, all, tally, config }
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.tally.begun.elapsed()
    }

    /// Ends the arrivals, waits for what is in flight, and says what came of it.
    ///
    /// # Panics
    /// If the generator itself has failed.
    pub fn stop(self) -> Report {
        let took = self.elapsed();
        self.stop.send_replace(true);
        self.runtime.block_on(self.all).expect("the generator does not panic");
        self.tally.report(&self.config, took)
    }
}

async fn run(client: Arc<Client>, config: LoadConfig, stopped: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    for (kind, count, turn) in [
        (Kind::Slow, config.slow, Duration::from_secs(2)),
        (Kind::Upload, config.uploads, Duration::from_secs(1)),
    ] {
        for nth in 0..count {
            // Evenly spaced, so that they do not all end at once.
            let delay = turn * u32::try_from(nth).unwrap_or(0) / u32::try_from(count).unwrap_or(1);
            tasks.spawn(keep_one_in_flight(client.clone(), kind, delay, stopped.clone()));
        }
    }
    tasks.spawn(arrive(client, config, stopped));
    while let Some(joined) = tasks.join_next().await {
        joined.expect("the generator does not panic");
    }
}

async fn keep_one_in_flight(
    client: Arc<Client>,
    kind: Kind,
    delay: Duration,
    stopped: watch::Receiver<bool>,
) {
    sleep(delay).await;
    let mut fresh = false;
    while !*stopped.borrow() {
        fresh = !fresh;
        if !client.request(kind, fresh).await {
            sleep(AFTER_FAILURE).await;
        }
    }
}

async fn arrive(client: Arc<Client>, config: LoadConfig, stopped: watch::Receiver<bool>) {
    let begun = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_flight = JoinSet::new();
    let mut number = 0_u64;
    while !*stopped.borrow() {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * f64::from(config.rate)) as u64;
        while number < due {
            let fresh = number % 100 < u64::from(config.fresh_percent);
            let (client, kind) = (client.clone(), Kind::of_arrival(number));
            in_flight.spawn(async move { client.request(kind, fresh).await });
            number += 1;
        }
        while in_flight.try_join_next().is_some() {}
    }
    while in_flight.join_next().await.is_some() {}
}
