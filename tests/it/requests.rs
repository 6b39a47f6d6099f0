//! What an operator asks, from another process, of a rollout that is under way.

use std::{fs, path::PathBuf};
use tests::{Background, Project, Shape, http};

/// What stood before a rollout: its units, and its release.
struct Before {
    units: Vec<String>,
    release: String,
}

/// Two units, and a new release of which the first is in traffic: for a while nothing but the watch over it goes on.
fn busy() -> (Project, Before, Background) {
    busy_with_lease("10s", "1s")
}

fn busy_with_lease(ttl: &str, heartbeat: &str) -> (Project, Before, Background) {
    let mut shape = Shape::api_only();
    shape.lease = (ttl.to_owned(), heartbeat.to_owned());
    shape.api().replicas = 2;
    shape.batches = vec!["1", "100%"];
    shape.timing("bake", "15s");
    let mut project = Project::with(shape);
    project.run(&["deploy", "--set", "timings.bake=300ms"]).expect(0);
    let before = Before { units: project.identities(), release: project.release() };
    project.change_code("api");
    let mut run = project.spawn_deploy();
    run.wait_for_action("admit");
    (project, before, run)
}

impl Before {
    /// Asserts, by processes and sockets, that it stands again.
    #[track_caller]
    fn assert_stands(&self, project: &Project) {
        assert_eq!(project.identities(), self.units);
        project.assert_serves("api", &self.release);
    }
}

/// Where requests are left.
fn requests(project: &Project) -> PathBuf {
    project.state().join("local/record/requests")
}

#[track_caller]
fn assert_no_request_is_left(project: &Project) {
    let left: Vec<_> = fs::read_dir(requests(project)).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "requests are left: {left:?}");
}

#[test]
fn cancel_has_the_running_deploy_bring_back_what_stood_before() {
    let (project, before, run) = busy();
    let twice = project.spawn(&["cancel"]);
    project.run(&["cancel"]).expect(0).says("asked `deploy local`").says("taken back");
    twice.wait().expect(0);
    run.wait().expect(10).says("\"requested\"");
    before.assert_stands(&project);
    assert_no_request_is_left(&project);
    project.run(&["cancel"]).expect(3).says("no rollout is open").says("rolled-back");
    // The developer's own environment is never frozen.
    project.run(&["deploy", "--yes", "--set", "timings.bake=300ms"]).expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn cancel_with_hold_has_it_leave_everything_as_it_is() {
    let (project, before, run) = busy();
    project.run(&["cancel", "--hold"]).expect(0).says("held");
    run.wait().expect(12);
    let held = project.snapshot().1;
    assert!(held.len() > before.units.len() - 1, "it was undone: {held:?}");
    assert!(http::get(project.port("api"), "/health").is_ok());
    project.run(&["cancel", "--hold"]).expect(0).says("already");
    project.run(&["pause"]).expect(3).says("held");
    assert_eq!(project.snapshot().1, held);
    project.run(&["cancel"]).expect(0);
    before.assert_stands(&project);
}

#[test]
fn a_rollout_whose_executor_is_dead_is_cancelled_by_whoever_asks() {
    let (project, before, run) = busy();
    run.crash();
    project.run(&["pause"]).expect(3).says("nobody carries out");
    project.run(&["cancel"]).expect(0).says("taken back");
    before.assert_stands(&project);
    assert_no_request_is_left(&project);
}

#[test]
fn an_executor_that_is_stopped_is_not_waited_for_for_ever() {
    let (project, before, run) = busy_with_lease("2m", "10s");
    run.freeze();
    project.run(&["cancel"]).expect(13).says("withdrawn").says("stopped");
    assert_no_request_is_left(&project);
    run.crash();
    project.run(&["cancel"]).expect(0);
    before.assert_stands(&project);
}

#[test]
fn a_deploy_is_paused_and_promoted() {
    let (project, before, run) = busy();
    project.run(&["pause"]).expect(0).says("paused");
    run.wait().expect(12).says("promote");
    assert!(project.units_of("api").len() >= before.units.len(), "{:#?}", project.units_of("api"));
    assert!(http::get(project.port("api"), "/health").is_ok());
    project.run(&["pause"]).expect(0).says("paused");
    project.deploy().expect(13).says("paused");
    assert_eq!(project.run(&["status", "--format", "json"]).json()["rollout"]["phase"], "paused");
    project.run(&["promote"]).expect(0);
    project.assert_serves("api", &project.release());
    assert_no_request_is_left(&project);
}

#[test]
fn a_deploy_that_waits_in_its_pause_is_promoted_from_another_process() {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    shape.batches = vec!["1", "100%"];
    shape.pause_after = vec![1];
    let mut project = Project::with(shape);
    project.deploy().expect(12);
    project.run(&["promote"]).expect(0);
    project.change_code("api");
    let mut run = project.spawn(&["deploy", "--wait", "--format", "json"]);
    run.wait_for_event("the pause", |event| {
        event["event"] == "decided" && event["reason"].get("paused").is_some()
    });
    project.run(&["promote"]).expect(0).says("asked `deploy local`");
    run.wait().expect(0);
    project.assert_serves("api", &project.release());

    // A wait that ends leaves the rollout paused.
    project.change_code("api");
    project.run(&["deploy", "--wait=1s"]).expect(12).says("promote");
    project.run(&["cancel"]).expect(0);
}

#[test]
fn a_request_of_an_earlier_run_does_nothing() {
    let (project, _, run) = busy();
    let record = fs::read(project.state().join("local/record/record.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    run.crash();
    project.run(&["cancel"]).expect(0);
    let request = serde_json::json!({
        "version": 1, "id": "0-7", "run": record["open"]["run"], "generation": record["generation"],
        "command": "cancel", "actor": "ann@laptop",
    });
    fs::create_dir_all(requests(&project)).expect("a folder");
    fs::write(requests(&project).join("0-7.json"), request.to_string()).expect("a request");
    project.run(&["deploy", "--set", "timings.bake=300ms"]).expect(0);
    project.assert_serves("api", &project.release());
    assert_no_request_is_left(&project);
}
