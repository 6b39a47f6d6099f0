//! The judge of the laws sits over every rollout of these tests; here, that it sees: a real rollout breaks none, and the
//! same one with something falsified breaks the law that it must.

use engine::{
    law::{Happened, Law},
    model::Action,
    state::Outcome,
};
use tests::{Case, Project, Shape};

/// Two units are replaced by two new ones; the last rollout is the second.
fn rolling(fault: Option<&str>, code: i32) -> Case {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    let mut project = Project::with(shape);
    project.deploy().expect(0);
    assert_eq!(project.cases().len(), 1, "the first rollout was not witnessed");
    if let Some(fault) = fault {
        project.reshape(|shape| shape.fault(fault));
    }
    project.change_code("api");
    project.deploy().expect(code);
    let mut cases = project.cases();
    assert_eq!(cases.len(), 1, "the second rollout was not witnessed");
    cases.remove(0)
}

fn laws(case: &Case) -> Vec<Law> {
    case.breaches().into_iter().map(|breach| breach.law).collect()
}

#[track_caller]
fn breaks(law: Law, case: &Case, falsify: impl FnOnce(&mut Case)) {
    let mut case = case.clone();
    falsify(&mut case);
    let broken = case.breaches();
    assert!(broken.iter().any(|breach| breach.law == law), "{law} should be broken: {broken:#?}");
}

#[test]
fn a_success_that_is_falsified_is_found_out() {
    let case = rolling(None, 0);
    assert_eq!(laws(&case), []);
    assert!(case.is_over());
    let began = |is: fn(&Action) -> bool| move |(_, happened): &(u64, Happened)| matches!(happened, Happened::Began { action, .. } if is(action));
    // One more ran than a plan without surge allows.
    breaks(Law::Bounds, &case, |case| {
        case.plan.services[0].strategy = engine::simulate::parse_strategy("recreate").expect("words");
    });
    // The first that is drained is drained before any new one has traffic.
    breaks(Law::Bounds, &case, |case| {
        let drain = case.told.iter().position(began(|action| matches!(action, Action::Drain { .. })));
        let (_, drain) = case.told.remove(drain.expect("a drain"));
        let start = case.told.iter().position(began(|action| matches!(action, Action::Start { .. })));
        let start = start.expect("a start");
        let at = case.told[start].0;
        case.told.insert(start, (at, drain));
    });
    breaks(Law::Agreement, &case, |case| {
        let old = case.moments[0].ledgers.clone();
        case.moments.iter_mut().for_each(|moment| moment.ledgers.clone_from(&old));
    });
    breaks(Law::EmptyPlan, &case, |case| {
        let unit =
            case.moments.last().and_then(|moment| moment.units.keys().next().cloned()).expect("a unit");
        case.moments.iter_mut().for_each(|moment| moment.units.retain(|other, _| *other != unit));
    });
    // It was refused before it did anything, and went on.
    breaks(Law::Stale, &case, |case| {
        let took_over = case.told.iter().find_map(|(at, happened)| match happened {
            Happened::TookOver { generation } => Some((*at, *generation)),
            _ => None,
        });
        let (at, generation) = took_over.expect("a lease");
        case.told.insert(1, (at, Happened::Fenced { generation }));
    });
    // A success that the journal tells of as a return.
    breaks(Law::SameBundle, &case, |case| {
        for (_, happened) in &mut case.told {
            match happened {
                Happened::Settled { back } => *back = true,
                Happened::Finished(outcome) => {
                    let cause = engine::state::Failure {
                        reason: engine::reason::ReasonCode::Crashed,
                        unit: None,
                        service: None,
                        message: String::new(),
                        at: 0,
                    };
                    *outcome = Outcome::RolledBack { cause };
                }
                _ => {}
            }
        }
    });
}

#[test]
fn a_rollback_that_is_falsified_is_found_out() {
    let case = rolling(Some("exit-at-start"), 10);
    assert_eq!(laws(&case), []);
    breaks(Law::EvidenceFirst, &case, |case| {
        case.told
            .retain(|(_, happened)| !matches!(happened, Happened::Began { action: Action::Collect, .. }));
    });
    breaks(Law::Budget, &case, |case| case.plan.policy.failure_limit = 3);
    breaks(Law::NeverTwice, &case, |case| {
        let back = case.told.iter().find(|(_, happened)| matches!(happened, Happened::WentBack { .. }));
        let back = back.expect("it went back").clone();
        case.told.push(back);
    });
    // Claimed as a success.
    breaks(Law::Agreement, &case, |case| {
        for (_, happened) in &mut case.told {
            if matches!(happened, Happened::Finished(_)) {
                *happened = Happened::Finished(Outcome::Succeeded);
            }
        }
    });
}
