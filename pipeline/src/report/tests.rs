//! What a report shows.

use super::*;
use crate::{
    event::Event,
    release::{Manifests, Parts, ScanVerdict, Scans, StageVerdict, WaivedFinding},
    scan::{
        self, Kind,
        finding::testing::{other, vulnerability},
    },
    stage::StageName,
};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn api() -> Name {
    "api".parse().unwrap()
}

fn id() -> ReleaseId {
    ReleaseId("3f9a1c2b4d5e".to_owned())
}

fn passed(stage: StageName, service: Option<Name>, duration_ms: u64, summary: &str) -> Event {
    Event::StagePassed { stage, service, duration_ms, summary: summary.to_owned() }
}

fn skipped(stage: StageName, service: Option<Name>) -> Event {
    Event::StageSkipped { stage, service, reason: "inputs unchanged".to_owned() }
}

fn failed(stage: StageName, service: Option<Name>) -> Event {
    let excerpt = vec!["critical  <script>alert(1)</script> | x".to_owned()];
    Event::StageFailed { stage, service, message: "2 findings stop the release".to_owned(), excerpt }
}

fn making(events: &[Event], second: i64) -> Making {
    let events: Vec<(Timestamp, Event)> = events.iter().map(|event| (at(second), event.clone())).collect();
    Making::of(id(), &events, at(second))
}

fn a_release() -> Release {
    let finding = vulnerability("CVE-2024-1", Severity::High, None);
    let waived = WaivedFinding {
        rule: finding.rule,
        package: finding.package.map(|package| package.name),
        file: finding.file,
        reason: "not reachable".to_owned(),
        expires: "2027-03-01".parse().unwrap(),
    };
    let verdict = ScanVerdict::Passed {
        scanner: "Trivy 0.59.1".to_owned(),
        at: at(5),
        database: Some(at(-90_000)),
        findings: [(Severity::High, 1), (Severity::Low, 1)].into(),
        waived: vec![waived],
    };
    let mut release = Release::assemble(
        Parts {
            project: &"noogh".parse().unwrap(),
            tree: None,
            tool_version: "0.1.0",
            services: BTreeMap::new(),
            images: BTreeMap::new(),
            stages: [("test".to_owned(), StageVerdict::Passed)].into(),
            scans: Scans { configuration: None, images: [(api(), verdict)].into() },
        },
        at(9),
    )
    .unwrap();
    release.id = id();
    release.commit = Some("3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c".to_owned());
    release.branch = Some("main".to_owned());
    release
}

fn segment(state: &str, tone: Tone, from: u64, to: u64) -> Segment {
    Segment { state: state.to_owned(), tone, from, to }
}

fn a_rollback() -> Rollout {
    let moment = |after, subject: &str, text: &str, tone| Moment {
        after,
        subject: subject.to_owned(),
        text: text.to_owned(),
        tone,
    };
    Rollout {
        environment: "production".parse().unwrap(),
        run: "20270115-080000-1a2b".to_owned(),
        aim: "brings release 3f9a1c2b4d5e to production: api (artifact)".to_owned(),
        outcome: "rolled back (never-ready)".to_owned(),
        tone: Tone::Bad,
        began_at: at(20),
        took: 8_400,
        phases: vec![
            segment("rolling out", Tone::Plain, 100, 6_000),
            segment("rolling back", Tone::Warn, 6_000, 8_300),
        ],
        units: vec![
            Lane {
                name: "api/0 (0123456789ab)".to_owned(),
                segments: vec![segment("serving", Tone::Good, 0, 8_400)],
            },
            Lane {
                name: "api/0 (3f9a1c2b4d5e)".to_owned(),
                segments: vec![
                    segment("waiting", Tone::Plain, 200, 5_900),
                    segment("broken", Tone::Bad, 5_900, 6_100),
                ],
            },
        ],
        moments: vec![
            moment(0, "rollout", "brings release 3f9a1c2b4d5e", Tone::Plain),
            moment(5_900, "api/0 (3f9a1c2b4d5e)", "never-ready: answers 503 </td><b>", Tone::Bad),
        ],
        dossiers: vec![
            "never-ready: api/0: answers 503\n  log: ``` <img src=x>\nnext: fairlead logs".to_owned(),
        ],
    }
}

