//! Check runs, code scanning, comments and releases.

use crate::{double::Refusal, ground::Ground};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A report with so many failed tests, each at a line of its own.
fn junit(failed: usize) -> String {
    let mut text = format!(
        "<testsuites name=\"t\" tests=\"{failed}\" failures=\"{failed}\" errors=\"0\">\
         <testsuite name=\"shop\" tests=\"{failed}\" disabled=\"0\" errors=\"0\" failures=\"{failed}\">"
    );
    for line in 1..=failed {
        let told = write!(
            text,
            "<testcase name=\"t{line}\"><failure type=\"panic\">panicked at src/api.txt:{line}:1:\nno</failure></testcase>"
        );
        told.expect("memory");
    }
    text + "</testsuite></testsuites>"
}

fn write_reports(ground: &Ground, failed: usize) {
    std::fs::create_dir_all(ground.state().join("reports")).expect("a folder");
    ground.write(".fairlead/reports/junit.xml", junit(failed));
}

#[test]
fn failed_tests_stand_beside_their_lines_in_one_check_run() {
    let ground = Ground::new();
    ground.run(&["github", "report"]).expect(3).says("nothing to report");
    write_reports(&ground, 120);
    // The second batch is taken, of which nobody hears.
    ground.github.refuses(&[Refusal::bad_gateway()]);
    ground.run(&["github", "report"]).expect(0).says("120 things stop this commit");
    let commit = ground.commit_hash();
    ground.github.world(|world| {
        let [run] = world.check_runs.as_slice() else { panic!("{:#?}", world.check_runs) };
        assert_eq!((&run["name"], &run["head_sha"]), (&"Fairlead".into(), &commit.as_str().into()));
        assert_eq!((&run["status"], &run["conclusion"]), (&"completed".into(), &"failure".into()));
        let remarks = &world.annotations[&run["id"].as_u64().expect("a number")];
        let lines: Vec<u64> = remarks.iter().filter_map(|one| one["start_line"].as_u64()).collect();
        assert_eq!(lines, (1..=120).collect::<Vec<_>>(), "each once");
    });
}

#[test]
fn an_update_that_got_lost_is_not_repeated_blindly() {
    let ground = Ground::new();
    write_reports(&ground, 120);
    ground.github.refuses(&[Refusal::lost_answer()]);
    ground.run(&["github", "report"]).expect(0);
    ground.github.world(|world| {
        assert_eq!(world.check_runs.len(), 1, "{:#?}", world.check_runs);
        assert_eq!(world.annotations.values().map(Vec::len).sum::<usize>(), 120);
        assert_eq!(world.check_runs[0]["conclusion"], "failure");
    });
}

#[test]
fn what_a_scan_has_found_stands_beside_its_line_and_goes_to_code_scanning() {
    let ground = Ground::new();
    ground.edit("fairlead.toml", |text| format!("{text}\n[stages.scan]\nconfiguration = [\"deploy\"]\n"));
    ground.commit();
    std::fs::create_dir_all(ground.state().join("scans")).expect("a folder");
    let finding = json!({
        "severity": "high", "kind": "misconfiguration", "rule": "KSV017", "title": "Privileged container",
        "file": "deploy/environments/local.toml", "lines": { "first": 2, "last": 3 },
    });
    let report = json!({
        "version": 1, "at": "2026-11-01T00:00:00Z", "scanner": "Trivy 0.59.1",
        "fingerprint": { "files": {}, "values": {} }, "findings": [finding],
    });
    ground.write(".fairlead/scans/_configuration.json", report.to_string());
    let sarif = json!({ "version": "2.1.0", "runs": [] }).to_string();
    ground.write(".fairlead/scans/_configuration.sarif", &sarif);
    ground.run(&["github", "report"]).expect(0).says("1 thing stops this commit");
    let commit = ground.commit_hash();
    ground.github.world(|world| {
        let remark = &world.annotations.values().next().expect("a check run")[0];
        assert_eq!((&remark["start_line"], &remark["end_line"]), (&2.into(), &3.into()));
        assert_eq!(remark["annotation_level"], "failure");
        let [sent] = world.sarifs.as_slice() else { panic!("{:#?}", world.sarifs) };
        assert_eq!((&sent["commit_sha"], &sent["ref"]), (&commit.as_str().into(), &"refs/heads/main".into()));
        // Gzip, in base64.
        assert!(sent["sarif"].as_str().is_some_and(|text| text.starts_with("H4sI")), "{sent}");
    });
    // Code scanning may be switched off: all else is done.
    ground.github.forbids("POST /code-scanning/sarifs");
    ground.run(&["github", "report"]).expect(0).says("code scanning was not told");
    ground.github.world(|world| assert_eq!(world.check_runs.len(), 2));
}

#[test]
fn of_a_pull_request_its_own_last_commit_is_reported() {
    let mut ground = Ground::new();
    write_reports(&ground, 0);
    let head = "5".repeat(40);
    let event = json!({ "number": 7, "pull_request": { "number": 7, "head": { "sha": head } } });
    ground.write("event.json", event.to_string());
    let path = ground.path().join("event.json");
    ground.project.set_variable("GITHUB_EVENT_PATH", path);
    ground.run(&["github", "report"]).expect(0).says("nothing stops this commit");
    ground.github.world(|world| {
        assert_eq!(world.check_runs[0]["head_sha"], head.as_str());
        assert_eq!(world.check_runs[0]["conclusion"], "success");
    });
}

#[test]
fn the_plan_is_one_comment_that_is_kept_up_to_date() {
    let mut ground = Ground::new();
    ground.project.set_variable("GITHUB_REF", "refs/pull/7/merge");
    ground.run(&["plan", "--comment"]).expect(0).says("pull request 7");
    ground.project.change_code("api");
    ground.run(&["plan", "--comment"]).expect(0);
    let release = ground.release();
    ground.github.world(|world| {
        let [comment] = world.comments.as_slice() else { panic!("{:#?}", world.comments) };
        let body = comment["body"].as_str().expect("text");
        assert!(body.contains(&release) && body.starts_with("<!-- fairlead: plan local -->"), "{body}");
    });
    // Who may not write there has the plan all the same.
    ground.github.always(Refusal::forbidden());
    ground.run(&["plan", "--comment=8"]).expect(0).says("pull-requests: write").says(&release);
}

#[test]
fn a_release_has_its_notes_and_files_and_is_made_once() {
    let mut ground = Ground::new();
    ground.run(&["build"]).expect(0);
    let first = ground.release();
    ground.git(&["tag", &format!("release-{first}")]);
    ground.project.change_code("api");
    ground.run(&["build"]).expect(0);
    let release = ground.release();
    ground.run(&["report"]).expect(0).says(&release);
    ground.github.refuses(&[Refusal::bad_gateway(), Refusal::lost_answer()]);
    for _ in 0..2 {
        ground.run(&["github", "release"]).expect(0).says(&format!("release-{release}"));
    }
    let commit = ground.commit_hash();
    ground.github.world(|world| {
        let [made] = world.releases.as_slice() else { panic!("{:#?}", world.releases) };
        assert_eq!((&made["draft"], &made["target_commitish"]), (&false.into(), &commit.as_str().into()));
        let names: Vec<&Value> =
            made["assets"].as_array().expect("files").iter().map(|one| &one["name"]).collect();
        assert_eq!(
            names,
            ["release-manifest.json", "report.html", "report.json", "report.md", "stages.json"]
        );
        let notes = made["body"].as_str().expect("notes");
        assert!(
            notes.contains(&format!("Since release-{first}")) && notes.contains("Change something"),
            "{notes}"
        );
    });
}
