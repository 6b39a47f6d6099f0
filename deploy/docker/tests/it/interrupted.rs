//! Whoever acts may be gone at any moment: who comes next finds nothing half-done that matters.

use crate::fixture::{Fixture, act, commit, everywhere, only, prepare, start, stop};
use bollard::{models::VolumeCreateRequest, query_parameters::RemoveContainerOptionsBuilder};
use deploy::{
    model::{Action, UnitPhase},
    port::Target,
};
use serde_json::Value;
use std::{collections::HashMap, time::Duration};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_runs_is_admitted_although_nobody_lived_to_note_its_start() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle("exec /bin/busybox sleep 31535993"), "r1");
        let unit = fixture.unit(0, hash);
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        act(&target, 1, start(&unit)).await.expect("started");
        unnote_start(&fixture).await;

        let target = fixture.target().await;
        assert_eq!(only(&target).await.phase, UnitPhase::Running);
        act(&target, 2, Action::Admit { unit: unit.clone(), weight: 7 }).await.expect("admitted");
        assert_eq!(only(&target).await.weight, 7);
        // From then on it is known, and so it is missed.
        let handle = only(&target).await.handle;
        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        fixture.docker.remove_container(&handle, Some(force)).await.expect("removed");
        assert!(matches!(only(&target).await.phase, UnitPhase::Exited(_)));
    })
    .await;
}

/// Makes the next version of the target's state, as it is between a unit's start and the note that it runs.
async fn unnote_start(fixture: &Fixture) {
    let volumes = fixture.raw("/volumes");
    let label = |volume: &Value, name: &str| volume["Labels"][format!("io.fairlead.{name}")].clone();
    let number = |volume: &&Value| label(volume, "number").as_str().and_then(|text| text.parse::<u64>().ok());
    let ours = volumes["Volumes"].as_array().expect("a list").iter().filter(|volume| {
        label(volume, "kind") == "state" && label(volume, "project") == fixture.place.project.as_str()
    });
    let newest = ours.max_by_key(number).expect("a state");
    let mut labels: HashMap<String, String> =
        serde_json::from_value(newest["Labels"].clone()).expect("labels");
    let mut document: Value = serde_json::from_str(&labels["io.fairlead.document"]).expect("a document");
    for unit in document["state"]["units"].as_object_mut().expect("units").values_mut() {
        assert!(unit["life"]["running"].is_object(), "{unit}");
        unit["life"] = "starting".into();
    }
    let (old, new) = (number(&newest).expect("a number"), number(&newest).expect("a number") + 1);
    labels.insert("io.fairlead.document".to_owned(), document.to_string());
    labels.insert("io.fairlead.number".to_owned(), new.to_string());
    let name = newest["Name"].as_str().expect("a name");
    let name = format!("{}{new}", name.strip_suffix(&old.to_string()).expect("it ends with its number"));
    let volume = VolumeCreateRequest { name: Some(name), labels: Some(labels), ..Default::default() };
    fixture.docker.create_volume(volume).await.expect("made");
}

/// Bundles and containers of the target, whatever their state.
fn left(fixture: &Fixture) -> (usize, usize) {
    let is_ours = |labels: &Value| labels["io.fairlead.project"] == fixture.place.project.as_str();
    let volumes = fixture.raw("/volumes");
    let volumes = volumes["Volumes"].as_array().cloned().unwrap_or_default();
    let bundles =
        volumes.iter().filter(|one| is_ours(&one["Labels"]) && one["Labels"]["io.fairlead.kind"] == "bundle");
    let containers = fixture.raw("/containers/json?all=1");
    let containers = containers.as_array().expect("a list").iter().filter(|one| is_ours(&one["Labels"]));
    (bundles.count(), containers.count())
}
