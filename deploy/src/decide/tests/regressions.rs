//! Scripts that once broke a law, as they were shrunk, with what was wrong.

use super::{
    script::{Event, Script, When},
    setup::{Shape, WaveShape, bundle, rolling, rolling_by},
};
use crate::{
    state::{Command, Outcome},
    strategy::{BatchSize, Canary, Strategy},
    world::{Behaviour, EffectFault, Rule},
};
use std::collections::BTreeMap;

/// All new units behave like this.
fn new(behaviour: Behaviour) -> Rule {
    Rule { bundle: Some(bundle("new")), slot: None, starts_below: None, behaviour }
}

fn keeps_the_laws(script: &Script) {
    let played = script.play();
    let broken: Vec<String> = played.breaches.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A drain that was asked for again after a failed attempt no longer looked at the bound.
#[test]
fn a_drain_that_is_tried_again_keeps_the_bound() {
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            replicas: 4,
            from: Some(("old", 4)),
            strategy: rolling(1, 0),
            bake: 1_001,
            ..Shape::default()
        },
        faults: BTreeMap::from([(12, EffectFault::FailsAfter)]),
        events: vec![(When::turn(26), Event::Command(Command::Cancel))],
        verify: false,
        ..Script::default()
    });
}

/// What serves on a target that could not be reached was drained as if it were down.
#[test]
fn what_cannot_be_reached_is_not_taken_for_down() {
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            targets: vec!["east", "west"],
            from: Some(("old", 2)),
            bake: 301,
            synthetic: true,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Good(401))],
        faults: BTreeMap::from([(24, EffectFault::FailsForGood)]),
        events: vec![(When::At(4_601), Event::Outage(0, 201))],
        verify: false,
        ..Script::default()
    });
}

/// A unit that turned bad while it was judged by synthetic requests was admitted all the same.
#[test]
fn what_turns_bad_while_it_is_judged_is_not_admitted() {
    keeps_the_laws(&Script {
        shape: Shape { failure_limit: 1, synthetic: true, bake: 1_401, replicas: 2, ..Shape::default() },
        rules: vec![new(Behaviour::Flaps(601))],
        ..Script::default()
    });
}

/// A unit that was to be started when another service turned the rollout was started on the way back.
#[test]
fn nothing_of_the_way_forward_is_begun_on_the_way_back() {
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            targets: vec!["east", "west"],
            replicas: 2,
            from: Some(("old", 2)),
            bake: 2_301,
            chained: true,
            ..Shape::default()
        },
        rules: vec![Rule { slot: Some(1), ..new(Behaviour::WrongRelease) }],
        events: vec![(When::At(5_801), Event::Kill(2)), (When::At(0), Event::Kill(4))],
        verify: false,
        ..Script::default()
    });
}

/// An executor that took over could not see a broken unit, and stopped it in the midst of its traffic.
#[test]
fn a_broken_unit_out_of_sight_is_not_stopped() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east"],
            replicas: 1,
            from: Some(("new", 1)),
            failure_limit: 1,
            bake: 0,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Good(301))],
        events: vec![
            (When::At(7_801), Event::Command(Command::Interrupt)),
            (When::At(5_101), Event::Outage(0, 2_801)),
        ],
        verify: false,
        ..Script::default()
    });
}

/// A rollback whose ledger could not be written was held as if it had been on the way forward, and went forward again
/// when it was resumed.
#[test]
fn a_rollback_that_could_not_be_recorded_is_resumed_on_the_way_back() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 1,
            from: Some(("old", 1)),
            bake: 0,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::WrongRelease)],
        faults: BTreeMap::from([(7, EffectFault::FailsBefore)]),
        events: vec![(When::Back(401), Event::Outage(0, 7_701))],
        verify: false,
        reopens: 1,
        ..Script::default()
    });
}

/// An executor that took over gave up a unit after one bad answer, and with it more than the bound allows.
#[test]
fn one_bad_answer_after_a_takeover_gives_up_nothing() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 2,
            from: Some(("old", 3)),
            strategy: rolling(0, 1),
            failure_limit: 1,
            bake: 401,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Flaps(1_601))],
        events: vec![(When::At(4_401), Event::Command(Command::Interrupt))],
        verify: false,
        ..Script::default()
    });
}

/// An executor that took over admitted a unit that it could not see, and had no answer of.
#[test]
fn what_is_out_of_sight_is_not_admitted() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east"],
            replicas: 1,
            from: Some(("old", 1)),
            strategy: rolling_by(vec![BatchSize::Percent(50), BatchSize::Percent(100)], 1, 1),
            bake: 0,
            synthetic: true,
            ..Shape::default()
        },
        events: vec![
            (When::At(1_501), Event::Outage(0, 801)),
            (When::At(2_101), Event::Command(Command::Hold)),
        ],
        verify: false,
        reopens: 1,
        ..Script::default()
    });
}

/// The only unit that answered failed, could not be taken away, answered again, and was waited for until nothing moved for
/// too long; in a wave that was not reached yet it was taken away although it answered.
#[test]
fn what_failed_and_has_come_round_serves_again() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    let script = Script {
        shape: Shape {
            targets: vec!["east", "west", "north"],
            replicas: 2,
            from: Some(("new", 1)),
            strategy: rolling(1, 2),
            failure_limit: 1,
            bake: 0,
            waves: vec![wave(vec!["east"]), wave(vec!["west", "north"])],
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Good(301))],
        ..Script::default()
    };
    keeps_the_laws(&script);
    assert_eq!(script.play().state.outcome(), Some(&Outcome::Succeeded));
}

/// A unit that had failed once, and was started again since, was taken away below the bound.
#[test]
fn an_old_failure_does_not_give_up_what_was_started_again() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    let Strategy::Rolling(rolling) = rolling(1, 0) else { unreachable!("it says rolling") };
    let first =
        |word, behaviour| Rule { bundle: Some(bundle(word)), slot: None, starts_below: Some(1), behaviour };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            from: Some(("old", 1)),
            strategy: Strategy::Canary(Canary { units: 2, steps: vec![5, 25, 50], rolling }),
            failure_limit: 2,
            bake: 501,
            synthetic: true,
            waves: vec![wave(vec!["east"]), wave(vec!["west"])],
            hooks: true,
            ..Shape::default()
        },
        rules: vec![
            first("old", Behaviour::Flaps(214)),
            first("new", Behaviour::ExitsAfter(2_101)),
            Rule { starts_below: None, ..first("old", Behaviour::Good(601)) },
        ],
        events: vec![(When::At(201), Event::Crash), (When::At(11_501), Event::Outage(0, 101))],
        verify: false,
        ..Script::default()
    });
}
