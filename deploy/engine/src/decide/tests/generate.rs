//! Random environments, faults, commands, crashes and takeovers. Every part shrinks towards nothing happening.

use super::script::{EFFECT_TAKES, Event, Script, When};
use crate::{
    model::HookMoment,
    plan::OnFailure,
    samples::{Shape, WaveShape, bundle, rolling, rolling_by},
    state::Command,
    strategy::{BatchSize, Strategy as Replacement},
    world::{Behaviour, EffectFault, Rule},
};
use proptest::{prelude::*, strategy::Strategy};
use std::collections::BTreeMap;

pub(super) fn scripts() -> impl Strategy<Value = Script> {
    let reopens = prop_oneof![4 => Just(0u32), 1 => 1..3u32];
    let gates = (prop::bool::weighted(0.75), failing_hooks(), prop::bool::weighted(0.15));
    let effect_takes = prop_oneof![3 => Just(EFFECT_TAKES), 1 => 0..2_500u64];
    (shapes(), rules(), effect_faults(), events(), gates, reopens, effect_takes).prop_map(
        |(shape, rules, faults, events, (verify, failing_hooks, migrations_fail), reopens, effect_takes)| {
            Script {
                shape,
                rules,
                faults,
                events,
                verify,
                reopens,
                failing_hooks,
                migrations_fail,
                effect_takes,
            }
        },
    )
}

fn behaviours() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => (0..1_500u64).prop_map(Behaviour::Good),
        2 => (0..6_000u64).prop_map(Behaviour::ExitsAfter),
        1 => (0..6_000u64).prop_map(Behaviour::OutOfMemoryAfter),
        1 => Just(Behaviour::NeverReady),
        1 => Just(Behaviour::Hangs),
        2 => (100..2_000u64).prop_map(Behaviour::Flaps),
        1 => Just(Behaviour::WrongRelease),
        1 => Just(Behaviour::WrongPort),
        1 => (0..40u64).prop_map(Behaviour::FailsRequests),
        1 => Just(Behaviour::Unprobeable),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let starts = prop_oneof![1 => Just(None), 3 => (1..3u32).prop_map(Some)];
    let rule = (prop::bool::weighted(0.7), prop::option::of(0..4u16), starts, behaviours());
    let rule = rule.prop_map(|(new, slot, starts_below, behaviour)| Rule {
        bundle: Some(bundle(if new { "new" } else { "old" })),
        slot,
        starts_below,
        behaviour,
    });
    prop::collection::vec(rule, 0..4)
}

fn replacements() -> impl Strategy<Value = Replacement> {
    let halves = || vec![BatchSize::Percent(50), BatchSize::Percent(100)];
    prop_oneof![
        3 => (1..3u32, 0..3u32).prop_map(|(surge, unavailable)| rolling(surge, unavailable)),
        1 => (1..3u32).prop_map(|unavailable| rolling(0, unavailable)),
        1 => (0..3u32, 1..3u32).prop_map(move |(surge, unavailable)| rolling_by(halves(), surge, unavailable)),
        1 => (1..4u32).prop_map(|surge| rolling_by(Vec::new(), surge, 0)),
        1 => Just(Replacement::Recreate),
        2 => Just(Replacement::BlueGreen),
        2 => (1..3u32, prop::sample::subsequence(vec![5u32, 25, 50], 1..=3)).prop_map(|(units, steps)| {
            let Replacement::Rolling(rolling) = rolling(1, 0) else { unreachable!("it says rolling") };
            Replacement::Canary(crate::strategy::Canary { units, steps, rolling })
        }),
    ]
}

fn failing_hooks() -> impl Strategy<Value = Vec<HookMoment>> {
    use HookMoment::{AfterDeploy, BeforeDeploy, OnFailure, OnRollback};
    prop::collection::vec(prop::sample::select(vec![AfterDeploy, BeforeDeploy, OnFailure, OnRollback]), 0..2)
}

