//! The words of nextest: a line for each test, and below it, indented, what a failed one wrote.

use super::{Case, Suite, Verdict};

/// The width that nextest aligns its words to.
const WORD_WIDTH: usize = 12;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reader {
    has_begun: bool,
    /// After the summary everything is told again.
    has_ended: bool,
    suites: Vec<Suite>,
    /// The failed test that is quoted, by its places.
    quoted: Option<(usize, usize)>,
}

impl Reader {
    /// Whether it is nextest that is speaking.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// What was said, by program.
    pub(super) fn suites(&self) -> Vec<Suite> {
        self.suites.clone()
    }

    /// Takes a line.
    pub(super) fn push(&mut self, line: &str) {
        if !self.has_begun {
            self.has_begun = line.trim_start().starts_with("Nextest run ID ");
            return;
        }
        if self.has_ended {
            return;
        }
        let word = line.get(..WORD_WIDTH).map(str::trim_start);
        if word == Some("Summary") {
            self.has_ended = true;
        } else if let Some((suite, case)) = word.and_then(|word| case(word, &line[WORD_WIDTH..])) {
            self.add(suite, case);
        } else if let Some((suite, case)) = self.quoted {
            let case = &mut self.suites[suite].cases[case];
            match line.strip_prefix("    ") {
                Some(words) => case.wrote(words),
                None if line.is_empty() || line.ends_with("───") => case.wrote(line.trim_start()),
                None => self.quoted = None,
            }
        }
    }

    /// Adds a test, or what came of it when it was tried again.
    fn add(&mut self, suite: &str, case: Case) {
        let place = self.suites.iter().position(|known| known.name == suite).unwrap_or_else(|| {
            self.suites.push(Suite { name: suite.to_owned(), took: None, cases: Vec::new() });
            self.suites.len() - 1
        });
        let failed = case.verdict == Verdict::Failed;
        let cases = &mut self.suites[place].cases;
        let index = cases.iter().position(|known| known.name == case.name).unwrap_or(cases.len());
        if index < cases.len() {
            cases[index] = case;
        } else {
            cases.push(case);
        }
        self.quoted = failed.then_some((place, index));
    }
}

/// `        PASS [   0.158s] (1/7) api::smoke answers`: the program, and the test.
fn case<'a>(word: &str, rest: &'a str) -> Option<(&'a str, Case)> {
    let (time, rest) = rest.strip_prefix(" [")?.split_once(']')?;
    let took = super::junit::seconds(time)?; // A test that is merely slow has `> 60.000s`.
    let rest = rest.trim_start();
    let counted = rest.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    let (suite, name) = counted.map_or(rest, |(_, rest)| rest).trim_start().split_once(' ')?;
    let last = word.split(' ').next_back().unwrap_or(word);
    let verdict = match last {
        "PASS" | "LEAK" => Verdict::Passed,
        "SLOW" | "SETUP" => return None,
        // `FAIL`, `TIMEOUT`, `ABORT`, `SIGSEGV`, ….
        _ => Verdict::Failed,
    };
    Some((suite, Case { took: Some(took), ..Case::new(name, verdict) }))
}
