//! The same bundle back: what is recorded here of the units before is what must be there after, byte for byte.

use std::fs;
use tests::{Project, Shape, Unit, event_name};

/// Two units and a bake that outlasts the first `exit-after`: by then the old units are gone.
fn project() -> Project {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    shape.timing("bake", "4s");
    let project = Project::with(shape);
    project.run(&["deploy", "--set", "timings.bake=100ms"]).expect(0);
    project
}

/// The units' parts of which the test wants to be sure that they were looked at.
#[track_caller]
fn assert_recorded(units: &[Unit]) {
    for unit in units {
        assert_eq!(unit.executable.mode, 0o755, "{unit:#?}");
        assert_eq!(unit.files["API_CONFIG"].mode, 0o640, "{unit:#?}");
        assert_eq!(unit.files["HF_TOKEN_FILE"].mode, 0o600, "{unit:#?}");
        assert!(!unit.variable("FAIRLEAD_BUNDLE").is_empty(), "{unit:#?}");
    }
    assert_eq!(units.len(), 2);
}

#[test]
fn code_env_file_and_secret_come_back_with_the_secrets_source_gone() {
    let mut project = project();
    let (release, before) = (project.release(), project.identities());
    assert_recorded(&project.units_of("api"));
    let old: Vec<_> = project.processes_of("api");

    project.reshape(|shape| {
        shape.fault("exit-after=3s");
        shape.api().env.insert("LOG_LEVEL", "DEBUG".to_owned());
    });
    project.write("api.conf", "ministers = finance\n");
    project.write("secret.txt", "hf_second-value-of-the-secret\n");
    project.change_code("api");
    let mut run = project.spawn_deploy();
    run.wait_for_event("the bake", |event| {
        event_name(event) == Some("decided") && event.to_string().contains("bake-began")
    });
    // Nothing of the old release may be needed again from where it once came.
    for source in ["secret.txt", "api.conf", "bin/noogh-api"] {
        fs::remove_file(project.path().join(source)).expect("a source");
    }
    run.wait().expect(10);

    assert!(old.iter().all(|process| !process.lives()), "no old unit was replaced: the test shows nothing");
    assert_eq!(project.identities(), before);
    project.assert_serves("api", &release);
}

/// Deploys a change that is good, then the same kind of change with a fault, and asserts that it comes back.
#[track_caller]
fn alone(what: &str, change: impl Fn(&mut Project, u32)) {
    let mut project = project();
    let first = project.identities();
    change(&mut project, 1);
    project.run(&["deploy", "--set", "timings.bake=100ms"]).expect(0);
    let second = project.identities();
    assert_ne!(first, second, "a change of {what} alone was not deployed");
    assert_recorded(&project.units_of("api"));

    change(&mut project, 2);
    // The fault comes by the command line, so that the change stays alone in the files.
    project.run(&["deploy", "--set", "services.api.env.NOOGH_FAULT=exit-after=3s"]).expect(10);
    assert_eq!(project.identities(), second);
    project.run(&["rollback", "--yes"]).expect(0);
    assert_eq!(project.identities(), first);
}

#[test]
fn env_alone_is_deployed_and_comes_back() {
    alone("env", |project, count| {
        project.reshape(|shape| drop(shape.api().env.insert("MARK", count.to_string())));
        project.commit();
    });
}

#[test]
fn a_secret_alone_is_deployed_and_comes_back() {
    alone("a secret", |project, count| project.write("secret.txt", format!("hf_rotated-value-{count}\n")));
}

#[test]
fn a_file_alone_is_deployed_and_comes_back() {
    alone("a file", |project, count| {
        project.write("api.conf", format!("# {count}\nministers = health\n"));
        project.commit();
    });
}

#[test]
fn a_failed_first_deploy_leaves_nothing_behind() {
    let mut shape = Shape::default();
    shape.fault("never-ready");
    let project = Project::with(shape);
    project.deploy().expect(10).says("never-ready");
    project.assert_nothing_stands();
}

#[test]
fn a_failed_first_deploy_can_be_kept_for_inspection() {
    let mut shape = Shape::api_only();
    shape.fault("never-ready");
    let project = Project::with(shape);
    project.run(&["deploy", "--keep-failed"]).expect(12);
    assert_eq!(project.units_of("api").len(), 1);
    project.run(&["rollback", "--yes"]).expect(0);
    project.assert_nothing_stands();
}
