//! Events in words: what is told, with which weight. Pure, and the same for every reporter that people read.

use super::plain::{BLOCK_INDENT, SUBJECT_WIDTH};
use crate::paint::Tone;
use deploy::{
    decide::{Reason, Subject},
    event::{ActionResult, Event},
    model::{Action, Intent, UnitId},
    plan::PlanKind,
    state::{Outcome, Phase, Step},
    verdict::{describe, seconds},
};
use pipeline::{
    event::Event as PipelineEvent,
    stage::{Outlook, PlannedStage},
};

/// How much something weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Every probe and action.
    Detail,
    /// A change of state.
    Step,
    /// Something that stays: it is told even where live lines show the steps.
    Landmark,
    /// Something that is told however quiet it is to be.
    Alarm,
}

/// One line of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What it is about: `api/0 (3f9a1c2b4d5e)`.
    pub(super) subject: String,
    /// What is said of it.
    pub(super) text: String,
    /// How it is meant.
    pub(super) tone: Tone,
    /// How much it weighs.
    pub(super) weight: Weight,
    /// Lines that belong to it, shown indented; what programs wrote, so not to be trusted.
    pub(super) block: Vec<String>,
}

impl Line {
    pub(super) fn new(subject: impl Into<String>, text: impl Into<String>, weight: Weight) -> Self {
        let (subject, text) = (subject.into(), text.into());
        Self { subject, text, tone: Tone::Plain, weight, block: Vec::new() }
    }

    fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    fn block(self, block: Vec<String>) -> Self {
        Self { block, ..self }
    }
}

/// What units are called: by their target, too, once a rollout has begun that reaches several.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    several_targets: bool,
}

impl Names {
    /// Takes note of what there is to be told apart.
    pub(super) fn follow(&mut self, event: &Event) {
        if let Event::RolloutBegan { targets, .. } = event {
            self.several_targets = targets.len() > 1;
        }
    }

    /// What a subject is called.
    pub(super) fn subject(self, subject: &Subject) -> String {
        match subject {
            Subject::Rollout => "rollout".to_owned(),
            Subject::Service(name) => name.to_string(),
            Subject::Unit(unit) => self.unit(unit),
        }
    }

    pub(super) fn unit(self, unit: &UnitId) -> String {
        unit.label_for(self.several_targets)
    }
}

/// What happened while a release was made.
pub(super) fn pipeline(event: &PipelineEvent) -> Line {
    match event {
        PipelineEvent::StagesPlanned { stages } => planned(stages),
        PipelineEvent::StageStarted { stage, service, because } => {
            Line::new(stage_word(*stage, service.as_ref()), format!("runs: {because}"), Weight::Step)
        }
        PipelineEvent::StageOutput { stage, service, line } => {
            Line::new(stage_word(*stage, service.as_ref()), line, Weight::Detail)
        }
        PipelineEvent::StageAdvanced { stage, service, step } => {
            Line::new(stage_word(*stage, service.as_ref()), step, Weight::Step)
        }
        PipelineEvent::StageSkipped { stage, service, reason } => {
            let word = stage_word(*stage, service.as_ref());
            Line::new(word, format!("skipped: {reason}"), Weight::Landmark).tone(Tone::Dim)
        }
        PipelineEvent::StagePassed { stage, service, duration_ms, summary } => {
            let colon = if summary.is_empty() { "" } else { ": " };
            let text = format!("passed{colon}{summary} ({})", seconds(*duration_ms));
            Line::new(stage_word(*stage, service.as_ref()), text, Weight::Landmark).tone(Tone::Good)
        }
        PipelineEvent::StageFailed { stage, service, message, excerpt } => {
            let word = stage_word(*stage, service.as_ref());
            let line = Line::new(word, format!("failed: {message}"), Weight::Alarm);
            line.tone(Tone::Bad).block(excerpt.clone())
        }
        PipelineEvent::ReleaseMade { release, dirty, services } => {
            let dirty = if *dirty { ", of a tree with uncommitted changes" } else { "" };
            let plural = if *services == 1 { "" } else { "s" };
            let text = format!("{release}: {services} service{plural}{dirty}");
            Line::new("release", text, Weight::Landmark)
        }
    }
}

