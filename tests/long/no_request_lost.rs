//! No request is lost: an independent load goes on through rollouts and rollbacks, and every request of it is answered
//! whole. The same load under `recreate` must fail, else it would show nothing.

use super::under_load;
use tests::{Project, Shape};

fn shape() -> Shape {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    // Longer than a slow request takes, so that a drain can end by itself.
    shape.timing("drain", "10s");
    // Under load a probe waits its turn.
    shape.timing("timeout", "2s");
    shape
}

/// A good release stands, and the machine is this test's.
fn project(shape: Shape) -> Project {
    let project = Project::alone(shape);
    project.deploy().expect(0);
    project
}

#[test]
fn through_three_rollouts_in_a_row() {
    let mut project = project(shape());
    let report = under_load(&mut project, |project| {
        for _ in 0..3 {
            project.change_code("api");
            project.deploy().expect(0);
        }
    });
    report.assert_nothing_lost();
    project.assert_serves("api", &project.release());
}

#[test]
fn but_recreate_loses_some_or_the_load_is_blind() {
    let mut project = project(Shape { strategy: "recreate", max_unavailable: 2, max_surge: 0, ..shape() });
    let report = under_load(&mut project, |project| {
        project.change_code("api");
        project.deploy().expect(0);
    });
    report.assert_valid();
    assert!(report.failed() > 0, "an interruption that the load did not see: {report:#?}");
}

/// The rollback of a bad release loses nothing.
#[track_caller]
fn through_the_rollback_of(fault: &str, reason: &str, shape: Shape) {
    let mut project = project(shape);
    let release = project.release();
    let report = under_load(&mut project, |project| {
        project.reshape(|shape| shape.fault(fault));
        project.change_code("api");
        project.deploy().expect(10);
    });
    assert_eq!(project.reason(), reason);
    report.assert_nothing_lost();
    project.assert_serves("api", &release);
}

#[test]
fn through_the_rollback_of_exit_at_start() {
    through_the_rollback_of("exit-at-start", "exited-at-start", shape());
}

/// The unit ends before it has been healthy for long enough to get traffic.
#[test]
fn through_the_rollback_of_exit_before_traffic() {
    let mut shape = shape();
    shape.timing("healthy-for", "6s");
    shape.timing("healthy-deadline", "12s");
    let mut first = shape.clone();
    first.timing("healthy-for", "300ms");
    let mut project = project(first);
    let release = project.release();
    let report = under_load(&mut project, |project| {
        project.reshape(|now| *now = shape);
        project.reshape(|shape| shape.fault("exit-after=5s"));
        project.change_code("api");
        project.deploy().expect(10);
    });
    assert_eq!(project.reason(), "crashed");
    report.assert_nothing_lost();
    project.assert_serves("api", &release);
}

#[test]
fn through_the_rollback_of_never_ready() {
    through_the_rollback_of("never-ready", "never-ready", shape());
}

#[test]
fn through_the_rollback_of_slow_start() {
    through_the_rollback_of("slow-start=20s", "not-listening", shape());
}

#[test]
fn through_the_rollback_of_hang() {
    through_the_rollback_of("hang", "unresponsive", shape());
}

#[test]
fn through_the_rollback_of_wrong_release() {
    through_the_rollback_of("wrong-release", "wrong-release", shape());
}

#[test]
fn through_the_rollback_of_wrong_port() {
    through_the_rollback_of("wrong-port", "wrong-port", shape());
}

#[test]
fn through_the_rollback_of_flap() {
    let mut shape = shape();
    shape.healthy_passes = 10;
    shape.timing("healthy-for", "1s");
    shape.timing("healthy-deadline", "5s");
    through_the_rollback_of("flap=500ms", "flapping", shape);
}

/// Requests that were in flight at the start of the way back of a release that had replaced everything.
#[test]
fn through_a_rollback_that_was_asked_for() {
    let mut project = project(shape());
    let release = project.release();
    let report = under_load(&mut project, |project| {
        project.change_code("api");
        project.deploy().expect(0);
        project.run(&["rollback", "--yes"]).expect(0);
    });
    report.assert_nothing_lost();
    project.assert_serves("api", &release);
}
