use super::*;
use crate::{
    plan::PlanKind,
    record::OpenRollout as Open,
    samples::{Shape, plan_of},
};
use std::collections::BTreeSet;

const RUN: &str = "run-2";

fn asked() -> Request {
    Request {
        version: Request::FORMAT,
        id: "1".to_owned(),
        run: RUN.to_owned(),
        generation: 5,
        command: Command::Cancel,
        actor: "ann@laptop".to_owned(),
    }
}

fn open(run: &str) -> Open<Plan, State> {
    let plan = plan_of(&Shape::default());
    let state = State::new(&plan, 0);
    Open { run: run.to_owned(), plan, state, started_at: 0, actor: "ann@laptop".to_owned() }
}

fn ended(run: &str, generation: u64) -> Finished {
    Finished {
        targets: Default::default(),
        version: Finished::FORMAT,
        run: run.to_owned(),
        generation,
        command: "deploy local".to_owned(),
        kind: PlanKind::Deploy,
        services: Vec::new(),
        release: "new".to_owned(),
        previous: BTreeSet::new(),
        outcome: "rolled-back".to_owned(),
        exit_code: 10,
        reasons: Vec::new(),
        message: None,
        started_at: 0,
        finished_at: 1,
        actor: "ann@laptop".to_owned(),
    }
}

fn record(generation: u64, open: Option<Open<Plan, State>>, last: Option<Finished>) -> Record {
    Record { generation, open, last, ..Record::empty() }
}

#[test]
fn a_request_waits_until_it_is_taken_and_then_for_the_end() {
    let under_way = record(5, Some(open(RUN)), Some(ended("run-1", 4)));
    assert_eq!(progress(&asked(), &under_way, true, true), Progress::Waits);
    assert!(matches!(progress(&asked(), &under_way, false, true), Progress::Taken(_)));
    let over = record(5, None, Some(ended(RUN, 5)));
    assert!(matches!(progress(&asked(), &over, false, true), Progress::Ended(_)));
    // It ended by itself, before anyone looked for requests.
    assert!(matches!(progress(&asked(), &over, true, false), Progress::Ended(_)));
}

#[test]
fn what_is_held_has_ended_though_it_is_open() {
    let held = record(5, Some(open(RUN)), Some(ended(RUN, 5)));
    assert!(matches!(progress(&asked(), &held, false, false), Progress::Ended(_)));
    // It was held, and is carried on by the executor that was asked.
    let resumed = record(5, Some(open(RUN)), Some(ended(RUN, 4)));
    assert!(matches!(progress(&asked(), &resumed, false, true), Progress::Taken(_)));
}

#[test]
fn an_executor_that_is_gone_leaves_its_rollout_to_whoever_asks() {
    let left = record(5, Some(open(RUN)), None);
    for is_left in [true, false] {
        assert!(matches!(progress(&asked(), &left, is_left, false), Progress::Unattended(_)), "{is_left}");
    }
}

#[test]
fn another_executor_or_rollout_was_not_asked() {
    for record in [
        record(6, Some(open(RUN)), None),
        record(5, Some(open("run-3")), None),
        record(6, None, Some(ended("run-3", 6))),
        record(5, None, Some(ended(RUN, 4))),
    ] {
        assert_eq!(progress(&asked(), &record, true, true), Progress::Superseded, "{record:?}");
    }
}

#[test]
fn promote_is_not_answered_by_the_pause_that_it_was_asked_in() {
    let mut state = open(RUN).state;
    state.pause = Pause::Reached;
    let asked_at = Marks::of(&state);
    assert!(is_resting(Command::Pause, asked_at, &state));
    assert!(!is_resting(Command::Promote, asked_at, &state));
    state.pause = Pause::None;
    assert!(!is_resting(Command::Promote, asked_at, &state), "it goes on");
    let service = state.services.values_mut().next().expect("the plan has one");
    service.paused = true;
    assert!(is_resting(Command::Promote, asked_at, &state), "the next pause");
    assert!(!is_resting(Command::Cancel, asked_at, &state));
}

#[test]
fn whoever_waits_gives_up_later_than_the_rollout() {
    let plan = plan_of(&Shape::default());
    assert!(stall_limit(&plan) > plan.policy.progress_deadline);
}
