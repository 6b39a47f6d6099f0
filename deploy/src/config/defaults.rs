//! The defaults of an environment file, in one place, each with its reason.

use super::file::{
    FailurePolicy, HookSection, LeaseSection, SmokeSection, StrategyKind, StrategySection, SyntheticSection,
    TimingsSection, TrafficSection, WaveSection,
};
use pipeline::config::scalar::{Share, Span};

impl Default for StrategySection {
    fn default() -> Self {
        Self {
            // Keeps the capacity while it goes on, and needs no second set of everything.
            kind: StrategyKind::Rolling,
            // One unit shows what is plainly broken, a quarter what breaks under load, and then all.
            batches: vec![Share::count(1), Share::percent(25), Share::percent(100)],
            // Start-first: the new unit is healthy before an old one goes.
            max_surge: 1,
            // So that the capacity never falls.
            max_unavailable: 0,
            // One is enough to show what users would see …
            canary_units: 1,
            // … to a twentieth of them first, and to half of them before all.
            canary_steps: vec![5, 25, 50],
            // The gates decide; a human only where one asks for it.
            pause_after: Vec::new(),
            // A new release has not earned any trust: the first failure counts.
            failure_limit: 0,
            // What stood before worked; a human can look at the dossier later.
            on_failure: FailurePolicy::RollBack,
        }
    }
}

impl Default for TimingsSection {
    fn default() -> Self {
        Self {
            // Often enough to notice within seconds, seldom enough not to be load.
            interval: Span::from_secs(1),
            // Above any answer of a health endpoint that is well.
            timeout: Span::from_secs(5),
            // One lucky answer is no evidence …
            healthy_passes: 5,
            // … and a crash loop passes now and then: it rarely lasts ten seconds.
            healthy_for: Span::from_secs(10),
            // Caches, migrations and models take minutes to load, seldom five.
            healthy_deadline: Span::from_secs(300),
            // One failure may be the network; three in a row are not.
            unhealthy_failures: 3,
            // Twice the time that a single unit may take to be healthy.
            progress_deadline: Span::from_secs(600),
            // Longer than nearly every request; a proxy in front often gives up after thirty seconds, too.
            drain: Span::from_secs(30),
            // What is left after the drain is closing files and connections.
            stop_grace: Span::from_secs(10),
            // Three looks of a monitor that looks every ten seconds.
            bake: Span::from_secs(30),
            // As many as the probe's own failures may be in a row before its silence is no evidence any more.
            provider_error_limit: 4,
        }
    }
}

impl Default for LeaseSection {
    fn default() -> Self {
        Self {
            // The next deploy waits at most this long for a holder that was lost.
            ttl: Span::from_secs(60),
            // Three renewals may fail before the lease is lost.
            heartbeat: Span::from_secs(15),
        }
    }
}

impl Default for TrafficSection {
    fn default() -> Self {
        Self {
            // Above the noise of clients that hang up, far below a release that is broken.
            max_error_rate: 0.05,
            // Slow is a matter of degree: twice the tolerance of errors.
            max_slow_rate: 0.10,
            // Where people begin to notice that they wait.
            slow_above: Span::from_secs(1),
            // Below twenty requests a rate of 5 % cannot even be told.
            min_requests: 20,
        }
    }
}

/// Enough that an error rate of 5 % shows with a probability of 92 %.
pub(super) fn synthetic_requests() -> u32 {
    50
}

impl SyntheticSection {
    /// As for real traffic.
    pub(super) fn max_error_rate() -> f64 {
        TrafficSection::default().max_error_rate
    }

    /// As for real traffic.
    pub(super) fn max_slow_rate() -> f64 {
        TrafficSection::default().max_slow_rate
    }

    /// As for real traffic.
    pub(super) fn slow_above() -> Span {
        TrafficSection::default().slow_above
    }

    /// As for real traffic.
    pub(super) fn min_requests() -> u32 {
        TrafficSection::default().min_requests
    }
}

impl WaveSection {
    /// What breaks only under the load of a whole place shows within minutes: caches have been filled and jobs have run,
    /// and whoever watches has been told twice.
    pub(super) fn soak() -> Span {
        Span::from_secs(300)
    }
}

impl SmokeSection {
    /// Smoke tests are few and quick; five minutes leave room for building them.
    pub(super) fn timeout() -> Span {
        Span::from_secs(300)
    }
}

impl HookSection {
    /// A hook tells somebody or changes a switch: that takes seconds. Five minutes are for one that waits for another
    /// system.
    pub(super) fn timeout() -> Span {
        Span::from_secs(300)
    }
}
