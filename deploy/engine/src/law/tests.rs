//! The judge is not blind: each law is broken once, by hand, and named.

use super::*;
use crate::{
    plan::Plan,
    samples::{Shape, plan_of},
    state::Failure,
};

const WELL: Looked = Looked {
    answers: 9,
    passes: 9,
    held_for: 1_600,
    failures: 0,
    wrong_release: 0,
    age: Some(0),
    ever_passed: true,
};

fn plan() -> Plan {
    plan_of(&Shape { failure_limit: 1, ..Shape::default() })
}

/// Units of one side of the plan, running and in traffic.
fn side(plan: &Plan, is_new: bool, slots: std::ops::Range<usize>) -> Vec<UnitId> {
    let service = &plan.services[0];
    let side = if is_new { &service.to } else { &service.from };
    service.units_of(side.as_ref())[slots].to_vec()
}

fn moment(at: Millis, units: &[Vec<UnitId>]) -> Moment {
    let now = UnitNow { running: true, told_to_stop: false, weight: 100, looked: Some(WELL) };
    let units = units.iter().flatten().map(|unit| (unit.clone(), now));
    Moment { at, units: units.collect(), ..Moment::default() }
}

fn with_ledger(plan: &Plan, is_new: bool, mut moment: Moment) -> Moment {
    let unit = side(plan, is_new, 0..1).remove(0);
    moment.ledgers.insert(unit.target, BTreeMap::from([(unit.service, Some(unit.bundle))]));
    moment
}

fn failure(reason: ReasonCode) -> Failure {
    Failure { reason, unit: None, service: None, message: String::new(), at: 0 }
}

fn began(action: Action) -> Happened {
    Happened::Began { generation: 1, action }
}

/// The laws that are broken when this is told between a first moment and a success.
fn broken(plan: &Plan, first: Moment, told: Vec<Happened>) -> Vec<Law> {
    let mut judge = Judge::new(plan, 10_000);
    judge.see(first);
    for happened in told {
        judge.hear(happened);
    }
    judge.see(with_ledger(plan, true, moment(200, &[side(plan, true, 0..3)])));
    judge.hear(Happened::Settled { back: false });
    judge.hear(Happened::Finished(Outcome::Succeeded));
    judge.finish().into_iter().map(|breach| breach.law).collect()
}

#[test]
fn a_rollout_that_keeps_the_laws_breaks_none() {
    let plan = plan();
    let old = side(&plan, false, 0..3);
    assert_eq!(broken(&plan, moment(100, &[old]), Vec::new()), []);
}

#[test]
fn what_is_done_against_a_law_is_named() {
    let plan = plan();
    let (old, new) = (side(&plan, false, 0..3), side(&plan, true, 0..3));
    let stands = || moment(100, std::slice::from_ref(&old));
    let (first_old, first_new) = (old[0].clone(), new[0].clone());
    let start = |unit: &UnitId| began(Action::Start { unit: unit.clone() });
    let admit = |unit: &UnitId| began(Action::Admit { unit: unit.clone(), weight: 100 });
    let fails = |reason| Happened::Failed { unit: Some(first_new.clone()), reason };
    let takes = |generation| Happened::TookHold { generation, action: start_action(&first_new) };
    let table: Vec<(Law, Moment, Vec<Happened>)> = vec![
        (Law::NeverTwice, stands(), vec![start(&first_old)]),
        (Law::NeverTwice, stands(), vec![back(ReasonCode::Cancelled), start(&first_new)]),
        (Law::NeverTwice, stands(), vec![back(ReasonCode::Crashed), back(ReasonCode::Crashed)]),
        (Law::NeverTwice, stands(), vec![back(ReasonCode::Crashed), Happened::WentForward]),
        (Law::Bounds, stands(), vec![began(Action::Drain { unit: first_old.clone(), deadline: 1 })]),
        (Law::Bounds, moment(100, &[old.clone(), side(&plan, true, 0..2)]), Vec::new()),
        (Law::Evidence, stands(), vec![admit(&first_new)]),
        (
            Law::Budget,
            stands(),
            vec![fails(ReasonCode::Crashed), fails(ReasonCode::Crashed), start(&first_new)],
        ),
        (
            Law::Budget,
            stands(),
            vec![
                fails(ReasonCode::Crashed),
                Happened::Turned { reason: ReasonCode::Crashed, unit: Some(first_new.clone()) },
            ],
        ),
        (Law::ProbeErrors, stands(), vec![back(ReasonCode::ProbeBroken)]),
        (Law::Stale, stands(), vec![Happened::Fenced { generation: 1 }, start(&first_new)]),
        (Law::Stale, stands(), vec![Happened::TookOver { generation: 2 }, takes(1)]),
        (Law::EvidenceFirst, stands(), vec![back(ReasonCode::Crashed), start(&first_old)]),
    ];
    for (law, first, told) in table {
        assert_eq!(broken(&plan, first, told.clone()), [law], "{told:?}");
    }
}