/// What the stages of a release leave, kept as its report's evidence.
fn kept(state: &Path) -> Folder {
    fs::create_dir_all(state.join("reports")).unwrap();
    fs::create_dir_all(state.join("scans")).unwrap();
    let junit = r#"<testsuites name="test"><testsuite name="src/lib.rs (api)">
        <testcase name="adds"/><testcase name="skips"><skipped/></testcase>
        <testcase name="divides"><failure>left: 1
right: &lt;2&gt;</failure></testcase></testsuite></testsuites>"#;
    fs::write(state.join("reports/junit.xml"), junit).unwrap();
    let findings = vec![
        other(Kind::Misconfiguration, "DS002", Severity::Low, "Dockerfile"),
        vulnerability("CVE-2024-1", Severity::High, None),
    ];
    let subject = scan::Subject::Image(api());
    scan::Report::new("Trivy 0.59.1".to_owned(), Some(at(-90_000)), None, findings)
        .write(state, &subject)
        .unwrap();
    fs::write(state.join("scans/api.sarif"), "{}").unwrap();
    fs::write(state.join("scans/api.cdx.json"), "{}").unwrap();
    let folder = Folder::of(state, &id()).unwrap();
    let events = [
        passed(StageName::Test, None, 61_500, "12 tests passed"),
        passed(StageName::Build, None, 12_300, "2 executables"),
        passed(StageName::Scan, Some(api()), 900, "2 findings, 1 waived"),
    ];
    folder.keep(making(&events, 5)).unwrap();
    folder
}

fn report(state: &Path, rollouts: Vec<Rollout>) -> Report {
    let mut report = kept(state).assemble(&"noogh".parse().unwrap(), "0.1.0", rollouts, at(100)).unwrap();
    // The scan ended when the test ran.
    for scan in report.making.iter_mut().flat_map(|making| &mut making.scans) {
        scan.at = at(5);
    }
    report
}

#[test]
fn the_text_tells_stages_tests_findings_waivers_and_the_rollback_with_its_dossier() {
    let state = tempfile::tempdir().unwrap();
    Manifests::new(state.path()).write(&a_release()).unwrap();
    insta::assert_snapshot!(report(state.path(), vec![a_rollback()]).to_markdown());
}

