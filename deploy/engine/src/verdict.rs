//! Verdicts: what the evidence says, and the reason. Pure; no evidence is never a pass (law 5).

use crate::{
    check::{Answer, Check, Health},
    model::{Exit, Millis, UnitFacts},
    plan::RateLimits,
    reason::ReasonCode,
};

/// What evidence says at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Pass,
    /// Not decided yet: what is missing, for people.
    Pending(String),
    /// Bad: why, and the words for it.
    Fail(ReasonCode, String),
    /// The evidence does not allow a decision: why, and the words for it. A human decides.
    Inconclusive(ReasonCode, String),
}

/// Intervals without an answer after which evidence is stale: one may be lost, two in a row are a gap.
const STALE_INTERVALS: Millis = 3;

/// Whether the last answer is too old to say anything about `now`.
pub fn is_stale(check: &Check, health: &Health, now: Millis) -> bool {
    let limit = STALE_INTERVALS * (check.interval + check.timeout);
    health.last_at.is_none_or(|at| now.saturating_sub(at) > limit)
}

/// Whether a unit that was started at `since`, and has no traffic yet, is healthy.
pub fn starting(check: &Check, facts: &UnitFacts, health: &Health, since: Millis, now: Millis) -> Verdict {
    if let Some(verdict) = terminal(check, health) {
        return verdict;
    }
    let held_for = match (health.passing_since, health.last_at) {
        (Some(first), Some(last)) => last.saturating_sub(first),
        _ => 0,
    };
    let enough = health.passes >= check.healthy_passes.max(1) && held_for >= check.healthy_for;
    let stale = is_stale(check, health, now);
    if enough && !stale {
        return Verdict::Pass;
    }
    if now.saturating_sub(since) < check.healthy_deadline {
        return Verdict::Pending(progress(check, health, held_for));
    }
    if health.observed == 0 || stale {
        let text = format!("no answer to judge by within {}", seconds(check.healthy_deadline));
        return Verdict::Inconclusive(ReasonCode::NoEvidence, text);
    }
    let (reason, words) = never_healthy(facts, health);
    Verdict::Fail(reason, format!("not healthy within {}: {words}", seconds(check.healthy_deadline)))
}

/// Whether a unit that takes traffic still is healthy.
pub fn serving(check: &Check, health: &Health, now: Millis) -> Verdict {
    if let Some(verdict) = terminal(check, health) {
        return verdict;
    }
    if health.failures >= check.unhealthy_failures.max(1) {
        let reason = match &health.last {
            _ if health.flips >= 2 => ReasonCode::Flapping,
            Some(Answer::TimedOut) => ReasonCode::Unresponsive,
            _ => ReasonCode::BecameUnhealthy,
        };
        let words = health.last.as_ref().map(describe).unwrap_or_default();
        return Verdict::Fail(
            reason,
            format!("{} probes in a row failed, the last: {words}", health.failures),
        );
    }
    if health.passes == 0 || is_stale(check, health, now) {
        return Verdict::Pending("a fresh answer".to_owned());
    }
    Verdict::Pass
}

/// What a count of requests says. Fewer than the minimum say nothing.
pub fn rates(limits: &RateLimits, samples: u64, errors: u64, slow: u64) -> Verdict {
    if samples < limits.min_requests.max(1) {
        let text = format!("{samples} of at least {} requests", limits.min_requests.max(1));
        return Verdict::Inconclusive(ReasonCode::NoEvidence, text);
    }
    let share = |count: u64| count as f64 / samples as f64;
    let percent = |rate: f64| format!("{:.1} %", rate * 100.0);
    if share(errors) > limits.max_error_rate {
        let (is, may) = (percent(share(errors)), percent(limits.max_error_rate));
        return Verdict::Fail(
            ReasonCode::ErrorRate,
            format!("{errors} of {samples} requests failed ({is}, at most {may})"),
        );
    }
    if share(slow) > limits.max_slow_rate {
        let (is, may) = (percent(share(slow)), percent(limits.max_slow_rate));
        let bound = seconds(limits.slow_above);
        let text = format!("{slow} of {samples} requests took longer than {bound} ({is}, at most {may})");
        return Verdict::Fail(ReasonCode::SlowRate, text);
    }
    Verdict::Pass
}

