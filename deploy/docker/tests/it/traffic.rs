//! Traffic: by weight, to the last request, and whatever happens to the router.

use crate::fixture::{
    BUSYBOX, CONFIG, PATIENCE, act, everywhere, get, only, prepare, served, start, stop, until,
};
use bollard::query_parameters::KillContainerOptionsBuilder;
use deploy::{
    adapter::router::RouterClient,
    model::{Action, UnitPhase},
    port::Target,
};
use docker_target::RouterProgram;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tests::Generation;

/// Serves its config file at the port that it is told.
const SERVES: &str = "exec /bin/busybox httpd -f -p $HOST:$PORT -h /fairlead/files";

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_last_request() {
    everywhere(|mut fixture| async move {
        // All that was asked is read: what a closed connection leaves unread takes the answer with it.
        let answer = "while read line && [ \\${#line} -gt 1 ]; do :; done; /bin/busybox sleep 2; printf 'HTTP/1.0 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nslow'";
        let slow = format!("exec {BUSYBOX} nc -ll -p $PORT -e {BUSYBOX} sh -c \"{answer}\"");
        let hash = fixture.plan(&fixture.bundle(&slow), "r1");
        let (target, unit, port) = (fixture.target().await, fixture.unit(0, hash), fixture.port);
        act(&target, 1, prepare(hash)).await.expect("prepared");
        act(&target, 1, start(&unit)).await.expect("started");
        served(only(&target).await.address.expect("published").port()).await;
        act(&target, 1, Action::Admit { unit: unit.clone(), weight: 1 }).await.expect("admitted");
        let request = tokio::spawn(get(port, "/"));
        until(&target, "the request", |seen| (seen.units[0].in_flight == 1).then_some(())).await;
        let drain = |deadline| act(&target, 1, Action::Drain { unit: unit.clone(), deadline });
        let note = drain(10).await.expect("the deadline is no failure").note;
        assert_eq!(note, "1 request still in flight at the drain deadline");
        assert_eq!(drain(60_000).await.expect("drained").note, "");
        let answer = tokio::time::timeout(PATIENCE, request).await.expect("in time").expect("no panic");
        assert_eq!(answer.expect("it was answered").body, "slow", "{:?}", fixture.generation);
        act(&target, 1, stop(&unit, 0)).await.expect("stopped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_units_share_the_traffic_by_their_weight() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle(SERVES), "r1");
        let (target, port) = (fixture.target().await, fixture.port);
        act(&target, 1, prepare(hash)).await.expect("prepared");
        for (slot, weight) in [(0, 1), (1, 3)] {
            let unit = fixture.unit(slot, hash);
            act(&target, 1, start(&unit)).await.expect("started");
            let seen = target.observe().await.expect("it answers").units;
            let facts = seen.iter().find(|facts| facts.unit == unit).expect("it runs");
            served(facts.address.expect("published").port()).await;
            act(&target, 1, Action::Admit { unit, weight }).await.expect("admitted");
        }
        for _ in 0..40 {
            assert_eq!(get(port, "/api.conf").await.expect("answered").body, CONFIG);
        }
        let seen = target.observe().await.expect("it answers").units;
        let counts: Vec<u64> = seen.iter().map(|facts| facts.traffic.requests).collect();
        assert_eq!(counts, [10, 30], "{:?}", fixture.generation);
        for slot in [0, 1] {
            act(&target, 1, stop(&fixture.unit(slot, hash), 0)).await.expect("stopped");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_is_a_process_and_another_takes_its_place_when_it_ends() {
    // The program's own business, and the same whatever the engine: one generation is enough.
    let mut fixture = crate::fixture::Fixture::on(tests::Engine::shared(Generation::Docker28)).await;
    let hash = fixture.plan(&fixture.bundle(SERVES), "r1");
    let executable =
        tokio::task::spawn_blocking(|| tests::binaries().xtask.clone()).await.expect("it builds");
    let launch = Arc::new(RouterProgram { executable, version: "test".to_owned() });
    let (unit, port) = (fixture.unit(0, hash), fixture.port);
    let target = fixture.target_behind(fixture.plan.clone(), launch.clone()).await;
    act(&target, 1, prepare(hash)).await.expect("prepared");
    act(&target, 1, start(&unit)).await.expect("started");
    served(only(&target).await.address.expect("published").port()).await;
    act(&target, 1, Action::Admit { unit: unit.clone(), weight: 5 }).await.expect("admitted");
    drop(target);
    assert_eq!(get(port, "/api.conf").await.expect("it goes on without who started it").body, CONFIG);

    let next = fixture.target_behind(fixture.plan.clone(), launch).await;
    let control = fixture.router().join("router.sock");
    let (router, hello) = RouterClient::connect(&control, PATIENCE).await.expect("it answers");
    assert_ne!(hello.pid, std::process::id());
    tests::signal(hello.pid.try_into().expect("a process id"), nix::sys::signal::Signal::SIGKILL);
    router.ended(PATIENCE).await.expect("it ends");
    assert_eq!(only(&next).await.weight, 0, "nobody routes, so nobody has traffic");
    next.fence(2).await.expect("the next rollout");
    assert_eq!(only(&next).await.weight, 5);
    assert_eq!(get(port, "/api.conf").await.expect("another router").body, CONFIG);
    act(&next, 2, stop(&unit, 0)).await.expect("stopped");
    let (router, _) = RouterClient::connect(&control, PATIENCE).await.expect("it answers");
    router.retire(Duration::ZERO).await.expect("it is told");
    router.ended(PATIENCE).await.expect("it ends");
}

/// Well below the second after which a target says by itself that something may have changed.
const AT_ONCE: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_unit_is_told_at_once() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle("exec /bin/busybox sleep 31535993"), "r1");
        let (target, unit) = (fixture.target().await, fixture.unit(0, hash));
        act(&target, 1, prepare(hash)).await.expect("prepared");
        let mut quickest = Duration::MAX;
        // On a busy machine any one of them may be late.
        for _ in 0..5 {
            act(&target, 1, start(&unit)).await.expect("started");
            let handle = only(&target).await.handle;
            // It listens from the first time on; what it heard of the start is over.
            while {
                let begun = Instant::now();
                target.changed().await;
                begun.elapsed() < Duration::from_secs(1)
            } {
                only(&target).await;
            }
            only(&target).await;
            let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
            let begun = Instant::now();
            fixture.docker.kill_container(&handle, Some(options)).await.expect("killed");
            while only(&target).await.phase == UnitPhase::Running {
                target.changed().await;
            }
            quickest = quickest.min(begun.elapsed());
            act(&target, 1, stop(&unit, 0)).await.expect("stopped");
        }
        assert!(quickest < AT_ONCE, "{:?}: {quickest:?}", fixture.generation);
    })
    .await;
}
