//! Reporters: the only ones who print the story. They get events, in the past tense, and nothing else.

mod ending;
mod github;
mod json;
mod patience;
mod plain;
mod retelling;
mod timings;
mod tty;
mod turns;
mod words;

pub(crate) use ending::{About, Ending};
pub(crate) use retelling::retell;

use crate::{cli::Format, failure::Failure, paint::Paint};
use deploy::plan::Plan;
use jiff::Timestamp;
use std::{
    io::{IsTerminal as _, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

/// How often reporters may say what is still waited for.
const TICK: Duration = Duration::from_secs(1);

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors and the final line.
    Quiet,
    /// Every change.
    Normal,
    /// Every probe and every action too.
    Verbose,
}

/// One part of the story.
#[derive(Debug)]
pub(crate) enum Story<'a> {
    /// Something happened while a release was made.
    Pipeline(&'a pipeline::event::Event),
    /// Something happened to an environment.
    Deploy(&'a deploy::event::Event),
    /// A plan was made, and is about to be carried out.
    Planned(&'a Plan),
    /// Something to know: one sentence.
    Note(&'a str),
}

/// Who tells the story. Times are given, so that the same story reads the same.
pub(crate) trait Reporter: Send {
    /// Tells one part.
    fn tell(&mut self, story: &Story<'_>, at: Timestamp);

    /// A second has passed.
    fn tick(&mut self, _at: Timestamp) {}

    /// Asks the operator; the answer is typed on the same line.
    fn ask(&mut self, question: &str);

    /// Tells why the command did not come to its end.
    fn fail(&mut self, failure: &Failure);

    /// Tells how it ended, and leaves the terminal as it was.
    fn end(&mut self, ending: &Ending, at: Timestamp);
}

/// How the story is to be told.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    /// As which of the formats; never `Auto`.
    pub(crate) format: Format,
    /// How much.
    pub(crate) verbosity: Verbosity,
    /// Colours on standard error.
    pub(crate) paint: Paint,
    /// The file of GitHub's step summary.
    pub(crate) summary: Option<PathBuf>,
}

impl Style {
    /// What `auto` means here: GitHub Actions, no terminal, or a terminal. A format for terminals is of no use without
    /// one.
    pub(crate) fn choose(asked: Format, under_github: bool, is_terminal: bool) -> Format {
        match asked {
            Format::Auto if under_github => Format::Github,
            Format::Auto | Format::Tty if !is_terminal => Format::Plain,
            Format::Auto => Format::Tty,
            Format::Tty | Format::Plain | Format::Github | Format::Json => asked,
        }
    }
}

/// A reporter that many may tell to.
#[derive(Clone)]
pub(crate) struct Narrator {
    reporter: Arc<Mutex<Box<dyn Reporter>>>,
    _ticks: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Narrator {
    /// One that writes to standard error. Within a runtime it also says what is still waited for.
    pub(crate) fn new(style: &Style) -> Self {
        let stderr = || -> Box<dyn Write + Send> { Box::new(std::io::stderr()) };
        let reporter: Box<dyn Reporter> = match style.format {
            Format::Tty => Box::new(tty::Tty::new(style.paint, style.verbosity)),
            Format::Github => {
                let token = format!("fairlead-{:x}-{}", Timestamp::now().as_nanosecond(), std::process::id());
                Box::new(github::Github::new(stderr(), style.verbosity, style.summary.clone(), token))
            }
            Format::Json => Box::new(json::Json::new(stderr(), style.verbosity)),
            Format::Plain | Format::Auto => Box::new(plain::Plain::new(stderr(), style.verbosity)),
        };
        let reporter = Arc::new(Mutex::new(reporter));
        let ticks = tokio::runtime::Handle::try_current().ok().map(|runtime| {
            let reporter = Arc::downgrade(&reporter);
            let ticking = async move {
                let mut interval = tokio::time::interval(TICK);
                loop {
                    interval.tick().await;
                    let Some(reporter) = reporter.upgrade() else { return };
                    locked(&reporter).tick(Timestamp::now());
                }
            };
            Arc::new(AbortOnDropHandle::new(runtime.spawn(ticking)))
        });
        Self { reporter, _ticks: ticks }
    }

    /// Who is told what happens to an environment.
    pub(crate) fn deploy_events(&self) -> deploy::session::Events {
        let narrator = self.clone();
        Arc::new(move |event| narrator.tell(&Story::Deploy(&event)))
    }

    /// Who is told what happens while a release is made.
    pub(crate) fn pipeline_events(&self) -> Arc<dyn Fn(pipeline::event::Event) + Send + Sync> {
        let narrator = self.clone();
        Arc::new(move |event| narrator.tell(&Story::Pipeline(&event)))
    }

    /// Tells one part of the story.
    pub(crate) fn tell(&self, story: &Story<'_>) {
        locked(&self.reporter).tell(story, Timestamp::now());
    }

    /// Tells something to know: one sentence.
    pub(crate) fn note(&self, sentence: &str) {
        self.tell(&Story::Note(sentence));
    }

    /// Asks the operator.
    pub(crate) fn ask(&self, question: &str) {
        locked(&self.reporter).ask(question);
    }

    /// Tells why the command did not come to its end.
    pub(crate) fn fail(&self, failure: &Failure) {
        locked(&self.reporter).fail(failure);
    }

    /// Tells how it ended.
    pub(crate) fn end(&self, ending: &Ending) {
        locked(&self.reporter).end(ending, Timestamp::now());
    }
}

/// The terminal is always told of the outcome, even if a reporter has panicked before.
fn locked(reporter: &Mutex<Box<dyn Reporter>>) -> MutexGuard<'_, Box<dyn Reporter>> {
    reporter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether standard error is a terminal that can redraw lines.
pub(crate) fn stderr_is_terminal(term: Option<&str>) -> bool {
    std::io::stderr().is_terminal() && term != Some("dumb")
}

#[cfg(test)]
pub(crate) use plain::without_escapes as without_escapes_of;
#[cfg(test)]
mod tests;
