//! Scenarios in the words in which they are typed, and what is told of them.

use super::*;
use crate::{
    plan::OnFailure,
    samples::{Shape, plan_of},
    state::Outcome,
    verdict::seconds,
};
use std::fmt::Write as _;

fn scenario(plan: &Plan, fail: &[&str], fault: &[&str]) -> Scenario {
    let fail = fail.iter().map(|text| parse_fail(text, plan).expect("words"));
    let fault = fault.iter().map(|text| parse_fault(text, plan).expect("words"));
    Scenario { faults: fail.chain(fault).collect(), ..Scenario::default() }
}

fn report(plan: &Plan, fail: &[&str], fault: &[&str]) -> Report {
    simulate(plan, &scenario(plan, fail, fault)).report
}

/// A report as lines, for snapshots.
fn told(report: &Report) -> String {
    let mut text = String::new();
    for entry in &report.timeline {
        let why = if entry.why.is_empty() { String::new() } else { format!(" – {}", entry.why) };
        writeln!(text, "{:>7}  {}: {}{why}", entry.at, entry.subject, entry.what).expect("a String");
    }
    for service in &report.services {
        let Availability { service, before, wanted, promised, lowest, lowest_at, outage } = service;
        writeln!(
            text,
            "{service}: {before} -> {wanted}, promised {promised}, lowest {lowest} at {lowest_at}, outage {outage}"
        )
        .expect("a String");
    }
    if let Some(Detection { at, reason, took, blast, .. }) = &report.detection {
        let Blast { units, of, percent } = blast;
        writeln!(text, "detected {reason} at {at}, took {took:?}, {units} of {of} units ({percent} %)")
            .expect("a String");
    }
    writeln!(
        text,
        "{}, back after {:?}, took {}",
        report.outcome.word,
        report.back_after,
        seconds(report.took)
    )
    .expect("a String");
    text
}

#[test]
fn stories_read_well() {
    let shape = Shape::default();
    let tolerant = Shape { failure_limit: 1, ..Shape::default() };
    let table: [(&str, &Shape, &[&str], &[&str]); 7] = [
        ("nothing_fails", &shape, &[], &[]),
        ("never_ready_is_rolled_back", &shape, &[], &["api/0=never-ready"]),
        ("an_exit_in_the_last_bake_is_rolled_back", &shape, &[], &["api/2=exits-after:1100ms"]),
        ("a_budget_of_one_tolerates_one", &tolerant, &["api/1"], &[]),
        ("a_budget_of_one_does_not_tolerate_two", &tolerant, &["api/1", "api/2"], &[]),
        ("a_unit_that_was_well_fails_in_a_later_batch", &shape, &["api/0@2"], &[]),
        ("the_previous_bundle_does_not_come_back", &shape, &["api@2"], &["previous:api=never-ready"]),
    ];
    for (name, shape, fail, fault) in table {
        insta::assert_snapshot!(name, told(&report(&plan_of(shape), fail, fault)));
    }
}

#[test]
fn each_behaviour_ends_as_it_does_in_the_engine() {
    use crate::reason::ReasonCode as Code;
    let plan = plan_of(&Shape { synthetic: true, bake: 3_000, ..Shape::default() });
    let table = [
        ("good", None),
        ("good:2s", None),
        ("good:1h", Some(Code::NotListening)),
        ("exits-after:0s", Some(Code::ExitedAtStart)),
        ("exits-after:2s", Some(Code::Crashed)),
        ("never-ready", Some(Code::NeverReady)),
        ("hangs", Some(Code::Unresponsive)),
        ("flaps:400ms", Some(Code::Flapping)),
        ("wrong-release", Some(Code::WrongRelease)),
        ("wrong-port", Some(Code::WrongPort)),
        ("out-of-memory-after:2s", Some(Code::OutOfMemory)),
        ("fails-requests:20", Some(Code::ErrorRate)),
        ("unprobeable", Some(Code::ProbeBroken)),
    ];
    for (behaviour, reason) in table {
        let report = report(&plan, &[], &[&format!("api={behaviour}")]);
        assert_eq!(report.outcome.reason, reason, "{behaviour}");
        assert_eq!(report.detection.map(|detection| detection.reason), reason, "{behaviour}");
    }
}

#[test]
fn recreate_is_an_outage_and_rolling_is_none() {
    let mut plan = plan_of(&Shape::default());
    let rolling = simulate(&plan, &Scenario::default()).report.services.remove(0);
    plan.services[0].strategy = parse_strategy("recreate").expect("a strategy");
    let recreate = simulate(&plan, &Scenario::default()).report.services.remove(0);
    assert_eq!((rolling.lowest, rolling.outage), (3, 0));
    assert_eq!((recreate.lowest, recreate.promised), (0, 0));
    assert!(recreate.outage >= 1_000, "no shorter than a start: {recreate:?}");
}

