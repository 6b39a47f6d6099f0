//! What is remembered, and what of it outlives an outcome.

use super::*;
use crate::samples::{Shape, plan_of};

fn state() -> State {
    State::new(&plan_of(&Shape::default()), 0)
}

fn failure(unit: Option<UnitId>, service: Option<&str>) -> Failure {
    Failure {
        reason: ReasonCode::NeverReady,
        unit,
        service: service.map(|name| name.parse().expect("a name")),
        message: String::new(),
        at: 0,
    }
}

#[test]
fn every_step_and_phase_has_a_word_of_its_own() {
    use Step::*;
    let steps = [Starting, Waiting, Judging, Ready, Admitting, Serving, Draining, Drained, Stopping, Gone];
    let words = steps.map(Step::word);
    let expected = "starting waiting judged ready admitting serving draining drained stopping gone";
    assert_eq!(words.join(" "), expected);
    assert_eq!(Broken(ReasonCode::Crashed).word(), "broken");
    let cause = || failure(None, None);
    let phases = [
        Phase::Preparing,
        Phase::Forward,
        Phase::Verifying,
        Phase::Collecting { cause: cause(), hold: false },
        Phase::Back { cause: cause() },
        Phase::Settling { outcome: Outcome::Succeeded },
        Phase::Finished(Outcome::Succeeded),
    ];
    let words: Vec<&str> = phases.iter().map(Phase::word).collect();
    let expected = [
        "preparing",
        "rolling out",
        "verifying",
        "collecting evidence",
        "rolling back",
        "settling",
        "finished",
    ];
    assert_eq!(words, expected);
}

#[test]
fn a_failure_is_its_services_or_that_of_its_unit() {
    let unit: UnitId = format!("api@local/0#{}", "0".repeat(64)).try_into().expect("a unit");
    let of = |failure: &Failure| failure.of_service().map(ToString::to_string);
    assert_eq!(of(&failure(Some(unit.clone()), None)).as_deref(), Some("api"));
    assert_eq!(of(&failure(None, Some("mcp"))).as_deref(), Some("mcp"));
    assert_eq!(of(&failure(Some(unit), Some("mcp"))).as_deref(), Some("mcp"));
    assert_eq!(of(&failure(None, None)), None);
}

#[test]
fn whoever_waits_to_be_promoted_is_paused() {
    assert!(!state().is_paused());
    let reached = State { pause: Pause::Reached, ..state() };
    let asked = State { pause: Pause::Asked, ..state() };
    assert!(reached.is_paused() && !asked.is_paused());
    let mut wave = state();
    wave.wave.paused = true;
    assert!(wave.is_paused());
    let mut service = state();
    service.services.values_mut().next().expect("a service").paused = true;
    assert!(service.is_paused());
}

#[test]
fn what_is_opened_again_keeps_what_is_done_once_and_asks_for_the_rest_anew() {
    let service: Name = "api".parse().expect("a name");
    let target: Name = "local".parse().expect("a name");
    let prepare = Action::Prepare {
        target: target.clone(),
        service: service.clone(),
        bundle: crate::samples::bundle("new"),
    };
    let hook = |moment| Action::Hook { moment, index: 0 };
    let errand = |action: &Action, done| Errand { action: action.clone(), done, attempts: 3, not_before: 7 };
    let after = hook(HookMoment::AfterDeploy);
    let mut held = State {
        phase: Phase::Finished(Outcome::Held { cause: failure(None, None), back: false }),
        errands: vec![
            errand(&prepare, true),
            errand(&hook(HookMoment::BeforeDeploy), false),
            errand(&after, true),
            errand(&Action::Collect, false),
        ],
        ..state()
    };
    held.reopen();
    assert_eq!(held.phase, Phase::Preparing);
    let left: Vec<&Action> = held.errands.iter().map(|errand| &errand.action).collect();
    assert_eq!(left, [&prepare]);
    // What has ended well is not opened.
    let mut ended = State { phase: Phase::Finished(Outcome::Succeeded), ..state() };
    ended.reopen();
    assert_eq!(ended.phase, Phase::Finished(Outcome::Succeeded));
}

#[test]
fn a_record_of_before_it_was_written_down_counts_as_begun() {
    let mut json = serde_json::to_value(state()).expect("our own types serialize");
    assert_eq!(json["begun"], false);
    json.as_object_mut().expect("a table").remove("begun");
    let read: State = serde_json::from_value(json).expect("it is a state");
    assert!(read.begun);
}
