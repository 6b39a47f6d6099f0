//! A supervisor is killed, and the next one finds everything again.

use super::fixture::{Fixture, SLEEPER, process, script, within};
use crate::{
    adapter::process::{
        folders::Folders,
        shutdown,
        supervisor::{
            SupervisorError,
            state::{Life, RouterRecord, State},
        },
    },
    model::{Action, UnitPhase},
    port::{EffectError, Target},
};
use nix::sys::signal::Signal;
use pipeline::causes::in_one_line;
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn units_and_routes_go_on_without_it_and_are_found_again() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    let (stays, ends) = (fixture.start(0, 0).await, fixture.start(1, 0).await);
    fixture.perform(Action::Admit { unit: stays.clone(), weight: 3 }).await.expect("it is admitted");
    let before = fixture.facts(&stays).await.expect("it stands");
    let ending = process(&fixture.facts(&ends).await.expect("it stands"));

    fixture.kill_supervisor().await;
    assert!(process(&before).is_alive());
    assert_eq!(fixture.routers.kept().listeners.len(), 1, "the router still has the port");
    ending.signal_group(Signal::SIGKILL);
    fixture.serve().await;

    assert_eq!(fixture.facts(&stays).await, Some(before.clone()));
    assert!(matches!(fixture.facts(&ends).await.expect("on record").phase, UnitPhase::Exited(_)));
    assert_eq!(fixture.routers.kept().started, 1, "the same router goes on");
    process(&before).signal_group(Signal::SIGKILL);
    fixture.exited(&stays).await;
    within("the router is told", async {
        while fixture.routers.weights().contains_key(&stays.to_string()) {
            fixture.target.changed().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_start_was_not_recorded_is_found_by_its_marks() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    let (started, never) = (fixture.start(0, 0).await, fixture.unit(7, 0));
    let before = fixture.facts(&started).await.expect("it stands");
    fixture.kill_supervisor().await;

    // As if it had been killed between the two writes.
    let folders = Folders::new(&fixture.state_dir()).expect("a path");
    let mut state = State::read(&folders).expect("it reads");
    let mut unit = state.units[&started].clone();
    unit.life = Life::Starting;
    state.units.insert(started.clone(), unit.clone());
    state.units.insert(never.clone(), unit);
    state.write(&folders).expect("it writes");
    fixture.serve().await;

    assert_eq!(fixture.facts(&started).await.map(|facts| facts.handle), Some(before.handle));
    assert_eq!(fixture.facts(&never).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_whose_start_was_not_recorded_is_ended_and_another_one_started() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let router = fixture.routers.kept().process.expect("it runs");
    fixture.kill_supervisor().await;

    // As if it had been killed between the start and the record of it, before the router got a socket.
    fixture.routers.kept().listeners.clear();
    let folders = Folders::new(&fixture.state_dir()).expect("a path");
    let mut state = State::read(&folders).expect("it reads");
    let record = state.router.take().expect("a router");
    state.starting = Some(RouterRecord { process: None, ..record });
    state.write(&folders).expect("it writes");
    fixture.serve().await;

    within("another one has the port", async {
        while fixture.routers.kept().process == Some(router) || fixture.routers.kept().listeners.is_empty() {
            fixture.target.changed().await;
        }
    })
    .await;
    assert!(!router.is_alive());
    assert_eq!(State::read(&folders).expect("it reads").starting, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_was_broken_off_is_finished() {
    let mut fixture =
        Fixture::new(&[script("#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 0.05; done\n")]).await;
    let unit = fixture.start(0, 0).await;
    fixture.logged(&unit, "ready").await;
    let process = process(&fixture.facts(&unit).await.expect("it stands"));
    {
        let stop = fixture.perform(Action::Stop { unit: unit.clone(), grace: 300 });
        let told = fixture.until(&unit, |facts| facts.phase == UnitPhase::Stopping);
        tokio::select! { _ = stop => panic!("it ignores SIGTERM"), _ = told => {} }
    }
    fixture.kill_supervisor().await;
    assert!(process.is_alive());
    fixture.serve().await;
    within("it is killed", async {
        while fixture.facts(&unit).await.is_some() {
            fixture.target.changed().await;
        }
    })
    .await;
    assert!(!process.is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_only_one() {
    let fixture = Fixture::new(&[]).await;
    assert!(matches!(fixture.serve_error().await, SupervisorError::Runs { .. }));
    assert!(fixture.client().hello().await.expect("an answer").is_some(), "the first goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_newer_state_is_not_taken_for_an_empty_one() {
    let mut fixture = Fixture::new(&[]).await;
    fixture.kill_supervisor().await;
    let path = fixture.state_dir().join("supervisor/state.json");
    for (text, expected) in
        [("{\"version\":1,\"un", "damaged"), ("{\"version\":77}", "version 77"), ("", "damaged")]
    {
        fs::write(&path, text).expect("it writes");
        let error = fixture.serve_error().await;
        let message = in_one_line(&error);
        assert!(message.contains("state.json") && message.contains(expected), "{message}");
        assert_eq!(fs::read_to_string(&path).expect("it reads"), text, "nothing was changed");
        let observed = fixture.target.observe().await;
        assert!(matches!(observed, Err(EffectError::Terminal { .. })), "{observed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_no_unit_is_believed_and_the_ledger_still_stands() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.commit(1, Some(0)).await;
    let process = process(&fixture.facts(&unit).await.expect("it stands"));
    fixture.kill_supervisor().await;
    let folders = Folders::new(&fixture.state_dir()).expect("a path");
    let mut state = State::read(&folders).expect("it reads");
    "another-run".clone_into(&mut state.boot_id);
    state.write(&folders).expect("it writes");
    fixture.serve().await;

    let seen = fixture.seen().await;
    assert!(seen.units.is_empty());
    assert_eq!(seen.ledger.services.len(), 1);
    assert_eq!(seen.generation, 1);
    process.signal_group(Signal::SIGKILL);
    process.reap();
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_starts_nothing_and_tells_what_is_on_record() {
    let fixture = Fixture::without_supervisor(&[]);
    let seen = fixture.seen().await;
    assert!(seen.units.is_empty() && seen.ledger.services.is_empty() && seen.generation == 0);
    assert!(!fixture.state_dir().exists(), "not even a folder");

    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    let (stays, ends) = (fixture.start(0, 0).await, fixture.start(1, 0).await);
    fixture.perform(Action::Admit { unit: stays.clone(), weight: 1 }).await.expect("it is admitted");
    fixture.commit(3, Some(0)).await;
    let (before, ending) =
        (fixture.facts(&stays).await.expect("it stands"), fixture.facts(&ends).await.expect("it stands"));
    fixture.kill_supervisor().await;
    process(&ending).signal_group(Signal::SIGKILL);
    let onlooker = fixture.onlooker();
    within("the kernel has ended it", async {
        loop {
            let seen = onlooker.observe().await.expect("an observation");
            let facts = |unit| seen.units.iter().find(|facts| facts.unit == unit);
            assert_eq!(facts(stays.clone()), Some(&before));
            assert_eq!((seen.generation, seen.ledger.generation, seen.ledger.services.len()), (3, 3, 1));
            if facts(ends.clone()).is_some_and(|facts| matches!(facts.phase, UnitPhase::Exited(_))) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_stops_everything_and_keeps_ledger_and_bundles() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.commit(4, Some(0)).await;
    let process = process(&fixture.facts(&unit).await.expect("it stands"));
    assert!(shutdown(&fixture.state_dir(), 5_000).await.expect("it shuts down"));
    fixture.ended().await;
    assert!(!process.is_alive());
    assert!(fixture.routers.kept().retired);
    assert!(!shutdown(&fixture.state_dir(), 5_000).await.expect("there is none any more"));

    let seen = fixture.onlooker().observe().await.expect("an observation");
    assert!(seen.units.is_empty());
    assert_eq!(seen.ledger.services.len(), 1);
    fixture.target.bundle(&fixture.bundles[0]).await.expect("its bundle is kept");
}
