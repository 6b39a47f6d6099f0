//! GitHub Actions: a group for each stage and rollout, annotations for failures, and a step summary.
//!
//! **Invariant.** What programs wrote is printed only while workflow commands are stopped, so that a log line cannot
//! give the runner orders. Nothing is masked here: secrets never get this far.

use super::{
    Ending, Reporter, Story, Verbosity,
    plain::{Plain, without_escapes},
    timings::Part,
    turns::Turns,
    words::{self, Weight, stage_word},
};
use crate::{exit::Exit, failure::Failure, paint::Paint};
use deploy::{
    decide::Reason,
    dossier::Dossier,
    event::Event,
    plan::{Plan, ServicePlan, Side},
    verdict::seconds,
};
use jiff::{Timestamp, tz::TimeZone};
use pipeline::event::Event as PipelineEvent;
use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
};

/// Lines of the dossier in the step summary: the reason, what changed, and the beginning of the evidence.
const SUMMARY_LINES: usize = 30;

/// See the module.
pub(super) struct Github {
    plain: Plain,
    summary: Option<PathBuf>,
    /// Ends the time in which the runner heeds no commands; must not be guessed by what is printed.
    token: String,
    in_group: bool,
    turns: Turns,
    services: Vec<Row>,
    dossier: Option<Box<Dossier>>,
}

/// A row of the summary's table.
struct Row {
    service: String,
    from: String,
    to: String,
    changes: String,
}

impl Github {
    /// One that writes there. `token` stops and starts workflow commands.
    pub(super) fn new(
        sink: Box<dyn Write + Send>,
        verbosity: Verbosity,
        summary: Option<PathBuf>,
        token: String,
    ) -> Self {
        // GitHub shows times itself, in the reader's zone.
        let plain = Plain::in_zone(sink, verbosity, TimeZone::UTC);
        let turns = Turns::default();
        Self { plain, summary, token, in_group: false, turns, services: Vec::new(), dossier: None }
    }

    fn open_group(&mut self, title: &str) {
        self.close_group();
        self.plain.raw(&format!("::group::{}", data(title)));
        self.plain.raw(&format!("::stop-commands::{}", self.token));
        self.in_group = true;
    }

    fn close_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.plain.raw(&format!("::{}::", self.token));
            self.plain.raw("::endgroup::");
        }
    }

    /// Gives the runner an order, also from within a group.
    fn command(&mut self, command: &str) {
        if self.in_group {
            self.plain.raw(&format!("::{}::", self.token));
        }
        self.plain.raw(command);
        if self.in_group {
            self.plain.raw(&format!("::stop-commands::{}", self.token));
        }
    }

    fn annotate(&mut self, level: &str, title: &str, message: &str) {
        self.command(&format!("::{level} title={}::{}", property(title), data(message)));
    }

    fn after_pipeline(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::StagesPlanned { .. } | PipelineEvent::StagePassed { .. } => self.close_group(),
            PipelineEvent::StageFailed { stage, service, message, .. } => {
                self.close_group();
                let title = format!("Stage {} failed", stage_word(*stage, service.as_ref()));
                self.annotate("error", &title, message);
            }
            _ => {}
        }
    }

    fn before_deploy(&mut self, event: &Event) {
        if let Event::RolloutBegan { environment, release, services, .. } = event {
            if self.services.is_empty() {
                self.services = services
                    .iter()
                    .map(|(service, fields)| Row::unplanned(service.as_str(), fields))
                    .collect();
            }
            self.open_group(&format!("Rollout of {release} to {environment}"));
        }
    }

    fn after_deploy(&mut self, event: &Event) {
        match event {
            Event::Decided { reason: reason @ Reason::Failed(failure) } => {
                let title = format!("{} {}", self.plain.names().subject(&reason.subject()), failure.reason);
                self.annotate("error", &title, &failure.message);
            }
            Event::LeaseAcquired { took_over: Some(whose), .. } => {
                self.annotate("notice", "Lease taken over", whose);
            }
            Event::JournalIncomplete { lost, why } => {
                self.annotate(
                    "warning",
                    "Journal incomplete",
                    &format!("{lost} lines could not be written: {why}"),
                );
            }
            Event::EvidenceCollected { dossier, .. } => self.dossier = Some(dossier.clone()),
            Event::RolloutFinished { .. } | Event::RolloutLeft { .. } => self.close_group(),
            _ => {}
        }
    }

    fn write_summary(&mut self, ending: &Ending) {
        let Some(path) = &self.summary else { return };
        let text = summary(ending, self.plain.timings().parts(), &self.services, self.dossier.as_deref());
        let written = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            io::Result::Ok(())
        });
        if let Err(error) = written {
            self.annotate("warning", "No step summary", &format!("cannot write {}: {error}", path.display()));
        }
    }
}

impl Github {
    /// Tells what stages have said that were not at their turn.
    fn tell_rest(&mut self) {
        for (event, at) in self.turns.rest() {
            self.tell_now(&Story::Pipeline(&event), at);
        }
    }