/// What is to happen with all stages. Where all are skipped, or there is but one, what comes next says the same.
fn planned(stages: &[PlannedStage]) -> Line {
    let count = |outlook| stages.iter().filter(|stage| stage.outlook == outlook).count();
    let counts = [
        (count(Outlook::Runs), "to run"),
        (count(Outlook::Skipped), "skipped"),
        (count(Outlook::Depends), "open"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let text = counts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ");
    let says_more = stages.len() > 1 && count(Outlook::Skipped) < stages.len();
    let weight = if says_more { Weight::Landmark } else { Weight::Detail };
    let stage = |stage: &PlannedStage| {
        let word = stage_word(stage.stage, stage.service.as_ref());
        // Beneath the subjects of the lines that follow, though they are indented.
        format!("{word:<width$}  {stage}", width = SUBJECT_WIDTH - BLOCK_INDENT)
    };
    Line::new("stages", format!("planned: {text}"), weight).block(stages.iter().map(stage).collect())
}

/// A stage's name as it is typed, and of which service where each has its own.
pub(super) fn stage_word(
    stage: pipeline::stage::StageName,
    service: Option<&pipeline::name::Name>,
) -> String {
    service.map_or_else(|| stage.to_string(), |service| format!("{stage} {service}"))
}

/// What an operator asks of a rollout, as a verb.
fn command_word(command: deploy::state::Command) -> &'static str {
    use deploy::state::Command;
    match command {
        Command::Interrupt => "stop",
        Command::Pause => "pause",
        Command::Promote => "go on",
        Command::Cancel => "end, and to bring back what stood before",
        Command::Hold => "end, and to leave everything as it is",
    }
}

/// What happened to an environment; none if there is nothing to say.
pub(super) fn deploy(event: &Event, names: Names) -> Option<Line> {
    let line = match event {
        Event::LeaseAcquired { generation, took_over: None } => {
            Line::new("rollout", format!("has the lease, generation {generation}"), Weight::Detail)
        }
        Event::LeaseAcquired { generation, took_over: Some(whose) } => {
            let text = format!("took over the lease, generation {generation}: {whose}");
            Line::new("rollout", text, Weight::Landmark).tone(Tone::Warn)
        }
        Event::RolloutBegan { environment, release, kind, services, resumed, .. } => Line::new(
            "rollout",
            beginning(environment.as_str(), release, *kind, services, *resumed),
            Weight::Landmark,
        ),
        Event::Requested { command, by } => {
            let text = format!("{by} asks it to {}", command_word(*command));
            Line::new("rollout", text, Weight::Landmark).tone(Tone::Warn)
        }
        Event::Decided { reason } => decided(reason, names),
        Event::ActionBegan { intent } => {
            Line::new(object(intent, names), format!("{} …", intent.action.verb()), Weight::Detail)
        }
        Event::ActionEnded { intent, took, result } => {
            ended(object(intent, names), intent.action.verb(), &seconds(*took), result)
        }
        Event::Looked { unit, look } => {
            let text = format!("probe: {} after {}", describe(&look.answer), seconds(look.took));
            Line::new(names.unit(unit), text, Weight::Detail)
        }
        Event::EvidenceCollected { dossier, path } => {
            let kept = path.as_ref().map(|path| format!(", kept as {}", path.display()));
            let text = format!("evidence collected{}", kept.unwrap_or_default());
            let block = dossier.to_text().lines().map(str::to_owned).collect();
            Line::new("dossier", text, Weight::Alarm).tone(Tone::Warn).block(block)
        }
        Event::JournalIncomplete { lost, why } => {
            let text = format!("incomplete: {lost} of its lines could not be written ({why})");
            Line::new("journal", text, Weight::Landmark).tone(Tone::Warn)
        }
        // The final line says it.
        Event::Waited { .. } | Event::RolloutFinished { .. } | Event::RolloutLeft { .. } => return None,
    };
    Some(line)
}

fn beginning(
    environment: &str,
    release: &str,
    kind: PlanKind,
    services: &[(pipeline::name::Name, Vec<String>)],
    resumed: bool,
) -> String {
    let again = if resumed { "takes up again: " } else { "" };
    let what = match kind {
        PlanKind::Deploy => format!("brings release {release} to {environment}"),
        PlanKind::Rollback => format!("returns {environment} to release {release}"),
    };
    let changes = services.iter().map(|(service, fields)| match fields.is_empty() {
        true => service.to_string(),
        false => format!("{service} ({})", fields.join(", ")),
    });
    let changes: Vec<String> = changes.collect();
    let colon = if changes.is_empty() { "" } else { ": " };
    format!("{again}{what}{colon}{}", changes.join(", "))
}

fn decided(reason: &Reason, names: Names) -> Line {
    let (weight, tone) = match reason {
        Reason::Stepped { to, .. } => step(*to),
        // What comes last is said by the final line.
        Reason::PhaseBegan { phase } if *phase == finished() => (Weight::Detail, Tone::Plain),
        Reason::PhaseBegan { .. } => (Weight::Step, Tone::Plain),
        Reason::Healthy { .. } => (Weight::Step, Tone::Good),
        Reason::Failed(_) => (Weight::Alarm, Tone::Bad),
        Reason::Tolerated { .. } | Reason::Retried { .. } | Reason::HookIgnored { .. } | Reason::Ailed(_) => {
            (Weight::Landmark, Tone::Warn)
        }
        Reason::BatchBegan { .. } | Reason::BakeBegan { .. } | Reason::SoakBegan { .. } => {
            (Weight::Step, Tone::Plain)
        }
        Reason::WaveBegan { .. } => (Weight::Landmark, Tone::Plain),
        Reason::Paused { .. } | Reason::WavePaused { .. } | Reason::PauseReached => {
            (Weight::Landmark, Tone::Warn)
        }
        Reason::ServiceDone { .. } => (Weight::Landmark, Tone::Good),
        Reason::Commanded { .. } | Reason::TakenUp => (Weight::Landmark, Tone::Warn),
    };
    let text = match reason {
        Reason::Stepped { to: Step::Gone, .. } => "stopped".to_owned(),
        _ => reason.text(),
    };
    let (sentence, output) = with_output(&text);
    Line::new(names.subject(&reason.subject()), sentence, weight).tone(tone).block(output)
}

/// A message that ends with what a program wrote: the sentence, and those lines.
fn with_output(text: &str) -> (&str, Vec<String>) {
    let mut lines = text.lines();
    let sentence = lines.next().unwrap_or_default();
    (sentence, lines.map(|line| line.strip_prefix("  | ").unwrap_or(line).to_owned()).collect())
}

/// The word of the last phase.
fn finished() -> &'static str {
    Phase::Finished(Outcome::Succeeded).word()
}