#[test]
fn a_failure_of_what_never_answered_is_named() {
    let plan = plan();
    let new = side(&plan, true, 0..1);
    let mut first = moment(100, &[side(&plan, false, 0..3), new.clone()]);
    first.units.get_mut(&new[0]).expect("it is there").looked = Some(Looked::default());
    let fails = Happened::Failed { unit: Some(new[0].clone()), reason: ReasonCode::Unresponsive };
    assert_eq!(broken(&plan, first, vec![fails]), [Law::ProbeErrors]);
}

#[test]
fn each_thing_that_the_evidence_may_lack_is_named() {
    let plan = plan();
    let new = side(&plan, true, 0..1);
    let lacking = [
        Looked { passes: 2, ..WELL },
        Looked { held_for: 499, ..WELL },
        Looked { failures: 1, ..WELL },
        Looked { wrong_release: 1, ..WELL },
        Looked { age: Some(1_201), ..WELL },
        Looked { age: None, ..WELL },
    ];
    for looked in lacking {
        let mut first = moment(100, &[side(&plan, false, 0..3), new.clone()]);
        let unit = first.units.get_mut(&new[0]).expect("it is there");
        *unit = UnitNow { weight: 0, looked: Some(looked), ..*unit };
        let admit = began(Action::Admit { unit: new[0].clone(), weight: 100 });
        assert_eq!(broken(&plan, first, vec![admit]), [Law::Evidence], "{looked:?}");
    }
}

#[test]
fn an_end_that_does_not_fit_is_named() {
    let plan = plan();
    let (old, new) = (side(&plan, false, 0..3), side(&plan, true, 0..3));
    let cause = failure(ReasonCode::Crashed);
    let ends = |stands: Vec<UnitId>, ledger_is_new, at, told: Vec<Happened>| {
        let mut judge = Judge::new(&plan, 10_000);
        judge.see(moment(100, std::slice::from_ref(&old)));
        judge.see(with_ledger(&plan, ledger_is_new, moment(at, &[stands])));
        told.into_iter().for_each(|happened| judge.hear(happened));
        judge.finish().into_iter().map(|breach| breach.law).collect::<Vec<_>>()
    };
    let succeeds = || vec![Happened::Settled { back: false }, Happened::Finished(Outcome::Succeeded)];
    let returns = || {
        let outcome = Outcome::RolledBack { cause: cause.clone() };
        vec![Happened::Settled { back: true }, Happened::Finished(outcome)]
    };
    assert_eq!(ends(new.clone(), true, 200, Vec::new()), [Law::Ends]);
    assert_eq!(ends(new.clone(), true, 20_000, succeeds()), [Law::Deadlines]);
    assert_eq!(ends(new.clone(), false, 200, succeeds()), [Law::Agreement]);
    assert_eq!(ends(new.clone(), false, 200, returns()), [Law::SameBundle]);
    assert_eq!(ends(old.clone(), false, 200, returns()), []);
    assert_eq!(ends(old.clone(), false, 200, vec![Happened::Finished(Outcome::Succeeded)]), [Law::Agreement]);
    let started = began(start_action(&new[0]));
    let refused = Happened::Finished(Outcome::Refused { cause });
    let settled = Happened::Settled { back: true };
    assert_eq!(ends(old.clone(), false, 200, vec![started, settled, refused]), [Law::Agreement]);
    let held = Outcome::Held { cause: failure(ReasonCode::OnlyHealthyCopy), back: true };
    assert_eq!(ends(Vec::new(), false, 200, vec![Happened::Finished(held)]), [Law::NeverTwice]);
}

