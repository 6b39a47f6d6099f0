//! After a manual rollback nothing is deployed to an environment that others use, until a human has looked.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};
use tests::{Output, Project, Shape, wait_for};

/// A project whose environment `staging` was rolled back by hand, and a release that waits to go there.
fn frozen() -> Project {
    let mut project = Project::with(Shape::api_only());
    let local = std::fs::read(project.path().join("deploy/environments/local.toml")).expect("it is there");
    project.write("deploy/environments/staging.toml", local);
    project.commit();
    project.run(&["deploy", "staging", "--yes"]).expect(0);
    project.change_code("api");
    project.run(&["deploy", "staging", "--yes"]).expect(0);
    project.run(&["rollback", "staging", "--yes"]).expect(0);
    project
}

/// Runs the program at a terminal of its own, where this line is typed.
fn typed(project: &Project, arguments: &str, line: &str) -> Output {
    let run = format!("{} {arguments}", project.program().display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &run, "/dev/null"]).current_dir(project.path());
    command.env_remove("CI").env_remove("GITHUB_ACTIONS").env("TERM", "xterm").env("SHELL", "/bin/sh");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` of util-linux is installed");
    // Held open: its end would be typed as the end of the input.
    let mut keyboard = child.stdin.take().expect("it is piped");
    writeln!(keyboard, "{line}").expect("the terminal takes it");
    let mut screen = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        screen.read_to_string(&mut text).map(|_| text)
    });
    let status = wait_for("the end of the command", Duration::from_secs(60), || {
        child.try_wait().expect("it can be waited for")
    });
    drop(keyboard);
    let stderr = reader.join().expect("it does not panic").expect("UTF-8");
    let (command, stdout, took) = (run, String::new(), Duration::ZERO);
    Output { command, code: status.code(), signal: None, stdout, stderr, took }
}

#[test]
fn a_deploy_is_refused_until_the_freeze_is_lifted() {
    let project = frozen();
    let stood = project.snapshot().1;
    for arguments in [&["deploy", "staging"][..], &["deploy", "staging", "--yes"]] {
        project.run(arguments).expect(3).says("frozen").says("lock --unfreeze staging");
    }
    assert_eq!(project.snapshot().1, stood, "a refused deploy changed something");
    project.run(&["status", "staging"]).expect(0).says("frozen").says(&project.release());
    project.run(&["lock", "staging"]).expect(0).says("frozen");
    project.run(&["plan", "staging"]).expect(0).says("frozen");
    let status = project.run(&["status", "staging", "--format", "json"]).expect(0).json();
    assert_eq!(status["freeze"]["release"], project.release());

    project.run(&["lock", "--unfreeze", "staging"]).expect(0).says("not frozen any more");
    project.run(&["lock", "--unfreeze", "staging"]).expect(0).says("nothing to do");
    let status = project.run(&["status", "staging", "--format", "json"]).expect(0).json();
    assert!(status["freeze"].is_null(), "{status}");
    project.run(&["deploy", "staging", "--yes"]).expect(0);
    project.assert_serves("api", &project.release());
    project.run(&["down", "staging", "--yes"]).expect(0);
}

#[test]
fn the_typed_name_deploys_all_the_same_and_nothing_else_does() {
    let project = frozen();
    let stood = project.snapshot().1;
    typed(&project, "deploy staging", "yes").expect(3).says("not confirmed");
    typed(&project, "deploy staging --yes", "staging").expect(3).says("lock --unfreeze");
    assert_eq!(project.snapshot().1, stood, "a refused deploy changed something");
    typed(&project, "deploy staging", "staging").expect(0);
    project.assert_serves("api", &project.release());
    project.run(&["down", "staging", "--yes"]).expect(0);
}

/// To go back is never in the way of a freeze.
#[test]
fn a_frozen_environment_can_still_be_rolled_back() {
    let project = frozen();
    project.run(&["rollback", "staging", "--yes"]).expect_one_of(&[0, 3]);
    project.run(&["rollback", "staging", "--to", &project.release(), "--yes"]).expect(0);
    project.assert_serves("api", &project.release());
    project.run(&["down", "staging", "--yes"]).expect(0);
}
