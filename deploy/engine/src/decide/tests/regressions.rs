//! Scripts that once broke a law, as they were shrunk, with what was wrong.

use super::script::{Event, Script, When};
use crate::{
    plan::OnFailure,
    samples::{Shape, WaveShape, bundle, rolling, rolling_by},
    state::{Command, Outcome},
    strategy::{BatchSize, Canary, Rolling, Strategy},
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

/// A canary whose step was over got more traffic from an executor that had not asked it yet.
#[test]
fn a_share_grows_only_on_fresh_evidence() {
    let Strategy::Rolling(rolling) = rolling(1, 0) else { unreachable!("it says rolling") };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east"],
            replicas: 1,
            from: Some(("old", 1)),
            strategy: Strategy::Canary(Canary { units: 1, steps: vec![25], rolling }),
            bake: 1_001,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Flaps(1_801))],
        events: vec![(When::At(2_301), Event::Command(Command::Interrupt))],
        verify: false,
        ..Script::default()
    });
}

/// The final gates passed, and it was a success, although nobody had been asked for a while.
#[test]
fn a_rollout_does_not_succeed_on_old_evidence() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east"],
            replicas: 1,
            from: Some(("old", 1)),
            strategy: rolling_by(vec![BatchSize::Percent(50), BatchSize::Percent(100)], 1, 1),
            bake: 1_601,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Flaps(1_401))],
        events: vec![(When::At(1_801), Event::Silence(1_301))],
        ..Script::default()
    });
}

/// A unit whose start took hold unheard, and which ended at once, was started again besides another in its place.
#[test]
fn what_is_started_again_has_a_place_of_its_own() {
    keeps_the_laws(&Script {
        shape: Shape { targets: vec!["east", "west", "north"], replicas: 2, bake: 301, ..Shape::default() },
        events: vec![(When::Back(1_701), Event::Crash), (When::Back(1_701), Event::Kill(1))],
        verify: false,
        ..Script::default()
    });
}

/// What was to leave was drained at last while the only other unit had just failed, and evidence was collected.
#[test]
fn nobody_makes_room_any_more_once_the_rollout_has_failed() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            targets: vec!["east", "west"],
            replicas: 1,
            from: Some(("new", 3)),
            strategy: rolling_by(Vec::new(), 1, 0),
            bake: 0,
            waves: vec![wave(vec!["east"]), wave(vec!["west"])],
            ..Shape::default()
        },
        rules: vec![Rule { slot: Some(0), ..new(Behaviour::Flaps(1_101)) }],
        faults: BTreeMap::from([(4, EffectFault::FailsBefore)]),
        verify: false,
        ..Script::default()
    });
}

/// A unit of a wave that was not reached failed and came round again and again, which was taken for progress, while the
/// rollout waited for a unit that could not be replaced.
#[test]
fn what_is_not_reached_yet_makes_no_progress() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 1,
            from: Some(("old", 1)),
            failure_limit: 1,
            bake: 301,
            traffic: true,
            waves: vec![WaveShape { soak: 101, ..wave(vec!["east"]) }, wave(vec!["west"])],
            ..Shape::default()
        },
        rules: vec![
            new(Behaviour::FailsRequests(7)),
            Rule { bundle: Some(bundle("old")), ..new(Behaviour::Flaps(206)) },
        ],
        verify: false,
        ..Script::default()
    });
}

/// What was never seen, because its target could not be reached, was started although the rollout had not come so far, and
/// was stopped in the middle of its traffic.
#[test]
fn what_was_never_seen_is_not_started_ahead_of_its_wave() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 0,
            from: Some(("old", 1)),
            bake: 0,
            takes_away: true,
            waves: vec![wave(vec!["east"]), wave(vec!["west"])],
            ..Shape::default()
        },
        events: vec![(When::At(0), Event::Outage(1, 501))],
        verify: false,
        ..Script::default()
    });
}

