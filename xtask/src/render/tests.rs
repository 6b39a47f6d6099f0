use super::*;
use crate::{
    cli::simulate_request,
    commands,
    doctor::{Finding, Grade},
    paint::Paint,
    samples,
};
use deploy::{plan::PlanKind, session::Lock, simulate::parse_strategy};
use jiff::tz::TimeZone;

fn now() -> Now {
    Now { at: samples::now(), zone: TimeZone::UTC }
}

#[test]
fn a_plan_reads_well() {
    insta::assert_snapshot!(plan(&samples::plan(), Paint::OFF));
}

#[test]
fn an_empty_plan_says_so() {
    insta::assert_snapshot!(plan(&samples::empty_plan(), Paint::OFF), @r"
    Plan: release 3f9a1c2b4d5e to local
    nothing to do: everything stands as it should
    ");
}

#[test]
fn a_plan_to_take_a_service_away_and_one_to_return_say_so() {
    let mut returning = samples::plan();
    returning.kind = PlanKind::Rollback;
    returning.services.truncate(1);
    returning.services[0].to = None;
    returning.overrides.clear();
    returning.risks.clear();
    insta::assert_snapshot!(plan(&returning, Paint::OFF));
}

fn simulated(arguments: &str, paint: Paint) -> String {
    let request = simulate_request(arguments);
    let against = request.against.as_deref().map(|text| parse_strategy(text).unwrap());
    simulation(&commands::simulation(&request, samples::plan(), against).unwrap(), paint)
}

#[test]
fn a_simulation_reads_well() {
    insta::assert_snapshot!(simulated("--fault api/1=never-ready --seed 7", Paint::OFF));
}

#[test]
fn two_strategies_stand_side_by_side() {
    let arguments = "--fault api=exits-after:11s --fail api/1@2 --cancel-at 1h --against recreate";
    insta::assert_snapshot!(simulated(arguments, Paint::OFF));
}

#[test]
fn a_status_reads_well() {
    insta::assert_snapshot!(status(&samples::status(), &now(), Paint::OFF));
}

#[test]
fn a_status_without_anything_says_what_to_do() {
    insta::assert_snapshot!(status(&samples::absent(), &now(), Paint::OFF), @r"
    noogh on local: nothing deployed

    next: cargo xtask deploy local
    ");
}

#[test]
fn a_history_reads_well() {
    insta::assert_snapshot!(history(&samples::history(), &now(), Paint::OFF));
    assert_eq!(history(&[], &now(), Paint::OFF), "no rollout has ended here yet\n");
}

#[test]
fn a_lock_says_what_it_says() {
    let described =
        Lock { lease: Some(samples::lease()), freeze: None, lines: vec!["held by: ann".to_owned()] };
    assert_eq!(lock(&described, &now(), Paint::OFF), "held by: ann\n");
    let bare = Lock { lease: Some(samples::lease()), freeze: None, lines: Vec::new() };
    assert!(lock(&bare, &now(), Paint::OFF).contains("held by ann@laptop, process 4711 (alive)"));
    let free = Lock { lease: None, freeze: None, lines: Vec::new() };
    assert_eq!(lock(&free, &now(), Paint::OFF), "The lease is free.\n");
    let frozen = lock(&Lock { freeze: Some(samples::freeze()), ..free }, &now(), Paint::OFF);
    assert!(frozen.contains("frozen: it was rolled back by hand by ann@laptop 10 min ago"), "{frozen}");
}

#[test]
fn a_diagnosis_names_each_fix() {
    let finding = |check: &str, grade, found: &str, fix: Option<&str>| Finding {
        check: check.to_owned(),
        grade,
        found: found.to_owned(),
        fix: fix.map(str::to_owned),
    };
    let findings = [
        finding("configuration", Grade::Ok, "fairlead.toml in order", None),
        finding("git", Grade::Warn, "not found", Some("install git")),
        finding("port 8000 (api)", Grade::Fail, "held by another process", Some("end it")),
    ];
    insta::assert_snapshot!(doctor(&findings, Paint::OFF), @r"
    CHECK                  FOUND
    configuration    ok    fairlead.toml in order
    git              warn  not found
    port 8000 (api)  fail  held by another process

    git: install git
    port 8000 (api): end it
    ");
}

#[test]
fn colours_change_nothing_but_colours() {
    let documents = |paint| {
        [
            plan(&samples::plan(), paint),
            status(&samples::status(), &now(), paint),
            history(&samples::history(), &now(), paint),
            simulated("--fault api/1=never-ready --against recreate", paint),
            simulated("--fault api/1=never-ready", paint),
        ]
    };
    for (coloured, bare) in documents(Paint(true)).into_iter().zip(documents(Paint::OFF)) {
        assert!(coloured.contains('\u{1b}') && !bare.contains('\u{1b}'));
        let lines: Vec<String> = coloured.lines().map(crate::reporter::without_escapes_of).collect();
        assert_eq!(format!("{}\n", lines.join("\n")), bare);
    }
}

#[test]
fn times_are_told_to_their_largest_unit() {
    let at = |seconds: i64| now().relative(samples::now() - jiff::SignedDuration::from_secs(seconds));
    assert_eq!(at(0), "just now");
    assert_eq!(at(119), "119 s ago");
    assert_eq!(at(120), "2 min ago");
    assert_eq!(at(7_200), "2 h ago");
    assert_eq!(at(172_800), "2 days ago");
    assert_eq!(at(-60), "in 60 s");
    assert_eq!(now().absolute(samples::now()), "2026-11-24 12:00:00");
}

#[test]
fn what_goes_from_a_registry_and_what_stays_reads_well() {
    insta::assert_snapshot!(prunable(&samples::prunable(), Paint::OFF));
}
