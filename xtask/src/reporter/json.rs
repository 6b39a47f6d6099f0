//! JSON lines: one object a line on standard error, for programs.

use super::{Ending, Reporter, Story, Verbosity, timings::Timings};
use crate::failure::Failure;
use deploy::event::Event;
use jiff::Timestamp;
use pipeline::event::Event as PipelineEvent;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::Write;

/// See the module.
pub(super) struct Json {
    sink: Box<dyn Write + Send>,
    verbosity: Verbosity,
    timings: Timings,
}

impl Json {
    /// One that writes there.
    pub(super) fn new(sink: Box<dyn Write + Send>, verbosity: Verbosity) -> Self {
        Self { sink, verbosity, timings: Timings::default() }
    }

    /// Writes an event with its time and source. Events are objects; anything else is left out.
    fn event(&mut self, at: Timestamp, source: &str, event: &impl Serialize) {
        let Ok(Value::Object(fields)) = serde_json::to_value(event) else { return };
        let mut object = Map::new();
        object.insert("time".to_owned(), json!(at));
        object.insert("source".to_owned(), json!(source));
        object.extend(fields);
        self.write(&Value::Object(object));
    }

    fn write(&mut self, value: &Value) {
        let _ = writeln!(self.sink, "{value}").and_then(|()| self.sink.flush());
    }

    /// Probes are many and may be dropped; failures are told however quiet it is to be.
    fn tells(&self, story: &Story<'_>) -> bool {
        match self.verbosity {
            Verbosity::Verbose => true,
            Verbosity::Normal => !matches!(story, Story::Deploy(Event::Looked { .. })),
            Verbosity::Quiet => matches!(
                story,
                Story::Pipeline(PipelineEvent::StageFailed { .. })
                    | Story::Deploy(
                        Event::EvidenceCollected { .. }
                            | Event::RolloutFinished { .. }
                            | Event::RolloutLeft { .. }
                    )
            ),
        }
    }
}

impl Reporter for Json {
    fn tell(&mut self, story: &Story<'_>, at: Timestamp) {
        self.timings.follow(story, at);
        if !self.tells(story) {
            return;
        }
        match story {
            Story::Pipeline(event) => self.event(at, "pipeline", event),
            Story::Deploy(event) => self.event(at, "deploy", event),
            Story::Planned(plan) => self.event(at, "fairlead", &json!({ "event": "planned", "plan": plan })),
            Story::Note(sentence) => {
                self.event(at, "fairlead", &json!({ "event": "noted", "text": sentence }))
            }
        }
    }

    /// Programs are not asked; whoever reads JSON gives `--yes`.
    fn ask(&mut self, _question: &str) {}

    fn fail(&mut self, failure: &Failure) {
        if let Some(error) = failure.to_json() {
            self.write(&error);
        }
    }

    fn end(&mut self, ending: &Ending, at: Timestamp) {
        let event = json!({
            "event": "ended",
            "exit-code": ending.exit.code(),
            "text": ending.sentence,
            "took": ending.took,
            "parts": self.timings.parts(),
            "next": ending.next,
        });
        self.event(at, "fairlead", &event);
    }
}
