//! How late this machine is: a thread that sleeps, and looks how much longer than it wanted to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tests::pause;

/// How long it sleeps: short, so that it wants to run often.
const NAP: Duration = Duration::from_millis(10);

/// Measures until it is stopped.
pub(crate) struct Meter {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                pause(NAP);
                longest = longest.max(begun.elapsed().saturating_sub(NAP));
            }
            longest
        });
        Self { is_over, thread }
    }

    /// How late it was at most.
    pub(crate) fn stop(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}
