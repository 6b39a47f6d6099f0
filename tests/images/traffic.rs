//! No request is lost when containers are replaced: an independent load goes on through rollouts and rollbacks.

use crate::ground::{Ground, Host};
use std::time::Duration;
use tests::{Engine, Generation, Load, LoadConfig, Project, Report, Shape, pause};

/// Before and after what happens, so that every connection of the load has been used.
const SETTLE: Duration = Duration::from_secs(1);

/// Two units stand, and the machine is this test's.
fn ground(generation: Generation) -> Ground {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    // Longer than a slow request takes, so that a drain can end by itself.
    shape.timing("drain", "10s");
    // Under load a probe waits its turn.
    shape.timing("timeout", "2s");
    let ground = Ground::with(Host::Shared(Engine::shared(generation)), Project::alone(shape));
    ground.deploy(0);
    assert_eq!(ground.containers().len(), 2);
    ground
}

/// Holds the load while something happens.
fn under_load(ground: &mut Ground, happens: impl FnOnce(&mut Ground)) -> Report {
    let load = Load::start(LoadConfig::new(ground.project.port("api")));
    pause(SETTLE);
    happens(ground);
    pause(SETTLE);
    load.stop()
}

#[test]
fn nothing_is_lost_through_rollouts_and_a_rollback() {
    for generation in Generation::ALL {
        let mut ground = ground(generation);
        let report = under_load(&mut ground, |ground| {
            for _ in 0..2 {
                let before = ground.containers();
                ground.project.change_code("api");
                ground.deploy(0);
                let after = ground.containers();
                assert!(after.iter().all(|id| !before.contains(id)), "it was not replaced: {after:?}");
            }
            let before = ground.containers();
            ground.reshape(|shape| shape.fault("hang"));
            ground.project.change_code("api");
            ground.deploy(10);
            assert_eq!(ground.project.reason(), "unresponsive");
            assert_eq!(ground.containers(), before, "{generation:?}");
        });
        report.assert_nothing_lost();
    }
}

#[test]
fn but_recreate_loses_some_or_the_load_is_blind() {
    let mut ground = ground(Generation::Docker28);
    ground.reshape(|shape| {
        (shape.strategy, shape.max_unavailable, shape.max_surge) = ("recreate", 2, 0);
    });
    let report = under_load(&mut ground, |ground| {
        ground.project.change_code("api");
        ground.deploy(0);
    });
    report.assert_valid();
    assert!(report.failed() > 0, "an interruption that the load did not see: {report:#?}");
}
