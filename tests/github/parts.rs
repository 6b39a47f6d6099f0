//! The program that was built without GitHub: it becomes one with it if that can be built, and nothing waits for that.

use crate::ground::Ground;
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};
use tests::{binaries, program_with_github};

/// A program without GitHub, called by a cargo that does this.
fn with_cargo(script: &str) -> Ground {
    let mut ground = Ground::new();
    let cargo = ground.path().join("bin/cargo");
    fs::write(&cargo, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("our own file");
    let folder = ground.path().to_owned();
    ground.project.set_variable("CARGO", cargo);
    ground.project.set_variable("CARGO_MANIFEST_DIR", folder);
    ground.project.use_program(binaries().xtask.clone());
    ground
}

/// What cargo says of a program that it has built.
fn built() -> String {
    let message = serde_json::json!({ "executable": program_with_github() });
    format!("printf '%s\\n' '{message}'")
}

#[test]
fn a_deploy_becomes_the_program_that_tells_github() {
    let ground = with_cargo(&built());
    ground.deploy().expect(0);
    assert!(ground.github.statuses().last().is_some_and(|line| line.starts_with("1 success: ")));
}

#[test]
fn a_program_that_cannot_be_built_stops_no_deploy_and_what_is_to_be_told_waits() {
    let ground = with_cargo("echo 'error: no such crate' >&2; exit 101");
    ground.deploy().expect(0).says("nothing waits for GitHub").says("github send local");
    assert_eq!(ground.github.requests(), [""; 0]);
    assert!(ground.waiting().len() >= 3, "{:#?}", ground.waiting());
    // What has no other purpose cannot go on.
    ground.run(&["github", "send"]).expect(3).says("could not be built with GitHub");
}

#[test]
fn a_rollback_does_not_wait_for_a_build_which_is_made_up_for_when_it_is_done() {
    let mut ground = with_cargo(&built());
    ground.deploy().expect(0);
    ground.project.change_code("api");
    ground.deploy().expect(0);
    // The first build takes for ever, the next is quick.
    let script = format!("#!/bin/sh\nif mkdir begun 2>/dev/null; then exec sleep 600; fi\n{}\n", built());
    ground.write("bin/cargo", script);
    let output = ground.run(&["rollback"]).expect(0).says("nothing waits for GitHub");
    assert!(output.took < Duration::from_secs(30), "{output:?}");
    let told = ground.github.statuses();
    assert!(
        told.last().is_some_and(|line| line.starts_with("3 success: ") && line.contains("again")),
        "{told:#?}"
    );
    assert_eq!(ground.waiting().len(), 0);
}
