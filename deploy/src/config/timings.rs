//! Timings: which one counts, and whether they can hold together.

use super::file::EnvironmentFile;
use crate::check::{Check, Probe};
use pipeline::{
    config::{
        file::{CheckTimings, ServiceSection},
        findings::Findings,
        problem::Problem,
        scalar::Span,
    },
    name::Name,
};

/// A key's path and the span that stands there.
struct Timed {
    path: Vec<String>,
    span: Span,
}

impl Timed {
    fn new(path: &[&str], span: &Span) -> Self {
        Self { path: path.iter().map(|key| (*key).to_owned()).collect(), span: span.clone() }
    }

    fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    fn millis(&self) -> u64 {
        self.span.as_millis()
    }
}

/// Where the timings of a service's check come from, the nearest first: the environment's own for this service, the
/// project's for this service, the environment's for all.
struct Sources<'a> {
    service: &'a Name,
    here: Option<&'a CheckTimings>,
    project: Option<&'a CheckTimings>,
    environment: &'a EnvironmentFile,
}

impl Sources<'_> {
    fn number(&self, pick: impl Fn(&CheckTimings) -> Option<u32>, fallback: u32) -> u32 {
        self.here.and_then(&pick).or_else(|| self.project.and_then(&pick)).unwrap_or(fallback)
    }

    fn span(&self, key: &str, pick: impl Fn(&CheckTimings) -> Option<&Span>, fallback: &Span) -> Timed {
        let service = self.service.as_str();
        if let Some(span) = self.here.and_then(&pick) {
            return Timed::new(&["services", service, "timings", key], span);
        }
        match self.project.and_then(&pick) {
            Some(span) => Timed::new(&["services", service, "check", "timings", key], span),
            None => Timed::new(&["timings", key], fallback),
        }
    }
}

/// The check of a service in an environment: its probe with the timings that count, found to be consistent.
pub(super) fn check(
    name: &Name,
    service: &ServiceSection,
    environment: &EnvironmentFile,
    probe: Probe,
    findings: &mut Findings<'_>,
) -> Check {
    let sources = Sources {
        service: name,
        here: environment.services.get(name).map(|one| &one.timings),
        project: service.check.as_ref().map(|check| &check.timings),
        environment,
    };
    let all = &sources.environment.timings;
    let interval = sources.span("interval", |one| one.interval.as_ref(), &all.interval);
    let timeout = sources.span("timeout", |one| one.timeout.as_ref(), &all.timeout);
    let healthy_for = sources.span("healthy-for", |one| one.healthy_for.as_ref(), &all.healthy_for);
    let deadline =
        sources.span("healthy-deadline", |one| one.healthy_deadline.as_ref(), &all.healthy_deadline);
    let progress = Timed::new(&["timings", "progress-deadline"], &all.progress_deadline);
    let passes = sources.number(|one| one.healthy_passes, all.healthy_passes);

    for span in [&interval, &timeout, &deadline] {
        positive(span, findings);
    }
    shorter(&healthy_for, &deadline, "a unit could never be healthy in time", findings);
    shorter(&timeout, &deadline, "one probe could take all the time there is", findings);
    shorter(&deadline, &progress, "the rollout would give up before the unit does", findings);
    enough_time_for_passes(passes, &interval, &deadline, findings);

    Check {
        probe,
        identity: service.check.as_ref().and_then(|check| check.identity.as_ref()).map(|one| {
            crate::check::Identity {
                path: one.path.to_string(),
                release_pointer: one.release.to_string(),
                bundle_pointer: one.bundle.as_ref().map(ToString::to_string),
            }
        }),
        interval: interval.millis(),
        timeout: timeout.millis(),
        healthy_passes: passes,
        healthy_for: healthy_for.millis(),
        healthy_deadline: deadline.millis(),
        unhealthy_failures: sources.number(|one| one.unhealthy_failures, all.unhealthy_failures),
        provider_error_limit: all.provider_error_limit,
    }
}

/// Checks the timings that are the environment's alone.
pub(super) fn check_environment(environment: &EnvironmentFile, findings: &mut Findings<'_>) {
    let timings = &environment.timings;
    let progress = Timed::new(&["timings", "progress-deadline"], &timings.progress_deadline);
    let drain = Timed::new(&["timings", "drain"], &timings.drain);
    let grace = Timed::new(&["timings", "stop-grace"], &timings.stop_grace);
    positive(&progress, findings);
    shorter(&drain, &progress, "the rollout would give up while a unit still drains", findings);
    shorter(&grace, &progress, "the rollout would give up while a unit still stops", findings);
    let bake = Timed::new(&["timings", "bake"], &timings.bake);
    shorter(&bake, &progress, "the rollout would give up while a batch still bakes", findings);

    let ttl = Timed::new(&["lease", "ttl"], &environment.lease.ttl);
    let heartbeat = Timed::new(&["lease", "heartbeat"], &environment.lease.heartbeat);
    positive(&heartbeat, findings);
    if heartbeat.millis() * 2 > ttl.millis() {
        let message = format!(
            "inconsistent timings: `heartbeat` ({}) is more than half of `ttl` ({})",
            heartbeat.span, ttl.span
        );
        let problem = Problem::new(message)
            .help("one late renewal would lose the lease: renew at least twice in its time");
        findings.add_between(
            &heartbeat.path(),
            &[(&ttl.path(), "the lease lasts this long".to_owned())],
            problem,
        );
    }
}

fn positive(timed: &Timed, findings: &mut Findings<'_>) {
    if timed.millis() == 0 {
        findings.add(&timed.path(), Problem::new(format!("`{}` must be longer than 0", timed.name())));
    }
}

fn shorter(short: &Timed, long: &Timed, else_what: &str, findings: &mut Findings<'_>) {
    // A length of 0 is told as such.
    if short.millis() < long.millis() || long.millis() == 0 {
        return;
    }
    let message = format!(
        "inconsistent timings: `{}` ({}) must be shorter than `{}` ({})",
        short.name(),
        short.span,
        long.name(),
        long.span
    );
    let label = format!("`{}` is {} here", long.name(), long.span);
    let problem = Problem::new(message).help(format!("otherwise {else_what}"));
    findings.add_between(&short.path(), &[(&long.path(), label)], problem);
}

fn enough_time_for_passes(passes: u32, interval: &Timed, deadline: &Timed, findings: &mut Findings<'_>) {
    let least = u64::from(passes - 1) * interval.millis();
    if least < deadline.millis() || deadline.millis() == 0 {
        return;
    }
    let message = format!(
        "inconsistent timings: {passes} passes every {} take {}, which `healthy-deadline` ({}) does not allow",
        interval.span,
        Span::from_millis(least),
        deadline.span
    );
    let problem = Problem::new(message).help("probe more often, ask for fewer passes, or allow more time");
    findings.add_between(
        &deadline.path(),
        &[(&interval.path(), "from one probe to the next".to_owned())],
        problem,
    );
}
