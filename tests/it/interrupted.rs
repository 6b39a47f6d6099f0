//! A rollout that its operator or a crash stops in the middle. The sweep over more places is in `tests/long`.

use nix::sys::signal::Signal;
use std::time::Duration;
use tests::{Project, Shape, pause};

fn three_units() -> Project {
    let mut shape = Shape::api_only();
    shape.api().replicas = 3;
    let project = Project::with(shape);
    project.deploy().expect(0);
    project
}

#[test]
fn sigint_and_sigterm_stop_at_a_safe_point_and_resume_finishes() {
    let mut project = three_units();
    project.change_code("api");
    for (signal, command) in [(Signal::SIGINT, "deploy"), (Signal::SIGTERM, "resume")] {
        let mut run = project.spawn(&[command, "--format", "json"]);
        run.wait_for_action("start");
        run.signal(signal);
        run.wait().expect(14).says("resume").says("rollback");
        assert!(project.units_of("api").len() >= 3, "below capacity: {:#?}", project.units_of("api"));
        assert!(tests::http::get(project.port("api"), "/health").is_ok());
    }
    // The rollout is open: another one does not begin over it.
    project.deploy().expect(13).says("resume");
    project.run(&["resume"]).expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn a_killed_deploy_is_finished_by_resume() {
    let mut project = three_units();
    project.change_code("api");
    let mut run = project.spawn_deploy();
    run.wait_for_action("admit");
    run.crash();
    project.run(&["resume"]).expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn resume_with_nothing_open_says_so() {
    let project = three_units();
    let units = project.snapshot().1;
    project.run(&["resume"]).expect(3);
    assert_eq!(project.snapshot().1, units);
}

/// As on a laptop that is closed for a while: what nobody asked in the meantime is asked anew, and is not given up for it.
#[test]
fn an_executor_that_was_stopped_beyond_a_deadline_judges_by_new_answers() {
    let mut shape = Shape::api_only();
    shape.timing("healthy-deadline", "2s");
    let mut project = Project::with(shape);
    project.deploy().expect(0);
    project.change_code("api");
    let mut run = project.spawn(&["deploy", "--format", "json"]);
    // While it starts: a stop between a look at the clock and what is decided by it would count as a wait.
    run.wait_for_event("the unit that starts", |event| tests::is_action(event, "action-began", "start"));
    run.signal(Signal::SIGSTOP);
    pause(Duration::from_secs(3));
    run.signal(Signal::SIGCONT);
    run.wait().expect(0);
    project.assert_serves("api", &project.release());
}
