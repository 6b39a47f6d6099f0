//! The engine on simulated fleets: what an operator would see.

mod generate;
mod moment;
mod moments;
mod pauses;
mod properties;
mod regressions;
mod remembered;
mod replan;
mod script;
mod waits;

use super::*;
use crate::samples::{Shape, bundle, plan_of};
use crate::{
    state::{Command, Outcome},
    strategy::Strategy,
    world::{Behaviour, EffectFault, Rule, SimulatedStep, World, simulate},
};
use script::{Event, When};
use std::collections::BTreeMap;

const LIMIT: u64 = 60 * 60 * 1_000;

struct Run {
    outcome: Outcome,
    world: World,
    steps: Vec<crate::world::SimulatedStep>,
}

fn run(plan: &Plan, change: impl FnOnce(&mut World)) -> Run {
    run_with(plan, BTreeMap::new(), change)
}

fn run_with(plan: &Plan, commands: BTreeMap<u64, Command>, change: impl FnOnce(&mut World)) -> Run {
    let mut world = World::new(1_000_000).with_previous(plan);
    change(&mut world);
    let events = commands.into_iter().map(|(turn, command)| (When::turn(turn), Event::Command(command)));
    let mut steps = Vec::new();
    let keep = |at, decision: &Decision| steps.push(SimulatedStep { at, decision: decision.clone() });
    let played = script::play(plan, world, events.collect(), 0, keep);
    assert_eq!(played.breaches, Vec::new());
    let outcome =
        played.state.outcome().cloned().unwrap_or_else(|| panic!("never ended: {:?}", played.state));
    Run { outcome, world: played.world, steps }
}

fn reason_of(outcome: &Outcome) -> Option<ReasonCode> {
    match outcome {
        Outcome::Succeeded => None,
        Outcome::RolledBack { cause }
        | Outcome::Refused { cause }
        | Outcome::Held { cause, .. }
        | Outcome::RollbackFailed { cause, .. } => Some(cause.reason),
    }
}

fn standing(run: &Run) -> Vec<String> {
    let units = run.world.standing();
    units
        .iter()
        .map(|(unit, weight)| format!("{}/{} {} {weight}", unit.service, unit.slot, bundle_word(unit)))
        .collect()
}

fn bundle_word(unit: &UnitId) -> &'static str {
    if unit.bundle == bundle("new") { "new" } else { "old" }
}

fn new_units_are(behaviour: Behaviour) -> impl FnOnce(&mut World) {
    move |world| {
        world.rules.push(Rule { bundle: Some(bundle("new")), slot: None, starts_below: None, behaviour });
    }
}

#[test]
fn a_good_release_replaces_every_unit_start_first() {
    let run = run(&plan_of(&Shape::default()), |_| ());
    assert_eq!(run.outcome, Outcome::Succeeded);
    assert_eq!(standing(&run), ["api/0 new 100", "api/1 new 100", "api/2 new 100"]);
    let local = "local".parse().expect("a name");
    let api = "api".parse().expect("a name");
    assert_eq!(run.world.ledgers[&local][&api], Some(bundle("new")));
}

#[test]
fn each_fault_ends_in_its_documented_outcome() {
    use Behaviour::*;
    let table: [(Behaviour, ReasonCode); 9] = [
        (ExitsAfter(0), ReasonCode::ExitedAtStart),
        (ExitsAfter(700), ReasonCode::Crashed),
        (OutOfMemoryAfter(700), ReasonCode::OutOfMemory),
        (NeverReady, ReasonCode::NeverReady),
        (Good(1_000_000), ReasonCode::NotListening),
        (Hangs, ReasonCode::Unresponsive),
        (Flaps(400), ReasonCode::Flapping),
        (WrongRelease, ReasonCode::WrongRelease),
        (WrongPort, ReasonCode::WrongPort),
    ];
    for (behaviour, reason) in table {
        let run = run(&plan_of(&Shape::default()), new_units_are(behaviour));
        assert!(matches!(run.outcome, Outcome::RolledBack { .. }), "{behaviour:?}: {:?}", run.outcome);
        assert_eq!(reason_of(&run.outcome), Some(reason), "{behaviour:?}");
        assert_eq!(standing(&run), ["api/0 old 100", "api/1 old 100", "api/2 old 100"], "{behaviour:?}");
        assert!(run.world.collected, "{behaviour:?}: the evidence was collected before the rollback");
    }
}

