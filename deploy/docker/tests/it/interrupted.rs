//! Whoever acts may be gone at any moment: who comes next finds nothing half-done that matters.

use crate::fixture::{Fixture, act, commit, everywhere, only, prepare, start, stop};
use deploy::{
    model::{Action, UnitPhase},
    port::Target,
};
use std::time::Duration;
use tokio::time::timeout;

/// When an action is broken off, in milliseconds: within each of its requests to the engine, on fast and slow machines.
const CUTS: [u64; 9] = [1, 3, 6, 12, 25, 50, 100, 200, 400];

/// Begins an action and breaks it off.
async fn cut(fixture: &Fixture, generation: u64, action: Action, after: u64) {
    let target = fixture.target().await;
    let _ = timeout(Duration::from_millis(after), act(&target, generation, action)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_was_broken_off_anywhere_is_done_by_the_next_one() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle("exec /bin/busybox sleep 31535994"), "r1");
        let unit = fixture.unit(0, hash);
        for (generation, after) in (1..).zip(CUTS) {
            cut(&fixture, generation, prepare(hash), after).await;
            let target = fixture.target().await;
            act(&target, generation, prepare(hash)).await.expect("prepared");
            cut(&fixture, generation, start(&unit), after).await;
            act(&target, generation, start(&unit)).await.expect("started");
            assert_eq!(only(&target).await.phase, UnitPhase::Running, "after {after} ms");
            act(&target, generation, Action::Admit { unit: unit.clone(), weight: 1 })
                .await
                .expect("admitted");
            cut(&fixture, generation, stop(&unit, 5_000), after).await;
            let seen = target.observe().await.expect("it answers").units;
            assert!(
                !seen.iter().any(|unit| matches!(unit.phase, UnitPhase::Exited(_))),
                "it was told to: {seen:?}"
            );
            act(&target, generation, stop(&unit, 5_000)).await.expect("stopped");
            assert!(target.observe().await.expect("it answers").units.is_empty(), "after {after} ms");
            cut(&fixture, generation, commit(Some(hash)), after).await;
            act(&target, generation, commit(Some(hash))).await.expect("committed");
            cut(&fixture, generation, commit(None), after).await;
            act(&target, generation, commit(None)).await.expect("committed");
            assert_eq!(left(&fixture), (0, 0), "bundles and containers after {after} ms");
        }
    })
    .await;
}

/// Bundles and containers of the target, whatever their state.
fn left(fixture: &Fixture) -> (usize, usize) {
    let is_ours =
        |labels: &serde_json::Value| labels["io.fairlead.project"] == fixture.place.project.as_str();
    let volumes = fixture.raw("/volumes");
    let volumes = volumes["Volumes"].as_array().cloned().unwrap_or_default();
    let bundles =
        volumes.iter().filter(|one| is_ours(&one["Labels"]) && one["Labels"]["io.fairlead.kind"] == "bundle");
    let containers = fixture.raw("/containers/json?all=1");
    let containers = containers.as_array().expect("a list").iter().filter(|one| is_ours(&one["Labels"]));
    (bundles.count(), containers.count())
}
