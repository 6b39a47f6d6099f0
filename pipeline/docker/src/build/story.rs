//! The steps of one build and the last lines of each: what is told while it runs, and what a failure quotes.

use super::event::{BuildEvent, Step};
use pipeline::secret::Redactor;
use std::{borrow::Cow, collections::VecDeque, mem, time::Duration};

/// How many lines of a step's output a failure quotes: an error of a compiler with its context.
pub(super) const QUOTED_LINES: usize = 30;

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
    last_lines: VecDeque<String>,
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

    /// The text without secrets.
    pub(super) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.redactor.mask(text)
    }

    /// A step that was not heard of before.
    pub(super) fn add(&mut self, name: &str) -> Index {
        let name = first_chars(&self.mask(name)).into();
        let number = u32::try_from(self.steps.len() + 1).unwrap_or(u32::MAX);
        let step = Step { number, name };
        self.steps.push(Told { step, began: false, open: Default::default(), last_lines: VecDeque::new() });
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
                self.line(index, &line);
            }
        }
    }

    /// A whole line of a step.
    pub(super) fn line(&mut self, index: Index, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // What a terminal shows at the end: programs redraw their progress after a carriage return.
        let shown = line.rsplit(|b| *b == b'\r').next().unwrap_or_default();
        let line = first_chars(&self.redactor.mask_bytes(shown));
        let told = &mut self.steps[index];
        if told.last_lines.len() == QUOTED_LINES {
            told.last_lines.pop_front();
        }
        told.last_lines.push_back(line.clone());
        let step = told.step.clone();
        self.tell(BuildEvent::Output { step, line });
    }

    /// What is quoted of a failure: the name of the step that broke the build, or of the last one that was under way, and
    /// its last lines.
    pub(super) fn evidence(&self) -> (Option<String>, Vec<String>) {
        let Some(told) = self.failed.or(self.latest).map(|index| &self.steps[index]) else {
            return (None, Vec::new());
        };
        (Some(told.step.name.to_string()), told.last_lines.iter().cloned().collect())
    }

    /// Tells also lines that have no end, and gives the step.
    fn end(&mut self, index: Index) -> Step {
        for stream in 0..2 {
            let line = mem::take(&mut self.steps[index].open[stream]);
            if !line.is_empty() {
                self.line(index, &line);
            }
        }
        self.steps[index].step.clone()
    }
}

fn first_chars(text: &str) -> String {
    text.chars().take(LINE_MAX).collect()
}
