//! GitHub is down, slow or lossy: nothing waits for it, and in the end it has heard everything once, in its order.

use crate::{double::Refusal, ground::Ground};
use std::time::Duration;

/// What a rollback of these projects takes, on a busy machine, and what a command then waits for GitHub at most.
const ROLLBACK_MAX: Duration = Duration::from_secs(15 + 20);

/// Asserts that GitHub has heard all of a rollback, each once, in order.
#[track_caller]
fn assert_rollback_is_told(ground: &Ground, old: &str, new: &str) {
    assert_eq!(ground.waiting().len(), 0);
    let told: Vec<String> =
        ground.github.statuses().into_iter().filter(|line| !line.starts_with("1 ")).collect();
    let is = |at: usize, start: &str| told.get(at).is_some_and(|line| line.starts_with(start));
    let last = format!("3 success: release {old}, restored after {new} failed");
    let right = is(0, "2 in_progress: rolling out")
        && is(told.len() - 2, &format!("2 failure: rolled back to {old}"))
        && is(told.len() - 1, &last);
    assert!(right, "{told:#?}");
    let mut once = told.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), told.len(), "something was told twice: {told:#?}");
    ground.github.world(|world| assert_eq!(world.deployments.len(), 3, "{:#?}", world.deployments));
}

#[test]
fn a_rollback_does_not_wait_for_a_github_that_is_gone_and_is_told_later() {
    let mut ground = Ground::deployed();
    let old = ground.release();
    ground.project.change_code("api");
    ground.github.goes_down();
    let output = ground.fail().expect(10).says("github send local");
    assert!(output.took < ROLLBACK_MAX, "{output:?}");
    ground.assert_serves("api", &old);
    assert!(ground.waiting().len() >= 4, "{:#?}", ground.waiting());
    ground.run(&["github", "send"]).expect(3);

    ground.github.comes_back();
    ground.run(&["github", "send"]).expect(0);
    assert_rollback_is_told(&ground, &old, &ground.release());
    ground.run(&["github", "send"]).expect(0).says("nothing to do");
}

#[test]
fn a_rollback_does_not_wait_for_a_github_that_does_not_answer() {
    let mut ground = Ground::deployed();
    let old = ground.release();
    ground.project.change_code("api");
    ground.github.always(Refusal::silence());
    let output = ground.fail().expect(10);
    assert!(output.took < ROLLBACK_MAX, "{output:?}");
    ground.assert_serves("api", &old);
    // What waits is sent by the next rollout as well, before its own.
    ground.github.works();
    let new = ground.release();
    ground.run(&["github", "send"]).expect(0);
    assert_rollback_is_told(&ground, &old, &new);
}

#[test]
fn bad_gateways_and_lost_answers_are_waited_out_and_nothing_is_told_twice() {
    let mut ground = Ground::deployed();
    let old = ground.release();
    ground.project.change_code("api");
    // The deployment is made, of which nobody hears; then a status is, likewise.
    ground.github.refuses(&[Refusal::bad_gateway(), Refusal::lost_answer()]);
    ground.fail().expect(10);
    assert_rollback_is_told(&ground, &old, &ground.release());
    let listed = ground.github.requests().iter().filter(|one| *one == "GET /deployments").count();
    assert!(listed >= 1, "it looks before it repeats: {:#?}", ground.github.requests());
}

#[test]
fn what_was_on_its_way_when_the_command_was_killed_is_not_told_twice() {
    let mut ground = Ground::deployed();
    ground.project.change_code("api");
    ground.github.refuses(&[Refusal::lost_answer(), Refusal::silence()]);
    let mut run = ground.spawn(&["deploy", "--format", "json"]);
    run.wait_for_action("admit");
    run.crash();
    ground.github.works();
    ground.run(&["resume"]).expect(0);
    let told = ground.github.statuses();
    assert!(told.last().is_some_and(|line| line.starts_with("2 success: ")), "{told:#?}");
    ground.github.world(|world| assert_eq!(world.deployments.len(), 2, "{:#?}", world.deployments));
}
