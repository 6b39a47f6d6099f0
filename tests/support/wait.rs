//! Waiting for the outside world: always for an event, always with a deadline.

use std::time::{Duration, Instant};

/// Between two looks at something that cannot be awaited.
const STEP: Duration = Duration::from_millis(10);

/// Looks until there is something to see, and fails the test at the deadline with what was waited for.
///
/// # Panics
/// At the deadline.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited {deadline:?} in vain for {what}");
        pause(STEP);
    }
}

/// Lets time pass where that itself is what the test is about: a lease runs out, a load goes on for a while.
#[expect(clippy::disallowed_methods, reason = "the one place where tests let time pass")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
