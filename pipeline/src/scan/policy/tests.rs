//! What stops a release, and what lets it pass.

use super::*;
use crate::scan::finding::testing::{self, other, vulnerability};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn policy() -> Policy {
    Policy { always: vec!["KSV012".to_owned()], ..testing::policy() }
}

fn waiver(rule: &str, expires: &str) -> Waiver {
    Waiver {
        rule: rule.to_owned(),
        reason: "no path of ours reaches it".to_owned(),
        expires: expires.parse().unwrap(),
        services: BTreeSet::new(),
        packages: BTreeSet::new(),
        paths: Vec::new(),
        origin: "waivers.toml:3".to_owned(),
    }
}

fn image(service: &str) -> Subject {
    Subject::Image(service.parse().unwrap())
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// Which of the rules stop the image of `api` on the first of December.
fn stopped(findings: &[Finding], policy: &Policy, waivers: &[Waiver]) -> Vec<String> {
    let waivers = waivers.iter().cloned().collect();
    let judgement = judge(findings, &image("api"), policy, &waivers, day("2026-12-01"));
    assert_eq!(judgement.passes(), judgement.stops.is_empty());
    judgement.stops.into_iter().map(|stop| stop.finding.rule).collect()
}

#[test]
fn each_kind_has_a_severity_of_its_own_from_which_it_stops() {
    let findings = [
        vulnerability("CVE-1", Severity::Critical, Some("2")),
        vulnerability("CVE-2", Severity::High, None),
        vulnerability("CVE-3", Severity::Medium, Some("2")),
        other(Kind::Misconfiguration, "KSV017", Severity::High, "a.yaml"),
        other(Kind::Misconfiguration, "KSV001", Severity::Medium, "a.yaml"),
        other(Kind::Misconfiguration, "KSV012", Severity::Medium, "a.yaml"),
        other(Kind::Secret, "private-key", Severity::Unknown, "root/.ssh/id_rsa"),
        other(Kind::EndOfLife, "end-of-life", Severity::High, "alpine 3.9"),
    ];
    assert_eq!(
        stopped(&findings, &policy(), &[]),
        ["CVE-1", "CVE-2", "KSV017", "end-of-life", "KSV012", "private-key"]
    );
    let lenient = Policy { fixed_only: true, end_of_life: false, always: Vec::new(), ..policy() };
    assert_eq!(stopped(&findings, &lenient, &[]), ["CVE-1", "KSV017", "private-key"]);
}

#[test]
fn a_waiver_counts_to_the_end_of_its_last_day_and_not_longer() {
    let findings = [vulnerability("CVE-1", Severity::High, None)];
    assert_eq!(stopped(&findings, &policy(), &[waiver("CVE-1", "2026-12-01")]), [""; 0]);
    assert_eq!(stopped(&findings, &policy(), &[waiver("CVE-1", "2026-11-30")]), ["CVE-1"]);
    assert_eq!(stopped(&findings, &policy(), &[waiver("CVE-10", "2026-12-01")]), ["CVE-1"]);
    // The one that counts longest decides, and an expired one is told with what it would have let pass.
    let both = [waiver("CVE-1", "2026-11-30"), waiver("cve-1", "2027-01-01")];
    assert_eq!(stopped(&findings, &policy(), &both), [""; 0]);
    let waivers = both[..1].iter().cloned().collect();
    let judgement = judge(&findings, &image("api"), &policy(), &waivers, day("2026-12-01"));
    assert_eq!(judgement.stops[0].expired.as_ref().unwrap().origin, "waivers.toml:3");
}

#[test]
fn a_waiver_is_for_what_it_names_and_nothing_else() {
    let secret = other(Kind::Secret, "private-key", Severity::High, "/etc/demo/key.pem");
    let judged = |waiver: Waiver, finding: &Finding, subject: &Subject| {
        let waivers = [waiver].into_iter().collect();
        judge(std::slice::from_ref(finding), subject, &policy(), &waivers, day("2026-12-01")).passes()
    };
    let base = waiver("private-key", "2027-01-01");
    let of_path = |path: &str| Waiver { paths: vec![path.into()], ..base.clone() };
    for (path, passes) in [
        ("etc/demo/key.pem", true),
        ("/etc/demo", true),
        ("etc", true),
        ("etc/dem", false),
        ("demo/key.pem", false),
    ] {
        assert_eq!(judged(of_path(path), &secret, &image("api")), passes, "{path}");
    }
    let of_service = Waiver { services: ["api".parse().unwrap()].into(), ..base.clone() };
    assert!(judged(of_service.clone(), &secret, &image("api")));
    assert!(!judged(of_service.clone(), &secret, &image("mcp")));
    assert!(!judged(of_service, &secret, &Subject::Configuration(Vec::new())));
    let of_package =
        |name: &str| Waiver { packages: [name.to_owned()].into(), ..waiver("CVE-1", "2027-01-01") };
    let finding = vulnerability("CVE-1", Severity::High, None);
    assert!(judged(of_package("busybox"), &finding, &image("api")));
    assert!(!judged(of_package("openssl"), &finding, &image("api")));
    assert!(!judged(
        Waiver { rule: "private-key".to_owned(), ..of_package("busybox") },
        &secret,
        &image("api")
    ));
}

#[test]
fn a_waiver_in_use_is_warned_of_two_weeks_ahead() {
    let finding = vulnerability("CVE-1", Severity::High, None);
    let warned = |expires: &str| {
        let waivers = [waiver("CVE-1", expires)].into_iter().collect();
        let findings = [finding.clone(), finding.clone()];
        let judgement = judge(&findings, &image("api"), &policy(), &waivers, day("2026-12-01"));
        judgement.warnings(day("2026-12-01"), image("api").service())
    };
    assert_eq!(warned("2026-12-16"), [""; 0]);
    assert_eq!(
        warned("2026-12-15"),
        ["the waiver of CVE-1 in api expires on 2026-12-15: 14 days are left (waivers.toml:3)"]
    );
    assert!(warned("2026-12-02")[0].contains("tomorrow is its last day"));
    assert!(warned("2026-12-01")[0].contains("today is its last day"));
    assert_eq!(warned("2026-11-30"), [""; 0]);
}

#[test]
fn the_summary_counts_each_kind() {
    let findings = [
        vulnerability("CVE-1", Severity::High, None),
        vulnerability("CVE-2", Severity::High, None),
        vulnerability("CVE-3", Severity::Low, None),
        other(Kind::Secret, "private-key", Severity::High, "key.pem"),
    ];
    let summary = |findings: &[Finding], waivers: &[Waiver]| {
        let waivers = waivers.iter().cloned().collect();
        judge(findings, &image("api"), &policy(), &waivers, day("2026-12-01")).summary()
    };
    assert_eq!(summary(&findings, &[]), "1 secret and 2 vulnerabilities stop it; 1 tolerated");
    assert_eq!(summary(&findings[..1], &[]), "1 vulnerability stops it");
    assert_eq!(summary(&findings[..1], &[waiver("CVE-1", "2027-01-01")]), "nothing stops it; 1 waived");
    assert_eq!(summary(&[], &[]), "nothing found");
}

proptest! {
    /// Nothing is lost, and nothing that stops a release passes without a waiver that counts.
    #[test]
    fn every_finding_is_judged_once(
        rules in prop::collection::vec((0..4u8, 0..5usize, any::<bool>()), 0..12),
        waived in prop::collection::vec((0..4u8, 1..28i8), 0..4),
        fixed_only: bool,
        today in 1..28i8,
    ) {
        let findings: Vec<Finding> = rules.iter().map(|(rule, severity, fixed)| {
            vulnerability(&format!("CVE-{rule}"), Severity::ALL[*severity], fixed.then_some("2"))
        }).collect();
        let date = |day: i8| jiff::civil::date(2026, 12, day);
        let waivers: Waivers = waived.iter()
            .map(|(rule, day)| Waiver { expires: date(*day), ..waiver(&format!("CVE-{rule}"), "2026-12-01") })
            .collect();
        let policy = Policy { fixed_only, ..policy() };
        let judgement = judge(&findings, &image("api"), &policy, &waivers, date(today));
        let mut all: Vec<Finding> = judgement.stops.iter().map(|stop| stop.finding.clone())
            .chain(judgement.waived.iter().map(|(finding, _)| finding.clone()))
            .chain(judgement.tolerated.iter().cloned())
            .collect();
        let mut expected = findings.clone();
        all.sort();
        expected.sort();
        prop_assert_eq!(all, expected);
        let counts = |finding: &Finding| waivers.iter().any(|one| one.rule == finding.rule && one.expires >= date(today));
        for finding in &findings {
            let should = policy.stops(finding) && !counts(finding);
            let does = judgement.stops.iter().any(|stop| stop.finding == *finding);
            prop_assert_eq!(should, does, "{:?}", finding);
        }
    }
}
