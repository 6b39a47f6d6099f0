use super::*;
use crate::{check::Probe, model::UnitPhase};

fn check() -> Check {
    Check {
        probe: Probe::Tcp,
        identity: None,
        interval: 1_000,
        timeout: 500,
        healthy_passes: 3,
        healthy_for: 2_000,
        healthy_deadline: 10_000,
        unhealthy_failures: 3,
        provider_error_limit: 2,
    }
}

fn facts(other_ports: Vec<u16>) -> UnitFacts {
    UnitFacts {
        unit: format!("api@local/0#{}", "0".repeat(64)).try_into().expect("a unit"),
        phase: UnitPhase::Running,
        address: Some(([127, 0, 0, 1], 4000).into()),
        other_ports,
        handle: "1".to_owned(),
        release: "r".to_owned(),
        weight: 0,
        in_flight: 0,
        traffic: crate::model::Traffic::default(),
        started_at: 0,
    }
}

fn health(answers: &[(Millis, Answer)]) -> Health {
    answers.iter().fold(Health::default(), |health, (at, answer)| health.with(*at, answer.clone()))
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Pending(_) => "pending".to_owned(),
        Verdict::Fail(reason, _) => format!("fail {reason}"),
        Verdict::Inconclusive(reason, _) => format!("inconclusive {reason}"),
    }
}

fn starting_word(answers: &[(Millis, Answer)], now: Millis) -> String {
    word(&starting(&check(), &facts(Vec::new()), &health(answers), 0, now))
}

#[test]
fn healthy_means_enough_passes_over_enough_time_and_fresh() {
    use Answer::Pass;
    assert_eq!(starting_word(&[(0, Pass), (1_000, Pass), (2_000, Pass)], 2_000), "pass");
    assert_eq!(starting_word(&[(0, Pass), (1_000, Pass), (1_999, Pass)], 1_999), "pending", "too short");
    assert_eq!(starting_word(&[(0, Pass), (2_000, Pass)], 2_000), "pending", "too few");
    assert_eq!(starting_word(&[(0, Pass), (1_000, Pass), (2_000, Pass)], 7_000), "pending", "stale");
}

#[test]
fn no_evidence_is_never_a_pass_and_never_a_failure() {
    assert_eq!(starting_word(&[], 9_999), "pending");
    assert_eq!(starting_word(&[], 10_000), "inconclusive no-evidence");
    let stale = [(0, Answer::Pass), (1_000, Answer::Pass), (2_000, Answer::Pass)];
    assert_eq!(starting_word(&stale, 10_000), "inconclusive no-evidence");
}

#[test]
fn an_error_of_the_probe_is_not_the_units_failure() {
    let error = || Answer::ProviderError("no".to_owned());
    assert_eq!(starting_word(&[(0, error()), (1, error())], 100), "pending");
    assert_eq!(starting_word(&[(0, error()), (1, error()), (2, error())], 100), "inconclusive probe-broken");
    assert_eq!(
        starting_word(&[(0, error()), (1, error()), (2, Answer::Refused), (3, error())], 100),
        "pending"
    );
}

#[test]
fn what_was_never_healthy_is_told_by_its_last_answer() {
    let at_deadline = |answer: Answer| starting_word(&[(9_900, answer)], 10_000);
    assert_eq!(at_deadline(Answer::Refused), "fail not-listening");
    assert_eq!(at_deadline(Answer::TimedOut), "fail unresponsive");
    assert_eq!(at_deadline(Answer::Status(503)), "fail never-ready");
    assert_eq!(at_deadline(Answer::Status(404)), "fail unexpected-answer");
    assert_eq!(at_deadline(Answer::Slow(3_000)), "fail too-slow");
    assert_eq!(at_deadline(Answer::Certificate("expired".to_owned())), "fail bad-certificate");
    let wrong_port = starting(&check(), &facts(vec![4001]), &health(&[(9_900, Answer::Refused)]), 0, 10_000);
    let words = "not healthy within 10 s: it listens on port 4001 instead of 4000".to_owned();
    assert_eq!(wrong_port, Verdict::Fail(ReasonCode::WrongPort, words));
}

#[test]
fn another_release_that_answers_is_found_out_before_the_deadline() {
    let wrong = || Answer::WrongRelease("v1".to_owned());
    assert_eq!(starting_word(&[(0, wrong()), (1, wrong())], 100), "pending");
    assert_eq!(starting_word(&[(0, wrong()), (1, wrong()), (2, wrong())], 100), "fail wrong-release");
}

