//! The router has the ports and the table that the supervisor says, whatever happens.

use super::fixture::{Fixture, SLEEPER, name, process, script, within};
use crate::{
    adapter::router::protocol::UpstreamStats,
    model::{Action, Traffic},
    port::{EffectError, Target},
    reason::ReasonCode,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn traffic_goes_to_admitted_units_only() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let (first, second) = (fixture.start(0, 0).await, fixture.start(1, 0).await);
    fixture.perform(Action::Admit { unit: first.clone(), weight: 4 }).await.expect("it is admitted");
    assert_eq!(fixture.routers.weights(), BTreeMap::from([(first.to_string(), 4), (second.to_string(), 0)]));
    assert_eq!(fixture.facts(&first).await.expect("it stands").weight, 4);

    let counted = UpstreamStats {
        in_flight: 2,
        traffic: Traffic { requests: 10, errors: 1, ..Traffic::default() },
        ejected: false,
    };
    fixture.routers.kept().stats.insert(first.to_string(), counted.clone());
    let facts = fixture.facts(&first).await.expect("it stands");
    assert_eq!((facts.in_flight, facts.traffic), (2, counted.traffic));

    process(&fixture.facts(&first).await.expect("it stands")).signal_group(Signal::SIGKILL);
    fixture.exited(&first).await;
    assert_eq!(fixture.facts(&first).await.expect("on record").weight, 0);
    let late = fixture.perform(Action::Admit { unit: first, weight: 1 }).await;
    assert!(matches!(late, Err(EffectError::Passing { .. })), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_for_what_is_in_flight_but_not_beyond_its_deadline() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.perform(Action::Admit { unit: unit.clone(), weight: 1 }).await.expect("it is admitted");
    let in_flight = |count| {
        let stats = UpstreamStats { in_flight: count, ..UpstreamStats::default() };
        fixture.routers.kept().stats.insert(unit.to_string(), stats);
        fixture.routers.idle.notify_waiters();
    };
    in_flight(3);
    let output =
        fixture.perform(Action::Drain { unit: unit.clone(), deadline: 50 }).await.expect("its deadline");
    assert_eq!(output.note, "3 requests still in flight at the drain deadline");
    assert_eq!(fixture.facts(&unit).await.expect("it stands").weight, 0, "out of traffic all the same");

    let drain = fixture.perform(Action::Drain { unit: unit.clone(), deadline: 60_000 });
    let answer = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        in_flight(0);
    };
    let (output, ()) = tokio::join!(drain, answer);
    assert_eq!(output.expect("it drains").note, "");
    let absent = Action::Drain { unit: fixture.unit(9, 0), deadline: 60_000 };
    fixture.perform(absent).await.expect("what does not run has nothing in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_dies_is_replaced_with_the_same_sockets_and_table() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.perform(Action::Admit { unit: unit.clone(), weight: 2 }).await.expect("it is admitted");
    let (first, address) = {
        let kept = fixture.routers.kept();
        let address = kept.listeners[&name("api")].local_addr().expect("it is bound");
        (kept.process.expect("it runs"), address)
    };
    for _ in 0..2 {
        let dying = fixture.routers.kept().process.expect("it runs");
        dying.signal_group(Signal::SIGKILL);
        TcpStream::connect(address).expect("the port is held without a router too");
        within("it is replaced", async {
            while fixture.routers.kept().process == Some(dying) || fixture.routers.weights().is_empty() {
                fixture.target.changed().await;
            }
        })
        .await;
    }
    assert!(!first.is_alive());
    assert_eq!(fixture.routers.kept().started, 3);
    assert_eq!(fixture.routers.weights(), BTreeMap::from([(unit.to_string(), 2)]));
    let held = fixture.routers.kept().listeners[&name("api")].local_addr().expect("it is bound");
    assert_eq!(held, address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stable_port_that_is_taken_names_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut service = script(SLEEPER);
    service.port = taken.local_addr().expect("it is bound").port();
    let fixture = Fixture::new(&[service]).await;
    let error = fixture.prepare(0).await.expect_err("the port is taken");
    let EffectError::Terminal { reason, message } = error else { panic!("{error}") };
    assert_eq!(reason, ReasonCode::PortTaken);
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(taken);
    fixture.prepare(0).await.expect("now it is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_gives_its_port_back() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let port = fixture.routers.kept().listeners[&name("api")].local_addr().expect("it is bound").port();
    TcpListener::bind(("127.0.0.1", port)).expect_err("the port is held");
    fixture.commit(1, None).await;
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    fixture.kill_supervisor().await;
    fixture.serve().await;
    TcpListener::bind(("127.0.0.1", port)).expect("and stays free");
}