#[test]
fn a_crash_in_the_last_bake_still_rolls_back() {
    let shape = Shape { bake: 3_000, ..Shape::default() };
    let run = run(&plan_of(&shape), |world| {
        let rule = Rule {
            bundle: Some(bundle("new")),
            slot: Some(2),
            starts_below: None,
            behaviour: Behaviour::ExitsAfter(3_500),
        };
        world.rules.push(rule);
    });
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::Crashed));
    assert!(matches!(run.outcome, Outcome::RolledBack { .. }));
}

#[test]
fn the_failure_budget_is_exceeded_by_the_first_failure_above_the_limit() {
    let fails_once = |slots: u16| {
        move |world: &mut World| {
            for slot in 0..slots {
                let behaviour = Behaviour::ExitsAfter(0);
                world.rules.push(Rule {
                    bundle: Some(bundle("new")),
                    slot: Some(slot),
                    starts_below: Some(1),
                    behaviour,
                });
            }
        }
    };
    let shape = Shape { failure_limit: 2, ..Shape::default() };
    assert_eq!(run(&plan_of(&shape), fails_once(2)).outcome, Outcome::Succeeded);
    let run = run(&plan_of(&shape), fails_once(3));
    assert!(matches!(run.outcome, Outcome::RolledBack { .. }));
}

#[test]
fn a_first_deploy_that_fails_leaves_nothing() {
    let shape = Shape { from: None, ..Shape::default() };
    let run = run(&plan_of(&shape), new_units_are(Behaviour::NeverReady));
    assert!(matches!(run.outcome, Outcome::RolledBack { .. }));
    assert_eq!(standing(&run), Vec::<String>::new());
    let (local, api) = ("local".parse().expect("a name"), "api".parse().expect("a name"));
    assert_eq!(run.world.ledgers[&local][&api], None);
}

#[test]
fn no_evidence_holds_and_touches_nothing_more() {
    let run = run(&plan_of(&Shape::default()), new_units_are(Behaviour::Unprobeable));
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::ProbeBroken));
    assert!(matches!(run.outcome, Outcome::Held { .. }));
    assert!(standing(&run).contains(&"api/0 new 0".to_owned()), "{:?}", standing(&run));
}

#[test]
fn a_previous_release_that_is_broken_is_not_brought_back_over_the_only_healthy_copy() {
    let shape = Shape { replicas: 2, failure_limit: 0, ..Shape::default() };
    let run = run(&plan_of(&shape), |world| {
        world.rules.push(Rule {
            bundle: Some(bundle("old")),
            slot: None,
            starts_below: None,
            behaviour: Behaviour::NeverReady,
        });
        world.verify_passes = false;
    });
    // The world was set up before the rule, so the old units are good until they are started again.
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::OnlyHealthyCopy), "{:?}", run.outcome);
    assert_eq!(standing(&run).iter().filter(|unit| unit.ends_with("new 100")).count(), 2);
}

#[test]
fn synthetic_requests_stop_a_release_that_fails_requests_before_it_gets_any() {
    let shape = Shape { synthetic: true, ..Shape::default() };
    let run = run(&plan_of(&shape), new_units_are(Behaviour::FailsRequests(20)));
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::ErrorRate));
    let admitted = |step: &crate::world::SimulatedStep| {
        step.decision.intents.iter().any(|intent| {
            matches!(&intent.action, crate::model::Action::Admit { unit, .. } if unit.bundle == bundle("new"))
        })
    };
    assert!(!run.steps.iter().any(admitted));
}

#[test]
fn the_routers_counters_stop_a_release_that_fails_requests() {
    let shape = Shape { traffic: true, bake: 5_000, ..Shape::default() };
    let run = run(&plan_of(&shape), |world| {
        new_units_are(Behaviour::FailsRequests(20))(world);
        world.requests_per_second = 50;
    });
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::ErrorRate));
}

