//! Single decisions at moments that are made by hand.

use super::{moment::*, *};
use crate::{
    check::Health,
    model::{Action, HookMoment, Intent, IntentId},
    port::{EffectError, GateResult},
    samples::{WaveShape, rolling},
    state::{Effect, Errand, Flight, Pause},
};
use pipeline::name::Name;

/// A container that was removed by hand, a process that the machine lost with a restart of its supervisor.
#[test]
fn a_new_unit_that_vanishes_is_replaced_and_counts_as_killed() {
    for (failure_limit, replaced) in [(1, true), (0, false)] {
        let mut moment = Moment::forward(&Shape { failure_limit, ..Shape::default() })
            .with("new", "local", 0, Step::Serving)
            .with("old", "local", 1, Step::Serving)
            .with("old", "local", 2, Step::Serving);
        moment.vanishes(&unit("new", "local", 0));
        let decision = moment.decide(0);
        let failures: Vec<_> = decision.next.failures.iter().map(|f| (f.reason, f.unit.clone())).collect();
        assert_eq!(failures, [(ReasonCode::Killed, Some(unit("new", "local", 0)))]);
        let expected = if replaced { "start local/0 new" } else { "collect" };
        assert_eq!(asked(&decision), [expected]);
    }
}

#[test]
fn an_old_unit_that_vanishes_is_known_to_be_gone_and_counts_as_nothing() {
    let mut moment = Moment::forward(&Shape::default()).with_three("old");
    moment.vanishes(&unit("old", "local", 1));
    let decision = moment.decide(0);
    assert_eq!(moment.step(&unit("old", "local", 1)), Step::Gone);
    assert_eq!(decision.next.failures, []);
    // Its place is the first to be filled.
    assert_eq!(asked(&decision), ["start local/1 new"]);
}

/// Where units leave before others come, a pause fills the places that the rollout made free, and no others.
fn paused_without_surge() -> Moment {
    let mut moment =
        Moment::forward(&Shape { strategy: rolling(0, 1), ..Shape::default() }).with_three("old");
    moment.state.pause = Pause::Asked;
    moment
}

#[test]
fn a_place_that_the_rollout_made_free_is_filled_although_it_pauses() {
    let mut moment = paused_without_surge().with("old", "local", 1, Step::Stopping);
    assert_eq!(asked(&moment.decide(100)), ["stop local/1 old"]);
    moment.hears(Ok(Effect::Done));
    moment.vanishes(&unit("old", "local", 1));
    assert_eq!(asked(&moment.decide(0)), ["start local/1 new"]);
}

#[test]
fn the_place_of_a_unit_that_vanished_is_not_filled_while_the_rollout_pauses() {
    let mut moment = paused_without_surge();
    moment.vanishes(&unit("old", "local", 1));
    assert_eq!(asked(&moment.decide(100)), [""; 0]);
    assert_eq!(moment.step(&unit("old", "local", 1)), Step::Gone);
    assert_eq!(moment.state.pause, Pause::Reached);
    // Whoever promotes it begins there.
    moment.seen.commands.push(Command::Promote);
    assert_eq!(asked(&moment.decide(0)), ["start local/1 new"]);
}

#[test]
fn the_place_of_a_unit_that_was_killed_is_not_filled_while_the_rollout_pauses() {
    let mut moment = paused_without_surge();
    moment.is_killed(&unit("old", "local", 1));
    assert_eq!(asked(&moment.decide(100)), ["stop local/1 old"]);
    moment.hears(Ok(Effect::Done));
    moment.vanishes(&unit("old", "local", 1));
    assert_eq!(asked(&moment.decide(0)), [""; 0]);
    assert_eq!(moment.state.pause, Pause::Reached);
}

/// A test runner that found no tests exits well all the same.
#[test]
fn smoke_tests_of_which_none_was_run_hold_the_rollout() {
    let mut moment = Moment::forward(&Shape::default()).with_three("new");
    moment.state.phase = Phase::Verifying;
    assert_eq!(asked(&moment.decide(100)), ["verify"]);
    let none = GateResult { samples: 0, errors: 0, slow: 0, excerpt: Vec::new() };
    moment.hears(Ok(Effect::Gate(none)));
    moment.decide(0);
    let Phase::Collecting { cause, hold: true } = &moment.state.phase else {
        panic!("not held: {:?}", moment.state.phase)
    };
    assert_eq!(cause.reason, ReasonCode::NoEvidence);
}

