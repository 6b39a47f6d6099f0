//! The words of libtest, as `cargo test` hands them on.
//!
//! Cargo names each program on standard error, and libtest tells its tests on standard output. Each stream is in order, but
//! they race, so names and programs are put together at the end.

use super::{Case, Suite, Verdict};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What cargo called the programs.
    names: Vec<String>,
    programs: Vec<Program>,
    place: Place,
}

/// What one program said.
#[derive(Debug, Default)]
struct Program {
    /// How many names were known when it began.
    names_before: usize,
    cases: Vec<Case>,
    /// A test whose end is told on a later line, because what it writes is not captured.
    open: Option<String>,
    took: Option<Duration>,
    has_ended: bool,
    /// What cargo said of its end, if it did not end by itself.
    end: Option<String>,
}

/// Where in a program's words the reader is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// Where tests are told one after the other.
    #[default]
    Tests,
    /// Where the words of failed tests are quoted: those of this one.
    Quotes(Option<usize>),
    /// Where the names of failed tests are listed.
    Names,
}

impl Reader {
    /// Whether a program has spoken.
    pub(super) fn has_begun(&self) -> bool {
        !self.programs.is_empty()
    }

    /// Takes a line.
    pub(super) fn push(&mut self, line: &str) {
        if let Some(name) = name_of_program(line) {
            self.names.push(name);
        } else if let Some(end) = line.trim_start().strip_prefix("process didn't exit successfully: ") {
            let unfinished = self.programs.iter_mut().rev().find(|program| !program.has_ended);
            if let Some(program) = unfinished {
                program.end = Some(end.to_owned());
            }
        } else {
            match self.place {
                Place::Tests => self.push_test(line),
                Place::Quotes(_) | Place::Names => self.push_quote(line),
            }
        }
    }

