//! Deployments and their statuses, as rollouts go.

use crate::ground::{Ground, RUN_URL};
use tests::Shape;

#[test]
fn a_deploy_is_a_deployment_that_succeeds_with_links_to_its_story_and_to_itself() {
    let ground = Ground::new();
    let (commit, release) = (ground.commit_hash(), ground.release());
    ground.deploy().expect(0);
    ground.github.world(|world| {
        let [deployment] = world.deployments.as_slice() else { panic!("{:#?}", world.deployments) };
        assert_eq!(deployment["ref"], commit.as_str());
        assert_eq!(deployment["environment"], "local");
        assert_eq!(deployment["payload"]["release"], release.as_str());
        let (_, last) = world.statuses.last().expect("a status");
        assert_eq!((&last["state"], &last["log_url"]), (&"success".into(), &RUN_URL.into()));
        assert_eq!(last["environment_url"], "https://shop.example");
    });
    let told = ground.github.statuses();
    assert_eq!(told.first(), Some(&format!("1 in_progress: rolling out release {release}")), "{told:#?}");
    assert_eq!(told.last(), Some(&format!("1 success: release {release} stands, healthy")), "{told:#?}");
    assert_eq!(ground.waiting().len(), 0);
    // What has nothing to do tells nothing.
    let requests = ground.github.requests();
    ground.deploy().expect(0).says("nothing to do");
    assert_eq!(ground.github.requests(), requests);
}

#[test]
fn a_rollback_fails_the_deployment_and_what_stands_again_gets_its_own() {
    let mut ground = Ground::deployed();
    let (old_commit, old) = (ground.commit_hash(), ground.release());
    ground.project.change_code("api");
    let new = ground.release();
    ground.fail().expect(10);
    assert_eq!(ground.reason(), "never-ready");
    let told = ground.github.statuses();
    let failure =
        told.iter().find(|line| line.starts_with("2 failure")).unwrap_or_else(|| panic!("{told:#?}"));
    assert!(failure.starts_with(&format!("2 failure: rolled back to {old}: never-ready: ")), "{failure}");
    let last = format!("3 success: release {old}, restored after {new} failed: stands again, healthy");
    assert_eq!(told.last(), Some(&last), "{told:#?}");
    assert!(!told.iter().any(|line| line.starts_with("2 success")), "{told:#?}");
    ground.github.world(|world| assert_eq!(world.deployments[2]["ref"], old_commit.as_str()));

    // What an operator brings back is a deployment of what then stands.
    ground.deploy().expect(0);
    ground.run(&["rollback"]).expect(0);
    let told = ground.github.statuses();
    assert_eq!(told.last(), Some(&format!("5 success: release {old} stands again, healthy")), "{told:#?}");
}

#[test]
fn waves_and_pauses_are_told_and_promote_goes_on_with_the_same_deployment() {
    const WAVES: &str = "[[waves]]\nname = \"canary\"\ntargets = [\"west\"]\nsoak = \"300ms\"\npause = true\n\n\
                         [[waves]]\nname = \"rest\"\ntargets = [\"east\"]\nsoak = \"0ms\"\n";
    let targets = vec![("east", "127.0.0.2"), ("west", "127.0.0.3")];
    let ground = Ground::with(Shape { targets, waves: WAVES.to_owned(), ..Shape::api_only() });
    let output = ground.deploy().expect(12);
    let told = ground.github.statuses();
    assert!(told.contains(&"1 in_progress: wave 1 of 2: canary".to_owned()), "{told:#?}\n{output:?}");
    assert!(
        told.last().is_some_and(|line| line.starts_with("1 queued: paused after wave 1 of 2")),
        "{told:#?}"
    );
    ground.run(&["promote"]).expect(0);
    let told = ground.github.statuses();
    assert!(told.contains(&"1 in_progress: wave 2 of 2: rest".to_owned()), "{told:#?}");
    assert!(told.last().is_some_and(|line| line.starts_with("1 success: ")), "{told:#?}");
    ground.github.world(|world| assert_eq!(world.deployments.len(), 1, "{:#?}", world.deployments));
}

#[test]
fn a_deploy_that_is_killed_and_resumed_is_one_deployment() {
    let mut ground = Ground::deployed();
    ground.project.change_code("api");
    let mut run = ground.spawn(&["deploy", "--format", "json"]);
    run.wait_for_action("admit");
    run.crash();
    assert!(!ground.github.statuses().iter().any(|line| line.starts_with("2 success")));
    ground.run(&["resume"]).expect(0);
    let told = ground.github.statuses();
    assert!(
        told.iter().any(|line| line.starts_with("2 in_progress: ") && line.ends_with("taken up again")),
        "{told:#?}"
    );
    assert!(told.last().is_some_and(|line| line.starts_with("2 success: ")), "{told:#?}");
    ground.github.world(|world| assert_eq!(world.deployments.len(), 2, "{:#?}", world.deployments));
}

#[test]
fn without_a_token_everything_works_and_github_hears_it_later() {
    let ground = Ground::new();
    ground.project.deploy().expect(0).says("GITHUB_TOKEN is not set");
    assert_eq!(ground.github.requests(), [""; 0]);
    ground.project.run(&["doctor"]).expect(0).says("is not told");
    ground.run(&["doctor"]).expect(0).says("github send local");
    ground.run(&["github", "send"]).expect(0).says("heard all");
    assert!(ground.github.statuses().last().is_some_and(|line| line.starts_with("1 success: ")));
    ground.run(&["doctor"]).expect(0).says("team/shop at");
}

#[test]
fn who_wants_github_to_be_left_alone_has_it_told_later_and_a_stage_that_prints_the_token_is_masked() {
    let mut ground = Ground::new();
    ground.edit("fairlead.toml", |text| {
        text.replace(
            "[stages.test]\ncommand = [\"true\"]",
            "[stages.test]\ncommand = [\"printenv\", \"GITHUB_TOKEN\"]",
        )
    });
    ground.commit();
    ground.project.set_variable("FAIRLEAD_WITHOUT_GITHUB", "1");
    ground.run(&["deploy", "--verbose"]).expect(0).says("***").says("it was to be left alone");
    assert_eq!(ground.github.requests(), [""; 0]);
    ground.project.set_variable("FAIRLEAD_WITHOUT_GITHUB", "");
    ground.run(&["github", "send"]).expect(0);
    assert!(ground.github.statuses().last().is_some_and(|line| line.starts_with("1 success: ")));
}