#[test]
fn a_unit_in_traffic_is_failed_at_the_exact_number_of_failures() {
    let of = |failures: usize| {
        let mut answers = vec![(0, Answer::Pass)];
        answers.extend((1..=failures as u64).map(|at| (at, Answer::Status(500))));
        word(&serving(&check(), &health(&answers), 10))
    };
    assert_eq!(of(0), "pass");
    assert_eq!(of(2), "pending");
    assert_eq!(of(3), "fail became-unhealthy");
}

#[test]
fn rates_are_judged_at_their_exact_bounds() {
    let limits = RateLimits { min_requests: 20, max_error_rate: 0.05, max_slow_rate: 0.1, slow_above: 1_000 };
    let of = |samples, errors, slow| word(&rates(&limits, samples, errors, slow));
    assert_eq!(of(19, 19, 0), "inconclusive no-evidence");
    assert_eq!(of(20, 1, 0), "pass");
    assert_eq!(of(20, 2, 0), "fail error-rate");
    assert_eq!(of(20, 0, 2), "pass");
    assert_eq!(of(20, 0, 3), "fail slow-rate");
    let none = RateLimits { min_requests: 0, ..limits };
    assert_eq!(word(&rates(&none, 0, 0, 0)), "inconclusive no-evidence", "a minimum of zero is one");
}

#[test]
fn an_exit_is_told_by_how_it_ended() {
    let exit = |code, signal, out_of_memory| Exit { code, signal, out_of_memory, at: 0 };
    assert_eq!(of_exit(&exit(Some(1), None, false), false), ReasonCode::ExitedAtStart);
    assert_eq!(of_exit(&exit(Some(1), None, false), true), ReasonCode::Crashed);
    assert_eq!(of_exit(&exit(None, Some(11), false), true), ReasonCode::Crashed);
    assert_eq!(of_exit(&exit(None, Some(9), false), true), ReasonCode::Killed);
    assert_eq!(of_exit(&exit(None, Some(9), true), true), ReasonCode::OutOfMemory);
}

#[test]
fn evidence_is_stale_after_three_intervals_with_their_probes() {
    let passed = health(&[(0, Answer::Pass)]);
    // Three times an interval of 1,000 ms and a probe of at most 500 ms.
    assert!(!is_stale(&check(), &passed, 4_500));
    assert!(is_stale(&check(), &passed, 4_501));
    assert!(is_stale(&check(), &Health::default(), 0), "there is none");
}

#[test]
fn a_unit_in_traffic_is_told_by_how_it_failed() {
    let of = |answers: &[Answer]| {
        let answers: Vec<(Millis, Answer)> =
            answers.iter().enumerate().map(|(at, answer)| (at as Millis, answer.clone())).collect();
        word(&serving(&check(), &health(&answers), 10))
    };
    let (pass, timed_out, refused) = (Answer::Pass, Answer::TimedOut, Answer::Refused);
    let three = |answer: &Answer| vec![pass.clone(), answer.clone(), answer.clone(), answer.clone()];
    assert_eq!(of(&three(&timed_out)), "fail unresponsive");
    assert_eq!(of(&three(&refused)), "fail became-unhealthy");
    // It has changed before.
    let flapped = [vec![pass.clone(), refused.clone()], three(&timed_out)].concat();
    assert_eq!(of(&flapped), "fail flapping");
}

#[test]
fn what_is_waited_for_is_told_in_words() {
    let pending = |answers: &[(Millis, Answer)], now| match starting(
        &check(),
        &facts(Vec::new()),
        &health(answers),
        0,
        now,
    ) {
        Verdict::Pending(words) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(pending(&[], 0), "no answer yet");
    assert_eq!(pending(&[(0, Answer::Refused)], 1), describe(&Answer::Refused));
    assert_eq!(
        pending(&[(0, Answer::Pass), (1_500, Answer::Pass)], 1_500),
        "2 of 3 passes in a row, 1.5 s of 2 s"
    );
    let told = [999, 1_000, 59_000, 60_000, 61_000, 120_000].map(seconds);
    assert_eq!(told, ["999 ms", "1 s", "59 s", "1 min", "61 s", "2 min"]);
}

#[test]
fn another_release_that_answered_once_is_named_at_the_deadline() {
    assert_eq!(
        starting_word(&[(9_900, Answer::WrongRelease("v1".to_owned()))], 10_000),
        "fail wrong-release"
    );
}
