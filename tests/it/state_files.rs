//! State on disk that was damaged, lost, or left behind: each time the file is named with what to do next, and nothing
//! is taken for what it is not.

use nix::sys::signal::Signal;
use std::{fs, path::PathBuf, time::Duration};
use tests::{Process, Project, Shape, processes_under, signal, wait_for};

fn deployed() -> Project {
    let project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    project
}

fn state(project: &Project, name: &str) -> PathBuf {
    project.state().join("local").join(name)
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

#[test]
fn a_lost_list_of_units_is_not_taken_for_an_empty_one() {
    let project = deployed();
    kill_supervisor(&project);
    fs::remove_file(state(&project, "supervisor/state.json")).expect("a file of state");
    let left = processes_under(project.path());
    assert_eq!(left.len(), 2, "a unit and the router: {left:#?}");
    for command in ["status", "deploy", "down", "doctor"] {
        let output = project.run(&[command]).expect(3);
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains("state.json` is gone") && text.contains("kill "), "{text}");
        for process in &left {
            assert!(text.contains(&process.pid.to_string()), "process {} is not named: {text}", process.pid);
        }
        // Without their parent they get another one, at some moment of the kernel's own.
        let same = |one: &Process, other: &Process| (one.pid, one.started) == (other.pid, other.started);
        let now = processes_under(project.path());
        let unchanged = now.len() == left.len() && now.iter().zip(&left).all(|(one, other)| same(one, other));
        assert!(unchanged, "{command} changed something: {now:#?}");
    }
    for process in &left {
        signal(process.pid, Signal::SIGTERM);
    }
    wait_for("their end", Duration::from_secs(10), || {
        processes_under(project.path()).is_empty().then_some(())
    });
    project.deploy().expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn a_lost_ledger_is_not_taken_for_an_empty_one() {
    let project = deployed();
    let (ledger, copy) = (state(&project, "ledger.json"), state(&project, "copy"));
    fs::rename(&ledger, &copy).expect("a file of state");
    for command in ["status", "plan", "deploy", "rollback"] {
        project.run(&[command]).expect(3).says("ledger.json` is gone").says("put the file back");
    }
    project.run(&["doctor"]).expect(3);
    fs::rename(&copy, &ledger).expect("a file of state");
    project.deploy().expect(0).says("nothing to do");
}

#[test]
fn damaged_state_is_named_with_what_to_do() {
    let project = deployed();
    project.run(&["down"]).expect(0);
    for name in ["ledger.json", "supervisor/state.json", "record/record.json"] {
        let path = state(&project, name);
        let whole = fs::read(&path).expect("a file of state");
        fs::write(&path, &whole[..whole.len() / 2]).expect("our own file");
        for command in ["status", "deploy"] {
            project.run(&[command]).expect(3).says(&path.display().to_string()).says("put the file back");
        }
        let doctor = project.run(&["doctor"]).expect(3);
        assert!(doctor.stdout.contains(&path.display().to_string()), "{doctor:?}");
        fs::write(&path, &whole).expect("our own file");
    }
    let history = fs::read_dir(state(&project, "record/history")).expect("a folder").flatten();
    let entry = history.map(|entry| entry.path()).next().expect("an entry");
    fs::write(&entry, "{").expect("our own file");
    let output = project.run(&["history"]).expect(0).says(&entry.display().to_string());
    assert!(!output.stdout.contains("no rollout has ended"), "{output:?}");
}

/// The names of the manifests that are kept, in their order.
fn manifests(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(project.state().join("releases")).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn manifests_of_old_releases_go_but_none_of_a_release_that_can_be_returned_to() {
    let mut project = deployed();
    let first = project.release();
    let folder = project.state().join("releases");
    let whole = fs::read_to_string(folder.join(format!("{first}.json"))).expect("a manifest");
    let mut manifest: serde_json::Value = serde_json::from_str(&whole).expect("a document");
    // Newer than the one that stands, and yet nothing needs them.
    for (name, at) in [("old", "2099-01-01T00:00:00Z"), ("newest", "2099-01-02T00:00:00Z")] {
        manifest["id"] = name.into();
        manifest["created-at"] = at.into();
        fs::write(folder.join(format!("{name}.json")), manifest.to_string()).expect("our own file");
    }
    fs::write(folder.join("damaged.json"), "{").expect("our own file");
    project.change_code("api");
    let second = project.release();
    project.run(&["deploy", "--set", "project.keep-manifests=1"]).expect(0);
    let mut kept: Vec<String> =
        ["damaged", "newest", &first, &second].iter().map(|name| format!("{name}.json")).collect();
    kept.sort();
    assert_eq!(manifests(&project), kept);
    project.run(&["rollback"]).expect(0);
    project.assert_serves("api", &first);
}
