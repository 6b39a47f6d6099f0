//! Hooks: what they are told, when they run, and what their failure means.

use std::{fs, time::Duration};
use tests::{Process, Project, Shape, http, processes_under, wait_for};

/// Tells in a file of the project what it knows of the rollout.
const TELL: &str = "echo $FAIRLEAD_HOOK $NUMBER $FAIRLEAD_RELEASE ${FAIRLEAD_PREVIOUS_RELEASE-nothing} \
                    ${FAIRLEAD_REASON-well} ${FAIRLEAD_FAILED_UNIT-none} $FAIRLEAD_URL_API $FAIRLEAD_ENVIRONMENT >> bin/told";

/// One hook: `TELL`, and then this.
fn hook(number: u32, then: &str) -> String {
    let script = format!("{TELL}; {then}");
    format!(
        "{{ command = [\"/bin/sh\", \"-c\", '''{script}'''], env = {{ NUMBER = \"{number}\" }}, timeout = \"2s\" }}"
    )
}

/// A project with the API alone, where a good release stands that had no hooks.
fn project() -> Project {
    let project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    project
}

/// Gives the next release hooks and other code.
fn with_hooks(project: &mut Project, hooks: &[(&str, String)]) {
    let lines: String = hooks.iter().map(|(moment, hooks)| format!("{moment} = [{hooks}]\n")).collect();
    project.reshape(|shape| shape.gates = format!("[hooks]\n{lines}"));
    project.change_code("api");
}

fn told(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path().join("bin/told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The hooks that run.
fn running(project: &Project) -> Vec<Process> {
    let is_hook = |process: &Process| process.environ().contains_key("FAIRLEAD_HOOK");
    processes_under(project.path()).into_iter().filter(is_hook).collect()
}

#[test]
fn hooks_run_one_after_the_other_and_know_the_rollout() {
    let mut project = project();
    let before = project.release();
    let two = format!("{}, {}", hook(1, "sleep 0.3"), hook(2, "true"));
    with_hooks(&mut project, &[("before-deploy", two), ("after-deploy", hook(3, "true"))]);
    let url = format!("http://127.0.0.1:{}", project.port("api"));
    project.run(&["plan"]).expect(0).says("before-deploy").says("after-deploy");
    assert_eq!(told(&project), Vec::<String>::new(), "a plan runs nothing");
    project.deploy().expect(0);
    let release = project.release();
    let line = |moment, number| format!("{moment} {number} {release} {before} well none {url} local");
    assert_eq!(told(&project), [line("before-deploy", 1), line("before-deploy", 2), line("after-deploy", 3)]);
    project.assert_serves("api", &release);
}

#[test]
fn a_before_deploy_hook_that_fails_refuses_the_release_and_nothing_is_touched() {
    let mut project = project();
    let (before, old) = (project.release(), project.processes_of("api"));
    let fails = format!("{}, {}", hook(1, "echo no quota left; exit 3"), hook(2, "true"));
    with_hooks(&mut project, &[("before-deploy", fails), ("on-failure", hook(3, "true"))]);
    project.deploy().expect(3).says("hook-failed").says("no quota left");
    assert_eq!(project.processes_of("api"), old, "a unit was touched");
    project.assert_serves("api", &before);
    let told = told(&project);
    assert_eq!(told.len(), 2, "the second hook was not run, that of the failure was: {told:#?}");
    assert!(told[1].starts_with("on-failure 3") && told[1].contains(" hook-failed none "), "{told:#?}");
    // It leaves nothing open.
    project.reshape(|shape| shape.gates.clear());
    project.commit();
    project.deploy().expect(0);
}

#[test]
fn a_failing_after_deploy_hook_is_rolled_back_whatever_the_hooks_of_the_way_back_do() {
    let mut project = project();
    let before = project.identities();
    let hooks = [
        ("after-deploy", hook(1, "exit 1")),
        ("on-failure", hook(2, "exit 1")),
        ("on-rollback", hook(3, "exit 1")),
    ];
    with_hooks(&mut project, &hooks);
    project.deploy().expect(10).says("hook-failed").says("on-failure").says("on-rollback");
    assert_eq!(project.identities(), before);
    assert_eq!(project.reason(), "hook-failed");
    let told = told(&project);
    assert_eq!(told.len(), 3, "{told:#?}");
    for (line, begins) in told.iter().zip(["after-deploy 1", "on-failure 2", "on-rollback 3"]) {
        assert!(line.starts_with(begins), "{told:#?}");
    }
}

#[test]
fn a_failed_unit_is_named_to_the_hooks_of_the_failure() {
    let mut project = project();
    project.reshape(|shape| shape.fault("exit-at-start"));
    with_hooks(&mut project, &[("on-failure", hook(1, "true")), ("on-rollback", hook(2, "true"))]);
    project.deploy().expect(10).says("exited-at-start");
    let told = told(&project);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().all(|line| line.contains(" exited-at-start api@local/0#")), "{told:#?}");
}

#[test]
fn a_hook_that_hangs_is_ended_at_its_deadline_with_all_that_it_started() {
    let mut project = project();
    let old = project.processes_of("api");
    with_hooks(&mut project, &[("before-deploy", hook(1, "sleep 600 & sleep 600"))]);
    project.deploy().expect(3).says("time limit");
    assert_eq!(running(&project), []);
    assert_eq!(project.processes_of("api"), old);
}

#[test]
fn a_hook_ends_with_a_killed_executor_and_is_run_again_by_resume() {
    let mut project = project();
    with_hooks(&mut project, &[("before-deploy", hook(1, "[ -e bin/go ] || exec sleep 1.9"))]);
    let run = project.spawn_deploy();
    // Its line, not its process: one that has begun may not have come to its first command.
    wait_for("the hook", Duration::from_secs(20), || (!told(&project).is_empty()).then_some(()));
    run.crash();
    wait_for("the end of the hook", Duration::from_secs(1), || running(&project).is_empty().then_some(()));
    project.write("bin/go", "");
    project.run(&["resume"]).expect(0);
    assert_eq!(told(&project).len(), 2, "at least once: {:#?}", told(&project));
    assert!(http::get(project.port("api"), "/health").is_ok());
}
