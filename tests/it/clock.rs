//! What a jump of the machine's clock leaves behind: times in the future, and times of long ago, in every file of state.
//! Nothing is decided wrongly by them: what can be finished is finished, and what cannot be trusted is refused.
//!
//! The clock itself cannot be set by a test, so the files are made to look as a jump would have left them.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{fs, path::Path};
use tests::{Project, Shape, http};

/// A jump: so many years, forward or back.
type Years = i64;

const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1_000;

/// Moves every time in a document: milliseconds since the epoch, and timestamps as text.
fn shift(value: &mut Value, years: Years) -> usize {
    match value {
        Value::Array(values) => values.iter_mut().map(|value| shift(value, years)).sum(),
        Value::Object(fields) => fields.values_mut().map(|value| shift(value, years)).sum(),
        Value::Number(number) => match number.as_i64() {
            // Nothing else is counted in numbers above the milliseconds of the year 2001.
            Some(time) if time > 1_000_000_000_000 => {
                *value = (time + years * YEAR_MS).into();
                1
            }
            _ => 0,
        },
        Value::String(text) if is_timestamp(text) => {
            let year: i64 = text[..4].parse().expect("a year");
            *text = format!("{:04}{}", year + years, text[4..].replace("-02-29T", "-02-28T"));
            1
        }
        _ => 0,
    }
}

fn is_timestamp(text: &str) -> bool {
    let shape: Vec<char> = text.chars().take(11).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    text.ends_with('Z') && shape.iter().collect::<String>() == "0000-00-00T"
}

/// The same in a file of JSON, or of a JSON document a line.
fn shift_file(path: &Path, years: Years) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let is_lines = path.extension().is_some_and(|end| end == "jsonl");
    let documents: Vec<&str> = if is_lines { text.lines().collect() } else { vec![&text] };
    let mut shifted = 0;
    let documents = documents.into_iter().map(|document| {
        let mut document: Value = serde_json::from_str(document).expect("a document");
        shifted += shift(&mut document, years);
        document.to_string()
    });
    let text = documents.collect::<Vec<_>>().join("\n") + "\n";
    assert!(shifted > 0, "no time in {}", path.display());
    fs::write(path, text).expect("our own file");
}

/// All that tells of times: record, history, ledger, journals, what the supervisor keeps.
fn shift_everything(project: &Project, years: Years) {
    let state = project.state().join("local");
    let mut files = vec![state.join("record/record.json"), state.join("ledger.json")];
    for folder in ["record/history", "journal"] {
        files.extend(fs::read_dir(state.join(folder)).expect("a folder").flatten().map(|entry| entry.path()));
    }
    files.iter().for_each(|file| shift_file(file, years));
}

fn project() -> Project {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    let mut project = Project::with(shape);
    project.is_not_judged("the times of its journal are falsified");
    project.deploy().expect(0);
    project
}

#[track_caller]
fn an_open_rollout_is_finished(years: Years) {
    let mut project = project();
    project.change_code("api");
    let mut run = project.spawn_deploy();
    run.wait_for_action("admit");
    run.crash();
    shift_everything(&project, years);
    project.run(&["lock"]).expect(0).says("ended without releasing it");
    project.run(&["status"]).expect_one_of(&[0, 12, 13, 14]);
    let resumed = project.run(&["resume"]).expect(0);
    assert!(resumed.took.as_secs() < 30, "it waited for a time of the other clock: {resumed:?}");
    project.assert_serves("api", &project.release());
    project.run(&["plan"]).expect(0).says("nothing to do");
    project.run(&["history"]).expect(0);
}

#[test]
fn a_rollout_that_was_left_before_the_clock_was_set_back_is_finished() {
    an_open_rollout_is_finished(3);
}

#[test]
fn a_rollout_that_was_left_before_the_clock_was_set_forward_is_finished() {
    an_open_rollout_is_finished(-3);
}

/// The lease of a process that lives is not taken from it, whatever the wall clock says of its age.
#[test]
fn a_lease_is_neither_taken_early_nor_kept_for_ever() {
    let mut shape = Shape::api_only();
    shape.timing("bake", "2s");
    let mut project = Project::with(shape);
    project.is_not_judged("the times of its journal are falsified");
    project.deploy().expect(0);
    let record = project.state().join("local/record/record.json");
    for years in [-3, 3] {
        project.change_code("api");
        let mut run = project.spawn_deploy();
        run.wait_for_event("the bake", |event| event.to_string().contains("bake-began"));
        run.freeze();
        shift_file(&record, years);
        project.deploy().expect(13).says(&run.pid().to_string());
        run.signal(nix::sys::signal::Signal::SIGCONT);
        run.wait().expect(0);
        project.assert_serves("api", &project.release());
        assert!(!project.run(&["lock"]).expect(0).stdout.contains("held by"), "still held");
    }
}

#[test]
fn what_stood_before_is_what_the_ledger_says_and_not_what_is_oldest() {
    for years in [3, -3] {
        let mut project = project();
        let (first, before) = (project.release(), project.identities());
        shift_everything(&project, years);
        project.change_code("api");
        project.deploy().expect(0);
        project.run(&["history"]).expect(0).says(&first);
        project.run(&["rollback", "--yes"]).expect(0);
        assert_eq!(project.identities(), before, "clock moved by {years} years");
        project.assert_serves("api", &first);
        assert!(http::get(project.port("api"), "/health").is_ok());
    }
}

/// Gives a plan other times and seals it again, as a program on a machine with another clock would have.
fn shift_plan(project: &Project, years: Years) {
    let path = project.path().join("plan.json");
    let mut plan: Value = serde_json::from_slice(&fs::read(&path).expect("a plan")).expect("a plan");
    plan.as_object_mut().expect("an object").remove("seal");
    assert!(shift(&mut plan, years) >= 2, "no times in {plan:#}");
    let seal = format!("sha256:{}", hex::encode(Sha256::digest(plan.to_string())));
    plan["seal"] = seal.into();
    fs::write(path, plan.to_string()).expect("our own file");
}

#[test]
fn a_plan_from_the_future_is_refused_and_so_is_one_of_long_ago() {
    let mut project = project();
    project.change_code("api");
    let before = project.snapshot().1;
    for (years, says) in [(3, "one of the clocks is wrong"), (-3, "the plan expired")] {
        project.run(&["plan", "--out", "plan.json"]).expect(0);
        shift_plan(&project, years);
        project.run(&["deploy", "--plan", "plan.json", "--yes"]).expect(3).says(says).says("make a new plan");
        assert_eq!(project.snapshot().1, before, "refused, and yet something changed");
    }
    // The seal is right: without a jump it is carried out.
    project.run(&["plan", "--out", "plan.json"]).expect(0);
    shift_plan(&project, 0);
    project.run(&["deploy", "--plan", "plan.json", "--yes"]).expect(0);
    project.assert_serves("api", &project.release());
}
