//! What a test run said of each test: read off its output line by line, and kept as a JUnit file for whoever shows test
//! results.
//!
//! The words of libtest (`cargo test`) and of nextest are known. Of another command only its end is: then the report has
//! one case, the command itself.

mod junit;
mod libtest;
mod nextest;

use super::Context;
use crate::store;
use std::{io, path::PathBuf, time::Duration};

/// The most lines of output that are kept of one test: all of a failure's words, not an endless log.
const OUTPUT_LINES: usize = 1_000;

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    Ignored,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// Its name within its program: `tests::adds`.
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// Why it was ignored, if it says so.
    pub(super) why: Option<String>,
    /// How long it ran, if that was told.
    pub(super) took: Option<Duration>,
    /// What it wrote, if it failed; secrets masked.
    pub(super) output: Vec<String>,
    /// How many more lines it wrote.
    pub(super) left_out: usize,
}

impl Case {
    fn new(name: &str, verdict: Verdict) -> Self {
        Self { name: name.to_owned(), verdict, why: None, took: None, output: Vec::new(), left_out: 0 }
    }

    fn wrote(&mut self, line: &str) {
        if self.output.len() < OUTPUT_LINES {
            self.output.push(line.to_owned());
        } else {
            self.left_out += 1;
        }
    }
}

/// The tests of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suite {
    /// `src/lib.rs (api)`, `tests/smoke.rs (smoke)`, `doc tests of api`; of nextest its own word, `api::smoke`.
    pub(super) name: String,
    pub(super) took: Option<Duration>,
    pub(super) cases: Vec<Case>,
}

/// Reads a test run's output, and knows what it said when it has ended.
#[derive(Debug, Default)]
pub(super) struct TestReport {
    libtest: libtest::Reader,
    nextest: nextest::Reader,
}

impl TestReport {
    /// Takes a line of either output; secrets masked.
    pub(super) fn push(&mut self, line: &str) {
        let line = without_escapes(line);
        // Whoever speaks first goes on: what a test writes of other tests is not taken for theirs.
        if !self.libtest.has_begun() {
            self.nextest.push(&line);
        }
        if !self.nextest.has_begun() {
            self.libtest.push(&line);
        }
    }

    /// All tests that were told of, by program, in the order in which they were told.
    pub(super) fn suites(&self) -> Vec<Suite> {
        if self.nextest.has_begun() { self.nextest.suites() } else { self.libtest.suites() }
    }

    /// The names of the tests that failed.
    pub(super) fn failed(suites: &[Suite]) -> Vec<String> {
        let cases = suites.iter().flat_map(|suite| &suite.cases);
        cases.filter(|case| case.verdict == Verdict::Failed).map(|case| case.name.clone()).collect()
    }

    /// What the failed tests wrote, each under its name.
    pub(super) fn words_of_failed(suites: &[Suite]) -> Vec<String> {
        let cases = suites.iter().flat_map(|suite| &suite.cases);
        let failed = cases.filter(|case| case.verdict == Verdict::Failed && !case.output.is_empty());
        failed
            .flat_map(|case| std::iter::once(format!("{}:", case.name)).chain(case.output.clone()))
            .collect()
    }
}

/// How the command ended, beside its tests.
pub(super) struct Ended<'a> {
    /// The command, as it is shown.
    pub(super) command: String,
    /// How long it ran.
    pub(super) took: Duration,
    /// Why it failed, with the lines that matter, if it did.
    pub(super) failure: Option<(&'a str, &'a [String])>,
}

/// Where the report of the last run is.
fn path(context: &Context) -> PathBuf {
    context.state.join("reports").join("junit.xml")
}

/// Writes the report of a run, in the place of the last one. What is masked in `suites` is masked in it.
///
/// # Errors
/// Names the file and what to do.
pub(super) fn write(context: &Context, suites: &[Suite], ended: &Ended<'_>) -> io::Result<()> {
    let path = path(context);
    let text = junit::text(suites, ended)?;
    store::create_folder(&context.state.join("reports"))?;
    // What tests write may tell more than everybody should know.
    store::write_atomic(&path, text.as_bytes(), store::PRIVATE)
}

/// The line without control sequences: with `CARGO_TERM_COLOR=always` cargo's words have them in any place.
fn without_escapes(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // A control sequence ends with its first letter.
            let _ = characters.by_ref().find(|character| ('@'..='~').contains(character));
        } else {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests;
