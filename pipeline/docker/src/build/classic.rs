//! What the classic builder says of a build: text for people, in which steps are headlines.

use super::{
    event::BuildEvent,
    story::{Index, Story},
};
use std::{mem, time::Instant};

/// The most bytes of a line whose end has not come.
const OPEN_MAX: usize = 64 * 1024;

const RED: &str = "\u{1b}[91m";
const PLAIN: &str = "\u{1b}[0m";
const WARNING: &str = " ---> [Warning] ";

/// The step that is under way.
#[derive(Default)]
pub(super) struct Classic {
    open: String,
    current: Option<Current>,
    steps: u32,
    is_red: bool,
}

struct Current {
    index: Index,
    began: Instant,
    is_cached: bool,
}

impl Classic {
    /// Takes over a piece of text, which need not end with a line.
    pub(super) fn take(&mut self, text: &str, story: &mut Story<'_>) {
        for part in text.split_inclusive('\n') {
            if self.open.len() + part.len() <= OPEN_MAX {
                self.open.push_str(part);
            }
            if part.ends_with('\n') {
                let line = mem::take(&mut self.open);
                self.line(line.trim_end_matches('\n'), story);
            }
        }
    }

    /// The build has come to its end.
    pub(super) fn end(&mut self, succeeded: bool, story: &mut Story<'_>) {
        if !self.open.is_empty() {
            let line = mem::take(&mut self.open);
            self.line(&line, story);
        }
        let Some(current) = self.current.take() else { return };
        match (succeeded, current.is_cached) {
            (false, _) => story.fail(current.index, false),
            (true, true) => story.cached(current.index),
            (true, false) => story.done(current.index, current.began.elapsed()),
        }
    }

    fn line(&mut self, line: &str, story: &mut Story<'_>) {
        // It puts what a program writes as errors in red, over the ends of lines.
        let stream = usize::from(self.is_red || line.contains(RED));
        if let Some(last) = line.rfind(RED).max(line.rfind(PLAIN)) {
            self.is_red = line[last..].starts_with(RED);
        }
        let line = &line.replace(RED, "").replace(PLAIN, "");
        if let Some(name) = self.headline(line) {
            self.end(true, story);
            self.steps += 1;
            let index = story.add(&name);
            story.begin(index);
            self.current = Some(Current { index, began: Instant::now(), is_cached: false });
        } else if let Some(current) = &mut self.current {
            match line.as_str() {
                " ---> Using cache" => current.is_cached = true,
                line if line.starts_with(WARNING) => {
                    let message = story.mask(&line[WARNING.len()..]).into_owned();
                    story.tell(BuildEvent::Warning { message });
                }
                _ if is_of_the_builder(line) => {}
                _ => story.line(current.index, stream, line.as_bytes()),
            }
        }
    }

    /// `Step 2/5 : RUN make`, if it is the next one: a program may write such a line too.
    fn headline(&self, line: &str) -> Option<String> {
        let (numbers, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
        let (number, of) = numbers.split_once('/')?;
        let of: u32 = of.parse().ok()?;
        let is_next = number.parse() == Ok(self.steps + 1) && self.steps < of;
        is_next.then(|| format!("[{number}/{of}] {instruction}"))
    }
}

/// What it says of its own doings between the steps.
fn is_of_the_builder(line: &str) -> bool {
    let id = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let line = line.trim();
    let of_an_id = [
        "Running in ",
        "Removing intermediate container ",
        "Removed intermediate container ",
        "Successfully built ",
        "",
    ];
    let told = line.strip_prefix("---> ").unwrap_or(line);
    matches!(line, "" | "--->")
        || line.starts_with("Successfully tagged ")
        || of_an_id.iter().any(|begin| told.strip_prefix(begin).is_some_and(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::secret::{Redactor, Secret};

    fn told(pieces: &[&str], succeeded: bool) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |event| {
            told.push(match event {
                BuildEvent::StepBegan { step } => format!("began {step}"),
                BuildEvent::StepCached { step } => format!("cached {step}"),
                BuildEvent::StepDone { step, .. } => format!("done {step}"),
                BuildEvent::StepFailed { step } => format!("failed {step}"),
                BuildEvent::Output { line, .. } => format!("| {line}"),
                other => format!("{other:?}"),
            });
        };
        let redactor = Redactor::default();
        redactor.learn(&Secret::new(b"hunter22".to_vec()));
        let mut story = Story::new(redactor, &mut tell);
        let mut classic = Classic::default();
        pieces.iter().for_each(|piece| classic.take(piece, &mut story));
        classic.end(succeeded, &mut story);
        told
    }

    #[test]
    fn steps_are_told_from_what_programs_write() {
        let pieces = [
            "Step 1/2 : FROM scratch\n",
            " ---> \n",
            "Step 2/2 : RUN make\n ---> Running in 0123456789ab\nStep 2/2",
            " : what a program says\n   indented hunter22\n\n ---> abcdefabcdef\n",
            "\u{1b}[91mred\n\u{1b}[0m ---> Removed intermediate container abcdefabcdef\n",
            "Successfully built abcdefabcdef\nSuccessfully tagged a:latest\n",
        ];
        let lines = [
            "began [1/2] FROM scratch",
            "done [1/2] FROM scratch",
            "began [2/2] RUN make",
            "| Step 2/2 : what a program says",
            "|    indented ***",
            "| red",
            "done [2/2] RUN make",
        ];
        assert_eq!(told(&pieces, true), lines);
    }

    #[test]
    fn a_cached_step_and_a_failed_one_are_told_as_such() {
        let pieces = [
            "Step 1/2 : COPY a b\n ---> Using cache\n ---> abcdefabcdef\nStep 2/2 : RUN false\n",
            "no end of line",
        ];
        let lines = [
            "began [1/2] COPY a b",
            "cached [1/2] COPY a b",
            "began [2/2] RUN false",
            "| no end of line",
            "failed [2/2] RUN false",
        ];
        assert_eq!(told(&pieces, false), lines);
    }
}
