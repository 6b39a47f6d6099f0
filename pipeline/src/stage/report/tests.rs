//! What real runs wrote, read back. The outputs in `testdata` are those of one package with unit tests, two test programs
//! and doc tests.

use super::*;
use crate::process::Runner;

const LIBTEST: &str = include_str!("testdata/libtest.txt");
const COLOURED: &str = include_str!("testdata/coloured.txt");
const ABORTED: &str = include_str!("testdata/aborted.txt");
const UNCAPTURED: &str = include_str!("testdata/nocapture.txt");
const NEXTEST: &str = include_str!("testdata/nextest.txt");
const NEXTEST_ABORTED: &str = include_str!("testdata/nextest-aborted.txt");

fn suites<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Suite> {
    let mut report = TestReport::default();
    lines.into_iter().for_each(|line| report.push(line));
    report.suites()
}

/// `suite: name verdict, …`, a line for each suite.
fn told(suites: &[Suite]) -> String {
    let case = |case: &Case| format!("{} {:?}", case.name, case.verdict);
    let suite = |suite: &Suite| {
        format!("{}: {}\n", suite.name, suite.cases.iter().map(case).collect::<Vec<_>>().join(", "))
    };
    suites.iter().map(suite).collect()
}

fn xml(suites: &[Suite], failure: Option<(&str, &[String])>) -> String {
    let took = Duration::from_millis(1_500);
    junit::text(suites, &Ended { command: "cargo test".to_owned(), took, failure }).unwrap()
}

const ALL: &str = "\
src/lib.rs (sample): tests::adds Passed, tests::breaks Failed, tests::panics Passed, tests::slow Ignored, \
tests::slower Ignored, tests::tells Failed
tests/api.rs (api): answers Passed, fails Failed
tests/web.rs (web): good Passed
doc tests of sample: src/lib.rs - add (line 10) Passed, src/lib.rs - add (line 7) Ignored, \
src/lib.rs - add (line 4) Passed
";

#[test]
fn of_cargo_test_every_test_of_every_program_is_told() {
    let suites = suites(LIBTEST.lines());
    assert_eq!(told(&suites), ALL);
    let breaks = &suites[0].cases[1];
    assert_eq!(breaks.output[0], "before");
    assert!(breaks.output.iter().any(|line| line == "assertion `left == right` failed: wrong"), "{breaks:?}");
    assert!(!breaks.output.iter().any(|line| line.contains("tells")), "each has its own words: {breaks:?}");
    assert_eq!(TestReport::failed(&suites), ["tests::breaks", "tests::tells", "fails"]);
}

#[test]
fn programs_keep_their_names_when_the_outputs_race() {
    let is_cargos = |line: &&str| {
        line.starts_with("     Running ") || line.starts_with("   Doc-tests ") || line.starts_with("error")
    };
    let first = LIBTEST.lines().filter(is_cargos);
    let then = LIBTEST.lines().filter(|line| !is_cargos(line));
    assert_eq!(told(&suites(first.chain(then))), ALL);
}

#[test]
fn a_program_that_does_not_come_to_its_end_is_a_failure() {
    let suites = suites(ABORTED.lines());
    assert_eq!(told(&suites), "tests/dies.rs (dies): the test program Failed\n");
    assert!(xml(&suites, None).contains("SIGABRT"), "{}", xml(&suites, None));
    let nextest = self::suites(NEXTEST_ABORTED.lines());
    assert_eq!(told(&nextest), "sample::dies: the_process_ends Failed, lives Passed\n");
}

#[test]
fn colours_and_uncaptured_output_do_not_hide_a_test() {
    assert_eq!(told(&suites(COLOURED.lines())), "tests/dies.rs (dies): b_fails Failed, a_tells Passed\n");
    assert_eq!(told(&suites(UNCAPTURED.lines())), "tests/dies.rs (dies): a_tells Passed, b_fails Failed\n");
}

