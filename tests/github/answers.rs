//! What each of GitHub's refusals leads to. Never another exit code of a rollout.

use crate::{double::Refusal, ground::Ground};

/// Deploys a change while GitHub always answers so: what is said, and that nothing is lost.
#[track_caller]
fn waits_until_mended(refusal: Refusal, says: &[&str]) {
    let mut ground = Ground::deployed();
    ground.project.change_code("api");
    ground.github.always(refusal.clone());
    let before = ground.github.requests().len();
    let output = ground.deploy().expect(0);
    for text in says {
        assert!(output.stderr.contains(text), "expected it to say `{text}`\n{output:?}");
    }
    let told = output.stderr.matches("warning: GitHub is not told").count();
    assert_eq!(told, 1, "it is told once: {output:?}");
    assert_eq!(ground.github.requests().len(), before + 1, "it is not asked again and again");
    assert!(ground.waiting().len() >= 3, "{:#?}", ground.waiting());
    ground.run(&["github", "send"]).expect(3);
    ground.github.works();
    ground.run(&["github", "send"]).expect(0);
    let told = ground.github.statuses();
    assert!(told.last().is_some_and(|line| line.starts_with("2 success: ")), "{told:#?}");
}

#[test]
fn a_token_that_is_not_accepted_is_told_once_with_the_fix() {
    waits_until_mended(Refusal::unauthorised(), &["Bad credentials", "GITHUB_TOKEN", "github send local"]);
}

#[test]
fn a_missing_permission_is_named() {
    waits_until_mended(Refusal::forbidden(), &["Resource not accessible", "permissions: deployments: write"]);
}

#[test]
fn a_repository_that_is_not_found_is_told_with_what_may_be_wrong() {
    waits_until_mended(Refusal::not_found(), &["does not find", "`repository` of `[github]`"]);
}

#[test]
fn limits_are_waited_out_as_github_says() {
    let ground = Ground::new();
    ground.github.refuses(&[Refusal::limited(1), Refusal::used_up(1)]);
    ground.deploy().expect(0).says("takes no more requests for 1 s");
    assert!(ground.github.statuses().last().is_some_and(|line| line.starts_with("1 success: ")));
    ground.github.world(|world| assert_eq!(world.deployments.len(), 1));
}

#[test]
fn a_limit_that_lasts_an_hour_is_not_waited_for() {
    let ground = Ground::new();
    ground.github.always(Refusal::used_up(3600));
    ground.deploy().expect(0).says("github send local");
    ground.github.works();
    ground.run(&["github", "send"]).expect(0);
    assert!(ground.github.statuses().last().is_some_and(|line| line.starts_with("1 success: ")));
}

#[test]
fn what_would_be_refused_again_is_put_aside_and_the_next_rollout_is_told() {
    for (refusal, says) in [(Refusal::invalid(), "No ref found"), (Refusal::conflict(), "Conflict merging")] {
        let mut ground = Ground::new();
        ground.github.refuses(&[refusal]);
        ground.deploy().expect(0).says(says).says("will not be");
        assert_eq!(ground.waiting().len(), 0);
        assert_eq!(ground.github.statuses(), [""; 0], "its statuses go with it");
        ground.project.change_code("api");
        ground.deploy().expect(0);
        let told = ground.github.statuses();
        assert!(told.last().is_some_and(|line| line.starts_with("1 success: ")), "{told:#?}");
    }
}