#[test]
fn too_little_traffic_to_judge_by_holds() {
    let shape = Shape { traffic: true, bake: 1_000, ..Shape::default() };
    let run = run(&plan_of(&shape), |_| ());
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::NoEvidence));
    assert!(matches!(run.outcome, Outcome::Held { .. }));
}

#[test]
fn effects_that_fail_and_pass_are_tried_again() {
    for fault in [EffectFault::FailsBefore, EffectFault::FailsAfter] {
        for number in 0..14 {
            let run = run(&plan_of(&Shape::default()), |world| {
                world.effect_faults.insert(number, fault);
            });
            assert_eq!(run.outcome, Outcome::Succeeded, "{fault:?} of effect {number}");
        }
    }
}

#[test]
fn a_failed_action_is_rolled_back_wherever_it_happens() {
    for number in 0..14 {
        let run = run(&plan_of(&Shape::default()), |world| {
            world.effect_faults.insert(number, EffectFault::FailsForGood);
        });
        match &run.outcome {
            Outcome::RolledBack { .. } | Outcome::Refused { .. } => {
                let is_refused = matches!(run.outcome, Outcome::Refused { .. });
                assert_eq!(is_refused, number == 0, "only the first effect prepares, and changes nothing");
                assert_eq!(
                    standing(&run),
                    ["api/0 old 100", "api/1 old 100", "api/2 old 100"],
                    "effect {number}"
                );
            }
            // The last effects: verifying is an answer, and a ledger that cannot be written is held.
            outcome => assert!(number >= 12, "effect {number}: {outcome:?}"),
        }
    }
}

#[test]
fn cancel_at_any_moment_brings_back_what_stood() {
    let total = run(&plan_of(&Shape::default()), |_| ()).steps.len() as u64;
    for at in 0..total.saturating_sub(3) {
        let commands = BTreeMap::from([(at, Command::Cancel)]);
        let run = run_with(&plan_of(&Shape::default()), commands, |_| ());
        match &run.outcome {
            Outcome::RolledBack { cause } => {
                assert_eq!(cause.reason, ReasonCode::Cancelled);
                assert_eq!(standing(&run), ["api/0 old 100", "api/1 old 100", "api/2 old 100"], "at {at}");
            }
            outcome => {
                assert!(*outcome == Outcome::Succeeded && at > total - 6, "at {at} of {total}: {outcome:?}")
            }
        }
    }
}

#[test]
fn services_go_in_the_order_of_their_dependencies_and_back_in_reverse() {
    let shape =
        Shape { services: vec!["db", "api"], replicas: 1, from: Some(("old", 1)), ..Shape::default() };
    let mut plan = plan_of(&shape);
    plan.services[1].depends_on = vec!["db".parse().expect("a name")];
    let run = run(&plan, |world| world.verify_passes = false);
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::SmokeFailed));
    let starts: Vec<String> = run
        .steps
        .iter()
        .flat_map(|step| &step.decision.intents)
        .filter(|intent| matches!(intent.action, crate::model::Action::Start { .. }))
        .filter_map(|intent| {
            intent.action.unit().map(|unit| format!("{} {}", unit.service, bundle_word(unit)))
        })
        .collect();
    assert_eq!(starts, ["db new", "api new", "api old", "db old"]);
}

#[test]
fn a_bad_release_that_stands_can_be_replaced_by_a_good_one() {
    let shape = Shape { replicas: 2, ..Shape::default() };
    let plan = plan_of(&shape);
    let mut world = World::new(1_000_000);
    world.rules.push(Rule {
        bundle: Some(bundle("old")),
        slot: None,
        starts_below: None,
        behaviour: Behaviour::ExitsAfter(0),
    });
    let mut world = world.with_previous(&plan);
    let state = State::new(&plan, world.now);
    let (state, _) = simulate(&plan, &mut world, state, &BTreeMap::new(), LIMIT, |_, _, _| ());
    assert_eq!(state.outcome(), Some(&Outcome::Succeeded));
}