/// Why a unit's process ended, from how it ended and whether it had been healthy before.
pub fn of_exit(exit: &Exit, ever_passed: bool) -> ReasonCode {
    /// Signals that a process gets for its own fault: ILL, ABRT, BUS, FPE, SEGV, SYS.
    const OWN_FAULT: [i32; 6] = [4, 6, 7, 8, 11, 31];
    match (exit.out_of_memory, exit.signal) {
        (true, _) => ReasonCode::OutOfMemory,
        (false, Some(signal)) if !OWN_FAULT.contains(&signal) => ReasonCode::Killed,
        _ if ever_passed => ReasonCode::Crashed,
        _ => ReasonCode::ExitedAtStart,
    }
}

/// An answer in words.
pub fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Pass => "passed".to_owned(),
        Answer::Refused => "connection refused".to_owned(),
        Answer::TimedOut => "no answer in time".to_owned(),
        Answer::Broken(why) => format!("connection broke: {why}"),
        Answer::Status(status) => format!("status {status}"),
        Answer::Unexpected(what) => what.clone(),
        Answer::Slow(took) => format!("answered only after {}", seconds(*took)),
        Answer::Certificate(why) => format!("certificate: {why}"),
        Answer::CommandFailed(code) => format!("the command exited with {code}"),
        Answer::WrongRelease(said) => format!("another release answered: {said}"),
        Answer::ProviderError(why) => format!("the probe could not be made: {why}"),
    }
}

/// Milliseconds for people.
pub fn seconds(millis: Millis) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ if millis.is_multiple_of(60_000) => format!("{} min", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{} s", millis / 1_000),
        _ => format!("{:.1} s", millis as f64 / 1_000.0),
    }
}

/// What waiting cannot mend.
fn terminal(check: &Check, health: &Health) -> Option<Verdict> {
    if health.wrong_release >= check.unhealthy_failures.max(1) {
        let words = health.last.as_ref().map(describe).unwrap_or_default();
        return Some(Verdict::Fail(ReasonCode::WrongRelease, words));
    }
    if health.provider_errors > check.provider_error_limit {
        let words = health.last.as_ref().map(describe).unwrap_or_default();
        return Some(Verdict::Inconclusive(ReasonCode::ProbeBroken, words));
    }
    None
}

fn progress(check: &Check, health: &Health, held_for: Millis) -> String {
    let last = health.last.as_ref().map_or_else(|| "no answer yet".to_owned(), describe);
    match health.passes {
        0 => last,
        passes => format!(
            "{passes} of {} passes in a row, {} of {}",
            check.healthy_passes.max(1),
            seconds(held_for),
            seconds(check.healthy_for)
        ),
    }
}

fn never_healthy(facts: &UnitFacts, health: &Health) -> (ReasonCode, String) {
    let words = health.last.as_ref().map(describe).unwrap_or_default();
    if health.flips >= 2 {
        return (
            ReasonCode::Flapping,
            format!("it changed {} times, the last answer: {words}", health.flips),
        );
    }
    let reason = match &health.last {
        Some(Answer::Refused) if !facts.other_ports.is_empty() => {
            let ports: Vec<String> = facts.other_ports.iter().map(u16::to_string).collect();
            let own =
                facts.address.map_or_else(|| "its own".to_owned(), |address| address.port().to_string());
            let text = format!("it listens on port {} instead of {own}", ports.join(", "));
            return (ReasonCode::WrongPort, text);
        }
        Some(Answer::Refused) => ReasonCode::NotListening,
        Some(Answer::TimedOut) => ReasonCode::Unresponsive,
        Some(Answer::Slow(_)) => ReasonCode::TooSlow,
        Some(Answer::Certificate(_)) => ReasonCode::BadCertificate,
        Some(Answer::WrongRelease(_)) => ReasonCode::WrongRelease,
        Some(Answer::Status(500..) | Answer::CommandFailed(_) | Answer::Pass) => ReasonCode::NeverReady,
        _ => ReasonCode::UnexpectedAnswer,
    };
    (reason, words)
}

#[cfg(test)]
mod tests;
