//! A pause that is asked for in the midst of a replacement: what stands while it waits to be promoted.

use super::*;
use crate::{
    samples::{rolling, rolling_by},
    strategy::BatchSize,
};

/// What stands when a rollout waits after a pause that was asked for at each of its observations.
fn standing_at_pauses(strategy: Strategy) -> Vec<Vec<String>> {
    let plan = plan_of(&Shape { strategy, ..Shape::default() });
    let total = run(&plan, |_| ()).steps.len() as u64;
    let paused_at = |at| {
        let mut world = World::new(1_000_000).with_previous(&plan);
        let commands = BTreeMap::from([(at, Command::Pause)]);
        let (state, steps) =
            simulate(&plan, &mut world, State::new(&plan, 1_000_000), &commands, LIMIT, |_, _, _| ());
        let leave = steps.last().and_then(|step| step.decision.leave);
        assert!(leave == Some(Leave::Paused) || state.outcome() == Some(&Outcome::Succeeded), "at {at}");
        leave.map(|_| {
            let units = world.standing();
            units.iter().map(|(unit, weight)| format!("{} {weight}", bundle_word(unit))).collect()
        })
    };
    (0..total).filter_map(paused_at).collect()
}

#[test]
fn a_recreated_service_pauses_before_its_outage_or_after_it() {
    let pauses = standing_at_pauses(Strategy::Recreate);
    let count = |word: &str| pauses.iter().filter(|standing| **standing == [word; 3]).count();
    let (before, after) = (count("old 100"), count("new 100"));
    assert!(before > 0 && after > 1, "{pauses:?}");
    assert_eq!(before + after, pauses.len(), "{pauses:?}");
}

#[test]
fn units_that_come_first_leave_no_more_than_are_planned_when_they_pause() {
    let pauses = standing_at_pauses(rolling(1, 0));
    assert!(pauses.iter().all(|standing| standing.len() == 3), "{pauses:?}");
    let mixed = pauses.iter().filter(|standing| standing.contains(&"new 100".to_owned())).count();
    assert!(mixed > 1, "{pauses:?}");
}

#[test]
fn units_that_leave_first_are_replaced_before_they_pause() {
    let pauses = standing_at_pauses(rolling(0, 1));
    assert!(pauses.iter().all(|standing| standing.len() == 3), "{pauses:?}");
    let mixed = pauses.iter().filter(|standing| standing.contains(&"new 100".to_owned())).count();
    assert!(mixed > 1, "{pauses:?}");
}

/// Who pauses wants to see no unit more of the new release, however far its batch had come.
#[test]
fn where_units_come_first_nothing_is_begun_after_a_pause() {
    for strategy in [rolling(1, 0), rolling_by(vec![BatchSize::Percent(100)], 1, 0), canary(2, &[10, 50])] {
        let plan = plan_of(&Shape { strategy, ..Shape::default() });
        for at in 0..run(&plan, |_| ()).steps.len() as u64 {
            let mut world = World::new(1_000_000).with_previous(&plan);
            let commands = BTreeMap::from([(at, Command::Pause)]);
            let (_, steps) =
                simulate(&plan, &mut world, State::new(&plan, 1_000_000), &commands, LIMIT, |_, _, _| ());
            let after = steps.iter().skip(at as usize).flat_map(|step| &step.decision.intents);
            let begun: Vec<_> =
                after.filter(|i| matches!(i.action, crate::model::Action::Start { .. })).collect();
            assert!(begun.is_empty(), "at {at}: {begun:?}");
        }
    }
}

#[test]
fn a_planned_pause_tells_after_which_batch_it_is() {
    let mut plan = plan_of(&Shape::default());
    plan.policy.pause_after = [1].into();
    let mut world = World::new(1_000_000).with_previous(&plan);
    let (_, steps) =
        simulate(&plan, &mut world, State::new(&plan, 1_000_000), &BTreeMap::new(), LIMIT, |_, _, _| ());
    let told: Vec<&Reason> = steps
        .iter()
        .flat_map(|step| &step.decision.because)
        .filter(|reason| matches!(reason, Reason::Paused { .. }))
        .collect();
    let service = "api".parse().expect("a name");
    assert_eq!(told, [&Reason::Paused { service, batch: 1, batches: 2 }]);
}
