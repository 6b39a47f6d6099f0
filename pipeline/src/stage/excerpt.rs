//! Finds the lines that matter in what a stage's command wrote.

use std::collections::VecDeque;

/// How much of the output is kept to look through: the failures of a large test run, not an endless log.
const KEPT_LINES: usize = 5_000;

/// The most lines that an excerpt has: what fits on a screen or two.
const EXCERPT_LINES: usize = 60;

/// How many of the last lines are shown when nothing better is found.
const LAST_LINES: usize = 40;

/// The end of what a command wrote.
#[derive(Debug, Default)]
pub(super) struct Output(VecDeque<String>);

impl Output {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() == KEPT_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// The lines that are kept.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The errors of the compiler, else what the failed tests wrote, else panics, else the last lines.
    pub(super) fn excerpt(&self) -> Vec<String> {
        self.excerpt_or(&[])
    }

    /// The same, where `words` were found to be those of the failed tests, which need not be as libtest puts them.
    pub(super) fn excerpt_or(&self, words: &[String]) -> Vec<String> {
        let lines: Vec<&str> = self.lines().collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ways = [compiler_errors(&lines), failures(&lines), words, panics(&lines)];
        let found = ways.into_iter().find(|found| !found.is_empty());
        match found {
            Some(found) => cut(&found),
            None => lines[lines.len().saturating_sub(LAST_LINES)..]
                .iter()
                .map(|line| (*line).to_owned())
                .collect(),
        }
    }
}

/// From each `error…` at the start of a line to the next empty line.
fn compiler_errors<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in lines {
        // The last words of cargo and nextest about failed tests are no errors of the compiler.
        let is_last_word = ["test failed", "test run failed", "target failed:", "targets failed:"]
            .iter()
            .any(|w| line.contains(w));
        let is_start = line.starts_with("error[") || (line.starts_with("error: ") && !is_last_word);
        inside = is_start || (inside && !line.is_empty());
        if inside {
            found.push(*line);
        }
    }
    found
}

/// What stands between the first `failures:` and `test result: FAILED` of each test program.
fn failures<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in lines {
        if line.starts_with("test result:") {
            inside = false;
        } else if *line == "failures:" {
            inside = true;
        }
        if inside && !(line.is_empty() && found.last().is_none_or(|last: &&str| last.is_empty())) {
            found.push(*line);
        }
    }
    found
}

/// Each line that tells of a panic, and the two after it.
fn panics<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut left = 0;
    for line in lines {
        left = if line.contains("panicked at") { 3 } else { left };
        if left > 0 {
            found.push(*line);
            left -= 1;
        }
    }
    found
}

/// Leaves out the middle of a long excerpt.
fn cut(lines: &[&str]) -> Vec<String> {
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    if lines.len() <= EXCERPT_LINES {
        return owned(lines);
    }
    let (first, last) = (EXCERPT_LINES * 2 / 3, EXCERPT_LINES / 3 - 1);
    let left_out = lines.len() - first - last;
    [
        owned(&lines[..first]),
        vec![format!("… {left_out} lines left out …")],
        owned(&lines[lines.len() - last..]),
    ]
    .concat()
}

/// What test programs said about themselves, as far as it is recognised: libtest's and nextest's summaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TestCounts {
    passed: u64,
    ignored: u64,
    is_known: bool,
}

impl TestCounts {
    /// Adds up all summaries.
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut counts = Self::default();
        for line in lines {
            let summary = line.strip_prefix("test result: ");
            let summary = summary
                .or_else(|| line.trim_start().strip_prefix("Summary [").filter(|l| l.contains("tests run")));
            if let Some(summary) = summary {
                counts.is_known = true;
                counts.passed += number_before(summary, " passed");
                counts.ignored += number_before(summary, " ignored") + number_before(summary, " skipped");
            }
        }
        counts
    }

    /// `9 tests passed, 1 ignored`.
    pub(super) fn summary(&self) -> String {
        let ignored = if self.ignored > 0 { format!(", {} ignored", self.ignored) } else { String::new() };
        match (self.is_known, self.passed) {
            (false, _) => "the command succeeded".into(),
            (true, 1) => format!("1 test passed{ignored}"),
            (true, n) => format!("{n} tests passed{ignored}"),
        }
    }
}

