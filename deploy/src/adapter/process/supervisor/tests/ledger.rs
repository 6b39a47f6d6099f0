//! Commits, and what is kept after them.

use super::fixture::{Fixture, SLEEPER, name, script};
use crate::{
    adapter::process::protocol::{Op, Reply},
    model::Action,
    port::{EffectError, Target},
};
use std::{collections::BTreeMap, fs};

const SCRIPTS: [&str; 4] = [
    "#!/bin/sh\nexec sleep 600\n",
    "#!/bin/sh\nexec sleep 601\n",
    "#!/bin/sh\nexec sleep 602\n",
    "#!/bin/sh\nexec sleep 603\n",
];

fn folders(fixture: &Fixture) -> usize {
    fs::read_dir(fixture.state_dir().join("bundles")).expect("it is there").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_commit_has_nothing_before_it_and_later_ones_keep_what_they_may_go_back_to() {
    let fixture = Fixture::new(&SCRIPTS.map(script)).await;
    fixture.prepare(0).await.expect("it is prepared");
    fixture.commit(1, Some(0)).await;
    let standing = fixture.seen().await.ledger.services.remove(&name("api")).expect("it stands");
    assert_eq!((standing.current.bundle, standing.previous.len()), (fixture.bundles[0], 0));

    for (generation, bundle) in [(2, 1), (3, 2), (4, 3)] {
        fixture.prepare(bundle).await.err(); // An older generation writes the folder, and is refused the port.
        let intent =
            Action::Prepare { target: name("here"), service: name("api"), bundle: fixture.bundles[bundle] };
        fixture.perform_as(generation, intent).await.expect("it is prepared");
        fixture.commit(generation, Some(bundle)).await;
    }
    let seen = fixture.seen().await;
    assert_eq!((seen.generation, seen.ledger.generation), (4, 4));
    let standing = &seen.ledger.services[&name("api")];
    let previous: Vec<_> = standing.previous.iter().map(|entry| entry.bundle).collect();
    assert_eq!(standing.current.bundle, fixture.bundles[3]);
    assert_eq!(previous, [fixture.bundles[2], fixture.bundles[1]]);
    assert_eq!(folders(&fixture), 3, "the oldest was removed");
    assert!(fixture.target.bundle(&fixture.bundles[0]).await.is_err());
    fixture.target.bundle(&fixture.bundles[1]).await.expect("it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_unit_runs_from_or_another_service_prepared_is_not_pruned() {
    let other = script(SCRIPTS[3]).with(|bundle| bundle.service = name("mcp"));
    let fixture = Fixture::new(&[script(SCRIPTS[0]), script(SCRIPTS[1]), other]).await;
    let unit = fixture.start(0, 0).await;
    let bundle = fixture.bundles[2];
    let prepare = Action::Prepare { target: name("here"), service: name("mcp"), bundle };
    fixture.perform(prepare).await.expect("it is prepared");
    fixture.prepare(1).await.expect("it is prepared");
    fixture.commit(1, Some(1)).await;
    assert_eq!(folders(&fixture), 3);

    fixture.stop(&unit, 5_000).await;
    fixture.commit(1, Some(1)).await;
    assert_eq!(folders(&fixture), 2, "the unit's bundle was needed by it alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_failed_at_its_first_deploy_leaves_nothing() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.stop(&unit, 5_000).await;
    fixture.commit(1, None).await;
    let Reply::Seen(seen) = fixture.ask(0, Op::Observe).await else { panic!("an observation") };
    assert!(seen.ledger.services.is_empty() && seen.units.is_empty() && seen.ports.is_empty());
    assert_eq!(folders(&fixture), 0);
}

/// A deploy that was killed while it filled a folder: there may be secrets in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_process_is_gone_is_removed_with_the_next_commit() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    fixture.start(0, 0).await;
    let bundles = fixture.state_dir().join("bundles");
    let mut gone = std::process::Command::new("true").spawn().expect("it starts");
    gone.wait().expect("it ends");
    let folder = |pid: u32| bundles.join(format!(".tmp-{pid}-x"));
    let (left, filled) = (folder(gone.id()), folder(std::process::id()));
    for folder in [&left, &filled] {
        fs::create_dir(folder).expect("a folder");
    }
    fixture.commit(1, Some(0)).await;
    assert!(!left.exists(), "nobody will ever need it");
    assert!(filled.exists(), "its process may still fill it");
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_spares_what_is_needed() {
    let fixture = Fixture::new(&[script(SCRIPTS[0]), script(SCRIPTS[1]), script(SCRIPTS[2])]).await;
    fixture.start(0, 0).await;
    for bundle in [1, 2] {
        fixture.prepare(bundle).await.expect("it is prepared");
    }
    fixture.ask(1, Op::Commit { services: BTreeMap::new(), keep: 0 }).await;
    for bundle in &fixture.bundles {
        assert_eq!(fixture.ask(1, Op::Discard { bundle: *bundle }).await, Reply::Done);
    }
    assert_eq!(folders(&fixture), 1, "a unit runs from one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_is_told_and_never_overwritten() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let path = fixture.state_dir().join("ledger.json");
    fs::write(&path, "{\"version\": 1").expect("it writes");
    for result in [fixture.target.observe().await.map(drop), {
        let services = BTreeMap::from([(name("api"), Some(fixture.bundles[0]))]);
        fixture.perform(Action::Commit { target: name("here"), services }).await.map(drop)
    }] {
        let message = result.expect_err("the ledger is damaged").to_string();
        assert!(message.contains("ledger.json") && message.contains("damaged"), "{message}");
    }
    assert_eq!(fs::read_to_string(&path).expect("it reads"), "{\"version\": 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_here_cannot_become_current() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let services = BTreeMap::from([(name("api"), Some(fixture.bundles[0]))]);
    let refused = fixture.perform(Action::Commit { target: name("here"), services }).await;
    assert!(matches!(refused, Err(EffectError::Terminal { .. })), "{refused:?}");
    assert!(fixture.seen().await.ledger.services.is_empty());
}