#[test]
fn going_back_to_nothing_is_no_outage() {
    let plan = plan_of(&Shape { from: None, ..Shape::default() });
    let report = report(&plan, &["api/1"], &[]);
    assert_eq!(report.outcome.word, "rolled back");
    assert_eq!((report.services[0].before, report.services[0].outage), (0, 0));
}

#[test]
fn the_lowest_availability_keeps_what_the_plan_promises() {
    for text in
        ["rolling:max-surge=0,max-unavailable=1", "rolling:max-surge=0,max-unavailable=2,batches=100%"]
    {
        let mut plan = plan_of(&Shape::default());
        plan.services[0].strategy = parse_strategy(text).expect("a strategy");
        let service = simulate(&plan, &Scenario::default()).report.services.remove(0);
        assert_eq!(service.lowest, service.promised, "{text}");
        assert!(service.lowest < service.before && service.lowest_at > 0, "{text}");
    }
}

#[test]
fn a_cancelled_rollout_goes_back_from_that_moment_on() {
    let plan = plan_of(&Shape::default());
    let commands = vec![(3_000, Command::Cancel)];
    let Simulated { end, report } = simulate(&plan, &Scenario { commands, ..Scenario::default() });
    assert!(matches!(end, Some(End::Finished(Outcome::RolledBack { .. }))), "{end:?}");
    insta::assert_snapshot!("a_cancel_is_rolled_back", told(&report));
}

#[test]
fn an_interrupted_rollout_is_left_open() {
    let plan = plan_of(&Shape::default());
    let commands = vec![(2_000, Command::Interrupt)];
    let Simulated { end, report } = simulate(&plan, &Scenario { commands, ..Scenario::default() });
    assert!(matches!(end, Some(End::Left(_))), "{end:?}");
    assert_eq!((report.outcome.word.as_str(), report.back_after), ("left", None));
}

#[test]
fn a_failure_that_holds_is_held_and_not_rolled_back() {
    let plan = plan_of(&Shape { on_failure: OnFailure::Hold, ..Shape::default() });
    let report = report(&plan, &["api/1"], &[]);
    assert_eq!((report.outcome.word.as_str(), report.back_after), ("held", None));
}

#[test]
fn the_blast_radius_is_what_ran_the_new_bundle_when_it_was_seen() {
    let plan = plan_of(&Shape::default());
    let first = report(&plan, &["api/0"], &[]).detection.expect("a failure");
    assert_eq!(first.blast, Blast { units: 0, of: 3, percent: 0 });
    let later = report(&plan, &["api/0@2"], &[]).detection.expect("a failure");
    assert_eq!(later.blast, Blast { units: 1, of: 3, percent: 34 }, "the one that ended still counts");
    assert!(later.took.is_some_and(|took| took <= 300), "an end is seen at once: {later:?}");
}