/// What had failed ahead of its wave, and had come round out of sight, was drained all the same.
#[test]
fn what_comes_round_out_of_sight_is_left_alone() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 0,
            from: Some(("old", 4)),
            bake: 0,
            waves: vec![WaveShape { soak: 1_401, ..wave(vec!["east"]) }, wave(vec!["west"])],
            ..Shape::default()
        },
        rules: vec![Rule { slot: Some(0), bundle: Some(bundle("old")), ..new(Behaviour::Good(301)) }],
        events: vec![(When::At(301), Event::Outage(1, 1_101))],
        verify: false,
        ..Script::default()
    });
}

/// A held rollback that was opened again admitted a unit whose service waited for another one, without having asked it.
#[test]
fn what_waits_for_another_service_is_admitted_on_fresh_evidence() {
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            from: Some(("new", 4)),
            on_failure: OnFailure::Hold,
            bake: 201,
            chained: true,
            ..Shape::default()
        },
        rules: vec![Rule { slot: Some(0), ..new(Behaviour::Good(0)) }, new(Behaviour::Flaps(801))],
        faults: BTreeMap::from([(4, EffectFault::FailsBefore), (22, EffectFault::FailsBefore)]),
        events: vec![
            (When::At(1_501), Event::Silence(2_501)),
            (When::At(4_901), Event::Command(Command::Cancel)),
        ],
        verify: false,
        reopens: 2,
        ..Script::default()
    });
}

/// The place of a unit that had failed by itself was taken for one that the rollout had made free, and was filled although
/// the wave before had just lost a unit.
#[test]
fn a_place_that_came_free_by_itself_can_wait() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 2,
            from: Some(("old", 1)),
            strategy: rolling(0, 1),
            failure_limit: 1,
            waves: vec![WaveShape { soak: 601, ..wave(vec!["east"]) }, wave(vec!["west"])],
            bake: 501,
            ..Shape::default()
        },
        rules: vec![
            new(Behaviour::ExitsAfter(3_901)),
            Rule { bundle: Some(bundle("old")), ..new(Behaviour::ExitsAfter(0)) },
        ],
        events: vec![(When::At(1_301), Event::Crash)],
        verify: false,
        ..Script::default()
    });
}

/// The judge took a wave whose old units did not answer for one that was not begun, although all of them had left.
#[test]
fn a_wave_may_begin_with_units_that_do_not_answer() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 4,
            from: Some(("old", 4)),
            strategy: rolling_by(vec![BatchSize::Percent(50), BatchSize::Percent(100)], 0, 1),
            failure_limit: 1,
            bake: 601,
            synthetic: true,
            waves: vec![WaveShape { soak: 701, ..wave(vec!["east"]) }, wave(vec!["west"])],
            ..Shape::default()
        },
        rules: vec![
            Rule { bundle: Some(bundle("old")), ..new(Behaviour::Unprobeable) },
            Rule { slot: Some(0), ..new(Behaviour::ExitsAfter(5_401)) },
        ],
        verify: false,
        ..Script::default()
    });
}

/// A service was taken away, and was taken for gone on a target that nobody had reached yet.
#[test]
fn what_was_never_seen_is_not_taken_for_gone() {
    let wave = |targets, soak| WaveShape { targets, soak, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 0,
            from: Some(("old", 1)),
            bake: 0,
            takes_away: true,
            waves: vec![wave(vec!["east"], 201), wave(vec!["west"], 701)],
            ..Shape::default()
        },
        events: vec![(When::At(0), Event::Outage(0, 1_301))],
        verify: false,
        ..Script::default()
    });
}

/// The judge took the smaller share of a canary whose old units had gone for an admission.
#[test]
fn a_smaller_share_needs_no_evidence() {
    let Strategy::Rolling(rolling) = rolling(1, 0) else { unreachable!("it says rolling") };
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east"],
            replicas: 1,
            from: Some(("old", 1)),
            strategy: Strategy::Canary(Canary { units: 1, steps: vec![5], rolling }),
            bake: 0,
            synthetic: true,
            hooks: true,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Flaps(801))],
        events: vec![(When::At(2_001), Event::Kill(2)), (When::At(701), Event::Command(Command::Pause))],
        verify: false,
        ..Script::default()
    });
}

