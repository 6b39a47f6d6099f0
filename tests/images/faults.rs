//! What the world does to a deploy of containers: whatever it is, the outcome is clear and the next run succeeds.

use crate::ground::{ENVIRONMENT, Ground, Host};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{fs, path::Path};
use tests::{Engine, Generation, Project, Shape, SmallDisk, event_name, http};

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

/// A Dockerfile of which one step takes a while: so many seconds.
fn slow_image(ground: &Ground, seconds: u8) {
    fs::copy(ground.engine.busybox(), ground.project.path().join("busybox")).expect("a copy");
    let dockerfile = format!(
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sleep\", \"{seconds}\"]\n\
         COPY bin/noogh-api /service\nENTRYPOINT [\"/service\"]\n"
    );
    ground.project.write("Dockerfile", dockerfile);
    ground.project.edit("fairlead.toml", |text| {
        text.replace("[services.api]\n", "[services.api]\nimage = { dockerfile = \"Dockerfile\" }\n")
    });
    ground.project.commit();
}

/// All is as it should be once what was in the way is gone.
fn a_rerun_succeeds(ground: &Ground) {
    ground.deploy(0);
    assert_eq!(http::health(ground.project.port("api"))["release"], ground.project.release());
    assert!(has_tags(ground), "where the test looks there is nothing, ever");
}

#[test]
fn an_engine_that_is_restarted_in_mid_build_fails_the_image_and_a_rerun_succeeds() {
    for generation in Generation::ALL {
        let ground = Ground::with(Host::Own(Engine::start(generation)), Project::with(Shape::api_only()));
        slow_image(&ground, 5);
        let mut run = ground.spawn_deploy();
        run.wait_for_event("the slow step", |event| {
            is_stage(event, "stage-output", "image") && event.to_string().contains("sleep")
        });
        ground.engine.halt();
        ground.engine.go_on();
        let ended = run.wait().expect(1);
        assert!(ended.stderr.contains("went away before the image was built"), "{ended:?}");
        assert!(!has_tags(&ground), "a tag of what was never whole");
        assert_eq!(ground.containers(), [""; 0]);
        a_rerun_succeeds(&ground);
    }
}

#[test]
fn a_full_disk_of_the_engine_or_the_registry_is_named_and_with_room_a_rerun_succeeds() {
    for generation in Generation::ALL {
        let ground = Ground::with(Host::Own(Engine::start(generation)), Project::with(Shape::api_only()));
        let disk = SmallDisk::under_engine(&ground.engine, "4m");
        let failed = ground.run(&["deploy", ENVIRONMENT]).expect(1);
        failed.says("the engine's disk is full").says("docker system df");
        assert!(!has_tags(&ground), "a tag of what was never whole");
        disk.grow("1g");

        let registry = SmallDisk::under_registry(&ground.registry, "1m");
        let failed = ground.run(&["deploy", ENVIRONMENT]).expect(1);
        failed.says("the registry has no space left").says("free space there");
        assert!(!has_tags(&ground), "a tag of what was never whole");
        assert_eq!(ground.containers(), [""; 0]);
        registry.grow("1g");
        a_rerun_succeeds(&ground);
    }
}
