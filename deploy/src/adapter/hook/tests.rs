//! Hooks as real child processes.

use super::*;
use crate::samples::{Shape, plan_of};
use pipeline::secret::Secret;
use std::{fs, path::Path, time::Instant};

fn addresses() -> BTreeMap<String, String> {
    BTreeMap::from([("FAIRLEAD_URL_API".to_owned(), "http://127.0.0.1:8000".to_owned())])
}

fn hooks(folder: &Path, redactor: Redactor) -> CommandHooks {
    CommandHooks::new(folder.to_owned(), redactor, &plan_of(&Shape::default()), addresses())
}

fn shell(script: &str, timeout: u64) -> Hook {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Hook { command, env: BTreeMap::from([("GREETING".to_owned(), "hello there".to_owned())]), timeout }
}

fn message(result: Result<EffectOutput, EffectError>) -> String {
    match result.expect_err("it fails") {
        EffectError::Terminal { reason: ReasonCode::HookFailed, message } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hook_knows_the_rollout_and_runs_in_the_project() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hooks = hooks(folder.path(), Redactor::default());
    let unit =
        plan_of(&Shape::default()).services[0].units_of(plan_of(&Shape::default()).services[0].to.as_ref());
    let cause = Failure {
        reason: ReasonCode::ExitedAtStart,
        unit: unit.first().cloned(),
        service: None,
        message: "it ended".to_owned(),
        at: 0,
    };
    let script = "env | sort > told; if read line; then echo input >> told; fi";
    hooks.run(HookMoment::OnFailure, &shell(script, 20_000), Some(&cause)).await.expect("it is run");
    let told = fs::read_to_string(folder.path().join("told")).expect("it wrote a file in the project");
    let plan = plan_of(&Shape::default());
    for line in [
        "FAIRLEAD_HOOK=on-failure".to_owned(),
        format!("FAIRLEAD_ENVIRONMENT={}", plan.environment),
        format!("FAIRLEAD_RUN={}", plan.run),
        format!("FAIRLEAD_RELEASE={}", plan.release),
        "FAIRLEAD_REASON=exited-at-start".to_owned(),
        format!("FAIRLEAD_FAILED_UNIT={}", unit[0]),
        "GREETING=hello there".to_owned(),
    ] {
        assert!(told.lines().any(|found| found == line), "{line} is not in:\n{told}");
    }
    let before = plan.services[0].from.as_ref().map(|from| from.release.clone());
    let before = before.map(|release| format!("FAIRLEAD_PREVIOUS_RELEASE={release}"));
    assert!(before.is_some_and(|line| told.contains(&line)), "{told}");
    assert!(told.contains("FAIRLEAD_URL_API=http://127.0.0.1:8000"), "{told}");
    assert!(!told.ends_with("input\n"), "it was given input");
}

#[tokio::test]
async fn a_failure_tells_the_last_lines_and_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let redactor = Redactor::default();
    redactor.learn(&Secret::new(b"hunter22".to_vec()));
    let hooks = hooks(folder.path(), redactor);
    let told = message(
        hooks
            .run(HookMoment::BeforeDeploy, &shell("echo no access with hunter22; exit 7", 20_000), None)
            .await,
    );
    assert!(told.starts_with("hook before-deploy: ") && told.contains("exit status 7"), "{told}");
    assert!(told.contains("no access with ***") && !told.contains("hunter22"), "{told}");

    let nothing = Hook { command: vec!["/nonexistent/program".to_owned()], ..shell("", 20_000) };
    let told = message(hooks.run(HookMoment::AfterDeploy, &nothing, None).await);
    assert!(told.contains("/nonexistent/program"), "{told}");
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hooks = hooks(folder.path(), Redactor::default());
    let began = Instant::now();
    let script = "trap '' TERM; sleep 600 & echo $! > child; wait; wait; sleep 600";
    let told = message(hooks.run(HookMoment::AfterDeploy, &shell(script, 300), None).await);
    assert!(told.contains("time limit"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let child = fs::read_to_string(folder.path().join("child")).expect("it started a child");
    // It was killed before the answer came; on a busy machine it takes its time to go.
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        !(stat.is_empty() || stat.contains(" Z "))
    };
    let waits_from = Instant::now();
    while runs() {
        assert!(waits_from.elapsed() < Duration::from_secs(10), "its child still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
