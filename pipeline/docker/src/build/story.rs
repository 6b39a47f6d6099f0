//! The steps of one build and the last lines of each: what is told while it runs, and what a failure quotes.

use super::event::{BuildEvent, Step};
use pipeline::secret::Redactor;
use std::{borrow::Cow, collections::VecDeque, mem, time::Duration};

/// How many lines of a step a failure quotes: an error of a compiler with its context.
const QUOTED_LINES: usize = 30;

/// How many of them, at least, of each stream that has as many: a builder may tell of an error long before all that was
/// written to the output ahead of it, which must not crowd it out.
const QUOTED_OF_EACH: usize = QUOTED_LINES / 2;

/// The longest line that is told, in characters: the width of forty terminals.
const LINE_MAX: usize = 4096;

/// The most bytes of a line without an end that are kept, so that a secret in what is shown of it is found whole.
const OPEN_MAX: usize = 64 * 1024;

/// Which step: its place in the story.
pub(super) type Index = usize;

/// Gathers what a build says, and tells it.
pub(super) struct Story<'a> {
    tell: &'a mut (dyn FnMut(BuildEvent) + Send),
    redactor: Redactor,
    steps: Vec<Told>,
    /// The last that began, or wrote something.
    latest: Option<Index>,
    failed: Option<Index>,
}

struct Told {
    step: Step,
    began: bool,
    /// A line of each stream (output, errors) whose end has not come.
    open: [Vec<u8>; 2],
    /// The last lines of each stream, with the place in which they were told.
    last_lines: [VecDeque<(u64, String)>; 2],
    lines: u64,
}

impl<'a> Story<'a> {
    /// Of a build whose secrets the redactor has learnt.
    pub(super) fn new(redactor: Redactor, tell: &'a mut (dyn FnMut(BuildEvent) + Send)) -> Self {
        Self { tell, redactor, steps: Vec::new(), latest: None, failed: None }
    }

    /// Tells something that is of no step.
    pub(super) fn tell(&mut self, event: BuildEvent) {
        (self.tell)(event);
    }

