//! The program itself is replaced: its supervisor and its router hand over to the next version under load.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};
use tests::{Load, LoadConfig, Process, Project, Shape, listening_ports, pause};

/// The processes that hold the stable port: the router, and whoever else may have its socket open.
fn holders(project: &Project) -> Vec<Process> {
    let pids = listening_ports().remove(&project.port("api")).unwrap_or_default();
    pids.into_iter().filter_map(Process::of).collect()
}

#[test]
fn another_build_of_the_program_takes_over_without_losing_a_request() {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    shape.timing("drain", "10s");
    let mut project = Project::alone(shape);
    project.deploy().expect(0);
    let (routers, units) = (holders(&project), project.processes_of("api"));
    assert!(!routers.is_empty(), "somebody must hold the stable port");

    let next = project.path().join("next-xtask");
    let mut bytes = fs::read(project.program()).expect("the program");
    bytes.push(b'\n');
    fs::write(&next, bytes).expect("another build");
    fs::set_permissions(&next, Permissions::from_mode(0o755)).expect("our own file");
    project.edit(".gitignore", |text| text + "/next-xtask\n");
    project.use_program(next);
    project.change_code("api");

    let load = Load::start(LoadConfig::new(project.port("api")));
    pause(Duration::from_secs(2));
    project.deploy().expect(0);
    pause(Duration::from_secs(3));
    let report = load.stop();

    report.assert_nothing_lost();
    project.assert_serves("api", &project.release());
    assert!(units.iter().all(|unit| !unit.lives()), "the deploy itself changed nothing");
    let now = holders(&project);
    let is_replaced = |old: &Process| now.iter().all(|new| new.pid != old.pid || new.exe != old.exe);
    assert!(routers.iter().all(is_replaced), "the old router is still there: {now:#?}");
}
