//! State on disk that was damaged, lost, or left behind: each time the file is named with what to do next, and nothing
//! is taken for what it is not.

use nix::sys::signal::Signal;
use std::time::Duration;
use tests::{Process, Project, Shape, processes_under, signal, wait_for};

fn deployed() -> Project {
    let project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    project
}

/// Ends the supervisor as a crash would; units and router go on.
fn kill_supervisor(project: &Project) {
    let is_it = |process: &Process| process.cmdline.iter().any(|argument| argument == "__supervisor");
    let supervisor = processes_under(project.path()).into_iter().find(is_it).expect("a supervisor");
    signal(supervisor.pid, Signal::SIGKILL);
    wait_for("the end of the supervisor", Duration::from_secs(5), || (!supervisor.lives()).then_some(()));
}

#[test]
fn down_ends_what_a_killed_supervisor_left() {
    let project = deployed();
    kill_supervisor(&project);
    assert_eq!(project.units().len(), 1, "the unit goes on");
    project.run(&["down"]).expect(0).says("every unit of local was stopped");
    assert_eq!(processes_under(project.path()), []);
    project.run(&["down"]).expect(0).says("nothing to do");
    project.deploy().expect(0);
    project.assert_serves("api", &project.release());
}
