//! Canary and blue-green under load: nothing is lost by a switch, nor by a fault that shows before it; and a fault that
//! shows only under traffic reaches no more requests than the canary's share.

use super::under_load;
use std::time::Instant;
use tests::{Load, LoadConfig, Project, Shape};

/// Two units, and a strategy of more than one step.
fn shape(strategy: &'static str) -> Shape {
    let mut shape = Shape { strategy, canary_steps: vec![10, 50], ..Shape::api_only() };
    shape.api().replicas = 2;
    // Longer than a slow request takes, so that a drain can end by itself.
    shape.timing("drain", "10s");
    // Under load a probe waits its turn.
    shape.timing("timeout", "2s");
    shape
}

#[track_caller]
fn loses_nothing(strategy: &'static str) {
    let mut project = Project::alone(shape(strategy));
    project.deploy().expect(0);
    let report = under_load(&mut project, |project| {
        project.change_code("api");
        project.deploy().expect(0);
    });
    report.assert_nothing_lost();
    let release = project.release();
    project.assert_serves("api", &release);

    let before = project.identities();
    let report = under_load(&mut project, |project| {
        project.reshape(|shape| shape.fault("never-ready"));
        project.change_code("api");
        project.deploy().expect(10);
    });
    report.assert_nothing_lost();
    assert_eq!(project.reason(), "never-ready");
    assert_eq!(project.identities(), before, "the old units were not even restarted");
    project.assert_serves("api", &release);
}

#[test]
fn blue_green_loses_nothing_forward_or_back() {
    loses_nothing("blue-green");
}

#[test]
fn canary_loses_nothing_forward_or_back() {
    loses_nothing("canary");
}

/// The old side is still there, and takes the traffic back without a start.
#[test]
fn blue_green_returns_to_the_same_processes_from_the_bake() {
    let mut shape = shape("blue-green");
    shape.timing("bake", "4s");
    let mut project = Project::alone(shape);
    project.deploy().expect(0);
    let (before, release) = (project.identities(), project.release());
    project.reshape(|shape| shape.fault("exit-after=2s"));
    project.change_code("api");
    project.deploy().expect(10);
    assert_eq!(project.reason(), "crashed");
    assert_eq!(project.identities(), before);
    project.assert_serves("api", &release);
}

/// What a canary with a fault that only traffic shows may break: rate × share × (detection + drain).
#[test]
fn a_canary_that_fails_requests_reaches_no_more_than_its_share() {
    const RATE: u32 = 200;
    const SHARE: f64 = 0.10;
    const ERRORS: f64 = 0.5;
    let mut shape = shape("canary");
    shape.timing("bake", "4s");
    let mut project = Project::alone(shape);
    project.deploy().expect(0);
    project.reshape(|shape| {
        shape.gates = "[gates.traffic]\nmax-error-rate = 0.05\nmin-requests = 20\n".to_owned();
        shape.fault("error-rate=0.5");
    });
    project.change_code("api");
    let config = LoadConfig { rate: RATE, slow: 0, uploads: 0, ..LoadConfig::new(project.port("api")) };
    let load = Load::start(config);
    let mut run = project.spawn_deploy();
    run.wait_for_action("admit");
    let exposed = Instant::now();
    run.wait_for_event("the end of the drain", |event| {
        event["event"] == "action-ended" && event["intent"]["action"].get("drain").is_some()
    });
    let exposed = exposed.elapsed();
    run.wait().expect(10);
    let report = load.stop();
    let expected = f64::from(RATE) * SHARE * ERRORS * exposed.as_secs_f64();
    // The errors are spread evenly, not by chance; half as many again leaves room for the edges.
    let bound = expected * 1.5 + 3.0;
    println!("{} failed in {exposed:?}; expected {expected:.0}, at most {bound:.0}", report.failed());
    assert!(report.failed() > 0, "the fault did not show: {report:#?}");
    assert!((report.failed() as f64) <= bound, "at most {bound:.0}: {report:#?}");
    assert_eq!(project.reason(), "error-rate");
}

/// A planned pause: the rollout stays open and the canary in traffic until a human goes on, or back.
#[test]
fn a_pause_is_left_open_and_promoted_or_rolled_back() {
    let mut shape = shape("canary");
    shape.pause_after = vec![1];
    let mut project = Project::with(shape);
    project.deploy().expect(0);
    let (before, old) = (project.identities(), project.release());

    project.change_code("api");
    project.deploy().expect(12).says("promote");
    project.deploy().expect(13).says("paused");
    assert!(project.units_of("api").len() > before.len(), "the canary stays");
    project.run(&["rollback", "--yes"]).expect(0);
    assert_eq!(project.identities(), before);
    project.assert_serves("api", &old);

    project.deploy().expect(12);
    project.run(&["resume"]).expect(12);
    project.run(&["promote"]).expect(0);
    project.assert_serves("api", &project.release());
    project.run(&["promote"]).expect(3);
}
