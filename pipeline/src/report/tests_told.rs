//! What was said of each test: read from the JUnit file that the `test` stage has left.

use quick_junit::{Report as Junit, TestCaseStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most failed tests that are shown with their words: whoever mends ten runs them again; the file beside has all.
const SHOWN: usize = 20;

/// The most lines that are shown of one, from its end, where most programs say what is wrong.
const LINES: usize = 40;

/// What was said of each test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TestsTold {
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were left out.
    pub ignored: usize,
    /// The first of those that failed.
    pub failures: Vec<FailedTest>,
}

/// One that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FailedTest {
    /// Its program, or whatever its runner groups tests by.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// What it wrote, the last lines; secrets masked.
    pub words: Vec<String>,
}

impl TestsTold {
    /// Reads a JUnit file.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn read(xml: &str) -> Result<Self, quick_junit::DeserializeError> {
        let junit = Junit::deserialize_from_str(xml)?;
        let mut told = Self::default();
        for suite in &junit.test_suites {
            for case in &suite.test_cases {
                match &case.status {
                    TestCaseStatus::Success { .. } => told.passed += 1,
                    TestCaseStatus::Skipped { .. } => told.ignored += 1,
                    TestCaseStatus::NonSuccess { message, description, .. } => {
                        told.failed += 1;
                        let words = description.as_ref().or(message.as_ref());
                        let words: Vec<String> = words
                            .iter()
                            .flat_map(|words| words.as_str().lines())
                            .map(str::to_owned)
                            .collect();
                        let words = words[words.len().saturating_sub(LINES)..].to_vec();
                        let (suite, name) = (suite.name.to_string(), case.name.to_string());
                        told.failures.push(FailedTest { suite, name, words });
                    }
                }
            }
        }
        told.failures.truncate(SHOWN);
        Ok(told)
    }

    /// `12 passed, 1 failed, 2 ignored`.
    pub fn counts(&self) -> String {
        let all = [(self.passed, "passed"), (self.failed, "failed"), (self.ignored, "ignored")];
        let told = all.iter().filter(|(count, word)| *count > 0 || *word == "passed");
        told.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_junit::{NonSuccessKind, TestCase, TestSuite};

    #[test]
    fn what_tests_write_is_read_back_whatever_it_is() {
        let words = "left: \"<1>\"\nright: 'é' & \u{1b}[31mred\u{1b}[0m ]]> \t end";
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message("one\ntwo <&> \"quoted\"").set_description(words);
        let mut only_message = TestCaseStatus::non_success(NonSuccessKind::Error);
        only_message.set_message("line one\nline two");
        let mut suite = TestSuite::new("src/lib.rs (api)");
        suite.add_test_case(TestCase::new("tests::a<b>", status));
        suite.add_test_case(TestCase::new("tests::c", only_message));
        let mut junit = Junit::new("test");
        junit.add_test_suite(suite);
        let told = TestsTold::read(&junit.to_string().unwrap()).unwrap();
        assert_eq!(told.counts(), "0 passed, 2 failed");
        assert_eq!(told.failures[0].name, "tests::a<b>");
        assert_eq!(told.failures[0].words[0], "left: \"<1>\"");
        assert!(told.failures[0].words[1].starts_with("right: 'é' & "), "{:?}", told.failures[0].words);
        assert!(!told.failures[1].words.is_empty());
    }
}