    fn tell_now(&mut self, story: &Story<'_>, at: Timestamp) {
        match story {
            // Programs' output is what a group is for, so it is not left to `-v`.
            Story::Pipeline(PipelineEvent::StageOutput { line, .. }) => {
                if self.plain.tells(Weight::Step) {
                    self.plain.raw(line);
                }
                return;
            }
            Story::Pipeline(PipelineEvent::StageStarted { stage, service, .. }) => {
                self.open_group(&format!("Stage {}", stage_word(*stage, service.as_ref())));
            }
            Story::Pipeline(event @ PipelineEvent::StagesPlanned { .. }) => {
                if self.plain.tells(words::pipeline(event).weight) {
                    self.open_group("Stages");
                }
            }
            Story::Deploy(event) => self.before_deploy(event),
            Story::Planned(plan) => {
                self.services = rows(plan);
                self.open_group("Plan");
            }
            Story::Pipeline(_) | Story::Note(_) => {}
        }
        self.plain.tell(story, at);
        match story {
            Story::Pipeline(event) => self.after_pipeline(event),
            Story::Deploy(event) => self.after_deploy(event),
            Story::Planned(_) => self.close_group(),
            Story::Note(_) => {}
        }
    }
}

impl Reporter for Github {
    /// Groups do not nest, so that stages which run side by side are told one after the other.
    fn tell(&mut self, story: &Story<'_>, at: Timestamp) {
        match story {
            Story::Pipeline(event) => {
                for (event, at) in self.turns.take(event, at) {
                    self.tell_now(&Story::Pipeline(&event), at);
                }
            }
            Story::Note(_) => self.tell_now(story, at),
            Story::Deploy(_) | Story::Planned(_) => {
                self.tell_rest();
                self.tell_now(story, at);
            }
        }
    }

    fn tick(&mut self, at: Timestamp) {
        self.plain.tick(at);
    }

    /// Nobody is there to answer.
    fn ask(&mut self, _question: &str) {}

    fn fail(&mut self, failure: &Failure) {
        self.tell_rest();
        self.close_group();
        let text = failure.to_text(Paint::OFF);
        if !text.is_empty() {
            self.annotate("error", "Fairlead", text.trim_end());
        }
    }

    fn end(&mut self, ending: &Ending, at: Timestamp) {
        self.tell_rest();
        self.close_group();
        self.plain.tell_timings(at);
        let (level, title) = level(ending.exit);
        self.annotate(level, title, &ending.line());
        self.write_summary(ending);
    }
}

fn level(exit: Exit) -> (&'static str, &'static str) {
    match exit {
        Exit::Done => ("notice", "Done"),
        Exit::Held => ("warning", "Held"),
        Exit::Interrupted => ("warning", "Interrupted"),
        Exit::RolledBack => ("error", "Rolled back"),
        Exit::RollbackFailed => ("error", "Rollback failed"),
        Exit::StageFailed | Exit::Usage | Exit::Refused | Exit::Locked | Exit::Bug => ("error", "Failed"),
    }
}

impl Row {
    fn of(service: &ServicePlan) -> Self {
        let shown =
            |side: &Option<Side>| side.as_ref().map_or("nothing".to_owned(), |side| side.release.clone());
        let changes: Vec<&str> = service.changes.iter().map(|change| change.field.as_str()).collect();
        Self {
            service: service.service.to_string(),
            from: shown(&service.from),
            to: shown(&service.to),
            changes: changes.join(", "),
        }
    }

    /// A row of a rollout that was taken up again: what stood before is not told.
    fn unplanned(service: &str, fields: &[String]) -> Self {
        let unknown = || "–".to_owned();
        Self { service: service.to_owned(), from: unknown(), to: unknown(), changes: fields.join(", ") }
    }
}

fn rows(plan: &Plan) -> Vec<Row> {
    plan.services.iter().map(Row::of).collect()
}

/// The step summary in Markdown.
fn summary(ending: &Ending, parts: &[Part], services: &[Row], dossier: Option<&Dossier>) -> String {
    let mut text = format!("### {}\n\n{}\n\n", level(ending.exit).1, cell(&ending.line()));
    if !services.is_empty() {
        text.push_str("| Service | From | To | Changes |\n| --- | --- | --- | --- |\n");
        for Row { service, from, to, changes } in services {
            let row = [service, from, to, changes].map(|field| cell(field));
            writeln!(text, "| {} |", row.join(" | ")).expect("writing to a String cannot fail");
        }
        text.push('\n');
    }
    if parts.iter().any(|part| part.result != "skipped") {
        text.push_str("| Stage | Result | Time |\n| --- | --- | --- |\n");
        for Part { name, result, took } in parts {
            let took = took.map(seconds).unwrap_or_default();
            writeln!(text, "| {} | {result} | {took} |", cell(name))
                .expect("writing to a String cannot fail");
        }
        text.push('\n');
    }
    if let Some(dossier) = dossier {
        let lines: Vec<String> = dossier.to_text().lines().take(SUMMARY_LINES).map(without_escapes).collect();
        let longest = lines.iter().map(|line| line.chars().filter(|c| *c == '`').count()).max().unwrap_or(0);
        let fence = "`".repeat(3.max(longest + 1));
        write!(text, "{fence}text\n{}\n{fence}\n\n", lines.join("\n"))
            .expect("writing to a String cannot fail");
    }
    text
}

/// A text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

/// The data of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