#[test]
fn the_page_has_all_parts_and_nothing_of_elsewhere_is_taken_for_markup() {
    let state = tempfile::tempdir().unwrap();
    Manifests::new(state.path()).write(&a_release()).unwrap();
    let page = html::page(&report(state.path(), vec![a_rollback()]));
    for id in ["summary", "release", "stages", "tests", "scan", "rollouts", "files"] {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    for text in [
        "61 s",
        "1 passed, 1 failed, 1 ignored",
        "until 2027-03-01: not reachable",
        "rolled back (never-ready)",
        "api.sarif",
        "junit.xml",
        "1 high, 1 low",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    assert!(page.contains("&lt;img src=x&gt;") && page.contains("&lt;/td&gt;&lt;b&gt;"));
    for markup in ["<img", "<script", "<b>", "javascript:", "src=\"http", "url("] {
        assert!(!page.contains(markup), "{markup}");
    }
}

#[test]
fn a_release_that_a_stage_stopped_is_told_of_too() {
    let state = tempfile::tempdir().unwrap();
    let folder = Folder::of(state.path(), &id()).unwrap();
    let events = [passed(StageName::Test, None, 10, ""), failed(StageName::Scan, Some(api()))];
    folder.keep(making(&events, 1)).unwrap();
    let report = folder.assemble(&"noogh".parse().unwrap(), "0.1.0", Vec::new(), at(2)).unwrap();
    assert_eq!(report.verdict(), (Tone::Bad, "not made: the stage scan api failed".to_owned()));
    let text = report.to_markdown();
    assert!(text.contains("2 findings stop the release"), "{text}");
    assert!(
        text.contains("    critical  <script>"),
        "what a program wrote is indented, and so no markup: {text}"
    );
    let page = html::page(&report);
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("not made"), "{page}");
}

#[test]
fn a_stage_that_is_skipped_later_is_told_by_the_run_that_passed() {
    let first =
        making(&[passed(StageName::Test, None, 500, "9 tests passed"), failed(StageName::Build, None)], 1);
    let second = making(&[skipped(StageName::Test, None), passed(StageName::Build, None, 700, "")], 2);
    let both = second.after(Some(first.clone()));
    let told: Vec<_> = both.stages.iter().map(|one| (one.stage, one.outcome, one.took)).collect();
    assert_eq!(
        told,
        [
            (StageName::Test, StageOutcome::Passed, Some(500)),
            (StageName::Build, StageOutcome::Passed, Some(700)),
        ]
    );
    // Jobs that each run a part.
    let scan = making(&[passed(StageName::Scan, Some(api()), 5, "")], 3).after(Some(both));
    assert_eq!(scan.stages.iter().map(StageMade::title).collect::<Vec<_>>(), ["test", "build", "scan api"]);
    // What failed then, and was not run again, stops nobody.
    let build = making(&[passed(StageName::Test, None, 1, "")], 4).after(Some(first.clone()));
    assert_eq!(build.failed(), None);
    // Another release has nothing to say here.
    let other = Making { release: ReleaseId("r2".to_owned()), ..first };
    assert_eq!(making(&[skipped(StageName::Test, None)], 5).after(Some(other)).stages.len(), 1);
}

#[test]
fn what_was_written_is_read_back_and_the_latest_is_known() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(Folder::latest(state.path()).unwrap(), None);
    let report = report(state.path(), vec![a_rollback()]);
    let folder = Folder::of(state.path(), &id()).unwrap();
    folder.write(&report).unwrap();
    let read: Report = serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(read, report);
    assert_eq!(report.files, ["api.cdx.json", "api.sarif", "junit.xml", "stages.json"]);
    let newer = ReleaseId("0000".to_owned());
    let newest = Making { release: newer.clone(), ..making(&[skipped(StageName::Test, None)], 50) };
    Folder::of(state.path(), &newer).unwrap().keep(newest).unwrap();
    assert_eq!(Folder::latest(state.path()).unwrap(), Some(newer));
}

#[test]
fn a_report_goes_when_its_time_has_come_and_nothing_else_does() {
    let state = tempfile::tempdir().unwrap();
    let folder = kept(state.path());
    let reports = state.path().join("reports");
    fs::create_dir(reports.join("No Release")).unwrap();
    let written = fs::metadata(folder.path()).unwrap().modified().unwrap();
    let keep = Duration::from_secs(90 * 86_400);
    assert_eq!(remove_old(state.path(), keep, written + keep).unwrap(), [""; 0]);
    assert_eq!(remove_old(state.path(), keep, written + keep + Duration::from_secs(1)).unwrap(), [id().0]);
    assert!(!folder.is_there() && reports.join("junit.xml").exists() && reports.join("No Release").exists());
    assert_eq!(remove_old(&state.path().join("none"), keep, written).unwrap(), [""; 0]);
}

#[test]
fn what_is_damaged_is_named() {
    let state = tempfile::tempdir().unwrap();
    let folder = kept(state.path());
    let assemble = || folder.assemble(&"noogh".parse().unwrap(), "0.1.0", Vec::new(), at(1));
    fs::write(folder.path().join("junit.xml"), "<testsuites").unwrap();
    assert!(assemble().unwrap_err().to_string().contains("junit.xml"));
    fs::remove_file(folder.path().join("junit.xml")).unwrap();
    fs::write(folder.path().join("stages.json"), r#"{"version": 9}"#).unwrap();
    let error = crate::causes::in_one_line(&assemble().unwrap_err());
    assert!(error.contains("stages.json"), "{error}");
    assert!(matches!(Folder::of(state.path(), &ReleaseId("../x".to_owned())), Err(ReportError::Name(_))));
}

#[test]
fn lengths_of_time_read_well() {
    let told = [0, 940, 9_999, 12_000, 119_000, 120_000, 7_199_000, 7_500_000].map(span);
    assert_eq!(told, ["0.0 s", "0.9 s", "9.9 s", "12 s", "119 s", "2 min 0 s", "119 min 59 s", "2 h 5 min"]);
}