/// The way back needs the stable port where it was; whatever is in its way may go.
#[test]
fn a_port_that_cannot_be_moved_back_is_tried_again_after_eight_seconds() {
    let mut moment = Moment::forward(&Shape::default()).with_three("new");
    if let Some(from) = &mut moment.plan.services[0].from {
        from.port = 9_000;
    }
    moment.state.phase = Phase::Back { cause: cause(ReasonCode::Cancelled) };
    assert_eq!(asked(&moment.decide(0)), ["prepare"]);
    let message = "the port is taken".to_owned();
    moment.hears(Err(EffectError::Terminal { reason: ReasonCode::PrepareFailed, message }));
    assert_eq!(asked(&moment.decide(7_999)), [""; 0]);
    assert_eq!(asked(&moment.decide(1)), [""; 0]);
    assert_eq!(asked(&moment.decide(0)), ["prepare"]);
    assert!(matches!(moment.state.phase, Phase::Back { .. }));
}

/// A wave of its own for each of two targets, with so many units on each.
fn two_waves(replicas: u16) -> Moment {
    let wave = |target| WaveShape { targets: vec![target], ..WaveShape::default() };
    Moment::forward(&Shape {
        targets: vec!["east", "west"],
        replicas,
        from: Some(("old", replicas)),
        waves: vec![wave("east"), wave("west")],
        ..Shape::default()
    })
}

/// The first wave is being brought; one old unit on each target.
fn before_the_second_wave(old: Step) -> Moment {
    two_waves(1)
        .with("old", "east", 0, Step::Serving)
        .with("new", "east", 0, Step::Waiting)
        .with("old", "west", 0, old)
}

fn asked_on(target: &str, decision: &Decision) -> Vec<String> {
    asked(decision).into_iter().filter(|action| action.contains(target)).collect()
}

fn ailments(unit: &UnitId, count: usize) -> Vec<Failure> {
    vec![Failure { unit: Some(unit.clone()), ..cause(ReasonCode::Killed) }; count]
}

/// What has failed three times ahead of its wave is left as it is, and with it what its operator would look at.
#[test]
fn what_is_not_started_again_ahead_of_its_wave_keeps_its_process() {
    for (ailed, expected) in [(2, &["stop west/0 old"][..]), (3, &[])] {
        let failed = unit("old", "west", 0);
        let mut moment = before_the_second_wave(Step::Broken(ReasonCode::Killed));
        moment.is_killed(&failed);
        moment.state.ailments = ailments(&failed, ailed);
        assert_eq!(asked_on("west", &moment.decide(0)), expected, "after {ailed} failures");
    }
}

#[test]
fn what_vanishes_ahead_of_its_wave_is_started_again_but_not_a_third_time() {
    for (ailed, expected) in [(1, &["start west/0 old"][..]), (2, &[])] {
        let failed = unit("old", "west", 0);
        let mut moment = before_the_second_wave(Step::Serving);
        moment.vanishes(&failed);
        moment.state.ailments = ailments(&failed, ailed);
        let decision = moment.decide(0);
        assert_eq!(asked_on("west", &decision), expected, "after {ailed} failures before");
        assert_eq!(decision.next.failures, [], "it says nothing of the new release");
    }
}

/// Another executor has taken over: whatever this one would begin now is no longer its own.
#[test]
fn an_executor_that_is_refused_asks_for_nothing_more() {
    let mut moment = Moment::forward(&Shape { from: None, ..Shape::default() });
    assert_eq!(asked(&moment.decide(100)), ["start local/0 new"]);
    moment.hears(Err(EffectError::Fenced { generation: 7 }));
    let decision = moment.decide(100);
    assert_eq!(asked(&decision), [""; 0]);
    assert_eq!(decision.leave, Some(Leave::Lost { generation: 7 }));
}

