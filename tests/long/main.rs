//! What a user notices of the program under load, under every fault, and across crashes: minutes, with the machine to
//! themselves where they measure. Run by `tests/all`.

mod crash;
mod faults;
mod handover;
mod no_request_lost;
mod report;
mod same_bundle;
mod strategies;

use std::time::Duration;
use tests::{Load, LoadConfig, Project, Report, pause};

/// Before and after what happens, so that every connection of the load has been used.
const SETTLE: Duration = Duration::from_secs(1);

/// Holds the load while something happens.
fn under_load(project: &mut Project, happens: impl FnOnce(&mut Project)) -> Report {
    let load = Load::start(LoadConfig::new(project.port("api")));
    pause(SETTLE);
    happens(project);
    pause(SETTLE);
    // Slow requests and uploads take a while to show that they are answered.
    while load.elapsed() < Duration::from_secs(4) {
        pause(SETTLE);
    }
    load.stop()
}
