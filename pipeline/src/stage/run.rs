//! Runs a stage as it was planned.

use super::{
    Context, RunReason, Stage, StageError, StageName, StagePlan, TestStage, Why, build,
    excerpt::{self, Output, TestCounts},
    plan::unchanged_since,
    record::Record,
    report::{self, TestReport},
};
use crate::{
    event::Event,
    name::Name,
    process::{Argv, Finished, ProcessError, Stream},
    release::{Artifact, Image, StageVerdict},
};
use jiff::Timestamp;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// What a stage came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageResult {
    /// How it ended, for the release.
    pub verdict: StageVerdict,
    /// What it made: for `build`, the artifact of each service.
    pub artifacts: BTreeMap<Name, Artifact>,
}

/// One stage, or one service's part of it, that tells how it goes.
pub(super) struct Task<'a> {
    pub(super) stage: StageName,
    pub(super) service: Option<&'a Name>,
    pub(super) emit: &'a (dyn Fn(Event) + Send + Sync),
}

impl Task<'_> {
    /// It begins; returns when.
    pub(super) fn started(&self, reason: &RunReason) -> Instant {
        let (service, because) = (self.service.cloned(), reason.to_string());
        (self.emit)(Event::StageStarted { stage: self.stage, service, because });
        Instant::now()
    }

    pub(super) fn skipped(&self, since: Timestamp) {
        let reason = unchanged_since(since);
        (self.emit)(Event::StageSkipped { stage: self.stage, service: self.service.cloned(), reason });
    }

    pub(super) fn advanced(&self, context: &Context, step: &str) {
        let step = context.runner.redactor.mask(step).into_owned();
        (self.emit)(Event::StageAdvanced { stage: self.stage, service: self.service.cloned(), step });
    }

    pub(super) fn output(&self, context: &Context, line: &str) {
        let line = context.runner.redactor.mask(line).into_owned();
        (self.emit)(Event::StageOutput { stage: self.stage, service: self.service.cloned(), line });
    }

    pub(super) fn passed(&self, started: Instant, summary: String) {
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let service = self.service.cloned();
        (self.emit)(Event::StagePassed { stage: self.stage, service, duration_ms, summary });
    }

    /// Tells how it ended.
    fn ended<T>(
        &self,
        context: &Context,
        started: Instant,
        ended: Result<T, StageError>,
        summary: impl FnOnce(&T) -> String,
    ) -> Result<T, StageError> {
        match ended {
            Ok(made) => {
                self.passed(started, summary(&made));
                Ok(made)
            }
            Err(error) => Err(self.failed(context, error)),
        }
    }

    /// Writes down how it ended, for the next run, and then tells it. `record` is that of a run that passed.
    pub(super) fn keep(
        &self,
        context: &Context,
        started: Instant,
        mut record: Record,
        made: Result<Image, StageError>,
        summary: impl FnOnce(&Image) -> String,
    ) -> Result<Image, StageError> {
        let (stage, service) = (self.stage, self.service);
        let made = made.and_then(|image| {
            record.image = Some(image.clone());
            let written = record.write(&context.state, stage, service);
            written.map_err(|source| StageError::Record { stage, source })?;
            Ok(image)
        });
        if made.as_ref().is_err_and(|error| !error.is_cancelled()) {
            (record.passed, record.image) = (false, None);
            // A record that cannot be written is no second error: the first is what the user must see.
            let _ = record.write(&context.state, stage, service);
        }
        self.ended(context, started, made, summary)
    }

    /// It failed, which is told unless it was cancelled.
    pub(super) fn failed(&self, context: &Context, error: StageError) -> StageError {
        if !error.is_cancelled() {
            let mask = |text: &str| context.runner.redactor.mask(text).into_owned();
            (self.emit)(Event::StageFailed {
                stage: self.stage,
                service: self.service.cloned(),
                message: mask(&error.story()),
                excerpt: error.excerpt().iter().map(|line| mask(line)).collect(),
            });
        }
        error
    }
}