/// The bounds are those of the wave, and those of the whole service too.
#[test]
fn nobody_leaves_a_wave_while_another_one_is_short_of_a_unit() {
    for (is_short, expected) in [(false, Step::Draining), (true, Step::Serving)] {
        let mut moment = two_waves(2)
            .with("new", "east", 0, Step::Serving)
            .with("old", "east", 0, Step::Serving)
            .with("old", "east", 1, Step::Serving)
            .with("old", "west", 0, Step::Serving)
            .with("old", "west", 1, Step::Serving);
        if is_short {
            moment.is_killed(&unit("old", "west", 1));
        }
        moment.decide(0);
        assert_eq!(moment.step(&unit("old", "east", 0)), expected, "the other wave is short: {is_short}");
    }
}

#[test]
fn nobody_comes_to_a_wave_while_another_one_has_a_unit_too_many() {
    for (is_over, expected) in [(false, &["start west/0 new"][..]), (true, &[])] {
        let mut moment = two_waves(2)
            .with("new", "east", 0, Step::Serving)
            .with("new", "east", 1, Step::Serving)
            .with("old", "west", 0, Step::Serving)
            .with("old", "west", 1, Step::Serving);
        if is_over {
            moment = moment.with("old", "east", 1, Step::Serving);
        }
        moment.state.wave.index = 1;
        let decision = moment.decide(0);
        assert_eq!(asked_on("west", &decision), expected, "the other wave has too many: {is_over}");
    }
}

/// A unit is being given its share, and is not taken away before that has ended.
fn is_being_admitted(moment: &mut Moment, unit: UnitId) {
    let intent = Intent { id: IntentId(1), action: Action::Admit { unit, weight: 50 } };
    moment.state.flights.insert(intent.id, Flight { intent, since: NOW });
}

/// The first wave has one unit more than it wants, which cannot be taken away yet; the second one has begun.
fn in_the_second_wave_beside_a_surplus() -> Moment {
    let mut moment = two_waves(2)
        .with("new", "east", 0, Step::Serving)
        .with("new", "east", 1, Step::Serving)
        .with("old", "east", 1, Step::Serving)
        .with("new", "west", 0, Step::Serving);
    moment.state.wave.index = 1;
    is_being_admitted(&mut moment, unit("old", "east", 1));
    moment
}

/// Units that are too many in one wave do not make up for those that another one must keep.
#[test]
fn nobody_leaves_a_wave_that_has_none_to_spare_although_another_one_has() {
    for (has_one_to_spare, expected) in [(true, Step::Draining), (false, Step::Serving)] {
        let mut moment = in_the_second_wave_beside_a_surplus().with("old", "west", 1, Step::Serving);
        if has_one_to_spare {
            moment = moment.with("new", "west", 1, Step::Serving);
        }
        moment.decide(0);
        assert_eq!(moment.step(&unit("old", "west", 1)), expected, "one to spare: {has_one_to_spare}");
    }
}

/// A target that the environment has no more: what stands there goes, also where there is one wave.
#[test]
fn a_unit_on_a_target_that_the_service_has_no_more_goes() {
    let wave = WaveShape { targets: vec!["local"], ..WaveShape::default() };
    for waves in [vec![], vec![wave]] {
        let shape = Shape { waves, ..Shape::default() };
        let mut moment = Moment::forward(&shape).with_three("new").with("old", "elsewhere", 0, Step::Serving);
        moment.decide(0);
        assert_eq!(moment.step(&unit("old", "elsewhere", 0)), Step::Draining);
    }
}

/// It may have come round meanwhile, and the request would arrive when it is back.
#[test]
fn nothing_is_asked_of_what_is_ahead_of_its_wave_and_out_of_sight() {
    for (out_of_sight, expected) in [(false, &["stop west/0 old"][..]), (true, &[])] {
        let mut moment = before_the_second_wave(Step::Stopping);
        if out_of_sight {
            moment.seen.unreachable.insert("west".parse().expect("a name"));
        }
        assert_eq!(asked_on("west", &moment.decide(0)), expected, "out of sight: {out_of_sight}");
    }
}

/// Only while units are moved, or evidence of a failure is collected: what is left from before that stays as it is.
#[test]
fn nobody_is_drained_while_the_whole_is_verified() {
    let evidence = Phase::Collecting { cause: cause(ReasonCode::Cancelled), hold: false };
    for (phase, expected) in
        [(Phase::Verifying, &["verify"][..]), (evidence, &["drain local/1 old", "collect"])]
    {
        let mut moment =
            Moment::forward(&Shape::default()).with_three("new").with("old", "local", 1, Step::Draining);
        moment.state.phase = phase;
        assert_eq!(asked(&moment.decide(0)), expected);
    }
}