#[test]
fn what_a_test_quotes_of_other_tests_is_not_taken_for_tests() {
    let text = "running 2 tests\ntest outer ... FAILED\ntest other ... FAILED\n\nfailures:\n\n---- outer stdout ----\n Nextest run ID 1\n\
                running 1 test\ntest inner ... FAILED\nfailures:\n    inner\n\ntest result: FAILED. 0 passed; 1 failed\n\
                \n---- other stdout ----\nmine\n\n\nfailures:\n    other\n    outer\n\n\
                test result: FAILED. 0 passed; 2 failed; finished in 0.10s";
    let suites = suites(text.lines());
    assert_eq!(told(&suites), "tests: outer Failed, other Failed\n");
    assert_eq!(suites[0].cases[1].output[0], "mine");
    assert_eq!(suites[0].took, Some(Duration::from_millis(100)));
}

#[test]
fn of_nextest_the_last_try_of_each_test_counts() {
    let suites = suites(NEXTEST.lines());
    assert_eq!(
        told(&suites),
        "sample: tests::breaks Failed, tests::adds Passed, tests::panics Passed, tests::tells Failed\n\
         sample::api: answers Passed, fails Failed\nsample::web: good Passed\n"
    );
    let breaks = &suites[0].cases[0];
    assert_eq!(breaks.took, Some(Duration::from_millis(23)));
    assert_eq!(breaks.output.iter().filter(|line| line.contains("panicked at src/lib.rs")).count(), 1);
    assert!(TestReport::words_of_failed(&suites).iter().any(|line| line == "in api"));
    let slow = "Nextest run ID 1\n        SLOW [> 60.000s] (───) a b\n  TRY 1 FAIL [   1.000s] (───) a b\n  TRY 2 PASS [   2.000s] (1/1) a b";
    assert_eq!(told(&self::suites(slow.lines())), "a: b Passed\n");
}

#[test]
fn junit_tells_counts_messages_and_reasons() {
    let text = xml(&suites(LIBTEST.lines()), None);
    for part in [
        r#"<testsuites name="test" tests="12" failures="3" errors="0" time="1.500">"#,
        r#"<testsuite name="src/lib.rs (sample)" tests="6" skipped="2" errors="0" failures="2""#,
        r#"<testcase name="tests::adds" classname="src/lib.rs (sample)"/>"#,
        r#"<skipped message="takes a day"/>"#,
        r#"<failure message="assertion `left == right` failed: wrong">before"#,
        r#"<failure message="Error: &quot;no&quot;">to stdout &lt;&amp;&gt; red"#,
        r#"name="src/lib.rs - add (line 10)" classname="doc tests of sample""#,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn of_any_other_command_its_own_end_is_told() {
    let passed = xml(&suites(["all good"]), None);
    assert!(passed.contains(r#"tests="1" failures="0" errors="0""#), "{passed}");
    let lines = ["error[E0308]: mismatched types".to_owned()];
    let failed = xml(&[], Some(("`make` ended with exit status 2", &lines)));
    assert!(failed.contains(r#"errors="1""#) && failed.contains("E0308"), "{failed}");
    // The tests passed, and yet the command failed.
    let good = ["running 1 test", "test a ... ok", "test result: ok. 1 passed; 0 failed"];
    let failed = xml(&suites(good), Some(("it ended with exit status 1", &[])));
    assert!(failed.contains(r#"tests="2" failures="0" errors="1""#), "{failed}");
}

#[test]
fn an_endless_output_is_cut() {
    let words = (0..3_000).map(|n| format!("line {n}"));
    let lines: Vec<String> = ["running 1 test", "test a ... FAILED", "failures:", "---- a stdout ----"]
        .map(str::to_owned)
        .into_iter()
        .chain(words)
        .collect();
    let text = xml(&suites(lines.iter().map(String::as_str)), None);
    assert!(text.contains("line 999\n… 2000 lines left out …"), "{text}");
}

#[test]
fn the_report_stands_in_the_state_folder_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let context = Context {
        root: folder.path().to_owned(),
        state: folder.path().join(".fairlead"),
        variables: crate::secret::Variables::new(),
        runner: Runner::default(),
        answer_limit: crate::fingerprint::DEADLINE,
    };
    let ended = Ended { command: "make".to_owned(), took: Duration::ZERO, failure: None };
    write(&context, &[], &ended).unwrap();
    let path = folder.path().join(".fairlead/reports/junit.xml");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = write(&context, &[], &ended).unwrap_err();
    assert!(error.to_string().contains("reports/junit.xml"), "{error}");
}
