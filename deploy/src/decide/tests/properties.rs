//! Random fleets, faults, commands and crashes: the laws hold in all of them, and every rollout ends.

use super::{
    laws::Laws,
    setup::{Shape, bundle, plan_of, rolling},
};
use crate::{
    plan::{OnFailure, Plan},
    state::{Command, State},
    strategy::Strategy as Replacement,
    world::{Behaviour, EffectFault, Rule, World, simulate},
};
use proptest::{prelude::*, strategy::Strategy};
use std::collections::BTreeMap;

fn behaviours() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        6 => (0..1_500u64).prop_map(Behaviour::Good),
        1 => (0..6_000u64).prop_map(Behaviour::ExitsAfter),
        1 => (0..6_000u64).prop_map(Behaviour::OutOfMemoryAfter),
        1 => Just(Behaviour::NeverReady),
        1 => Just(Behaviour::Hangs),
        1 => (100..2_000u64).prop_map(Behaviour::Flaps),
        1 => Just(Behaviour::WrongRelease),
        1 => Just(Behaviour::WrongPort),
        1 => (0..40u64).prop_map(Behaviour::FailsRequests),
        1 => Just(Behaviour::Unprobeable),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (any::<bool>(), prop::option::of(0..4u16), prop::option::of(1..3u32), behaviours());
    let rule = rule.prop_map(|(new, slot, starts_below, behaviour)| Rule {
        bundle: Some(bundle(if new { "new" } else { "old" })),
        slot,
        starts_below,
        behaviour,
    });
    prop::collection::vec(rule, 0..4)
}

fn shapes() -> impl Strategy<Value = Shape> {
    let strategies = prop_oneof![
        3 => (1..3u32, 0..3u32).prop_map(|(surge, unavailable)| rolling(surge, unavailable)),
        1 => (1..3u32).prop_map(|unavailable| rolling(0, unavailable)),
        1 => Just(Replacement::Recreate),
        2 => Just(Replacement::BlueGreen),
        2 => (1..3u32, prop::sample::subsequence(vec![5u32, 25, 50], 1..=3)).prop_map(|(units, steps)| {
            let Replacement::Rolling(rolling) = rolling(1, 0) else { unreachable!("it says rolling") };
            Replacement::Canary(crate::strategy::Canary { units, steps, rolling })
        }),
    ];
    let froms = prop_oneof![
        4 => (1..5u16).prop_map(|replicas| Some(("old", replicas))),
        1 => Just(None),
        1 => (1..5u16).prop_map(|replicas| Some(("new", replicas))),
    ];
    (
        1..3usize,
        1..3usize,
        0..5u16,
        froms,
        strategies,
        0..3u32,
        any::<bool>(),
        0..3_000u64,
        any::<(bool, bool)>(),
    )
        .prop_map(|(services, targets, replicas, from, strategy, failure_limit, hold, bake, gates)| {
            Shape {
                services: ["api", "mcp"][..services].to_vec(),
                targets: ["east", "west"][..targets].to_vec(),
                replicas,
                from,
                strategy,
                failure_limit,
                on_failure: if hold { OnFailure::Hold } else { OnFailure::RollBack },
                bake,
                synthetic: gates.0,
                traffic: gates.1,
            }
        })
}

fn effect_faults() -> impl Strategy<Value = BTreeMap<u64, EffectFault>> {
    let faults = [EffectFault::FailsBefore, EffectFault::FailsAfter, EffectFault::FailsForGood];
    prop::collection::btree_map(0..40u64, prop::sample::select(faults.to_vec()), 0..4)
}

fn commands() -> impl Strategy<Value = BTreeMap<u64, Command>> {
    prop::collection::btree_map(0..200u64, prop::sample::select(vec![Command::Cancel, Command::Hold]), 0..2)
}

/// Three hours: above the sum of all deadlines of the largest shape, so that a rollout that takes longer hangs.
const LIMIT: u64 = 3 * 60 * 60 * 1_000;

fn world_of(plan: &Plan, rules: Vec<Rule>, faults: BTreeMap<u64, EffectFault>, verify: bool) -> World {
    let mut world = World::new(1_000_000);
    world.rules = rules;
    world.effect_faults = faults;
    world.verify_passes = verify;
    world.requests_per_second = 40;
    world.with_previous(plan)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_rollout_ends_and_keeps_the_laws(
        shape in shapes(), rules in rules(), faults in effect_faults(), commands in commands(), verify in any::<bool>(),
    ) {
        let plan = plan_of(&shape);
        let mut world = world_of(&plan, rules, faults, verify);
        let state = State::new(&plan, world.now);
        let mut laws = Laws::new(&plan);
        let (state, steps) = simulate(&plan, &mut world, state, &commands, LIMIT, |world, state, decision| {
            laws.watch(world, state, decision);
        });
        prop_assert!(state.outcome().is_some(), "never ended: {:?} after {} steps", state, steps.len());
        prop_assert_eq!(laws.broken(&world), Vec::<String>::new());
    }

    #[test]
    fn a_rollout_that_crashes_and_is_taken_up_again_ends_and_keeps_the_laws(
        shape in shapes(), rules in rules(), crashes in prop::collection::vec(1..6_000u64, 1..5), verify in any::<bool>(),
    ) {
        let plan = plan_of(&shape);
        let mut world = world_of(&plan, rules, BTreeMap::new(), verify);
        let mut state = State::new(&plan, world.now);
        let mut laws = Laws::new(&plan);
        for limit in crashes.into_iter().chain([LIMIT]) {
            if state.outcome().is_none() {
                (state, _) = simulate(&plan, &mut world, state, &BTreeMap::new(), limit, |world, state, decision| {
                    laws.watch(world, state, decision);
                });
                if state.outcome().is_none() {
                    world.crash();
                }
            }
        }
        prop_assert!(state.outcome().is_some(), "never ended: {:?}", state);
        prop_assert_eq!(laws.broken(&world), Vec::<String>::new());
    }

    #[test]
    fn a_decision_is_the_same_for_the_same_inputs(shape in shapes(), rules in rules()) {
        let plan = plan_of(&shape);
        let mut world = world_of(&plan, rules, BTreeMap::new(), true);
        let state = State::new(&plan, world.now);
        let seen = world.observe(&plan, 100);
        prop_assert_eq!(super::decide(&plan, &state, &seen), super::decide(&plan, &state, &seen));
    }
}