    /// What masks secrets here: whoever gives one to the engine has it learn that.
    pub(super) fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    /// The text without secrets.
    pub(super) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.redactor.mask(text)
    }

    /// A step that was not heard of before.
    pub(super) fn add(&mut self, name: &str) -> Index {
        let name = first_chars(&self.mask(name)).into();
        let number = u32::try_from(self.steps.len() + 1).unwrap_or(u32::MAX);
        let step = Step { number, name };
        self.steps.push(Told {
            step,
            began: false,
            open: Default::default(),
            last_lines: Default::default(),
            lines: 0,
        });
        self.steps.len() - 1
    }

    /// It began; told once.
    pub(super) fn begin(&mut self, index: Index) {
        self.latest = Some(index);
        if !mem::replace(&mut self.steps[index].began, true) {
            let step = self.steps[index].step.clone();
            self.tell(BuildEvent::StepBegan { step });
        }
    }

    /// It was found done.
    pub(super) fn cached(&mut self, index: Index) {
        let step = self.end(index);
        self.tell(BuildEvent::StepCached { step });
    }

    /// It was done.
    pub(super) fn done(&mut self, index: Index, took: Duration) {
        let step = self.end(index);
        self.tell(BuildEvent::StepDone { step, took });
    }

    /// It failed, or (`given_up`) was not finished because another failed. The first that failed is what broke the build.
    pub(super) fn fail(&mut self, index: Index, given_up: bool) {
        let step = self.end(index);
        if !given_up {
            self.failed.get_or_insert(index);
        }
        self.tell(BuildEvent::StepFailed { step });
    }

    /// Bytes that a program of a step wrote to one of its streams (0: output, 1: errors).
    pub(super) fn output(&mut self, index: Index, stream: usize, bytes: &[u8]) {
        self.latest = Some(index);
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let open = &mut self.steps[index].open[stream & 1];
            let room = OPEN_MAX.saturating_sub(open.len());
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            open.extend(&text[..text.len().min(room)]);
            if part.len() > text.len() {
                let line = mem::take(open);
                self.line(index, stream, &line);
            }
        }
    }

    /// A whole line that a program of a step wrote to one of its streams.
    pub(super) fn line(&mut self, index: Index, stream: usize, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // What a terminal shows at the end: programs redraw their progress after a carriage return.
        let shown = line.rsplit(|b| *b == b'\r').next().unwrap_or_default();
        let line = first_chars(&self.redactor.mask_bytes(shown));
        let told = &mut self.steps[index];
        let last_lines = &mut told.last_lines[stream & 1];
        if last_lines.len() == QUOTED_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back((told.lines, line.clone()));
        told.lines += 1;
        let step = told.step.clone();
        self.tell(BuildEvent::Output { step, line });
    }

    /// What is quoted of a failure: the name of the step that broke the build, or of the last one that was under way, and
    /// its last lines.
    pub(super) fn evidence(&self) -> (Option<String>, Vec<String>) {
        let Some(told) = self.failed.or(self.latest).map(|index| &self.steps[index]) else {
            return (None, Vec::new());
        };
        let [output, errors] = &told.last_lines;
        let of_errors = errors.len().min(QUOTED_LINES - output.len().min(QUOTED_OF_EACH));
        let of_output = output.len().min(QUOTED_LINES - of_errors);
        let last = |lines: &VecDeque<(u64, String)>, count| {
            lines.iter().rev().take(count).cloned().collect::<Vec<_>>()
        };
        let mut quoted = [last(output, of_output), last(errors, of_errors)].concat();
        quoted.sort_unstable();
        (Some(told.step.name.to_string()), quoted.into_iter().map(|(_, line)| line).collect())
    }

    /// Tells also lines that have no end, and gives the step.
    fn end(&mut self, index: Index) -> Step {
        for stream in 0..2 {
            let line = mem::take(&mut self.steps[index].open[stream]);
            if !line.is_empty() {
                self.line(index, stream, &line);
            }
        }
        self.steps[index].step.clone()
    }
}

fn first_chars(text: &str) -> String {
    text.chars().take(LINE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::secret::Secret;

    fn evidence(write: impl FnOnce(&mut Story<'_>, Index)) -> Vec<String> {
        let redactor = Redactor::default();
        redactor.learn(&Secret::new(b"hunter22".to_vec()));
        let mut tell = |_| {};
        let mut story = Story::new(redactor, &mut tell);
        let index = story.add("RUN make");
        story.begin(index);
        write(&mut story, index);
        story.fail(index, false);
        story.evidence().1
    }

    #[test]
    fn both_streams_are_quoted_whichever_says_more_and_first() {
        for (much, little) in [(0, 1), (1, 0)] {
            let lines = evidence(|story, index| {
                (0..3).for_each(|n| story.output(index, little, format!("little {n}\n").as_bytes()));
                (0..100).for_each(|n| story.output(index, much, format!("much {n}\n").as_bytes()));
            });
            assert_eq!(lines.len(), 30);
            assert_eq!(lines[..3], ["little 0", "little 1", "little 2"]);
            assert_eq!((lines[3].as_str(), lines[29].as_str()), ("much 73", "much 99"));
        }
        let lines = evidence(|story, index| {
            (0..100).for_each(|n| story.output(index, n % 2, format!("{n}\n").as_bytes()));
        });
        assert_eq!(lines, (70..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_secret_that_comes_in_two_pieces_is_masked_and_a_line_without_an_end_is_told() {
        let lines = evidence(|story, index| {
            story.output(index, 0, b"progress 10%\rprogress 100%\r\nkey hunt");
            story.output(index, 0, b"er22 end\nhunter");
            story.output(index, 0, b"22");
        });
        assert_eq!(lines, ["progress 100%", "key *** end", "***"]);
    }
}
