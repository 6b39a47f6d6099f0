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

#[test]
fn a_success_that_is_falsified_is_found_out() {
    let case = rolling(None, 0);
    assert_eq!(laws(&case), []);
    assert!(case.is_over());
    case.assert_falsified_successes_are_found_out();
}

#[test]
fn a_rollback_that_is_falsified_is_found_out() {
    let case = rolling(Some("exit-at-start"), 10);
    assert_eq!(laws(&case), []);
    case.breaks(Law::EvidenceFirst, |case| {
        case.told
            .retain(|(_, happened)| !matches!(happened, Happened::Began { action: Action::Collect, .. }));
    });
    case.breaks(Law::Budget, |case| case.plan.policy.failure_limit = 3);
    case.breaks(Law::NeverTwice, |case| {
        let back = case.told.iter().find(|(_, happened)| matches!(happened, Happened::WentBack { .. }));
        let back = back.expect("it went back").clone();
        case.told.push(back);
    });
    // Claimed as a success.
    case.breaks(Law::Agreement, |case| {
        for (_, happened) in &mut case.told {
            if matches!(happened, Happened::Finished(_)) {
                *happened = Happened::Finished(Outcome::Succeeded);
            }
        }
    });
}