#[test]
fn a_fault_whose_batch_never_began_is_told() {
    let plan = plan_of(&Shape::default());
    let report = report(&plan, &["api/2@2", "api/0"], &[]);
    assert_eq!(report.unmet, ["api/2 was to fail in batch 2, which never began"]);
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_one_another() {
    let plan = plan_of(&Shape { replicas: 8, from: Some(("old", 8)), ..Shape::default() });
    let with = |seed| simulate(&plan, &Scenario { seed, ..Scenario::default() });
    assert_eq!(with(Some(7)), with(Some(7)));
    assert_ne!(with(Some(7)).report.timeline, with(Some(8)).report.timeline);
    assert_ne!(with(Some(7)).report.timeline, with(None).report.timeline);
    assert_eq!(with(None), with(None));
}

#[test]
fn a_plan_without_changes_ends_well_at_once() {
    let plan = plan_of(&Shape { services: Vec::new(), ..Shape::default() });
    let Simulated { end, report } = simulate(&plan, &Scenario::default());
    assert_eq!(end, Some(End::Finished(Outcome::Succeeded)));
    assert!(report.took <= 1_000 && report.services.is_empty(), "{report:?}");
}

#[test]
fn what_is_not_understood_is_answered_with_what_was_meant() {
    let plan = plan_of(&Shape::default());
    let fail = |text: &str| parse_fail(text, &plan).expect_err(text);
    let fault = |text: &str| parse_fault(text, &plan).expect_err(text);
    let strategy = |text: &str| parse_strategy(text).expect_err(text);
    let first_start = plan_of(&Shape { from: None, ..Shape::default() });
    let errors = [
        fail("apu/1"),
        fail("api/7"),
        fail("api@4"),
        fail("api@0"),
        fail("previous:api@1"),
        fail("api\u{1b}[31m"),
        parse_fail("previous:api", &first_start).expect_err("nothing stood before"),
        fault("api"),
        fault("api=never-redy"),
        fault("api=exits-after"),
        fault("api=flaps:often"),
        fault("api=hangs:3s"),
        fault("api=fails-requests:120"),
        strategy("roling"),
        strategy("rolling:surge=1"),
        strategy("rolling:max-surge=many"),
        strategy("rolling:max-surge=0"),
        strategy("rolling:batches=0"),
        strategy("recreate:now"),
    ];
    let mut text = String::new();
    for error in errors {
        writeln!(text, "{error}").expect("a String");
        error.hints.iter().for_each(|hint| writeln!(text, "    {hint}").expect("a String"));
    }
    insta::assert_snapshot!("words_that_are_not_understood", text);
}

/// Two targets, reached one after the other.
fn in_waves(failure_limit: u32) -> Plan {
    let shape = Shape { targets: vec!["east", "west"], replicas: 2, failure_limit, ..Shape::default() };
    let mut plan = plan_of(&shape);
    let wave = |name: &str, target: &str| crate::plan::Wave {
        name: name.parse().expect("a name"),
        targets: vec![target.parse().expect("a name")],
        soak: 5_000,
        failure_limit: None,
        pause: false,
    };
    plan.waves = vec![wave("first", "west"), wave("rest", "east")];
    plan
}

#[test]
fn waves_are_told_one_after_the_other() {
    let plan = in_waves(0);
    insta::assert_snapshot!("waves_one_after_the_other", told(&report(&plan, &[], &[])));
    insta::assert_snapshot!("a_failure_in_the_second_wave", told(&report(&plan, &["api/1@wave:rest"], &[])));
}

#[test]
fn a_failure_in_a_wave_concerns_the_targets_of_that_wave_alone() {
    let plan = in_waves(4);
    for (wave, target) in [("1", "west"), ("first", "west"), ("2", "east"), ("rest", "east")] {
        let report = report(&plan, &[&format!("api@wave:{wave}")], &[]);
        let failed = report.timeline.iter().filter(|entry| entry.mark == Mark::Bad);
        let failed: Vec<_> = failed.flat_map(|entry| &entry.units).map(|unit| unit.target.as_str()).collect();
        assert_eq!(failed, [target; 2], "{wave}: {}", told(&report));
        assert_eq!(report.outcome.word, "succeeded", "{wave}");
    }
}

#[test]
fn words_about_waves_that_there_are_not_are_refused() {
    let refused = |plan: &Plan, text: &str| parse_fail(text, plan).expect_err(text);
    let unknown = refused(&in_waves(0), "api/1@wave:frist");
    assert_eq!(unknown.to_string(), "the plan has no wave `frist`");
    assert_eq!(unknown.hints[0], "did you mean `first`?");
    assert!(parse_fail("api/1@wave:3", &in_waves(0)).is_err());
    assert!(refused(&plan_of(&Shape::default()), "api@wave:1").to_string().contains("no waves"));
    assert!(refused(&in_waves(0), "previous:api@wave:1").to_string().contains("the way back"));
}

/// A target that has nothing of a service yet goes back to nothing.
#[test]
fn a_target_that_joined_is_empty_again_after_a_rollback() {
    let mut plan = plan_of(&Shape { targets: vec!["east", "west"], replicas: 2, ..Shape::default() });
    plan.services[0].from.as_mut().expect("it stands").absent.insert("west".parse().expect("a name"));
    let good = report(&plan, &[], &[]);
    assert_eq!(
        (good.outcome.word.as_str(), good.services[0].before, good.services[0].wanted),
        ("succeeded", 3, 4)
    );
    let failed = report(&plan, &[], &["api/1=never-ready"]);
    assert_eq!(failed.outcome.word, "rolled back");
    let old = plan.services[0].from.as_ref().expect("it stands").bundle;
    let units = failed.timeline.iter().flat_map(|entry| &entry.units);
    assert!(units.clone().any(|unit| unit.target.as_str() == "west"), "it was never tried");
    let wrong = units.into_iter().find(|unit| unit.target.as_str() == "west" && unit.bundle == old);
    assert_eq!(wrong, None, "what never stood there was brought there");
}

/// Whatever is simulated is judged: a run that the judge holds against a stricter plan than the engine had is a breach.
#[test]
fn a_broken_law_is_part_of_the_report() {
    let plan = plan_of(&Shape::default());
    let mut stricter = plan.clone();
    stricter.services[0].strategy = parse_strategy("recreate").expect("words");
    let scenario = Scenario::default();
    let run = run::Run::new(&plan, &scenario).judged_by(crate::law::Judge::new(&stricter, LIMIT));
    let report = run.carry_out().report;
    assert_eq!(report.outcome.word, "succeeded");
    assert!(report.breaches.iter().any(|broken| broken.law == "law 4 (bounds)"), "{report:#?}");
    assert_eq!(simulate(&plan, &scenario).report.breaches, []);
}
