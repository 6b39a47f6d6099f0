//! Units that end without being told to, and engines that do.

use crate::fixture::{Fixture, act, everywhere, name, only, prepare, start, stop, twice, until};
use bollard::query_parameters::{KillContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use deploy::{
    bundle::BundleHash,
    model::{Exit, UnitPhase},
    port::{EffectError, Target},
};
use docker_target::DockerTarget;
use tests::{Engine, Generation};

/// Runs until it is ended.
const STAYS: &str = "exec /bin/busybox sleep 31535998";

/// Fills its memory: `tail` keeps all of a line.
const GREEDY: &str = "/bin/busybox tail /dev/zero; exit $?";

async fn started(fixture: &mut Fixture, script: &str) -> (DockerTarget, BundleHash) {
    let hash = fixture.plan(&fixture.bundle(script), "r1");
    let target = fixture.target().await;
    act(&target, 1, prepare(hash)).await.expect("prepared");
    act(&target, 1, start(&fixture.unit(0, hash))).await.expect("started");
    (target, hash)
}

async fn end(target: &DockerTarget) -> Exit {
    until(target, "the end of the unit", |seen| match &seen.units.first()?.phase {
        UnitPhase::Exited(exit) => Some(exit.clone()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_exits_stays_to_be_seen_until_it_is_stopped_or_started() {
    everywhere(|mut fixture| async move {
        let (target, hash) = started(&mut fixture, "echo last words; exit 3").await;
        let exit = end(&target).await;
        assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(3), None, false));
        let facts = only(&target).await;
        assert!(exit.at >= facts.started_at && facts.address.is_none(), "{facts:?}");
        let unit = fixture.unit(0, hash);
        assert_eq!(target.log_tail(&unit, 1).await.expect("its log"), ["last words"]);
        // Another instance sees the same.
        assert_eq!(only(&fixture.target().await).await.phase, UnitPhase::Exited(exit));
        act(&target, 1, start(&unit)).await.expect("started again");
        assert_ne!(only(&target).await.handle, facts.handle);
        twice(&target, 1, stop(&unit, 1_000)).await;
        assert!(target.observe().await.expect("it answers").units.is_empty());
        assert!(target.log_tail(&unit, 1).await.expect("no log").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_from_outside_is_seen_as_a_signal() {
    everywhere(|mut fixture| async move {
        let (target, hash) = started(&mut fixture, STAYS).await;
        let facts = only(&target).await;
        let resources = target.resources(&facts.unit).await;
        assert!(resources.iter().any(|(what, _)| what == "resident memory"), "{resources:?}");
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        fixture.docker.kill_container(&facts.handle, Some(options)).await.expect("killed");
        let exit = end(&target).await;
        assert_eq!((exit.code, exit.signal, exit.out_of_memory), (None, Some(9), false));
        assert!(target.resources(&facts.unit).await.is_empty());
        act(&target, 1, stop(&fixture.unit(0, hash), 0)).await.expect("stopped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_above_the_limit_is_told() {
    everywhere(|mut fixture| async move {
        let (target, hash) = started(&mut fixture, GREEDY).await;
        let exit = end(&target).await;
        assert!(exit.out_of_memory, "{:?}: {exit:?}", fixture.generation);
        act(&target, 1, stop(&fixture.unit(0, hash), 0)).await.expect("stopped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_removes_is_missed() {
    everywhere(|mut fixture| async move {
        let (target, hash) = started(&mut fixture, STAYS).await;
        let before = only(&target).await;
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        fixture.docker.remove_container(&before.handle, Some(options)).await.expect("removed");
        let exit = end(&target).await;
        assert_eq!((exit.code, exit.signal), (None, None));
        let after = only(&target).await;
        assert_eq!(
            (after.handle, after.started_at, after.release),
            (before.handle, before.started_at, before.release)
        );
        twice(&target, 1, stop(&fixture.unit(0, hash), 0)).await;
        assert!(target.observe().await.expect("it answers").units.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_gone_may_come_back() {
    for generation in Generation::ALL {
        let engine: &'static Engine = Box::leak(Box::new(Engine::start(generation)));
        let mut fixture = Fixture::on(engine).await;
        let (target, hash) = started(&mut fixture, STAYS).await;
        // The engine ends, with all that it runs.
        let folder = engine.folder().to_owned();
        let down =
            std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/components/engine"))
                .arg("down")
                .arg(&folder)
                .output();
        assert!(down.expect("the script").status.success());
        let observed = target.observe().await.expect_err("nobody is there");
        assert!(matches!(observed, EffectError::Passing { .. }), "{observed:?}");
        for action in [prepare(hash), start(&fixture.unit(0, hash)), stop(&fixture.unit(0, hash), 0)] {
            let verb = action.verb();
            let error = act(&target, 1, action).await.expect_err("nobody is there");
            let EffectError::Passing { message } = &error else { panic!("{verb}: {error:?}") };
            assert!(message.contains(name("here").as_str()), "{message}");
        }
        target.changed().await;
    }
}