/// An executor that had taken over drained what had failed ahead of its wave, and had come round, without having asked it.
#[test]
fn what_has_failed_ahead_of_its_wave_is_asked_anew() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            targets: vec!["east", "west"],
            replicas: 0,
            from: Some(("old", 2)),
            bake: 0,
            migrates: true,
            waves: vec![wave(vec!["east"]), wave(vec!["west"])],
            ..Shape::default()
        },
        rules: vec![Rule { slot: Some(0), bundle: Some(bundle("old")), ..new(Behaviour::Good(701)) }],
        faults: BTreeMap::from([(18, EffectFault::FailsBefore)]),
        events: vec![(When::At(801), Event::Crash), (When::At(701), Event::Crash)],
        verify: false,
        ..Script::default()
    });
}

/// The judge blamed the executor for not noticing the end of a unit that it was still admitting.
#[test]
fn a_unit_that_ends_while_it_is_admitted_is_noticed_after_that() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east"],
            replicas: 1,
            from: Some(("old", 1)),
            bake: 0,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::ExitsAfter(601))],
        effect_takes: 1_901,
        verify: false,
        ..Script::default()
    });
}

/// The judge held the end of a unit that had failed against a drain that had been begun while it was good.
#[test]
fn what_fails_during_the_drain_of_another_is_not_held_against_that() {
    keeps_the_laws(&Script {
        shape: Shape {
            targets: vec!["east", "west"],
            replicas: 2,
            from: Some(("old", 2)),
            strategy: rolling_by(Vec::new(), 1, 0),
            bake: 0,
            traffic: true,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::FailsRequests(8))],
        events: vec![(When::At(7_801), Event::Jump(1_900))],
        effect_takes: 1_801,
        verify: false,
        ..Script::default()
    });
}

/// The judge took what had failed too often to be started again ahead of its wave for what nobody had noticed.
#[test]
fn what_has_ended_ahead_of_its_wave_is_not_waited_for() {
    let wave = |targets| WaveShape { targets, ..WaveShape::default() };
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            chained: true,
            targets: vec!["east", "west", "north"],
            replicas: 1,
            from: Some(("new", 1)),
            strategy: rolling(1, 0),
            failure_limit: 1,
            bake: 1_801,
            waves: vec![wave(vec!["east"]), wave(vec!["west", "north"])],
            ..Shape::default()
        },
        rules: vec![new(Behaviour::Good(301))],
        events: vec![
            (When::At(501), Event::Kill(4)),
            (When::At(401), Event::Silence(4_901)),
            (When::At(901), Event::Kill(4)),
        ],
        verify: false,
        ..Script::default()
    });
}

/// The judge counted the end of units that were being given another weight before their executor could hear of it.
#[test]
fn what_ends_while_it_is_given_a_weight_counts_when_that_was_heard() {
    keeps_the_laws(&Script {
        shape: Shape {
            services: vec!["api", "mcp"],
            targets: vec!["east"],
            replicas: 2,
            from: Some(("old", 2)),
            strategy: Strategy::Canary(Canary {
                units: 2,
                steps: vec![5, 25],
                rolling: Rolling {
                    batches: vec![BatchSize::Count(1), BatchSize::Percent(25), BatchSize::Percent(100)],
                    max_surge: 1,
                    max_unavailable: 0,
                },
            }),
            failure_limit: 2,
            bake: 1_001,
            ..Shape::default()
        },
        rules: vec![new(Behaviour::ExitsAfter(3_201))],
        events: vec![(When::At(3_501), Event::Kill(1))],
        effect_takes: 150,
        verify: false,
        ..Script::default()
    });
}

/// The judge took a unit for waited for while the bundle was still being brought to its target.
#[test]
fn what_has_ended_before_all_is_prepared_is_not_waited_for() {
    keeps_the_laws(&Script {
        shape: Shape {
            replicas: 1,
            from: Some(("new", 1)),
            strategy: rolling(1, 0),
            failure_limit: 0,
            bake: 0,
            ..Shape::default()
        },
        events: vec![(When::At(101), Event::Kill(0)), (When::At(0), Event::Outage(0, 2_101))],
        effect_takes: 1_501,
        verify: false,
        ..Script::default()
    });
}
