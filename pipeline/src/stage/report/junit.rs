//! The report as JUnit XML, the format that every test viewer reads.

use super::{Case, Ended, Suite, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::{io, time::Duration};

/// What the report, and what no single test is to blame for, is called.
const NAME: &str = "test";

/// The report as text.
///
/// # Errors
/// If it cannot be written as XML.
pub(super) fn text(suites: &[Suite], ended: &Ended<'_>) -> io::Result<String> {
    let mut report = Report::new(NAME);
    report.set_time(ended.took);
    report.add_test_suites(suites.iter().map(suite));
    let is_explained = !super::TestReport::failed(suites).is_empty();
    // A file that holds no failure must not stand for a run that failed; and one without any test says nothing.
    if let Some((message, excerpt)) = ended.failure.filter(|_| !is_explained) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(message).set_description(excerpt.join("\n"));
        report.add_test_suite(of_command(ended, status));
    } else if suites.is_empty() {
        report.add_test_suite(of_command(ended, TestCaseStatus::success()));
    }
    let text = report.to_string().map_err(io::Error::other)?;
    Ok(without_count_of_skipped(text))
}

/// The text without the count of skipped tests in its first element, where the schema that Jenkins reads by has none.
fn without_count_of_skipped(text: String) -> String {
    let parts =
        text.split_once(" skipped=\"").and_then(|(before, after)| Some((before, after.split_once('"')?.1)));
    // That of a suite may stay.
    match parts.filter(|(before, _)| !before.contains("<testsuite ")) {
        Some((before, after)) => format!("{before}{after}"),
        None => text,
    }
}

/// The command itself as the only case of a suite.
fn of_command(ended: &Ended<'_>, status: TestCaseStatus) -> TestSuite {
    let mut case = TestCase::new(ended.command.as_str(), status);
    case.set_classname(NAME).set_time(ended.took);
    let mut suite = TestSuite::new(NAME);
    suite.add_test_case(case);
    suite
}

fn suite(suite: &Suite) -> TestSuite {
    let mut told = TestSuite::new(suite.name.as_str());
    if let Some(took) = suite.took {
        told.set_time(took);
    }
    told.add_test_cases(suite.cases.iter().map(|case| test_case(suite, case)));
    told
}

fn test_case(suite: &Suite, case: &Case) -> TestCase {
    let status = match case.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Ignored => {
            let mut status = TestCaseStatus::skipped();
            if let Some(why) = &case.why {
                status.set_message(why.as_str());
            }
            status
        }
        Verdict::Failed => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            if let Some(message) = message(&case.output) {
                status.set_message(message);
            }
            status.set_description(words(case));
            status
        }
    };
    let mut told = TestCase::new(case.name.as_str(), status);
    told.set_classname(suite.name.as_str());
    if let Some(took) = case.took {
        told.set_time(took);
    }
    told
}

/// What a failed test wrote, without empty lines around it.
fn words(case: &Case) -> String {
    let mut text = case.output.join("\n").trim_matches('\n').to_owned();
    if case.left_out > 0 {
        text.push_str(&format!("\n… {} lines left out …", case.left_out));
    }
    text
}

/// The first line of a panic's message, else the error that was returned, else the first line.
fn message(output: &[String]) -> Option<&str> {
    let panic = output.iter().position(|line| line.contains("panicked at "));
    let after = panic.and_then(|index| output.get(index + 1)).filter(|line| !line.trim().is_empty());
    let error = || output.iter().find(|line| line.starts_with("Error: "));
    let first = || output.iter().find(|line| !line.trim().is_empty() && !line.ends_with("───"));
    after.or_else(error).or_else(first).map(|line| line.trim())
}

/// `0.158s` as a time.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