#[test]
fn replicas_grow_and_shrink_without_touching_the_rest() {
    for (from, to) in [(2, 4), (4, 2), (1, 3), (3, 0)] {
        let shape = Shape { replicas: to, from: Some(("new", from)), ..Shape::default() };
        let run = run(&plan_of(&shape), |_| ());
        assert_eq!(run.outcome, Outcome::Succeeded);
        assert_eq!(run.world.standing().len(), usize::from(to));
        let acted: usize = run.steps.iter().map(|step| step.decision.intents.len()).sum();
        assert!(acted <= 3 * usize::from(from.abs_diff(to)) + 3, "{from} to {to}: {acted} actions");
    }
}

#[test]
fn an_interrupted_rollout_stops_with_nothing_under_way_and_can_be_taken_up_again() {
    let plan = plan_of(&Shape::default());
    let total = run(&plan, |_| ()).steps.len() as u64;
    for at in 0..total - 3 {
        let mut world = World::new(1_000_000).with_previous(&plan);
        let commands = BTreeMap::from([(at, Command::Interrupt)]);
        let (state, steps) =
            simulate(&plan, &mut world, State::new(&plan, 1_000_000), &commands, LIMIT, |_, _, _| ());
        let last = &steps.last().expect("there is a step").decision;
        assert!(last.leave == Some(Leave::Interrupted) || state.outcome().is_some(), "at {at}");
        assert!(state.flights.is_empty(), "at {at}");
        let (state, _) = simulate(&plan, &mut world, state, &BTreeMap::new(), LIMIT, |_, _, _| ());
        assert_eq!(state.outcome(), Some(&Outcome::Succeeded), "at {at}");
    }
}

#[test]
fn blue_green_switches_once_and_keeps_the_old_side_for_the_bake() {
    let shape = Shape { strategy: Strategy::BlueGreen, bake: 2_000, ..Shape::default() };
    let run = run(&plan_of(&shape), |_| ());
    assert_eq!(run.outcome, Outcome::Succeeded);
    assert_eq!(standing(&run), ["api/0 new 100", "api/1 new 100", "api/2 new 100"]);
    let moment = |verb: &str, word: &str| {
        let mut moments = run.steps.iter().filter(|step| {
            step.decision.intents.iter().any(|intent| {
                let of = intent.action.unit().is_some_and(|unit| bundle_word(unit) == word);
                of && intent.action.verb() == verb
            })
        });
        moments.next().map(|step| step.at).expect("it was asked for")
    };
    let healthy = run
        .steps
        .iter()
        .filter(|step| step.decision.because.iter().any(|reason| matches!(reason, Reason::Healthy { .. })));
    let last_healthy = healthy.map(|step| step.at).max().expect("units became healthy");
    assert!(moment("admit", "new") >= last_healthy, "nobody is admitted before all are healthy");
    assert!(moment("drain", "old") > moment("admit", "new"));
    assert!(moment("stop", "old") >= moment("drain", "old") + 2_000, "the old side is kept for the bake");
}

#[test]
fn blue_green_returns_without_starting_anything() {
    let shape = Shape { strategy: Strategy::BlueGreen, bake: 3_000, ..Shape::default() };
    let run = run(&plan_of(&shape), new_units_are(Behaviour::ExitsAfter(2_500)));
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::Crashed));
    assert_eq!(standing(&run), ["api/0 old 100", "api/1 old 100", "api/2 old 100"]);
    let starts = run.steps.iter().flat_map(|step| &step.decision.intents).filter(
        |intent| matches!(&intent.action, crate::model::Action::Start { unit } if bundle_word(unit) == "old"),
    );
    assert_eq!(starts.count(), 0);
}

fn canary(units: u32, steps: &[u32]) -> Strategy {
    let Strategy::Rolling(rolling) = crate::samples::rolling(1, 0) else { unreachable!("it says rolling") };
    Strategy::Canary(crate::strategy::Canary { units, steps: steps.to_vec(), rolling })
}

