//! Migrations run once for each release, before any unit of it is started; and releases from which there is no way back.

use nix::sys::signal::Signal;
use std::{fs, time::Duration};
use tests::{Process, Project, Shape, http, processes_under, signal, wait_for};

/// The secret of every test's project, see `secret.txt`.
const SECRET: &str = "hf_first-value-of-the-secret";

/// A project with the API alone, whose releases migrate the data in a folder of the project.
fn project(more: &str) -> Project {
    let mut project = Project::with(Shape::api_only());
    let data = project.path().join("bin/data");
    let data = data.to_str().expect("a temporary folder has a plain path").to_owned();
    project.reshape(|shape| {
        shape.api().migration = Some(format!("args = [\"migrate\"]\n{more}"));
        shape.api().env.insert("API_DATA", data);
    });
    project.commit();
    project
}

/// The releases that were migrated, in order, as the data tells.
fn migrated(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path().join("bin/data/migrations")).unwrap_or_default();
    text.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// The migrations that run.
fn running(project: &Project) -> Vec<Process> {
    let is_migration = |process: &Process| process.environ().contains_key("FAIRLEAD_MIGRATION");
    processes_under(project.path()).into_iter().filter(is_migration).collect()
}

/// The ids of the supervisors that run.
fn supervisors(project: &Project) -> Vec<i32> {
    let is_one = |process: &Process| process.cmdline.iter().any(|argument| argument == "__supervisor");
    processes_under(project.path()).into_iter().filter(is_one).map(|process| process.pid).collect()
}

/// What migrations have logged.
fn logged(project: &Project) -> String {
    let logs = fs::read_dir(project.state().join("local/logs")).into_iter().flatten().flatten();
    let logs = logs.filter(|entry| entry.file_name().to_string_lossy().contains(".migration."));
    logs.map(|entry| fs::read_to_string(entry.path()).expect("a log")).collect()
}

#[test]
fn a_release_is_migrated_once_also_after_a_rollback() {
    let mut project = project("");
    let planned = project.run(&["plan"]).expect(0).says("once for this release: `migrate`");
    assert_eq!(migrated(&project), Vec::<String>::new(), "{planned:?}");
    let deployed = project.deploy().expect(0);
    let first = project.release();
    assert_eq!(migrated(&project), std::slice::from_ref(&first));
    assert_eq!(fs::read_to_string(project.path().join("bin/data/schema")).expect("a schema"), "1\n");
    assert!(logged(&project).contains("\"has_token\":true"), "no secret: {}", logged(&project));
    for text in [&deployed.stderr, &deployed.stdout, &logged(&project)] {
        assert!(!text.contains(SECRET), "{text}");
    }

    // The same release with other settings.
    project.run(&["deploy", "--set", "services.api.env.LOG_LEVEL=DEBUG"]).expect(0);
    assert_eq!(migrated(&project), std::slice::from_ref(&first), "another bundle is not another release");

    project.change_code("api");
    project.deploy().expect(0);
    let second = project.release();
    assert_eq!(migrated(&project), [first.clone(), second.clone()]);
    project.run(&["rollback", "--yes"]).expect(0);
    project.assert_serves("api", &first);
    let again = project.deploy().expect(0);
    project.assert_serves("api", &second);
    assert_eq!(migrated(&project), [first, second], "{again:?}");
}

#[test]
fn nothing_is_started_when_the_migration_fails_and_the_story_has_its_log() {
    let mut project = project("");
    project.deploy().expect(0);
    let (before, old) = (project.release(), project.processes_of("api"));
    project.reshape(|shape| shape.fault("migration-fails"));
    project.change_code("api");
    project.deploy().expect(10).says("migration-failed").says("exit code 1").says("asked to by NOOGH_FAULT");
    assert_eq!(project.processes_of("api"), old, "a unit was touched");
    assert_eq!((project.reason().as_str(), migrated(&project)), ("migration-failed", vec![before.clone()]));
    project.assert_serves("api", &before);
    let logs = project.run(&["logs", "local", "api"]).expect(0);
    assert!(logs.stdout.contains("asked to by NOOGH_FAULT"), "{logs:?}");

    // Mended, it is run: nothing was recorded.
    project.reshape(|shape| drop(shape.api().env.remove("NOOGH_FAULT")));
    project.commit();
    project.deploy().expect(0);
    assert_eq!(migrated(&project), [before, project.release()]);
}

