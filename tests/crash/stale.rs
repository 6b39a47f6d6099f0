//! A stale executor: stopped right before an effect while it holds the lease, replaced, and continued. It changes
//! nothing: not what stands, not the router, not a file.

use crate::{
    judge::{Standing, judge},
    say, variable,
};
use nix::sys::signal::Signal;
use std::{ffi::OsStr, time::Duration};
use tests::{Background, Process, Project, Shape, Tree, pause, wait_for};

/// Every kind of effect that changes a target.
const EFFECTS: [&str; 6] = ["prepare", "start", "admit", "drain", "stop", "commit"];

/// Longer than the lease.
const EXPIRY: Duration = Duration::from_millis(2_200);

/// How long a deploy may take to come to the effect.
const COMES: Duration = Duration::from_secs(30);

/// What may change without anybody: the units write their logs, the supervisor its own.
const LOGS: [&str; 3] = [".git", ".fairlead/local/logs", ".fairlead/local/supervisor/supervisor.log"];

fn project() -> Project {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    shape.batches = vec!["1", "100%"];
    shape.healthy_passes = 2;
    shape.lease = ("2s".to_owned(), "500ms".to_owned());
    let timings =
        [("interval", "50ms"), ("healthy-for", "100ms"), ("healthy-deadline", "8s"), ("bake", "100ms")];
    for (key, value) in timings {
        shape.timing(key, value);
    }
    let mut project = Project::with(shape);
    project
        .is_not_judged("two executors tell their stories at once; what the stale one changes is judged here");
    project.use_program(tests::program_with_fail_points().to_owned());
    project.deploy().expect(0);
    project
}

/// Starts a deploy and waits until it stands still at a crossing.
fn stopped_at(project: &Project, crossing: &str) -> Background {
    let variables: [(&str, &OsStr); 2] =
        [("FAIRLEAD_KILL_AT", crossing.as_ref()), ("FAIRLEAD_KILL_SIGNAL", "STOP".as_ref())];
    let run = project.spawn_with(&["deploy"], &variables);
    wait_for(&format!("the deploy to stop at {crossing}"), COMES, || {
        Process::of(run.pid()).filter(|process| process.state == 'T')
    });
    run
}

/// One executor, stopped before one effect.
fn play(project: &mut Project, effect: &str) -> String {
    project.change_code("api");
    let run = stopped_at(project, &format!("effect.{effect}.before"));
    pause(EXPIRY);
    project.run(&["resume"]).expect(0);
    let new = [Standing::tree(project)];
    judge(project, &new);
    let before = (Tree::of(project.path(), &LOGS), project.units());
    run.signal(Signal::SIGCONT);
    let stale = run.wait();
    assert!(stale.code == Some(13) || stale.signal == Some(9), "the stale one went on: {stale:?}");
    let after = (Tree::of(project.path(), &LOGS), project.units());
    assert_eq!(before.0.difference(&after.0), "", "the stale one changed files ({effect})");
    assert_eq!(before.1, after.1, "the stale one changed units ({effect})");
    judge(project, &new);
    stale.code.map_or_else(|| "was killed by the fence".to_owned(), |code| format!("exits {code}"))
}

#[test]
fn a_stale_executor_changes_nothing_at_any_kind_of_effect() {
    let rounds: usize = variable("SWEEP_STALE_ROUNDS", 1);
    let mut project = project();
    for effect in EFFECTS.repeat(rounds) {
        let end = play(&mut project, effect);
        say(&format!("stale before {effect}: it {end}"));
    }
}
