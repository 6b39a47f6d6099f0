//! A stale executor can do nothing, and two at once lose nothing.

use crate::fixture::{act, commit, everywhere, migrate, name, only, prepare, start, stop};
use deploy::{
    model::Action,
    port::{EffectError, Target},
};
use futures::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn an_older_generation_is_refused_whatever_it_does() {
    everywhere(|mut fixture| async move {
        fixture.plan_migration("exit 0", 10_000);
        let hash = fixture.plan(&fixture.bundle("exec /bin/busybox sleep 31535997"), "r1");
        let unit = fixture.unit(0, hash);
        let stale = fixture.target().await;
        act(&stale, 3, prepare(hash)).await.expect("prepared");
        act(&stale, 3, start(&unit)).await.expect("started");
        let before = only(&stale).await;
        let newer = fixture.target().await;
        newer.fence(4).await.expect("it is newer");
        newer.fence(4).await.expect("to fence twice is to fence once");
        for action in [
            prepare(hash),
            migrate(hash),
            start(&unit),
            start(&fixture.unit(1, hash)),
            Action::Admit { unit: unit.clone(), weight: 1 },
            Action::Drain { unit: unit.clone(), deadline: 0 },
            stop(&unit, 0),
            commit(Some(hash)),
        ] {
            let verb = action.verb();
            let refused = act(&stale, 3, action).await;
            assert_eq!(refused, Err(EffectError::Fenced { generation: 4 }), "{verb}");
        }
        assert_eq!(stale.fence(3).await, Err(EffectError::Fenced { generation: 4 }));
        let seen = newer.observe().await.expect("it answers");
        assert_eq!((seen.generation, seen.units), (4, vec![before]));
        assert!(seen.ledger.services.is_empty());
        act(&newer, 4, stop(&unit, 0)).await.expect("the newer one may");
    })
    .await;
}

/// Services that are prepared at once.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_side_by_side_is_not_lost() {
    everywhere(|mut fixture| async move {
        let mut hashes = Vec::new();
        for number in 0..AT_ONCE {
            let mut bundle = fixture.bundle("exit 0");
            bundle.service = name(&format!("s{number}"));
            bundle.port = fixture.another_port();
            hashes.push((bundle.service.clone(), fixture.plan(&bundle, "r1")));
        }
        // Two instances, as of two programs: nothing but the engine keeps them apart.
        let targets = [fixture.target().await, fixture.target().await];
        let acts = hashes.iter().enumerate().map(|(number, (service, bundle))| {
            let (service, bundle) = (service.clone(), *bundle);
            let prepare = Action::Prepare { target: name("here"), service, bundle };
            act(&targets[number % 2], 1, prepare)
        });
        for done in join_all(acts).await {
            done.expect("prepared");
        }
        let services = hashes.iter().map(|(service, bundle)| (service.clone(), Some(*bundle))).collect();
        let all = Action::Commit { target: name("here"), services };
        act(&targets[0], 1, all).await.expect("every bundle is named in the state");
        let ledger = targets[1].observe().await.expect("it answers").ledger;
        assert_eq!(ledger.services.len(), AT_ONCE);
        let volumes = fixture.raw("/volumes");
        let states = volumes["Volumes"].as_array().expect("a list").iter().filter(|one| {
            one["Labels"]["io.fairlead.project"] == fixture.place.project.as_str()
                && one["Labels"]["io.fairlead.kind"] == "state"
        });
        assert!((1..=2).contains(&states.count()), "older versions of the state are removed: {volumes:#}");
        // Both give their ports back.
        let none = hashes.iter().map(|(service, _)| (service.clone(), None)).collect();
        act(&targets[0], 1, Action::Commit { target: name("here"), services: none }).await.expect("gone");
    })
    .await;
}
