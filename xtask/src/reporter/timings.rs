//! How long each stage took, and the rollout: for the end, when what was told of each has long scrolled away.

use super::{
    Story,
    words::{Line, Weight, stage_word},
};
use deploy::{event::Event, model::Millis, verdict::seconds};
use jiff::Timestamp;
use pipeline::event::Event as PipelineEvent;
use serde::Serialize;
use std::collections::BTreeMap;

/// What came of one part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Part {
    /// `build`, `image api`, `rollout`.
    pub(super) name: String,
    /// `passed`, `failed` or `skipped`; of the rollout `ended`, the final line says how.
    pub(super) result: &'static str,
    /// How long it took in milliseconds, unless it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) took: Option<Millis>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timings {
    began: BTreeMap<String, Timestamp>,
    parts: Vec<Part>,
}

impl Timings {
    /// Takes note of what begins and ends.
    pub(super) fn follow(&mut self, story: &Story<'_>, at: Timestamp) {
        match story {
            Story::Pipeline(event) => self.follow_pipeline(event, at),
            Story::Deploy(Event::RolloutBegan { .. }) => self.begin(ROLLOUT.to_owned(), at),
            Story::Deploy(Event::RolloutFinished { took, .. }) => {
                self.end(ROLLOUT.to_owned(), "ended", Some(*took));
            }
            Story::Deploy(Event::RolloutLeft { .. }) => {
                let took = self.since(ROLLOUT, at);
                self.end(ROLLOUT.to_owned(), "left", took);
            }
            Story::Deploy(_) | Story::Planned(_) | Story::Note(_) => {}
        }
    }

    fn follow_pipeline(&mut self, event: &PipelineEvent, at: Timestamp) {
        match event {
            PipelineEvent::StageStarted { stage, service, .. } => {
                self.begin(stage_word(*stage, service.as_ref()), at);
            }
            PipelineEvent::StageSkipped { stage, service, .. } => {
                self.end(stage_word(*stage, service.as_ref()), "skipped", None);
            }
            PipelineEvent::StagePassed { stage, service, duration_ms, .. } => {
                self.end(stage_word(*stage, service.as_ref()), "passed", Some(*duration_ms));
            }
            PipelineEvent::StageFailed { stage, service, .. } => {
                let name = stage_word(*stage, service.as_ref());
                let took = self.since(&name, at);
                self.end(name, "failed", took);
            }
            PipelineEvent::StagesPlanned { .. }
            | PipelineEvent::StageOutput { .. }
            | PipelineEvent::StageAdvanced { .. }
            | PipelineEvent::ReleaseMade { .. } => {}
        }
    }

    fn begin(&mut self, name: String, at: Timestamp) {
        self.began.insert(name, at);
    }

    fn since(&self, name: &str, at: Timestamp) -> Option<Millis> {
        self.began.get(name).and_then(|began| u64::try_from(at.duration_since(*began).as_millis()).ok())
    }

    fn end(&mut self, name: String, result: &'static str, took: Option<Millis>) {
        self.parts.push(Part { name, result, took });
    }

    /// What came of each part, in the order in which they ended.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// All in one line; none if the final line says as much: if no stage ran, or there was nothing else.
    pub(super) fn line(&self) -> Option<Line> {
        let ran = self.parts.iter().any(|part| part.took.is_some() && part.name != ROLLOUT);
        let parts: Vec<String> = self.parts.iter().map(Part::text).collect();
        (ran && parts.len() > 1).then(|| Line::new("times", parts.join(", "), Weight::Step))
    }
}

/// What the rollout is called among the parts.
const ROLLOUT: &str = "rollout";

impl Part {
    fn text(&self) -> String {
        let Self { name, result, took } = self;
        match (took.map(seconds), *result) {
            (Some(took), "passed" | "ended") => format!("{name} {took}"),
            (Some(took), result) => format!("{name} {took} ({result})"),
            (None, result) => format!("{name} {result}"),
        }
    }
}
