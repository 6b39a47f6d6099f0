//! Several targets in one environment, reached wave after wave: judged by processes and sockets, never by `status`.

use nix::sys::signal::Signal;
use std::{collections::BTreeSet, time::Duration};
use tests::{Process, Project, Shape, Unit, http, processes_under, signal, wait_for};

/// Three targets, each on an address of its own.
const TARGETS: [(&str, &str); 3] = [("east", "127.0.0.2"), ("north", "127.0.0.3"), ("west", "127.0.0.4")];

/// One target after another two; between them a human looks.
const PAUSED: &str = "[[waves]]\nname = \"first\"\ntargets = [\"west\"]\nsoak = \"300ms\"\npause = true\n\n\
                      [[waves]]\nname = \"rest\"\ntargets = [\"east\", \"north\"]\nsoak = \"0ms\"\n";

/// The same, and nobody looks.
const STRAIGHT: &str = "[[waves]]\nname = \"first\"\ntargets = [\"west\"]\nsoak = \"300ms\"\n\n\
                        [[waves]]\nname = \"rest\"\ntargets = [\"east\", \"north\"]\nsoak = \"0ms\"\n";

/// An API of one unit on each of the first targets, deployed at once.
fn deployed(targets: usize) -> Project {
    let shape = Shape { targets: TARGETS[..targets].to_vec(), ..Shape::api_only() };
    let project = Project::with(shape);
    project.deploy().expect(0);
    project
}

/// The units that stand on a target.
fn units_on(project: &Project, target: &str) -> Vec<Unit> {
    let folder = project.state().join("local/targets").join(target);
    project.units().into_iter().filter(|unit| unit.process.exe.starts_with(&folder)).collect()
}

/// The releases that units of a target were started with.
fn releases_on(project: &Project, target: &str) -> BTreeSet<String> {
    units_on(project, target).iter().map(|unit| unit.variable("FAIRLEAD_RELEASE").to_owned()).collect()
}

/// Asserts that a target stands whole at a release: its units, and its address.
#[track_caller]
fn assert_stands(project: &Project, target: &str, release: &str) {
    assert_eq!(units_on(project, target).len(), 1, "{target}: {:#?}", project.units());
    assert_eq!(releases_on(project, target), BTreeSet::from([release.to_owned()]), "{target}");
    let host = TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1;
    let answer = http::get_at(host, project.port("api"), "/health")
        .unwrap_or_else(|error| panic!("{target}: {error}"));
    assert_eq!(answer.json()["release"], release, "{target}: {answer:?}");
}

/// The supervisors that run.
fn supervisors(project: &Project) -> Vec<Process> {
    let is_it = |process: &Process| process.cmdline.iter().any(|argument| argument == "__supervisor");
    processes_under(project.path()).into_iter().filter(is_it).collect()
}

#[test]
fn a_wave_is_complete_before_the_next_begins_and_down_leaves_nothing() {
    let mut project = deployed(3);
    assert_eq!(supervisors(&project).len(), 3, "a supervisor each");
    let old = project.release();
    project.reshape(|shape| shape.waves = PAUSED.to_owned());
    project.change_code("api");
    let new = project.release();
    project.run(&["plan"]).expect(0).says("1 of 2: first").says("paused until promoted");
    let before = units_on(&project, "east");

    project.deploy().expect(12).says("promote");
    assert_stands(&project, "west", &new);
    for target in ["east", "north"] {
        assert_stands(&project, target, &old);
    }
    assert_eq!(units_on(&project, "east"), before, "the second wave was touched");

    project.run(&["promote"]).expect(0);
    for (target, _) in TARGETS {
        assert_stands(&project, target, &new);
    }
    project.run(&["status"]).expect(0).says("api/0@west").says("3/3");
    project.run(&["plan"]).expect(0).says("nothing to do");

    project.run(&["down", "--yes"]).expect(0);
    assert_eq!(processes_under(project.path()), []);
    for (_, host) in TARGETS {
        assert!(http::get_at(host, project.port("api"), "/health").is_err(), "{host} still answers");
    }
    // What was deployed stays recorded, target by target.
    project.deploy().expect(12);
    project.run(&["promote"]).expect(0);
    assert_stands(&project, "north", &new);
}

#[test]
fn a_failure_in_the_second_wave_brings_back_the_first_too() {
    let mut project = deployed(3);
    let old = project.release();
    let before = project.identities();
    project.reshape(|shape| shape.waves = STRAIGHT.to_owned());
    project.change_code("api");
    let new = project.release();

    let run = project.spawn_deploy();
    let victim = wait_for("a new unit in the second wave", Duration::from_secs(30), || {
        let units = units_on(&project, "east");
        units.into_iter().find(|unit| unit.variable("FAIRLEAD_RELEASE") == new)
    });
    assert_eq!(
        releases_on(&project, "west"),
        BTreeSet::from([new.clone()]),
        "the first wave was not complete"
    );
    signal(victim.process.pid, Signal::SIGKILL);
    run.wait().expect(10);

    for (target, _) in TARGETS {
        assert_stands(&project, target, &old);
    }
    assert_eq!(project.identities(), before, "not what stood before");
}

#[test]
fn a_target_joins_a_fleet_and_is_taken_away_again_if_that_fails() {
    let mut project = deployed(2);
    let old = project.release();
    let before = project.identities();
    project.reshape(|shape| shape.targets = TARGETS.to_vec());
    project.change_code("api");
    let new = project.release();
    project.run(&["plan"]).expect(0).says("target west joins");

    let run = project.spawn_deploy();
    let victim = wait_for("a unit on the target that joins", Duration::from_secs(30), || {
        units_on(&project, "west").pop()
    });
    signal(victim.process.pid, Signal::SIGKILL);
    run.wait().expect(10);
    assert_eq!(project.identities(), before, "not what stood before");
    assert_stands(&project, "east", &old);
    assert_eq!(units_on(&project, "west"), []);
    assert!(http::get_at("127.0.0.4", project.port("api"), "/health").is_err());
    assert_eq!(supervisors(&project).len(), 2, "nothing stands on the third");

    project.deploy().expect(0);
    for (target, _) in TARGETS {
        assert_stands(&project, target, &new);
    }
    // It remembers less than the others: there is nothing to return to there.
    project.run(&["rollback", "--yes"]).expect(3).says("not on target west");

    // Taken out of the file it goes on, which is told; `down` stops it nevertheless.
    project.reshape(|shape| shape.targets.truncate(2));
    project.run(&["plan"]).expect(0).says("target west is configured no more");
    project.run(&["down", "--yes"]).expect(0);
    assert_eq!(processes_under(project.path()), []);
}

#[test]
fn a_ledger_that_is_gone_is_missed_on_its_own_target() {
    let project = deployed(2);
    let ledger = project.state().join("local/targets/north/ledger.json");
    std::fs::remove_file(&ledger).expect("a ledger");
    project.run(&["plan"]).expect(3).says("targets/north/ledger.json` is gone").says("put the file back");
}