/// An executor that has just taken over knows nothing of a canary yet: it may give it less of the traffic, and not more.
#[test]
fn a_canary_that_has_not_answered_yet_is_given_less_of_the_traffic_and_not_more() {
    for (is, expected) in [(60, &["admit local/0 new"][..]), (20, &[])] {
        let shape = Shape { strategy: canary(1, &[10, 50]), ..Shape::default() };
        let mut moment = Moment::forward(&shape).with_three("old").with("new", "local", 0, Step::Serving);
        let (facts, health) = moment.seen.units.get_mut(&unit("new", "local", 0)).expect("it stands");
        (facts.weight, *health) = (is, Health::default());
        assert_eq!(asked(&moment.decide(0)), expected, "of 33 it has {is}");
    }
}

/// What was to leave its wave when the wave had enough stays when it no longer has, whatever others have.
#[test]
fn a_drain_is_not_asked_for_again_where_its_wave_has_become_short() {
    for (is_short, expected) in [(false, &["drain west/0 old"][..]), (true, &[])] {
        let mut moment = in_the_second_wave_beside_a_surplus().with("old", "west", 0, Step::Draining).with(
            "old",
            "west",
            1,
            Step::Serving,
        );
        // The router has not heard of it yet.
        moment.seen.units.get_mut(&unit("old", "west", 0)).expect("it stands").0.weight = 100;
        if is_short {
            moment.is_killed(&unit("old", "west", 1));
        }
        let drains = asked_on("west", &moment.decide(0));
        let drains: Vec<_> = drains.into_iter().filter(|action| action.starts_with("drain")).collect();
        assert_eq!(drains, expected, "it has become short: {is_short}");
    }
}

/// A unit fails while the whole is verified, and the budget allows it: the gates are run anew once it is replaced, and
/// nothing else is.
#[test]
fn what_was_verified_before_a_unit_failed_is_verified_again() {
    let mut moment =
        Moment::forward(&Shape { failure_limit: 1, hooks: true, ..Shape::default() }).with_three("new");
    moment.state.phase = Phase::Verifying;
    let (service, target): (Name, Name) = ("api".parse().expect("a name"), "local".parse().expect("a name"));
    let prepare = Action::Prepare { target, service: service.clone(), bundle: bundle("new") };
    let verify = Action::Verify { service };
    let hook = |moment| Action::Hook { moment, index: 0 };
    let before = [prepare, verify, hook(HookMoment::BeforeDeploy), hook(HookMoment::AfterDeploy)];
    let done = |action: &Action| Errand { action: action.clone(), done: true, attempts: 1, not_before: 0 };
    moment.state.errands = before.iter().map(done).collect();
    moment.is_killed(&unit("new", "local", 0));
    moment.decide(0);
    assert_eq!(moment.state.phase, Phase::Forward);
    let left: Vec<_> = moment.state.errands.iter().map(|errand| errand.action.clone()).collect();
    assert_eq!(left, [before[0].clone(), before[2].clone()]);
}

#[test]
fn nobody_leaves_a_paused_rollout_while_something_is_under_way() {
    for (is_under_way, expected) in [(false, Some(Leave::Paused)), (true, None)] {
        let mut moment = Moment::forward(&Shape::default()).with_three("old");
        moment.state.pause = Pause::Reached;
        if is_under_way {
            is_being_admitted(&mut moment, unit("old", "local", 0));
        }
        assert_eq!(moment.decide(0).leave, expected, "under way: {is_under_way}");
    }
}

/// A service that waits for the one that is paused cannot go on either; one that does not can.
#[test]
fn a_rollout_is_paused_where_whoever_else_could_go_on_waits_for_what_is_paused() {
    for (chained, expected) in [(true, Some(Leave::Paused)), (false, None)] {
        let shape = Shape { services: vec!["api", "mcp"], chained, from: None, ..Shape::default() };
        let mut moment = Moment::forward(&shape).with("new", "local", 0, Step::Serving);
        let api = unit("new", "local", 0).service;
        moment.state.services.get_mut(&api).expect("it is planned").paused = true;
        assert_eq!(moment.decide(0).leave, expected, "chained: {chained}");
    }
}
