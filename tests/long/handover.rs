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

/// The same program as another build of it: by the id that the linker put into it.
fn another_build(mut program: Vec<u8>) -> Vec<u8> {
    // The head of its note: the lengths of the name and of the id, and what it is.
    let head =
        [4_u32, 20, 3].map(u32::to_ne_bytes).concat().into_iter().chain(*b"GNU\0").collect::<Vec<u8>>();
    let note = program.windows(head.len()).position(|bytes| bytes == head).expect("the id of the build");
    program[note + head.len()] ^= 1;
    program
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
    fs::write(&next, another_build(fs::read(project.program()).expect("the program"))).expect("its copy");
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
