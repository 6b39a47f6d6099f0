//! Terminal: one live line for each stage and unit; what is finished scrolls up as plain text.

use super::{
    Ending, Reporter, Story, Verbosity,
    plain::{BLOCK_INDENT, SUBJECT_WIDTH, ending_tone, without_escapes},
    timings::Timings,
    words::{self, Line, Names, Weight},
};
use crate::{
    failure::Failure,
    paint::{Paint, Tone},
    render,
};
use deploy::{
    decide::{Reason, Subject, Waiting},
    event::Event,
    state::Step,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::Timestamp;
use pipeline::{event::Event as PipelineEvent, name::Name, stage::StageName};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How often live lines are drawn anew: smooth to the eye, cheap over a slow connection.
const REDRAW: Duration = Duration::from_millis(120);

/// See the module.
pub(super) struct Tty {
    multi: MultiProgress,
    live: BTreeMap<Key, Live>,
    names: Names,
    timings: Timings,
    paint: Paint,
    verbosity: Verbosity,
    animated: bool,
}

/// What has a live line. Stages stand above the rollout, and that above services and units.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Stage(StageName, Option<Name>),
    Subject(Subject),
}

/// One live line.
struct Live {
    bar: ProgressBar,
    /// Milliseconds since the Unix epoch; 0 without a deadline.
    until: Arc<AtomicU64>,
    /// Where it is: `starting`.
    step: String,
    /// What it waits for.
    waits_for: String,
}

impl Tty {
    /// One on standard error.
    pub(super) fn new(paint: Paint, verbosity: Verbosity) -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(15), paint, verbosity, true)
    }

    /// One that draws there; `animated` says whether lines redraw by themselves.
    pub(super) fn on(target: ProgressDrawTarget, paint: Paint, verbosity: Verbosity, animated: bool) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let (names, timings) = (Names::default(), Timings::default());
        Self { multi, live: BTreeMap::new(), names, timings, paint, verbosity, animated }
    }

    /// Prints above the live lines. A terminal that is gone must not end a rollout.
    fn print(&self, text: &str) {
        let _ = self.multi.println(text);
    }

    fn line(&self, line: &Line) {
        let least = match self.verbosity {
            Verbosity::Quiet => Weight::Alarm,
            Verbosity::Normal => Weight::Landmark,
            Verbosity::Verbose => Weight::Detail,
        };
        if line.weight < least {
            return;
        }
        let subject = format!("{:<SUBJECT_WIDTH$}", line.subject);
        let text = without_escapes(&line.text);
        self.print(&format!(
            "{}  {}",
            self.paint.tone(Tone::Dim, &subject),
            self.paint.tone(line.tone, &text)
        ));
        for line in &line.block {
            self.print(&format!("{:BLOCK_INDENT$}{}", "", without_escapes(line)));
        }
    }

    fn live(&mut self, key: Key, name: &str) -> &mut Live {
        // A line stands where its key does among the others, so that lines do not jump.
        let place = self.live.range(..&key).count();
        let (multi, animated) = (&self.multi, self.animated);
        self.live.entry(key).or_insert_with(|| {
            let until = Arc::new(AtomicU64::new(0));
            let bar = multi.insert(place, ProgressBar::new_spinner().with_style(style(until.clone())));
            bar.set_prefix(format!("{name:<SUBJECT_WIDTH$}"));
            if animated {
                bar.enable_steady_tick(REDRAW);
            }
            Live { bar, until, step: String::new(), waits_for: String::new() }
        })
    }

    fn end_line(&mut self, key: &Key) {
        if let Some(live) = self.live.remove(key) {
            live.bar.finish_and_clear();
            self.multi.remove(&live.bar);
        }
    }

    fn end_all_lines(&mut self) {
        let keys: Vec<Key> = self.live.keys().cloned().collect();
        for key in &keys {
            self.end_line(key);
        }
    }

    fn step(&mut self, subject: &Subject, step: &str) {
        let live = self.live(Key::Subject(subject.clone()), &self.names.subject(subject));
        step.clone_into(&mut live.step);
        // What the step before waited for is over.
        live.waits_for.clear();
        live.until.store(0, Ordering::Relaxed);
        live.show();
    }

    fn follow_pipeline(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::StageStarted { stage, service, because } => {
                let word = words::stage_word(*stage, service.as_ref());
                let live = self.live(Key::Stage(*stage, service.clone()), &word);
                live.step.clone_from(because);
                live.show();
            }
            PipelineEvent::StageOutput { stage, service, line: text }
            | PipelineEvent::StageAdvanced { stage, service, step: text } => {
                if let Some(live) = self.live.get_mut(&Key::Stage(*stage, service.clone())) {
                    live.step = without_escapes(text);
                    live.show();
                }
            }
            PipelineEvent::StageSkipped { stage, service, .. }
            | PipelineEvent::StagePassed { stage, service, .. }
            | PipelineEvent::StageFailed { stage, service, .. } => {
                self.end_line(&Key::Stage(*stage, service.clone()));
            }
            PipelineEvent::StagesPlanned { .. } | PipelineEvent::ReleaseMade { .. } => {}
        }
    }

    fn follow_deploy(&mut self, event: &Event) {
        self.names.follow(event);
        match event {
            Event::Decided { reason } => self.follow_reason(reason),
            Event::Waited { waiting } => self.follow_waiting(waiting),
            Event::RolloutFinished { .. } | Event::RolloutLeft { .. } => self.end_all_lines(),
            Event::LeaseAcquired { .. }
            | Event::RolloutBegan { .. }
            | Event::Requested { .. }
            | Event::ActionBegan { .. }
            | Event::ActionEnded { .. }
            | Event::Looked { .. }
            | Event::EvidenceCollected { .. }
            | Event::JournalIncomplete { .. } => {}
        }
    }

    fn follow_reason(&mut self, reason: &Reason) {
        let subject = reason.subject();
        match reason {
            Reason::Stepped { to: Step::Serving | Step::Gone, .. } | Reason::ServiceDone { .. } => {
                self.end_line(&Key::Subject(subject));
            }
            Reason::Stepped { to, .. } => self.step(&subject, to.word()),
            Reason::PhaseBegan { .. }
            | Reason::BatchBegan { .. }
            | Reason::Paused { .. }
            | Reason::WaveBegan { .. }
            | Reason::SoakBegan { .. }
            | Reason::WavePaused { .. }
            | Reason::BakeBegan { .. } => {
                self.step(&subject, &reason.text());
            }
            Reason::Healthy { .. }
            | Reason::Failed(_)
            | Reason::Tolerated { .. }
            | Reason::Retried { .. }
            | Reason::HookIgnored { .. }
            | Reason::Ailed(_)
            | Reason::PauseReached
            | Reason::Commanded { .. }
            | Reason::TakenUp => {}
        }
    }

    fn follow_waiting(&mut self, waiting: &[Waiting]) {
        for live in self.live.values_mut() {
            live.waits_for.clear();
            live.until.store(0, Ordering::Relaxed);
        }
        for waiting in waiting {
            let live =
                self.live(Key::Subject(waiting.subject.clone()), &self.names.subject(&waiting.subject));
            live.waits_for.clone_from(&waiting.for_what);
            live.until.store(waiting.until.unwrap_or(0), Ordering::Relaxed);
        }
        let idle = |live: &Live| live.step.is_empty() && live.waits_for.is_empty();
        let idle: Vec<Key> =
            self.live.iter().filter(|(_, live)| idle(live)).map(|(key, _)| key.clone()).collect();
        for key in &idle {
            self.end_line(key);
        }
        self.live.values().for_each(Live::show);
    }
}