/// `2 tests failed (a, b); `, or nothing.
pub(super) fn failed_tests(names: &[String]) -> String {
    const NAMED: usize = 5;
    let list = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > NAMED { ", …" } else { "" };
    match names.len() {
        0 => String::new(),
        1 => format!("1 test failed ({list}); "),
        n => format!("{n} tests failed ({list}{more}); "),
    }
}

/// The number right before a word; 0 if there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let digits = text.split(word).next().filter(|before| before.len() < text.len());
    digits.and_then(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Output {
        let mut output = Output::default();
        text.lines().for_each(|line| output.push(line));
        output
    }

    const FAILED: &str = "\
running 2 tests
test tests::good ... ok
test tests::bad ... FAILED

failures:

---- tests::bad stdout ----

thread 'tests::bad' panicked at src/lib.rs:5:9:
assertion `left == right` failed


failures:
    tests::bad

test result: FAILED. 1 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s

error: test failed, to rerun pass `--lib`
error: 2 targets failed:
    `--lib`
    `--test api`";

    #[test]
    fn of_failed_tests_their_own_words_are_quoted() {
        let excerpt = output(FAILED).excerpt();
        assert_eq!(excerpt.first().unwrap(), "failures:");
        assert!(
            excerpt.contains(&"thread 'tests::bad' panicked at src/lib.rs:5:9:".to_owned()),
            "{excerpt:?}"
        );
        assert!(!excerpt.iter().any(|line| line.contains("good") || line.contains("rerun")), "{excerpt:?}");
        assert_eq!(failed_tests(&["tests::bad".to_owned()]), "1 test failed (tests::bad); ");
        let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(failed_tests(&many), "7 tests failed (0, 1, 2, 3, 4, …); ");
    }

    #[test]
    fn of_code_that_does_not_compile_the_errors_are_quoted() {
        let text = "   Compiling x v0.1.0\nwarning: unused\n --> a\n\nerror[E0308]: mismatched types\n --> src/main.rs:1\n\nerror: could not compile `x`";
        assert_eq!(
            output(text).excerpt(),
            ["error[E0308]: mismatched types", " --> src/main.rs:1", "error: could not compile `x`"]
        );
    }

    #[test]
    fn of_anything_else_panics_or_the_last_lines_are_quoted() {
        assert_eq!(output("a\nthread 'main' panicked at x:\nwhy\nnote\nz").excerpt().len(), 3);
        let many: String = (0..100).map(|i| format!("{i}\n")).collect();
        let excerpt = output(&many).excerpt();
        assert_eq!((excerpt.len(), excerpt[0].as_str()), (LAST_LINES, "60"));
        assert!(output("").excerpt().is_empty());
        let long: String = (0..500).map(|i| format!("error: {i}\n")).collect();
        let excerpt = output(&long).excerpt();
        assert_eq!(excerpt.len(), EXCERPT_LINES);
        assert!(excerpt.contains(&"… 441 lines left out …".to_owned()), "{excerpt:?}");
    }

    #[test]
    fn passed_tests_are_counted_over_all_programs() {
        let summary = |text: &str| TestCounts::of(text.lines()).summary();
        assert_eq!(
            summary(
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 m\nx\ntest result: ok. 4 passed; 0 failed; 0 ignored"
            ),
            "9 tests passed, 1 ignored"
        );
        assert_eq!(summary("test result: ok. 1 passed; 0 failed; 0 ignored"), "1 test passed");
        assert_eq!(
            summary("     Summary [   0.043s] 12 tests run: 12 passed, 2 skipped"),
            "12 tests passed, 2 ignored"
        );
        assert_eq!(summary("all good"), "the command succeeded");
    }
}
