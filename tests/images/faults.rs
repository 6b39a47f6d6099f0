//! What the world does to a deploy of containers: whatever it is, the outcome is clear and the next run succeeds.

use crate::ground::{ENVIRONMENT, Ground, Host};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use tests::{Engine, Generation, Project, Shape, event_name, http};

fn is_stage(event: &Value, name: &str, stage: &str) -> bool {
    event_name(event) == Some(name) && event["stage"] == stage
}

/// Whether the registry has anything under any tag of the service.
fn has_tags(ground: &Ground) -> bool {
    let folder =
        ground.registry.folder().join("data/docker/registry/v2/repositories/team/api/_manifests/tags");
    let any = |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    any(&folder)
}

#[test]
fn a_publish_that_is_ended_by_ctrl_c_leaves_no_tag_and_can_be_run_again() {
    let ground = Ground::new(Generation::Docker28);
    ground.registry.halt();
    let mut run = ground.spawn_deploy();
    run.wait_for_event("the registry", |event| is_stage(event, "stage-started", "publish"));
    run.signal(Signal::SIGINT);
    let ended = run.wait().expect(14);
    assert!(!ended.stderr.contains("stage-failed"), "what a human ended has not failed: {ended:?}");
    ground.registry.go_on();
    assert!(!has_tags(&ground), "a tag of what was never whole");
    assert_eq!(ground.containers(), [""; 0]);
    ground.deploy(0);
    assert!(has_tags(&ground), "where the test looks there is nothing, ever");
}

#[test]
fn a_registry_that_is_away_deploys_nothing_and_says_so() {
    let ground = Ground::new(Generation::Docker20);
    ground.registry.halt();
    let refused = ground.run(&["deploy", ENVIRONMENT]).expect(1);
    refused.says("publish").says(ground.registry.address());
    assert_eq!(ground.containers(), [""; 0]);
    ground.registry.go_on();
    ground.deploy(0);
    assert_eq!(http::health(ground.project.port("api"))["release"], ground.project.release());
}

#[test]
fn an_engine_that_is_restarted_in_mid_rollout_ends_clearly_and_a_rerun_succeeds() {
    for generation in Generation::ALL {
        let mut shape = Shape::api_only();
        shape.api().replicas = 2;
        let mut ground = Ground::with(Host::Own(Engine::start(generation)), Project::with(shape));
        ground.deploy(0);
        ground.project.change_code("api");
        let mut run = ground.spawn_deploy();
        run.wait_for_action("start");
        ground.engine.halt();
        ground.engine.go_on();
        // All units ended with the engine: forward or back, it comes to an end that it can tell.
        let ended = run.wait().expect_one_of(&[0, 10, 11, 12]);
        if matches!(ended.code, Some(11 | 12)) {
            // A human decides: back, once the engine is there again. What was rolled back by hand is frozen.
            ground.run(&["rollback", ENVIRONMENT, "--yes"]).expect(0);
            ground.run(&["lock", "--unfreeze", ENVIRONMENT]).expect(0);
        }
        ground.deploy(0);
        assert_eq!(http::health(ground.project.port("api"))["release"], ground.project.release());
        assert_eq!(ground.containers().len(), 2, "{generation:?}");
    }
}