/// Steps that last or that change what users meet are told; those that only lead from one to the next are details.
fn step(to: Step) -> (Weight, Tone) {
    match to {
        Step::Serving => (Weight::Landmark, Tone::Good),
        Step::Gone => (Weight::Landmark, Tone::Plain),
        Step::Starting | Step::Draining => (Weight::Step, Tone::Plain),
        Step::Waiting | Step::Judging | Step::Ready | Step::Admitting | Step::Drained | Step::Stopping => {
            (Weight::Detail, Tone::Plain)
        }
        // Why it is broken was told as a failure.
        Step::Broken(_) => (Weight::Detail, Tone::Bad),
    }
}

fn ended(object: String, verb: &str, took: &str, result: &ActionResult) -> Line {
    match result {
        ActionResult::Done { note } if note.is_empty() => {
            Line::new(object, format!("{verb} took {took}"), Weight::Detail)
        }
        ActionResult::Done { note } => Line::new(object, format!("{verb}: {note}"), Weight::Step),
        ActionResult::Gate(gate) => {
            let text =
                format!("{verb}: {} made, {} failed, {} slow ({took})", gate.samples, gate.errors, gate.slow);
            let block = if gate.errors > 0 { gate.excerpt.clone() } else { Vec::new() };
            let tone = if gate.errors > 0 { Tone::Warn } else { Tone::Good };
            Line::new(object, text, Weight::Step).tone(tone).block(block)
        }
        // Whether it is tried again or ends the rollout is told as a decision.
        ActionResult::Failed { message, .. } => {
            let (message, _) = with_output(message);
            Line::new(object, format!("{verb} failed after {took}: {message}"), Weight::Detail)
                .tone(Tone::Warn)
        }
    }
}

/// What an action acts on.
fn object(intent: &Intent, names: Names) -> String {
    match &intent.action {
        Action::Prepare { service, .. } | Action::Migrate { service, .. } | Action::Verify { service } => {
            service.to_string()
        }
        Action::Hook { moment, .. } => moment.word().to_owned(),
        Action::Commit { target, .. } => target.to_string(),
        Action::Collect => "dossier".to_owned(),
        action => action.unit().map_or_else(|| "rollout".to_owned(), |unit| names.unit(unit)),
    }
}