    fn push_test(&mut self, line: &str) {
        if is_beginning(line) {
            let names_before = self.names.len();
            self.programs.push(Program { names_before, ..Program::default() });
        } else if let Some((name, end)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        {
            let name = without_mode(name);
            let program = self.program();
            match case(name, end) {
                Some(case) => program.cases.push(case),
                None => program.open = Some(name.to_owned()),
            }
        } else if line == "failures:" || line == "successes:" {
            self.place = Place::Quotes(None);
        } else if let Some(case) = self.quoted(line) {
            // A test's own words looked like the end of all.
            self.place = Place::Quotes(Some(case));
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.end(result);
        } else if matches!(line, "ok" | "FAILED") {
            let program = self.program();
            let open = program.open.take();
            program.cases.extend(open.and_then(|name| case(&name, line)));
        }
    }

    fn push_quote(&mut self, line: &str) {
        if let Some(case) = self.quoted(line) {
            self.place = Place::Quotes(Some(case));
        } else if line == "failures:" || line == "successes:" {
            self.place = Place::Names;
        } else if let Some(result) =
            line.strip_prefix("test result: ").filter(|_| !matches!(self.place, Place::Quotes(Some(_))))
        {
            self.end(result);
            self.place = Place::Tests;
        } else if let Place::Quotes(Some(case)) = self.place
            && let Some(case) = self.program().cases.get_mut(case)
        {
            case.wrote(line);
        }
    }

    /// The failed test whose words begin on this line.
    fn quoted(&self, line: &str) -> Option<usize> {
        let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
        let name = name.strip_suffix(" stdout").or_else(|| name.strip_suffix(" stderr")).unwrap_or(name);
        let cases = &self.programs.last()?.cases;
        cases.iter().position(|case| case.name == without_mode(name) && case.verdict == Verdict::Failed)
    }

    fn end(&mut self, result: &str) {
        let program = self.program();
        if let Some(name) = program.open.take() {
            let verdict = if result.starts_with("ok") { Verdict::Passed } else { Verdict::Failed };
            program.cases.push(Case::new(&name, verdict));
        }
        program.has_ended = true;
        program.took = result.rsplit_once("finished in ").and_then(|(_, time)| super::junit::seconds(time));
    }

    /// The program that is speaking. A script may show the tests of a program without its first line.
    fn program(&mut self) -> &mut Program {
        if self.programs.is_empty() {
            self.programs.push(Program { names_before: self.names.len(), ..Program::default() });
        }
        self.programs.last_mut().expect("one has just been added")
    }

    /// What was said, by program.
    pub(super) fn suites(&self) -> Vec<Suite> {
        // A program that does not speak as libtest does has a name alone: then the last name that was known must do.
        let is_one_to_one = self.names.len() == self.programs.len();
        let suite = |(index, program): (usize, &Program)| {
            let name = if is_one_to_one { Some(index) } else { program.names_before.checked_sub(1) };
            let name = name.and_then(|index| self.names.get(index)).cloned();
            let mut cases = program.cases.clone();
            cases.extend(program.unfinished());
            Suite { name: name.unwrap_or_else(|| "tests".to_owned()), took: program.took, cases }
        };
        let suites = self.programs.iter().enumerate().map(suite);
        suites.filter(|suite| !suite.cases.is_empty()).collect()
    }
}

impl Program {
    /// A program that did not come to its end, as a test that failed: which of its tests was to blame is not told, unless
    /// one was running.
    fn unfinished(&self) -> Option<Case> {
        let end = self.end.as_ref().filter(|_| !self.has_ended)?;
        let name = self.open.as_deref().unwrap_or("the test program");
        let mut case = Case::new(name, Verdict::Failed);
        case.wrote(&format!("did not come to its end: {end}"));
        Some(case)
    }
}

/// `running 6 tests`
fn is_beginning(line: &str) -> bool {
    let count = line
        .strip_prefix("running ")
        .and_then(|rest| rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test")));
    count.is_some_and(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `     Running unittests src/lib.rs (target/debug/deps/api-0123456789abcdef)`, `   Doc-tests api`: as cargo aligns them.
fn name_of_program(line: &str) -> Option<String> {
    if let Some(krate) = line.strip_prefix("   Doc-tests ") {
        return Some(format!("doc tests of {krate}"));
    }
    let (source, path) = line.strip_prefix("     Running ")?.strip_suffix(')')?.split_once(" (")?;
    let source = source.strip_prefix("unittests ").unwrap_or(source);
    let file = path.rsplit('/').next().unwrap_or(path);
    let krate = file.rsplit_once('-').map_or(file, |(krate, _)| krate);
    Some(format!("{source} ({krate})"))
}

/// The name without what libtest adds to it: `tests::panics - should panic`.
fn without_mode(name: &str) -> &str {
    const MODES: [&str; 3] = [" - should panic", " - compile fail", " - compile"];
    MODES.iter().find_map(|mode| name.strip_suffix(mode)).unwrap_or(name)
}

/// A test whose end is told on its own line: `ok`, `FAILED`, `ignored, takes a day`, `ok <0.003s>`, `bench: …`.
fn case(name: &str, end: &str) -> Option<Case> {
    let (word, rest) = end.split_once([' ', ',']).unwrap_or((end, ""));
    let verdict = match word {
        "ok" | "bench:" => Verdict::Passed,
        "FAILED" => Verdict::Failed,
        "ignored" => Verdict::Ignored,
        _ => return None,
    };
    let time = rest.trim().strip_prefix('<').and_then(|time| time.strip_suffix('>'));
    let took = time.and_then(super::junit::seconds);
    // Whatever else follows was written by the test itself, and its end is still to come.
    if !(rest.is_empty() || took.is_some() || word == "ignored" || word == "bench:") {
        return None;
    }
    let why = Some(rest.trim()).filter(|why| verdict == Verdict::Ignored && !why.is_empty());
    Some(Case { why: why.map(str::to_owned), took, ..Case::new(name, verdict) })
}