impl Live {
    fn show(&self) {
        let between = if self.step.is_empty() || self.waits_for.is_empty() { "" } else { ": " };
        self.bar.set_message(format!("{}{between}{}", self.step, self.waits_for));
    }
}

/// Spinner, subject, what it does, and at the right how long it may still take.
fn style(until: Arc<AtomicU64>) -> ProgressStyle {
    let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let until = until.load(Ordering::Relaxed);
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        if until > now {
            let _ = write!(out, "{} s left", (until - now).div_ceil(1_000));
        }
    };
    ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {left}")
        .expect("the template is well-formed")
        .with_key("left", left)
}

impl Reporter for Tty {
    fn tell(&mut self, story: &Story<'_>, at: Timestamp) {
        self.timings.follow(story, at);
        match story {
            Story::Pipeline(event) => {
                self.follow_pipeline(event);
                self.line(&words::pipeline(event));
            }
            Story::Deploy(event) => {
                self.follow_deploy(event);
                if let Some(line) = words::deploy(event, self.names) {
                    self.line(&line);
                }
            }
            Story::Planned(plan) if self.verbosity >= Verbosity::Normal => {
                for line in render::plan(plan, self.paint).lines() {
                    self.print(line);
                }
                self.print("");
            }
            Story::Planned(_) => {}
            Story::Note(sentence) => self.line(&Line::new("note", *sentence, Weight::Landmark)),
        }
    }

    fn ask(&mut self, question: &str) {
        self.multi.suspend(|| {
            use std::io::Write as _;
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "{question} ").and_then(|()| stderr.flush());
        });
    }

    fn fail(&mut self, failure: &Failure) {
        self.end_all_lines();
        for line in failure.to_text(self.paint).lines() {
            self.print(line);
        }
    }

    fn end(&mut self, ending: &Ending, _at: Timestamp) {
        self.end_all_lines();
        if let Some(line) = self.timings.line() {
            self.line(&Line { weight: Weight::Landmark, tone: Tone::Dim, ..line });
        }
        self.print(&self.paint.tone(ending_tone(ending), &ending.line()));
    }
}

/// Also when the program ends otherwise, the terminal is left without half-drawn lines.
impl Drop for Tty {
    fn drop(&mut self) {
        self.end_all_lines();
        let _ = self.multi.clear();
    }
}
