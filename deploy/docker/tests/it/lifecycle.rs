//! From nothing to a unit in traffic and back, each action twice, and another instance that reads it all.

use crate::fixture::{
    CONFIG, act, commit, everywhere, get, name, only, prepare, served, start, stop, twice, until,
};
use deploy::{
    model::{Action, UnitPhase},
    port::Target,
};

/// Serves its config file at the port that it is told.
const SERVES: &str = "exec /bin/busybox httpd -f -p $HOST:$PORT -h /fairlead/files";

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_comes_into_traffic_and_goes() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle(SERVES), "r1");
        let target = fixture.target().await;
        let unit = fixture.unit(0, hash);
        target.fence(1).await.expect("nobody else is here");
        twice(&target, 1, prepare(hash)).await;
        assert!(target.observe().await.expect("it answers").units.is_empty());
        assert_eq!(target.bundle(&hash).await.expect("it is here").hash(), hash);
        let held = get(fixture.port, "/").await.expect("the stable port is held");
        assert_eq!(held.status, 503, "{:?}: nobody is admitted", fixture.generation);

        twice(&target, 1, start(&unit)).await;
        let facts = only(&target).await;
        assert_eq!((&facts.unit, &facts.phase, facts.weight), (&unit, &UnitPhase::Running, 0), "{facts:?}");
        assert_eq!(facts.release, "r1");
        assert!(facts.started_at > 1_700_000_000_000, "{facts:?}");
        let address = facts.address.expect("it is published");
        assert!(address.ip().is_loopback(), "{address}");
        let answer = served(address.port()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, CONFIG));

        twice(&target, 1, Action::Admit { unit: unit.clone(), weight: 10 }).await;
        assert_eq!(only(&target).await.weight, 10);
        assert_eq!(get(fixture.port, "/api.conf").await.expect("it is routed").body, CONFIG);
        let counted = only(&target).await;
        assert_eq!((counted.traffic.requests, counted.handle), (1, facts.handle), "the same container");

        twice(&target, 1, commit(Some(hash))).await;
        let other = fixture.target_with(Default::default()).await;
        let seen = other.observe().await.expect("it answers");
        let standing = &seen.ledger.services[&name("api")];
        assert_eq!((standing.current.bundle, standing.current.release.as_str()), (hash, "r1"));
        assert_eq!((seen.generation, seen.ledger.generation), (1, 1));
        assert_eq!(seen.units[0].weight, 10, "another instance sees the traffic, too");
        assert_eq!(other.bundle(&hash).await.expect("it is here"), fixture.bundle(SERVES));

        let drained = act(&target, 1, Action::Drain { unit: unit.clone(), deadline: 5_000 }).await;
        assert_eq!(drained.expect("it drains").note, "");
        twice(&target, 1, Action::Drain { unit: unit.clone(), deadline: 5_000 }).await;
        assert_eq!(only(&target).await.weight, 0);
        assert_eq!(get(fixture.port, "/api.conf").await.expect("the port is held").status, 503);

        twice(&target, 1, stop(&unit, 5_000)).await;
        assert!(target.observe().await.expect("it answers").units.is_empty());
        twice(&target, 1, commit(None)).await;
        assert!(get(fixture.port, "/").await.is_err(), "the port is let go");
        assert!(target.bundle(&hash).await.is_err(), "nothing needs it any more");
        let volumes = fixture.raw("/volumes");
        let volumes = volumes["Volumes"].as_array().cloned().unwrap_or_default();
        let bundles = volumes.iter().filter(|one| {
            one["Labels"]["io.fairlead.project"] == fixture.place.project.as_str()
                && one["Labels"]["io.fairlead.kind"] == "bundle"
        });
        assert_eq!(bundles.count(), 0, "its secrets are gone with it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_does_not_heed_its_signal_is_killed_after_its_grace() {
    everywhere(|mut fixture| async move {
        let hash = fixture
            .plan(&fixture.bundle("trap '' TERM; echo deaf; while :; do /bin/busybox sleep 1; done"), "r1");
        let target = fixture.target().await;
        let unit = fixture.unit(0, hash);
        act(&target, 1, prepare(hash)).await.expect("prepared");
        act(&target, 1, start(&unit)).await.expect("started");
        deaf(&target, &unit).await;
        let stops = act(&target, 1, stop(&unit, 3_000));
        let seen_while = async {
            until(&target, "the unit to stop", |seen| {
                let phase = seen.units.first().map(|unit| unit.phase.clone());
                (phase == Some(UnitPhase::Stopping)).then_some(())
            })
            .await;
        };
        let (stopped, ()) = tokio::join!(stops, seen_while);
        stopped.expect("it was killed");
        assert!(target.observe().await.expect("it answers").units.is_empty());
    })
    .await;
}

async fn deaf(target: &impl Target, unit: &deploy::model::UnitId) {
    while !target.log_tail(unit, 5).await.expect("a log").contains(&"deaf".to_owned()) {
        target.changed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_before_stays_whole_for_a_way_back() {
    everywhere(|mut fixture| async move {
        let old = fixture.plan(&fixture.bundle(SERVES), "r1");
        let new = fixture.plan(&fixture.bundle(&format!(": another; {SERVES}")), "r2");
        let target = fixture.target().await;
        for hash in [old, new] {
            act(&target, 1, prepare(hash)).await.expect("prepared");
            act(&target, 1, commit(Some(hash))).await.expect("committed");
        }
        // A way back knows no sources.
        let mut plan = fixture.plan.clone();
        plan.bundles.values_mut().for_each(|planned| planned.source = None);
        let back = fixture.target_with(plan).await;
        act(&back, 2, prepare(old)).await.expect("it is still here");
        let unit = fixture.unit(0, old);
        act(&back, 2, start(&unit)).await.expect("started");
        let port = only(&back).await.address.expect("published").port();
        let answer = served(port).await;
        assert_eq!(answer.body, CONFIG);
        act(&back, 2, commit(Some(old))).await.expect("committed");
        let ledger = back.observe().await.expect("it answers").ledger;
        let standing = &ledger.services[&name("api")];
        assert_eq!((standing.current.bundle, standing.previous[0].bundle), (old, new));
        act(&back, 2, stop(&unit, 1_000)).await.expect("stopped");
    })
    .await;
}
