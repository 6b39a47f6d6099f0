//! Plain: one line for each change, no animation, no escape codes. What a log wants.

use super::{
    Ending, Reporter, Story, Verbosity,
    patience::Patience,
    timings::Timings,
    words::{self, Line, Names, Weight},
};
use crate::{
    failure::Failure,
    paint::{Paint, Tone},
    render,
};
use deploy::event::Event;
use jiff::{Timestamp, tz::TimeZone};
use pipeline::event::Event as PipelineEvent;
use std::io::Write;

/// Width of the subjects: a unit's label with a short service name.
pub(super) const SUBJECT_WIDTH: usize = 22;

/// How far the lines that belong to another are indented.
pub(super) const BLOCK_INDENT: usize = 4;

/// See the module.
pub(super) struct Plain {
    sink: Box<dyn Write + Send>,
    verbosity: Verbosity,
    patience: Patience,
    timings: Timings,
    names: Names,
    zone: TimeZone,
}

impl Plain {
    /// One that writes there, with times of the machine's zone.
    pub(super) fn new(sink: Box<dyn Write + Send>, verbosity: Verbosity) -> Self {
        Self::in_zone(sink, verbosity, TimeZone::system())
    }

    /// One with times of this zone.
    pub(super) fn in_zone(sink: Box<dyn Write + Send>, verbosity: Verbosity, zone: TimeZone) -> Self {
        let (patience, timings) = (Patience::default(), Timings::default());
        Self { sink, verbosity, patience, timings, names: Names::default(), zone }
    }

    /// How long each part of the run took.
    pub(super) fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Tells how long each part of the run took.
    pub(super) fn tell_timings(&mut self, at: Timestamp) {
        if let Some(line) = self.timings.line() {
            self.story_line(&line, at);
        }
    }

    /// What units are called.
    pub(super) fn names(&self) -> Names {
        self.names
    }

    /// Writes a line with its block. A log that cannot be written must not end a rollout.
    pub(super) fn line(&mut self, line: &Line, at: Timestamp) {
        self.patience.said(&line.subject, at);
        let time = match self.verbosity {
            Verbosity::Verbose => format!("{} ", at.to_zoned(self.zone.clone()).strftime("%H:%M:%S")),
            Verbosity::Quiet | Verbosity::Normal => String::new(),
        };
        let Line { subject, text, block, .. } = line;
        self.raw(format!("{time}{subject:<SUBJECT_WIDTH$}  {text}").trim_end());
        for line in block {
            self.raw(format!("{:BLOCK_INDENT$}{line}", "").trim_end());
        }
    }

    /// Writes one line as it is.
    pub(super) fn raw(&mut self, line: &str) {
        let _ = writeln!(self.sink, "{}", without_escapes(line)).and_then(|()| self.sink.flush());
    }

    /// Whether something of this weight is told.
    pub(super) fn tells(&self, weight: Weight) -> bool {
        match self.verbosity {
            Verbosity::Quiet => weight == Weight::Alarm,
            Verbosity::Normal => weight >= Weight::Step,
            Verbosity::Verbose => true,
        }
    }

    fn story_line(&mut self, line: &Line, at: Timestamp) {
        if self.tells(line.weight) {
            self.line(line, at);
        }
    }

    /// Takes note of what begins and ends to be waited for.
    fn follow(&mut self, story: &Story<'_>, at: Timestamp) {
        if let Story::Deploy(event) = story {
            self.names.follow(event);
        }
        match story {
            Story::Deploy(Event::Waited { waiting }) => self.patience.set(waiting, self.names, at),
            Story::Deploy(Event::RolloutFinished { .. } | Event::RolloutLeft { .. }) => {
                self.patience.set(&[], self.names, at)
            }
            Story::Pipeline(PipelineEvent::StageStarted { stage, service, .. }) => {
                self.patience.stage_began(&words::stage_word(*stage, service.as_ref()), at);
            }
            Story::Pipeline(
                PipelineEvent::StagePassed { stage, service, .. }
                | PipelineEvent::StageFailed { stage, service, .. },
            ) => {
                self.patience.stage_ended(&words::stage_word(*stage, service.as_ref()));
            }
            Story::Deploy(_) | Story::Pipeline(_) | Story::Planned(_) | Story::Note(_) => {}
        }
    }
}

impl Reporter for Plain {
    fn tell(&mut self, story: &Story<'_>, at: Timestamp) {
        self.follow(story, at);
        self.timings.follow(story, at);
        match story {
            Story::Pipeline(event) => self.story_line(&words::pipeline(event), at),
            Story::Deploy(event) => {
                if let Some(line) = words::deploy(event, self.names) {
                    self.story_line(&line, at);
                }
            }
            Story::Planned(plan) if self.verbosity >= Verbosity::Normal => {
                for line in render::plan(plan, Paint::OFF).lines() {
                    self.raw(line);
                }
                self.raw("");
            }
            Story::Planned(_) => {}
            Story::Note(sentence) => self.story_line(&Line::new("note", *sentence, Weight::Landmark), at),
        }
    }

    fn tick(&mut self, at: Timestamp) {
        for (subject, text) in self.patience.due(at) {
            self.story_line(&Line::new(subject, text, Weight::Step), at);
        }
    }

    fn ask(&mut self, question: &str) {
        let _ = write!(self.sink, "{question} ").and_then(|()| self.sink.flush());
    }

    fn fail(&mut self, failure: &Failure) {
        for line in failure.to_text(Paint::OFF).lines() {
            self.raw(line);
        }
    }

    fn end(&mut self, ending: &Ending, at: Timestamp) {
        self.tell_timings(at);
        self.raw(&ending.line());
    }
}

/// What programs wrote may hold escape codes and other control characters; a log has none.
pub(crate) fn without_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                // A control sequence ends with its first letter.
                let _ = characters.by_ref().find(|character| ('@'..='~').contains(character));
            }
            '\t' => clean.push_str("    "),
            character if character.is_control() => {}
            character => clean.push(character),
        }
    }
    clean
}

/// The colour of a final line.
pub(super) fn ending_tone(ending: &Ending) -> Tone {
    use crate::exit::Exit;
    match ending.exit {
        Exit::Done => Tone::Good,
        Exit::Held | Exit::Interrupted | Exit::Locked | Exit::Refused => Tone::Warn,
        Exit::StageFailed | Exit::Usage | Exit::RolledBack | Exit::RollbackFailed | Exit::Bug => Tone::Bad,
    }
}