#[test]
fn a_canary_takes_a_growing_share_before_anything_else_moves() {
    let shape = Shape { strategy: canary(1, &[10, 50]), replicas: 3, ..Shape::default() };
    let run = run(&plan_of(&shape), |_| ());
    assert_eq!(run.outcome, Outcome::Succeeded);
    let weights: Vec<u16> = run
        .steps
        .iter()
        .flat_map(|step| &step.decision.intents)
        .filter_map(|intent| match &intent.action {
            crate::model::Action::Admit { unit, weight } if unit.slot == 0 => Some(*weight),
            _ => None,
        })
        .collect();
    // Three old units with 100 each: 33 of 333 is a tenth, 300 of 600 a half, and then it is one of many.
    assert_eq!(weights, [33, 300, 100]);
    assert_eq!(standing(&run), ["api/0 new 100", "api/1 new 100", "api/2 new 100"]);
}

#[test]
fn a_canary_that_fails_requests_is_found_out_at_its_first_step() {
    let shape = Shape { strategy: canary(1, &[10, 50]), traffic: true, bake: 5_000, ..Shape::default() };
    let run = run(&plan_of(&shape), |world| {
        new_units_are(Behaviour::FailsRequests(20))(world);
        world.requests_per_second = 50;
    });
    assert_eq!(reason_of(&run.outcome), Some(ReasonCode::ErrorRate));
    assert_eq!(standing(&run), ["api/0 old 100", "api/1 old 100", "api/2 old 100"]);
    let begun = run.steps.iter().flat_map(|step| &step.decision.intents).filter(
        |intent| matches!(&intent.action, crate::model::Action::Start { unit } if bundle_word(unit) == "new"),
    );
    assert_eq!(begun.count(), 1, "one canary, and no more");
}

#[test]
fn a_planned_pause_waits_for_its_promotion_and_for_nothing_else() {
    let mut plan = plan_of(&Shape::default());
    plan.policy.pause_after = [1].into();
    let mut world = World::new(1_000_000).with_previous(&plan);
    let none = BTreeMap::new();
    let (state, steps) =
        simulate(&plan, &mut world, State::new(&plan, 1_000_000), &none, LIMIT, |_, _, _| ());
    assert_eq!(steps.last().and_then(|step| step.decision.leave), Some(Leave::Paused));
    assert!(state.flights.is_empty());
    // Whoever only takes it up again comes to the same pause.
    let (state, steps) = simulate(&plan, &mut world, state, &none, LIMIT, |_, _, _| ());
    assert_eq!(steps.last().and_then(|step| step.decision.leave), Some(Leave::Paused));
    let promote = BTreeMap::from([(0, Command::Promote)]);
    let (promoted, _) = simulate(&plan, &mut world.clone(), state.clone(), &promote, LIMIT, |_, _, _| ());
    assert_eq!(promoted.outcome(), Some(&Outcome::Succeeded));
    let cancel = BTreeMap::from([(0, Command::Cancel)]);
    let (cancelled, _) = simulate(&plan, &mut world, state, &cancel, LIMIT, |_, _, _| ());
    assert!(matches!(cancelled.outcome(), Some(Outcome::RolledBack { .. })));
}

/// What an operator reads of an open rollout, and what is told to do next, hangs on this.
#[test]
fn a_pause_ends_with_the_way_forward() {
    let plan = plan_of(&Shape::default());
    let mut world = World::new(1_000_000).with_previous(&plan);
    // The first new unit has come.
    let commands = BTreeMap::from([(25, Command::Pause)]);
    let (paused, _) =
        simulate(&plan, &mut world, State::new(&plan, 1_000_000), &commands, LIMIT, |_, _, _| ());
    assert!(paused.is_paused(), "{paused:?}");
    let commands = BTreeMap::from([(0, Command::Cancel)]);
    let mut on_the_way_back = 0;
    simulate(&plan, &mut world, paused.clone(), &commands, LIMIT, |_, state, _| {
        if matches!(state.phase, Phase::Back { .. }) {
            on_the_way_back += 1;
            assert!(!state.is_paused(), "{state:?}");
        }
    });
    assert!(on_the_way_back > 0);
    let commands = BTreeMap::from([(0, Command::Hold)]);
    let (mut held, _) = simulate(&plan, &mut world, paused, &commands, LIMIT, |_, _, _| ());
    held.reopen();
    assert!(!held.is_paused(), "{held:?}");
}
