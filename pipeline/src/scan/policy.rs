//! Which findings stop a release. Pure.

use super::{
    Finding, Kind, Severity, Subject,
    waiver::{State, Waiver, Waivers},
};
use crate::name::Name;
use jiff::civil::Date;

/// What stops a release, unless it is waived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A vulnerability of at least this severity.
    pub vulnerabilities: Severity,
    /// A misconfiguration of at least this severity.
    pub misconfigurations: Severity,
    /// A secret of at least this severity.
    pub secrets: Severity,
    /// Whether a vulnerability stops nothing as long as there is no version without it.
    pub fixed_only: bool,
    /// Whether a distribution that gets no more fixes stops it.
    pub end_of_life: bool,
    /// Rules that stop it whatever their severity is.
    pub always: Vec<String>,
}

impl Policy {
    /// Whether a finding stops a release that has no waiver for it.
    pub fn stops(&self, finding: &Finding) -> bool {
        if self.always.iter().any(|rule| finding.is_of(rule)) {
            return true;
        }
        match finding.kind {
            Kind::Vulnerability => {
                let can_be_fixed = finding.package.as_ref().is_some_and(|package| package.fixed.is_some());
                finding.severity >= self.vulnerabilities && (can_be_fixed || !self.fixed_only)
            }
            Kind::Misconfiguration => finding.severity >= self.misconfigurations,
            Kind::Secret => finding.severity >= self.secrets,
            Kind::EndOfLife => self.end_of_life,
        }
    }
}

/// What comes of the findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Those that stop the release, the worst first.
    pub stops: Vec<Stop>,
    /// Those that would, but for a waiver.
    pub waived: Vec<(Finding, Waiver)>,
    /// Those that the policy tolerates.
    pub tolerated: Vec<Finding>,
}

/// A finding that stops a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// What was found.
    pub finding: Finding,
    /// The waiver that would count, had it not expired.
    pub expired: Option<Waiver>,
}

/// Judges what was found in a subject, as of a day (UTC).
pub fn judge(
    findings: &[Finding],
    subject: &Subject,
    policy: &Policy,
    waivers: &Waivers,
    today: Date,
) -> Judgement {
    let mut judgement = Judgement::default();
    for finding in findings {
        if !policy.stops(finding) {
            judgement.tolerated.push(finding.clone());
            continue;
        }
        match waivers.of(finding, subject) {
            Some(waiver) if waiver.state(today) != State::Expired => {
                judgement.waived.push((finding.clone(), waiver.clone()));
            }
            expired => {
                judgement.stops.push(Stop { finding: finding.clone(), expired: expired.cloned() });
            }
        }
    }
    judgement
        .stops
        .sort_by(|a, b| b.finding.severity.cmp(&a.finding.severity).then_with(|| a.finding.cmp(&b.finding)));
    judgement
}

impl Judgement {
    /// Whether the release may go on.
    pub fn passes(&self) -> bool {
        self.stops.is_empty()
    }

    /// What it came to, for people: `nothing stops it; 1 waived, 14 tolerated`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if !self.waived.is_empty() {
            parts.push(format!("{} waived", self.waived.len()));
        }
        if !self.tolerated.is_empty() {
            parts.push(format!("{} tolerated", self.tolerated.len()));
        }
        match (self.stops.len(), parts.is_empty()) {
            (0, true) => "nothing found".to_owned(),
            (0, false) => format!("nothing stops it; {}", parts.join(", ")),
            (_, true) => counted(&self.stops),
            (_, false) => format!("{}; {}", counted(&self.stops), parts.join(", ")),
        }
    }

    /// What somebody should know though it stops nothing yet: each waiver in use that is about to expire.
    pub fn warnings(&self, today: Date, service: Option<&Name>) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        for (finding, waiver) in &self.waived {
            let State::Expires { days } = waiver.state(today) else { continue };
            let of = service.map(|service| format!(" in {service}")).unwrap_or_default();
            let when = match days {
                0 => "today is its last day".to_owned(),
                1 => "tomorrow is its last day".to_owned(),
                days => format!("{days} days are left"),
            };
            let warning = format!(
                "the waiver of {}{of} expires on {}: {when} ({})",
                finding.rule, waiver.expires, waiver.origin
            );
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }
}

/// `2 vulnerabilities and 1 secret stop it`.
fn counted(stops: &[Stop]) -> String {
    let kinds = [Kind::Secret, Kind::Vulnerability, Kind::Misconfiguration, Kind::EndOfLife];
    let count = |kind: Kind| stops.iter().filter(|stop| stop.finding.kind == kind).count();
    let said: Vec<String> = kinds
        .into_iter()
        .map(|kind| (count(kind), kind.words()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, (one, many))| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    let verb = if stops.len() == 1 { "stops" } else { "stop" };
    match said.split_last() {
        Some((last, [])) => format!("{last} {verb} it"),
        Some((last, rest)) => format!("{} and {last} {verb} it", rest.join(", ")),
        None => "nothing stops it".to_owned(),
    }
}

#[cfg(test)]
mod tests;
