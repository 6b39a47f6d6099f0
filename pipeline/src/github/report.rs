//! What a check run tells of a commit: failed tests and findings of scans, beside the lines that they are about.

use super::fit;
use crate::scan::{Finding, Judgement, Severity, Subject};
use quick_junit::{DeserializeError, NonSuccessKind, Report, TestCaseStatus};
use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

/// The longest message of an annotation, in characters: GitHub takes 64 KB, nobody reads that much.
const MESSAGE_MAX: usize = 2000;

/// How bad an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It stops the release.
    Failure,
    /// It stops nothing.
    Warning,
}

impl Grade {
    /// As GitHub calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Warning => "warning",
        }
    }
}

/// A remark beside lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Annotation {
    /// How bad it is.
    pub grade: Grade,
    /// The file, relative to the project's root.
    pub path: String,
    /// The first line, from 1.
    pub first: u32,
    /// The last line.
    pub last: u32,
    /// In a few words.
    pub title: String,
    /// In more.
    pub message: String,
}

/// What a check run says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Beside lines.
    pub annotations: Vec<Annotation>,
    /// What stops the release, a line each; also what has no line to stand beside.
    pub failures: Vec<String>,
    /// What was looked at: `142 tests`, `the image of api`.
    pub looked_at: Vec<String>,
}

impl CheckReport {
    /// With what another found as well.
    pub fn add(&mut self, other: Self) {
        self.annotations.extend(other.annotations);
        self.failures.extend(other.failures);
        self.looked_at.extend(other.looked_at);
    }

    /// Whether nothing stops the release.
    pub fn passes(&self) -> bool {
        self.failures.is_empty()
    }

    /// In a few words.
    pub fn title(&self) -> String {
        match self.failures.len() {
            0 => "nothing stops this commit".to_owned(),
            1 => "1 thing stops this commit".to_owned(),
            count => format!("{count} things stop this commit"),
        }
    }

    /// In Markdown.
    pub fn summary(&self) -> String {
        /// More would be read by nobody, and GitHub takes 64 KB.
        const SHOWN: usize = 50;
        let mut text = format!("Looked at: {}.\n", self.looked_at.join(", "));
        for failure in self.failures.iter().take(SHOWN) {
            text.push_str(&format!("\n- {}", fit(failure, 400)));
        }
        if let Some(more) = self.failures.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            text.push_str(&format!("\n- … and {more} more"));
        }
        text
    }
}

/// What the tests came to, out of their report (JUnit). A failure stands beside the line that it names if that is a file
/// of the project, as `exists` knows.
///
/// # Errors
/// The text is no such report.
pub fn failed_tests(junit: &str, exists: impl Fn(&Path) -> bool) -> Result<CheckReport, DeserializeError> {
    let report = Report::deserialize_from_str(junit)?;
    let mut all = 0;
    let mut told = CheckReport::default();
    for suite in &report.test_suites {
        for case in &suite.test_cases {
            all += 1;
            let TestCaseStatus::NonSuccess { kind, message, description, .. } = &case.status else {
                continue;
            };
            let word = match kind {
                NonSuccessKind::Failure => "failed",
                NonSuccessKind::Error => "could not be run",
            };
            let title = format!("{} {}: {word}", suite.name.as_str(), case.name.as_str());
            let texts = [message.as_ref(), description.as_ref(), case.system_err.as_ref()];
            let texts: Vec<&str> = texts.into_iter().flatten().map(|text| text.as_str()).collect();
            let message = texts.join("\n");
            if let Some((path, line)) = place(&message, &exists) {
                let (title, message) = (fit(&title, 200), cut(&message));
                let grade = Grade::Failure;
                told.annotations.push(Annotation { grade, path, first: line, last: line, title, message });
            }
            let first = texts.iter().flat_map(|text| text.lines()).find(|line| !line.trim().is_empty());
            told.failures.push(format!("{title}: {}", first.unwrap_or("no message")));
        }
    }
    told.looked_at.push(format!("{all} tests"));
    Ok(told)
}

