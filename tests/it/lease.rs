//! One rollout at a time.

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use tests::{Background, Project, Shape, pause};

/// A project with a deploy that goes on for a while and holds the lease.
fn busy(ttl: &str, heartbeat: &str) -> (Project, Background) {
    let mut shape = Shape::api_only();
    shape.timing("bake", "2s");
    shape.lease = (ttl.to_owned(), heartbeat.to_owned());
    let mut project = Project::with(shape);
    project.deploy().expect(0);
    project.change_code("api");
    let mut run = project.spawn_deploy();
    run.wait_for_action("start");
    (project, run)
}

#[test]
fn two_deploys_at_once_one_wins_and_the_other_names_it() {
    let (project, run) = busy("20s", "2s");
    let (pid, begun) = (run.pid().to_string(), Instant::now());
    let loser = project.deploy().expect(13).says(&pid).says("deploy");
    let since = loser.stderr.lines().any(|line| line.contains("since"));
    assert!(since, "it does not say since when: {loser:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited for the lease");
    project.run(&["lock"]).expect(0).says(&pid);
    run.wait().expect(0);
    project.assert_serves("api", &project.release());
    let free = project.run(&["lock"]).expect(0);
    assert!(!format!("{}{}", free.stdout, free.stderr).contains(&pid), "still held: {free:?}");
}

#[test]
fn a_lease_whose_holder_is_dead_is_free_at_once() {
    let (project, run) = busy("10m", "1m");
    run.crash();
    project.run(&["lock"]).expect(0).says("ended without releasing it");
    let begun = Instant::now();
    project.run(&["resume"]).expect(0);
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for the expiry");
    project.assert_serves("api", &project.release());
}

#[test]
fn a_stopped_holder_is_replaced_after_its_expiry_and_can_do_nothing_more() {
    let (project, run) = busy("2s", "500ms");
    run.freeze();
    project.run(&["resume"]).expect(13).says(&run.pid().to_string());
    pause(Duration::from_millis(2_500));
    project.run(&["lock"]).expect(0).says("expired");
    project.run(&["resume"]).expect(0);
    project.assert_serves("api", &project.release());

    let before = project.snapshot().1;
    run.signal(Signal::SIGCONT);
    let stale = run.wait();
    assert!(stale.code == Some(13) || stale.signal == Some(9), "the stale one went on: {stale:?}");
    assert_eq!(project.snapshot().1, before, "the stale one changed something");
}