/// Each target a wave of its own, or the first before the rest.
fn waves() -> impl Strategy<Value = Option<(bool, Vec<WaveShape>)>> {
    let limit = prop::option::weighted(0.4, 0..2u32);
    let wave = (0..2_000u64, limit, prop::bool::weighted(0.2)).prop_map(|(soak, failure_limit, pause)| {
        WaveShape { targets: Vec::new(), soak, failure_limit, pause }
    });
    prop::option::weighted(0.6, (any::<bool>(), prop::collection::vec(wave, 3)))
}

fn waves_over(targets: &[&'static str], shapes: Option<(bool, Vec<WaveShape>)>) -> Vec<WaveShape> {
    let Some((each, shapes)) = shapes else { return Vec::new() };
    let groups = match targets {
        [first, rest @ ..] if !each && !rest.is_empty() => vec![vec![*first], rest.to_vec()],
        _ => targets.iter().map(|target| vec![*target]).collect(),
    };
    let last = groups.len() - 1;
    let wave = |(index, (targets, shape)): (usize, (Vec<&'static str>, WaveShape))| WaveShape {
        targets,
        pause: shape.pause && index < last,
        ..shape
    };
    groups.into_iter().zip(shapes).enumerate().map(wave).collect()
}

fn shapes() -> impl Strategy<Value = Shape> {
    let froms = prop_oneof![
        5 => (1..5u16).prop_map(|replicas| Some(("old", replicas))),
        1 => Just(None),
        1 => (1..5u16).prop_map(|replicas| Some(("new", replicas))),
    ];
    let size = (1..3usize, 1..4usize, prop_oneof![1 => Just(0u16), 9 => 1..5u16], froms);
    let policy = (replacements(), 0..4u32, prop::bool::weighted(0.2), 0..3_000u64);
    let switches = (any::<(bool, bool, bool)>(), prop::bool::weighted(0.1));
    let once = [0.3, 0.2, 0.08].map(prop::bool::weighted);
    (size, policy, switches, waves(), once).prop_map(|(size, policy, switches, waves, once)| {
        let ((synthetic, traffic, chained), takes_away) = switches;
        let [hooks, migrates, irreversible] = once;
        let (services, targets, replicas, from) = size;
        let (strategy, failure_limit, hold, bake) = policy;
        let targets = ["east", "west", "north"][..targets].to_vec();
        Shape {
            services: ["api", "mcp"][..services].to_vec(),
            waves: waves_over(&targets, waves),
            targets,
            hooks,
            migrates,
            irreversible,
            replicas,
            from,
            strategy,
            failure_limit,
            on_failure: if hold { OnFailure::Hold } else { OnFailure::RollBack },
            bake,
            synthetic,
            traffic,
            chained,
            takes_away,
        }
    })
}

fn effect_faults() -> impl Strategy<Value = BTreeMap<u64, EffectFault>> {
    let faults = [EffectFault::FailsBefore, EffectFault::FailsAfter, EffectFault::FailsForGood];
    prop::collection::btree_map(0..40u64, prop::sample::select(faults.to_vec()), 0..3)
}

fn events() -> impl Strategy<Value = Vec<(When, Event)>> {
    let when = prop_oneof![2 => (0..12_000u64).prop_map(When::At), 1 => (0..2_000u64).prop_map(When::Back)];
    let event = prop_oneof![
        3 => (0..12usize).prop_map(Event::Kill),
        1 => prop_oneof![(0..5_000u64), (0..600_000u64)].prop_map(Event::Jump),
        2 => (0..2usize, prop_oneof![0..3_000u64, 0..120_000u64])
            .prop_map(|(target, lasts)| Event::Outage(target, lasts)),
        2 => prop_oneof![0..3_000u64, 0..30_000u64].prop_map(Event::Silence),
        3 => Just(Event::Command(Command::Cancel)),
        2 => Just(Event::Command(Command::Pause)),
        1 => Just(Event::Command(Command::Hold)),
        1 => Just(Event::Command(Command::Interrupt)),
        3 => Just(Event::Crash),
        3 => Just(Event::Usurp),
    ];
    prop::collection::vec((when, event), 0..5)
}