/// What a scan came to. Only the configuration has files of the project; what is in an image has no line here.
pub fn scan_annotations(subject: &Subject, judgement: &Judgement) -> CheckReport {
    let about = match subject.service() {
        Some(service) => format!("the image of {service}"),
        None => "the configuration".to_owned(),
    };
    let mut told = CheckReport::default();
    let waived = judgement.waived.iter().map(|(finding, _)| (finding, Grade::Warning));
    let stops = judgement.stops.iter().map(|stop| (&stop.finding, Grade::Failure));
    for (finding, grade) in stops.chain(waived) {
        let Finding { severity, rule, file, .. } = finding;
        let title = format!("{} {rule} in {about}", word(*severity));
        if grade == Grade::Failure {
            told.failures.push(format!("{title}: {}, {}", finding.place(), finding.about()));
        }
        if subject.service().is_none() && is_inside(Path::new(file)) {
            let (first, last) = finding.lines.map_or((1, 1), |lines| (lines.first.max(1), lines.last));
            let advice = finding.advice.as_deref().unwrap_or_default();
            let message = cut(&format!("{}\n{advice}", finding.about()));
            let (path, title) = (file.clone(), fit(&title, 200));
            told.annotations.push(Annotation { grade, path, first, last: last.max(first), title, message });
        }
    }
    told.looked_at.push(about);
    told
}

fn word(severity: Severity) -> &'static str {
    severity.as_str()
}

fn cut(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None if text.is_empty() => "no message".to_owned(),
        None => text.to_owned(),
    }
}

/// The first place of the form `path:line` that is a file of the project.
fn place(text: &str, exists: &impl Fn(&Path) -> bool) -> Option<(String, u32)> {
    let mut tried = BTreeSet::new();
    let words = text.split(|c: char| c.is_whitespace() || "()[]'\"`,;".contains(c));
    words.filter(|word| word.contains(':')).find_map(|word| {
        let mut parts = word.split(':');
        let (path, line) = (parts.next()?, parts.next()?.parse::<u32>().ok().filter(|line| *line > 0)?);
        let known = Path::new(path);
        // A report that names the same file a thousand times has it looked up once.
        if !path.contains('.') || !is_inside(known) || !tried.insert((path.to_owned(), line)) {
            return None;
        }
        exists(known).then(|| (path.to_owned(), line))
    })
}

fn is_inside(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="tests" tests="2" failures="1" errors="0">
    <testsuite name="shop" tests="2" disabled="0" errors="0" failures="1">
        <testcase name="adds"/>
        <testcase name="pays"><failure type="panic">thread 'pays' panicked at src/pay.rs:41:9:
left: 1, right: 2</failure></testcase>
    </testsuite>
</testsuites>"#;

    #[test]
    fn a_failed_test_stands_beside_the_line_where_it_panicked() {
        let report = failed_tests(JUNIT, |path| path == Path::new("src/pay.rs")).expect("a report");
        assert_eq!(report.looked_at, ["2 tests"]);
        assert!(!report.passes());
        let [one] = report.annotations.as_slice() else { panic!("{report:?}") };
        assert_eq!((one.path.as_str(), one.first, one.last), ("src/pay.rs", 41, 41));
        assert_eq!(one.title, "shop pays: failed");
        assert!(one.message.contains("left: 1"), "{}", one.message);
    }

    #[test]
    fn a_failed_test_of_which_nobody_knows_the_line_still_stops_the_commit() {
        let report = failed_tests(JUNIT, |_| false).expect("a report");
        assert_eq!(report.annotations, []);
        assert_eq!(report.failures.len(), 1);
        assert!(report.summary().contains("shop pays: failed: thread"), "{}", report.summary());
    }

    #[test]
    fn only_files_of_the_project_are_places() {
        let all = |_: &Path| true;
        assert_eq!(
            place("at /etc/passwd.d:3 and ../a.rs:4 or 10.0.0.1:80", &|path| path.is_absolute()),
            None
        );
        assert_eq!(place("(src/a.rs:7:1)", &all), Some(("src/a.rs".to_owned(), 7)));
        assert_eq!(place("src/a.rs:0", &all), None);
    }

    #[test]
    fn text_that_is_no_report_is_an_error() {
        assert!(failed_tests("<html>", |_| true).is_err());
    }
}