/// Runs one stage, or skips it, as it was planned; tells it as events.
///
/// # Errors
/// If it does not pass; that has been told as [`Event::StageFailed`], unless the run was cancelled.
pub async fn run_stage(
    context: &Context,
    plan: &StagePlan,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<StageResult, StageError> {
    let stage = plan.name;
    let task = Task { stage, service: None, emit };
    let reason = match &plan.why {
        Why::Skip { since } => {
            task.skipped(*since);
            return Ok(StageResult {
                verdict: StageVerdict::SkippedUnchanged,
                artifacts: skip(context, plan),
            });
        }
        Why::Run(reason) => reason,
    };
    let started = task.started(reason);
    let ended = match &plan.stage {
        Stage::Test(test) => run_test(context, test, emit).await,
        Stage::Build(build) => {
            let cargo = build::Cargo { workspace: plan.workspace.as_deref(), host: plan.host.as_deref() };
            build::run(context, build, &cargo, expected(plan), emit).await
        }
        Stage::Image(_) | Stage::Scan(_) | Stage::Publish(_) => {
            unreachable!("planned when what they are made of is there")
        }
    };
    let ended = ended.and_then(|(summary, artifacts)| {
        let mut record = Record::new(true, plan.fingerprint.clone(), plan.stamps.clone());
        record.artifacts = artifacts.clone();
        record
            .write(&context.state, stage, plan.stage.variant().as_ref())
            .map_err(|source| StageError::Record { stage, source })?;
        Ok((summary, artifacts))
    });
    if ended.as_ref().is_err_and(|error| !error.is_cancelled()) {
        remember_failure(context, plan);
    }
    let (_, artifacts) = task.ended(context, started, ended, |(summary, _)| summary.clone())?;
    Ok(StageResult { verdict: StageVerdict::Passed, artifacts })
}

/// What the earlier run made. What was learnt of its files is kept for the next plan; it is a cache, and the stage is
/// no worse off without it.
fn skip(context: &Context, plan: &StagePlan) -> BTreeMap<Name, Artifact> {
    let Some(mut record) = plan.record.clone() else { return BTreeMap::new() };
    if record.stamps != plan.stamps {
        record.stamps = plan.stamps.clone();
        let _ = record.write(&context.state, plan.name, plan.stage.variant().as_ref());
    }
    record.artifacts
}

/// What an earlier run made of the same inputs, if it is lost.
fn expected(plan: &StagePlan) -> Option<&BTreeMap<Name, Artifact>> {
    match &plan.why {
        Why::Run(RunReason::ArtifactGone(_) | RunReason::ArtifactChanged(_)) => {
            plan.record.as_ref().map(|record| &record.artifacts)
        }
        _ => None,
    }
}

/// The pass of an earlier run must not stand for this one. A record that cannot be written is no second error: the
/// first is what the user must see.
fn remember_failure(context: &Context, plan: &StagePlan) {
    let record = Record::new(false, plan.fingerprint.clone(), plan.stamps.clone());
    let _ = record.write(&context.state, plan.name, plan.stage.variant().as_ref());
}

/// What a stage's own part gives: its summary, and what it made.
pub(super) type Made = (String, BTreeMap<Name, Artifact>);

/// Runs the tests, and keeps what was said of each, however they end; only of a run that was cancelled nothing is kept.
async fn run_test(
    context: &Context,
    test: &TestStage,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<Made, StageError> {
    let stage = StageName::Test;
    let argv = test.command.argv(context).ok_or(StageError::NoCommand { stage })?;
    let (started, mut report) = (Instant::now(), TestReport::default());
    let mut is_told = |_, line: &str| {
        report.push(line);
        true
    };
    let ran = run_command(context, stage, &argv, test.timeout, emit, &mut is_told).await;
    let suites = report.suites();
    let judged = ran.and_then(|(finished, output)| match finished.success() {
        true => Ok(TestCounts::of(output.lines()).summary()),
        false => {
            let what = excerpt::failed_tests(&TestReport::failed(&suites));
            let excerpt = output.excerpt_or(&TestReport::words_of_failed(&suites));
            Err(failed(stage, &argv, &finished, excerpt, &what))
        }
    });
    let (message, excerpt) = match &judged {
        Err(error) if error.is_cancelled() => return judged.map(|summary| (summary, BTreeMap::new())),
        Err(error) => (error.story(), error.excerpt()),
        Ok(_) => (String::new(), Vec::new()),
    };
    let failure = judged.is_err().then_some((message.as_str(), excerpt.as_slice()));
    let ended = report::Ended { command: argv.to_string(), took: started.elapsed(), failure };
    let written = report::write(context, &suites, &ended);
    // A report of failed tests that cannot be written is no second error: the first is what the user must see.
    let summary = judged?;
    written.map_err(|source| StageError::Report { source })?;
    Ok((summary, BTreeMap::new()))
}

/// A command that ran and failed, as an error with the lines that matter.
pub(super) fn failed(
    stage: StageName,
    argv: &Argv,
    finished: &Finished,
    excerpt: Vec<String>,
    what: &str,
) -> StageError {
    let status = finished.status_text();
    let message = format!(
        "the stage `{stage}` failed: {what}`{argv}` ended with {status}; run it to see all of its output"
    );
    StageError::Failed { stage, message, excerpt }
}

/// Runs a stage's command in the root, tells each line that `is_told`, and keeps what it wrote.
pub(super) async fn run_command(
    context: &Context,
    stage: StageName,
    argv: &Argv,
    timeout: Duration,
    emit: &(dyn Fn(Event) + Send + Sync),
    is_told: &mut (dyn FnMut(Stream, &str) -> bool + Send),
) -> Result<(Finished, Output), StageError> {
    let argv = as_from_a_shell(argv.clone().folder(&context.root), context);
    let mut output = Output::default();
    let mut on_line = |stream, line: &str| {
        if is_told(stream, line) {
            emit(Event::StageOutput { stage, service: None, line: line.to_owned() });
            output.push(line);
        }
    };
    match context.runner.run(&argv, timeout, &mut on_line).await {
        Ok(finished) => Ok((finished, output)),
        Err(ProcessError::Deadline { command, limit, .. }) => {
            let seconds = limit.as_secs_f32();
            let message = format!(
                "the stage `{stage}` failed: `{command}` was ended after {seconds} s, its time limit; \
                 raise the stage's timeout if it needs longer"
            );
            Err(StageError::Failed { stage, message, excerpt: output.excerpt() })
        }
        Err(source) => Err(StageError::Process { stage, source }),
    }
}

/// Removes what `cargo run` sets for the program that it runs: build scripts of others see it and would build anew.
fn as_from_a_shell(mut argv: Argv, context: &Context) -> Argv {
    const NAMES: [&str; 6] = [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "OUT_DIR",
    ];
    for name in context.variables.keys() {
        if NAMES.iter().any(|known| name == *known) || name.to_string_lossy().starts_with("CARGO_PKG_") {
            argv = argv.env_remove(name);
        }
    }
    argv
}
