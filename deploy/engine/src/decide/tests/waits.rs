//! What is told of a wait: an operator who looks at a rollout that stands still reads it, and until when at most.

use super::{moment::*, *};
use crate::{
    check::{Answer, Health},
    port::EffectError,
    samples::WaveShape,
};

/// Everything that is waited for, in words, with the milliseconds that it may still take.
fn waits(moment: &mut Moment) -> Vec<(String, Option<u64>)> {
    let now = moment.seen.now;
    let decision = moment.decide(0);
    decision.waiting.into_iter().map(|wait| (wait.for_what, wait.until.map(|until| until - now))).collect()
}

/// While bundles are brought, units stay where they are.
fn at_rest() -> Moment {
    let mut moment = Moment::forward(&Shape { from: None, ..Shape::default() });
    moment.state.phase = Phase::Preparing;
    moment
}

#[test]
fn a_wait_for_a_unit_is_told_with_its_deadline() {
    let begun = |moment: &mut Moment, step| {
        let unit = unit("new", "local", 0);
        let track = Track { step, since: NOW - 400, attempts: 0, not_before: 0, given_up: false };
        let service = moment.state.services.get_mut(&unit.service).expect("it is planned");
        service.units.insert(unit.clone(), track);
        unit
    };
    let table = [
        (Step::Waiting, Some(("healthy: 1 of 3 passes in a row, 0 ms of 500 ms", Some(4_600)))),
        (Step::Judging, Some(("the synthetic requests", None))),
        (Step::Ready, Some(("the other units to be healthy too", None))),
        (Step::Admitting, Some(("admitted to traffic", None))),
        (Step::Serving, None),
        (Step::Draining, Some(("drained: 7 in flight", Some(1_600)))),
        (Step::Drained, None),
        (Step::Stopping, Some(("stopped", Some(600)))),
    ];
    for (step, expected) in table {
        let mut moment = at_rest().with("new", "local", 0, step);
        let unit = begun(&mut moment, step);
        let (facts, health) = moment.seen.units.get_mut(&unit).expect("it stands");
        facts.in_flight = 7;
        *health = Health::default().with(NOW, Answer::Pass);
        let expected = expected.map(|(words, until): (&str, _)| (words.to_owned(), until));
        let expected: Vec<_> = expected.into_iter().chain([("prepare".to_owned(), None)]).collect();
        assert_eq!(waits(&mut moment), expected, "{step:?}");
    }
    // What is to be started is not there yet.
    let mut moment = at_rest();
    begun(&mut moment, Step::Starting);
    assert_eq!(waits(&mut moment)[0], ("started".to_owned(), None));
}

#[test]
fn a_bake_is_told_until_it_is_over() {
    let prepare = ("prepare".to_owned(), None);
    let api = "api".parse().expect("a name");
    for (since, done, expected) in [
        (200, false, Some(("the bake, 300 ms more", 300))),
        (499, false, Some(("the bake, 1 ms more", 1))),
        (500, false, None),
        (501, false, None),
        (200, true, None),
    ] {
        let mut moment = at_rest();
        let service = moment.state.services.get_mut(&api).expect("it is planned");
        (service.baking_since, service.done) = (Some(NOW - since), done);
        let expected = expected.map(|(words, until)| (words.to_owned(), Some(until)));
        let expected: Vec<_> = expected.into_iter().chain([prepare.clone()]).collect();
        assert_eq!(waits(&mut moment), expected, "since {since} ms, done: {done}");
    }
}

/// The longest time without progress is for what should move; a watch has a length of its own.
#[test]
fn a_soak_may_be_longer_than_the_progress_deadline() {
    let wave = WaveShape { targets: vec!["local"], soak: 90_000, ..WaveShape::default() };
    let plan = plan_of(&Shape { waves: vec![wave], ..Shape::default() });
    assert!(plan.waves[0].soak > plan.policy.progress_deadline);
    assert_eq!(run(&plan, |_| ()).outcome, Outcome::Succeeded);
}

/// What is under way has a deadline of its own: a large bundle is brought for as long as that takes.
#[test]
fn what_is_under_way_may_take_longer_than_the_progress_deadline() {
    let plan = plan_of(&Shape::default());
    let takes = plan.policy.progress_deadline + 10_000;
    assert_eq!(run(&plan, |world| world.effect_takes = takes).outcome, Outcome::Succeeded);
}

#[test]
fn an_interrupted_rollout_is_left_and_does_not_fail_for_what_it_no_longer_waits_for() {
    let mut moment = Moment::forward(&Shape { from: None, ..Shape::default() });
    let deadline = moment.plan.policy.progress_deadline;
    assert_eq!(asked(&moment.decide(deadline)), ["start local/0 new"]);
    moment.hears(Err(EffectError::Passing { message: "the target is busy".to_owned() }));
    moment.seen.commands.push(Command::Interrupt);
    let decision = moment.decide(0);
    assert_eq!(decision.leave, Some(Leave::Interrupted));
    assert_eq!(decision.next.phase, Phase::Forward);
}
