//! SIGKILL of the deploying process in the middle of things: `resume` finishes, `rollback` restores, and both are
//! judged by processes, ports and files.

use tests::{Background, Project, Shape, event_name, http, is_action};

const REPLICAS: u16 = 3;

/// A good release stands with three units, another one is committed.
fn project(fault: Option<&str>) -> (Project, Before) {
    let mut shape = Shape::api_only();
    shape.api().replicas = REPLICAS;
    shape.batches = vec!["1", "100%"];
    let mut project = Project::with(shape);
    project.deploy().expect(0);
    let before = Before { release: project.release(), identities: project.identities() };
    if let Some(fault) = fault {
        project.reshape(|shape| {
            shape.fault(fault);
            // Longer than what fails after a while lives.
            shape.timing("bake", "5s");
        });
    }
    project.change_code("api");
    (project, before)
}

struct Before {
    release: String,
    identities: Vec<String>,
}

impl Before {
    /// What stood before stands again, and nothing else does.
    #[track_caller]
    fn stands_again(&self, project: &Project) {
        assert_eq!(project.identities(), self.identities);
        project.assert_serves("api", &self.release);
        nothing_is_open(project);
    }
}

/// The new release stands, and nothing else does.
#[track_caller]
fn new_release_stands(project: &Project) {
    project.assert_serves("api", &project.release());
    for unit in project.units_of("api") {
        assert_eq!(unit.executable.digest, project.artifact_digest("api"));
    }
    nothing_is_open(project);
}

/// A deploy of what stands finds nothing in its way.
#[track_caller]
fn nothing_is_open(project: &Project) {
    let lock = project.run(&["lock"]).expect(0);
    assert!(!format!("{}{}", lock.stdout, lock.stderr).contains("expired"), "{lock:?}");
    project.run(&["plan"]).expect(0);
}

/// Kills the run, and asserts that the service did not notice.
#[track_caller]
fn crash(project: &Project, run: Background) {
    run.crash();
    assert!(project.units_of("api").len() >= usize::from(REPLICAS));
    assert_eq!(http::get(project.port("api"), "/ready").map(|answer| answer.status), Ok(200));
}

fn in_a_batch() -> (Project, Before) {
    let (project, before) = project(None);
    let mut run = project.spawn_deploy();
    run.wait_for_event("the second batch", |event| {
        event_name(event) == Some("decided") && event["reason"]["batch-began"]["batch"] == 2
    });
    run.wait_for_action("start");
    crash(&project, run);
    (project, before)
}

fn in_a_drain() -> (Project, Before) {
    let (project, before) = project(None);
    // One for each unit, so that whichever is drained has something in flight.
    let slow: Vec<_> = (0..2 * REPLICAS)
        .map(|_| http::get_in_background(project.port("api"), "/api/v1/slow?ms=4000"))
        .collect();
    let mut run = project.spawn_deploy();
    run.wait_for_action("drain");
    crash(&project, run);
    for request in slow {
        let (_, answer) = request.join().expect("a judge does not panic");
        assert_eq!(answer.map(|answer| answer.status), Ok(200), "a request in flight was lost");
    }
    (project, before)
}

fn in_a_rollback() -> (Project, Before) {
    let (project, before) = project(Some("exit-after=2s"));
    let mut run = project.spawn_deploy();
    run.wait_for_event("the evidence", |event| event_name(event) == Some("evidence-collected"));
    run.wait_for_event("the way back", |event| {
        ["start", "stop", "drain", "admit"].iter().any(|verb| is_action(event, "action-began", verb))
    });
    run.crash();
    (project, before)
}

#[test]
fn in_a_batch_resume_finishes() {
    let (project, _) = in_a_batch();
    project.run(&["resume"]).expect(0);
    new_release_stands(&project);
}

#[test]
fn in_a_batch_rollback_restores() {
    let (project, before) = in_a_batch();
    project.run(&["rollback", "--yes"]).expect(0);
    before.stands_again(&project);
}

#[test]
fn in_a_drain_resume_finishes() {
    let (project, _) = in_a_drain();
    project.run(&["resume"]).expect(0);
    new_release_stands(&project);
}

#[test]
fn in_a_drain_rollback_restores() {
    let (project, before) = in_a_drain();
    project.run(&["rollback", "--yes"]).expect(0);
    before.stands_again(&project);
}

#[test]
fn in_a_rollback_resume_ends_it() {
    let (project, before) = in_a_rollback();
    project.run(&["resume"]).expect(10);
    before.stands_again(&project);
}

#[test]
fn in_a_rollback_rollback_ends_it() {
    let (project, before) = in_a_rollback();
    project.run(&["rollback", "--yes"]).expect(0);
    before.stands_again(&project);
}

#[test]
fn killed_again_and_again_it_still_ends() {
    let (project, _) = project(None);
    let mut run = project.spawn_deploy();
    run.wait_for_action("prepare");
    run.crash();
    for verb in ["start", "admit", "drain", "stop"] {
        let mut run = project.spawn(&["resume", "--format", "json"]);
        run.wait_for_action(verb);
        run.crash();
    }
    project.run(&["resume"]).expect(0);
    new_release_stands(&project);
}