#[test]
fn a_unit_that_ends_in_traffic_is_counted_whatever_the_engine_says() {
    let plan = plan();
    let new = side(&plan, true, 0..3);
    let mut judge = Judge::new(&plan, 10_000);
    judge.see(moment(100, std::slice::from_ref(&new)));
    judge.see(moment(200, &[new[..1].to_vec()]));
    judge.hear(began(start_action(&new[1])));
    let breaches = judge.finish();
    assert_eq!(breaches[0].law, Law::Budget, "{breaches:?}");
    assert_eq!(
        breaches[0].to_string(),
        format!("law 6 (failure budget) at 200 ms, {}: start after 2 failures, 1 allowed", new[1].label())
    );
}

fn start_action(unit: &UnitId) -> Action {
    Action::Start { unit: unit.clone() }
}

fn back(reason: ReasonCode) -> Happened {
    Happened::WentBack { reason }
}

#[test]
fn what_a_change_of_phase_means_is_told_however_much_one_decision_does() {
    let cause = || failure(ReasonCode::Crashed);
    let collecting = || Phase::Collecting { cause: cause(), hold: false };
    let rolled_back = |reason| Outcome::RolledBack { cause: failure(reason) };
    let held = |back| Outcome::Held { cause: cause(), back };
    let turned = || Happened::Turned { reason: ReasonCode::Crashed, unit: cause().unit };
    let settling = |outcome| Phase::Settling { outcome };
    let back_with_crash = || back(ReasonCode::Crashed);
    let table = [
        (Phase::Forward, Phase::Forward, vec![]),
        (Phase::Preparing, Phase::Forward, vec![Happened::WentForward]),
        (Phase::Forward, Phase::Verifying, vec![]),
        (Phase::Verifying, settling(Outcome::Succeeded), vec![Happened::Settled { back: false }]),
        (
            settling(Outcome::Succeeded),
            Phase::Finished(Outcome::Succeeded),
            vec![Happened::Finished(Outcome::Succeeded)],
        ),
        (Phase::Forward, collecting(), vec![turned()]),
        (collecting(), Phase::Back { cause: cause() }, vec![back_with_crash()]),
        (collecting(), Phase::Finished(held(false)), vec![Happened::Finished(held(false))]),
        (
            Phase::Back { cause: cause() },
            settling(rolled_back(ReasonCode::Crashed)),
            vec![Happened::Settled { back: true }],
        ),
        (Phase::Verifying, Phase::Back { cause: cause() }, vec![turned(), back_with_crash()]),
        (
            Phase::Forward,
            settling(rolled_back(ReasonCode::Crashed)),
            vec![turned(), back_with_crash(), Happened::Settled { back: true }],
        ),
        (
            Phase::Forward,
            Phase::Finished(held(true)),
            vec![turned(), back_with_crash(), Happened::Finished(held(true))],
        ),
        // Why it went back is what was collected for, whatever comes of it on the way.
        (
            collecting(),
            settling(rolled_back(ReasonCode::NeverReady)),
            vec![back_with_crash(), Happened::Settled { back: true }],
        ),
    ];
    for (before, after, expected) in table {
        assert_eq!(of_phases(&before, &after, false), expected, "{before:?} to {after:?}");
    }
    let cancelled = of_phases(&collecting(), &Phase::Back { cause: cause() }, true);
    assert_eq!(cancelled, [back(ReasonCode::Cancelled)]);
}