#[test]
fn a_first_deploy_whose_migration_fails_leaves_nothing() {
    let mut project = project("timeout = \"20s\"\n");
    project.reshape(|shape| shape.fault("migration-fails"));
    project.commit();
    project.deploy().expect(10).says("migration-failed");
    assert_eq!(project.units(), []);
    assert!(http::get(project.port("api"), "/health").is_err());
}

#[test]
fn a_migration_that_hangs_is_ended_at_its_deadline() {
    let mut project = project("timeout = \"1s\"\n");
    project.reshape(|shape| shape.fault("migration-hangs"));
    project.commit();
    project.deploy().expect(10).says("migration-failed").says("time limit");
    assert_eq!(running(&project), []);
}

#[test]
fn a_killed_executor_leaves_the_migration_running_and_resume_waits_for_it() {
    let mut project = project("timeout = \"4s\"\n");
    project.deploy().expect(0);
    project.reshape(|shape| shape.fault("migration-hangs"));
    project.change_code("api");
    let run = project.spawn_deploy();
    let first = wait_for("the migration", Duration::from_secs(20), || running(&project).pop());
    run.crash();
    assert_eq!(running(&project).len(), 1, "it belongs to the supervisor");
    project.run(&["resume"]).expect(10).says("time limit");
    assert!(!first.lives());
    assert_eq!(logged(&project).matches("hanging, as NOOGH_FAULT asks").count(), 1, "a second one was begun");
}

#[test]
fn nothing_is_brought_back_across_an_irreversible_release() {
    let mut project = project("reversible = false\n");
    project.deploy().expect(0);
    let first = project.release();
    project.change_code("api");
    project.run(&["plan"]).expect(0).says("irreversible");
    project.deploy().expect(0);
    let units = project.processes_of("api");
    project.run(&["rollback", "--yes"]).expect(3).says("irreversible").says("deploy");
    assert_eq!(project.processes_of("api"), units);

    // From one bundle of a release to another is across nothing.
    project.run(&["deploy", "--set", "services.api.env.LOG_LEVEL=DEBUG"]).expect(0);
    project.run(&["rollback", "--yes"]).expect(0);
    project.assert_serves("api", &project.release());
    project.run(&["rollback", "--to", &first, "--yes"]).expect(3).says("irreversible");
}

#[test]
fn an_irreversible_release_that_fails_is_held() {
    let mut project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    let before = project.release();
    project.reshape(|shape| shape.fault("exit-at-start"));
    project.change_code("api");
    project.run(&["deploy", "--irreversible"]).expect(12).says("exited-at-start").says("irreversible");
    project.assert_serves("api", &before);
    project.run(&["rollback", "--yes"]).expect(12).says("irreversible");
    project.assert_serves("api", &before);
}

#[test]
fn a_migration_outlives_its_supervisor_and_is_run_again_for_want_of_its_end() {
    let mut project = project("timeout = \"20s\"\n");
    project.reshape(|shape| shape.fault("migration-hangs"));
    project.commit();
    let run = project.spawn_deploy();
    let first = wait_for("the migration", Duration::from_secs(20), || running(&project).pop());
    let supervisor = supervisors(&project).pop().expect("a supervisor");
    signal(supervisor, Signal::SIGKILL);
    wait_for("another supervisor", Duration::from_secs(20), || {
        supervisors(&project).into_iter().find(|pid| *pid != supervisor)
    });
    let pids: Vec<i32> = running(&project).iter().map(|one| one.pid).collect();
    assert_eq!(pids, [first.pid], "never two at once");
    // It ends, and nobody sees how.
    signal(first.pid, Signal::SIGKILL);
    // The first one may be seen for a moment longer, on its way out.
    let second = wait_for("the second run", Duration::from_secs(20), || {
        running(&project).into_iter().find(|one| one.pid != first.pid)
    });
    signal(second.pid, Signal::SIGKILL);
    run.wait().expect(10).says("migration-failed").says("signal 9");
}
