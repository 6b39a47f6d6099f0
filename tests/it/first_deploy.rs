//! The first minutes of a new user: deploy, deploy again, change something, deploy, and go back.

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use tests::{Project, Recorder, Shape, http};

fn two_units_of_the_api() -> Shape {
    let mut shape = Shape::default();
    shape.api().replicas = 2;
    shape
}

#[test]
fn the_first_deploy_stands_and_the_second_has_nothing_to_do() {
    let project = Project::with(two_units_of_the_api());
    let release = project.release();
    project.deploy().expect(0).says(&release);
    project.assert_serves("api", &release);
    project.assert_serves("mcp", &release);
    assert_eq!(http::health(project.port("api"))["service"], "noogh-api");
    assert_eq!(http::health(project.port("mcp"))["service"], "noogh-mcp");

    let before = project.snapshot().1;
    project.deploy().expect(0).says("nothing to do");
    assert_eq!(project.snapshot().1, before, "a process was restarted");
    project.run(&["status"]).expect(0).says(&release);
}

#[test]
fn a_changed_service_is_replaced_start_first_and_the_other_is_left_alone() {
    // The recorder needs a machine on which it can look often enough.
    let mut project = Project::alone(two_units_of_the_api());
    let first = project.release();
    project.deploy().expect(0);
    let (old_api, old_mcp) = (project.processes_of("api"), project.processes_of("mcp"));
    let old_digest = project.artifact_digest("api");

    project.change_code("api");
    let recorder = Recorder::start(project.path());
    project.deploy().expect(0);
    let samples = recorder.stop();

    project.assert_serves("api", &project.release());
    project.assert_serves("mcp", &first);
    assert_eq!(project.processes_of("mcp"), old_mcp, "nothing of it changed");
    assert!(old_api.iter().all(|process| !process.lives()), "an old unit still runs");
    for unit in project.units_of("api") {
        assert_eq!(unit.executable.digest, project.artifact_digest("api"));
        assert_ne!(unit.executable.digest, old_digest);
        assert!(
            old_api.iter().all(|process| process.exe != unit.executable.path),
            "another bundle, another path"
        );
    }
    let too_few: Vec<_> = samples.iter().filter(|sample| sample.listening("api") < 2).collect();
    assert!(too_few.is_empty(), "below capacity: {too_few:#?}");
    let too_many: Vec<_> = samples.iter().filter(|sample| sample.running("api") > 3).collect();
    assert!(too_many.is_empty(), "above the surge: {too_many:#?}");
    let seen: BTreeSet<usize> = samples.iter().map(|sample| sample.running("api")).collect();
    assert!(seen.contains(&3), "the recorder saw no replacement: {seen:?}");
}

#[test]
fn a_rollback_that_was_asked_for_returns_to_the_release_before() {
    let mut project = Project::new();
    let first = project.release();
    project.deploy().expect(0);
    let before = project.identities();
    project.change_code("api");
    project.deploy().expect(0);
    project.assert_serves("api", &project.release());
    assert_ne!(project.identities(), before);

    project.run(&["rollback", "--yes"]).expect(0);
    project.assert_serves("api", &first);
    assert_eq!(project.identities(), before);
    project.run(&["history"]).expect(0).says(&project.release()).says(&first);
}

#[test]
fn what_was_lost_while_nobody_looked_is_restored_by_the_next_deploy() {
    let project = Project::new();
    let release = project.release();
    project.deploy().expect(0);
    // As after a reboot: everything is gone but the files.
    for process in tests::processes_under(project.path()) {
        tests::signal(process.pid, Signal::SIGKILL);
    }
    project.wait_for_units("the end of all units", "api", <[_]>::is_empty);
    project.deploy().expect(0);
    project.assert_serves("api", &release);
    project.assert_serves("mcp", &release);
}

#[test]
fn down_ends_everything_and_a_deploy_brings_it_back() {
    let project = Project::new();
    project.deploy().expect(0);
    project.run(&["down", "--yes"]).expect(0);
    assert_eq!(tests::processes_under(project.path()), []);
    project.deploy().expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn a_stage_that_fails_deploys_nothing() {
    let project = Project::new();
    project.edit("fairlead.toml", |text| text.replace("command = [\"true\"]", "command = [\"false\"]"));
    project.commit();
    project.deploy().expect(1);
    project.assert_nothing_stands();
}
