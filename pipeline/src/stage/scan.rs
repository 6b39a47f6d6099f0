//! The `scan` stage: what a scanner finds in the image of one service, or in the configuration, and whether that stops the
//! release.
//!
//! What was found is kept and not looked for twice; it is judged anew every time, because a waiver may have expired since.

use super::{Context, RunReason, ScanStage, StageError, StageName, run::Task};
use crate::{
    event::Event,
    fingerprint::{self, Fingerprint, Hashes, Scope, Stamps},
    release::{Image, ScanVerdict, StageVerdict},
    scan::{
        Judgement, Need, Report, Rules, Subject, finding, judge,
        policy::Stop,
        report::{bill_path, path, sarif_path},
        sarif,
        trivy::{ScanError, Trivy},
    },
    store,
};
use jiff::{Timestamp, tz::TimeZone};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::OnceCell, time::Instant};

/// How many findings are quoted: what fits on a page. All of them are in the report.
const QUOTED: usize = 30;

/// What decides, beside the rules of the scanner, what is kept of a finding. To be raised when that changes.
const FINDING_FORMAT: &str = "1";

/// The scanner, asked once for all that is scanned in a run.
#[derive(Default)]
pub(super) struct Scanner {
    looked: OnceCell<Result<Known, Arc<ScanError>>>,
    ready: OnceCell<Result<Ready, Arc<ScanError>>>,
}

/// What a scanner says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    version: String,
    database: Option<Timestamp>,
    /// Whether a newer database may be had.
    is_due: bool,
}

/// A scanner with a database that is young enough.
struct Ready {
    trivy: Trivy,
    warning: Option<String>,
}

impl Scanner {
    /// What is installed. Changes nothing.
    async fn look(&self, context: &Context, rules: &Rules) -> Result<&Known, Arc<ScanError>> {
        let looking = async {
            let trivy = Trivy::look(&context.runner, &context.variables, rules).await.map_err(Arc::new)?;
            let (version, database, is_due) = (trivy.version.clone(), trivy.database, trivy.is_due());
            Ok(Known { version, database, is_due })
        };
        self.looked.get_or_init(|| looking).await.as_ref().map_err(Arc::clone)
    }

    /// The scanner with its database up to date.
    async fn ready(&self, context: &Context, rules: &Rules) -> Result<&Ready, Arc<ScanError>> {
        let readying = async {
            let mut trivy =
                Trivy::look(&context.runner, &context.variables, rules).await.map_err(Arc::new)?;
            let warning = trivy.refresh(rules).await.map_err(Arc::new)?;
            Ok(Ready { trivy, warning })
        };
        self.ready.get_or_init(|| readying).await.as_ref().map_err(Arc::clone)
    }
}

/// What the `scan` stage is to do with one subject.
pub(super) struct ScanPlan {
    /// What was found and still stands; or why it must be looked for.
    pub(super) why: Result<Report, RunReason>,
    fingerprint: Fingerprint,
    stamps: Stamps,
}

/// Scans, or judges anew what was found before; tells it as events.
pub(super) async fn run(
    context: &Context,
    stage: &ScanStage,
    image: Option<(&Image, &str)>,
    scanner: &Scanner,
    force: bool,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<(StageVerdict, ScanVerdict), StageError> {
    let task = Task { stage: StageName::Scan, service: stage.subject.service(), emit };
    let scan = Scan { context, stage, image, scanner, task: &task };
    match scan.run(force).await {
        Err(error) if scan.may_do_without(&error) => {
            let why = context.runner.redactor.mask(&error.story()).into_owned();
            let reason = format!("{why}; this environment does without");
            emit(Event::StageSkipped { stage: task.stage, service: task.service.cloned(), reason });
            Ok((StageVerdict::NotRun, ScanVerdict::not_scanned(why)))
        }
        Err(error) => Err(task.failed(context, error)),
        Ok(ended) => Ok(ended),
    }
}

/// Finds out whether there is anything to do; asks the scanner for its version, and reads the configuration.
pub(super) async fn plan(
    context: &Context,
    stage: &ScanStage,
    image: Option<&Image>,
    scanner: &Scanner,
    force: bool,
) -> Result<ScanPlan, StageError> {
    let scan_error = |source| stage.error(source);
    let known = scanner.look(context, &stage.rules).await.map_err(scan_error)?;
    let last = Report::read(&context.state, &stage.subject);
    let (last, is_unreadable) = match last {
        Ok(last) => (last, false),
        Err(_) => (None, true),
    };
    let stamps = last.as_ref().map(|last| last.stamps.clone()).unwrap_or_default();
    let (fingerprint, stamps) = fingerprint(context, stage, image, known, stamps).await?;
    let why = match last {
        _ if force => Err(RunReason::Forced),
        None if is_unreadable => Err(RunReason::RecordUnreadable),
        None => Err(RunReason::FirstTime),
        Some(last) => match fingerprint.difference_from(&last.fingerprint) {
            Some(difference) => Err(RunReason::Inputs(difference)),
            None if image.is_some() && known.is_due => Err(RunReason::DatabaseDue),
            None => Ok(last),
        },
    };
    Ok(ScanPlan { why, fingerprint, stamps })
}

/// What a scan reads. Of the policy there is nothing in it: that is asked every time.
async fn fingerprint(
    context: &Context,
    stage: &ScanStage,
    image: Option<&Image>,
    known: &Known,
    stamps: Stamps,
) -> Result<(Fingerprint, Stamps), StageError> {
    let mut values = BTreeMap::from([
        ("the version of Trivy".to_owned(), known.version.clone()),
        ("the form of findings".to_owned(), FINDING_FORMAT.to_owned()),
    ]);
    if let Some(image) = image {
        values.insert("the image".to_owned(), image.id.to_string());
        let made = known.database.map_or_else(|| "none".to_owned(), |made| made.to_string());
        values.insert("the database of vulnerabilities".to_owned(), made);
    }
    let Subject::Configuration(paths) = &stage.subject else {
        return Ok((Fingerprint { files: BTreeMap::new(), values }, stamps));
    };
    let (root, paths) = (context.root.clone(), paths.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut hashes = Hashes::new(stamps);
        let scope = Scope { paths, values, ..Scope::default() };
        fingerprint::take(&root, &scope, None, &mut hashes).map(|taken| (taken, hashes.into_stamps()))
    });
    let read = reading.await.expect("reading files does not panic");
    read.map_err(|source| StageError::Fingerprint { stage: StageName::Scan, source })
}

impl ScanStage {
    fn error(&self, source: Arc<ScanError>) -> StageError {
        if source.is_cancelled() {
            return StageError::Cancelled { stage: StageName::Scan };
        }
        StageError::Scan { subject: self.subject.to_string(), source }
    }
}

/// One scan.
struct Scan<'a> {
    context: &'a Context,
    stage: &'a ScanStage,
    /// The image with the address of its engine, if it is of one.
    image: Option<(&'a Image, &'a str)>,
    scanner: &'a Scanner,
    task: &'a Task<'a>,
}

impl Scan<'_> {
    async fn run(&self, force: bool) -> Result<(StageVerdict, ScanVerdict), StageError> {
        let image = self.image.map(|(image, _)| image);
        let planned = plan(self.context, self.stage, image, self.scanner, force).await?;
        let reason = match planned.why {
            Ok(report) => {
                self.check_database().await?;
                let (judgement, verdict) = self.judged(&report)?;
                let reason = format!("{}; {}", super::plan::unchanged_since(report.at), judgement.summary());
                self.warn(&judgement);
                self.tell(Event::StageSkipped { stage: self.task.stage, service: self.service(), reason });
                return Ok((StageVerdict::SkippedUnchanged, verdict));
            }
            Err(reason) => reason,
        };
        let started = self.task.started(&reason);
        let report = self.scanned(planned.fingerprint, planned.stamps).await?;
        let (judgement, verdict) = self.judged(&report)?;
        self.warn(&judgement);
        self.passed(started, &judgement, &report);
        Ok((StageVerdict::Passed, verdict))
    }

    /// Scans, and keeps what was found, whatever will come of it.
    async fn scanned(&self, fingerprint: Fingerprint, stamps: Stamps) -> Result<Report, StageError> {
        let (stage, context) = (self.stage, self.context);
        let error = |source: ScanError| stage.error(Arc::new(source));
        let subject = &stage.subject;
        let record = |source| StageError::Record { stage: StageName::Scan, source };
        let (report, bill) = match (subject, self.image) {
            (Subject::Image(_), Some((image, engine))) => {
                let ready = self.scanner.ready(context, &stage.rules).await.map_err(|e| stage.error(e))?;
                if let Some(warning) = &ready.warning {
                    self.task.advanced(context, warning);
                }
                let trivy = &ready.trivy;
                let scan =
                    trivy.image(image.id, image.size_bytes, engine, &stage.rules).await.map_err(error)?;
                let known = Known { version: trivy.version.clone(), database: trivy.database, is_due: false };
                let (fingerprint, _) =
                    self::fingerprint(context, stage, Some(image), &known, Stamps::default()).await?;
                let scanner = format!("Trivy {}", trivy.version);
                let report = Report::new(scanner, trivy.database, Some(image.id), scan.findings);
                (report.made_of(fingerprint, stamps), Some(scan.bill))
            }
            (Subject::Image(_), None) => return Err(StageError::NothingBefore { stage: StageName::Image }),
            (Subject::Configuration(paths), _) => {
                let trivy =
                    Trivy::look(&context.runner, &context.variables, &stage.rules).await.map_err(error)?;
                let mut findings = Vec::new();
                for path in paths {
                    findings
                        .extend(trivy.configuration(&context.root, path, &stage.rules).await.map_err(error)?);
                }
                findings.sort();
                findings.dedup();
                let report = Report::new(format!("Trivy {}", trivy.version), None, None, findings);
                (report.made_of(fingerprint, stamps), None)
            }
        };
        store::create_folder(&context.state.join("scans")).map_err(record)?;
        if let Some(bill) = bill {
            store::write_atomic(&bill_path(&context.state, subject), &bill, store::PUBLIC).map_err(record)?;
        }
        report.write(&context.state, subject).map_err(record)?;
        Ok(report)
    }

    /// What was found with a database that has grown too old since stands no longer.
    async fn check_database(&self) -> Result<(), StageError> {
        if self.image.is_some() {
            let ready = self.scanner.ready(self.context, &self.stage.rules).await;
            ready.map_err(|error| self.stage.error(error))?;
        }
        Ok(())
    }

    /// What comes of the findings today.
    fn judged(&self, report: &Report) -> Result<(Judgement, ScanVerdict), StageError> {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let Rules { policy, waivers, .. } = &*self.stage.rules;
        let subject = &self.stage.subject;
        let judgement = judge(&report.findings, subject, policy, waivers, today);
        let scan = sarif::Scan { subject, scanner: &report.scanner, judgement: &judgement };
        let written = store::write_json(
            &sarif_path(&self.context.state, subject),
            &sarif::document(&[scan]),
            store::PUBLIC,
        );
        written.map_err(|source| StageError::Record { stage: StageName::Scan, source })?;
        if judgement.passes() {
            let verdict = ScanVerdict::of(report, &judgement);
            return Ok((judgement, verdict));
        }
        self.warn(&judgement);
        let shown = path(&self.context.state, &self.stage.subject);
        let shown = shown.strip_prefix(&self.context.root).unwrap_or(&shown).display().to_string();
        Err(StageError::Findings {
            subject: self.stage.subject.to_string(),
            summary: judgement.summary(),
            report: shown,
            excerpt: excerpt(&judgement.stops),
        })
    }

    fn warn(&self, judgement: &Judgement) {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        for warning in judgement.warnings(today, self.stage.subject.service()) {
            self.task.advanced(self.context, &warning);
        }
    }

    fn passed(&self, started: Instant, judgement: &Judgement, report: &Report) {
        let database = report.database.map(|made| format!(", database of {}", made.strftime("%Y-%m-%d")));
        let summary = format!("{}{}", judgement.summary(), database.unwrap_or_default());
        self.task.passed(started, summary);
    }

    /// Whether the scanner cannot judge, and the environment lets that pass. What was found stops it all the same.
    fn may_do_without(&self, error: &StageError) -> bool {
        self.stage.rules.need == Need::Optional && matches!(error, StageError::Scan { .. })
    }

    fn service(&self) -> Option<crate::name::Name> {
        self.task.service.cloned()
    }

    fn tell(&self, event: Event) {
        (self.task.emit)(event);
    }
}

/// The findings that stop a release, as lines for people.
fn excerpt(stops: &[Stop]) -> Vec<String> {
    let quoted = &stops[..stops.len().min(QUOTED)];
    let mut lines = finding::table(quoted.iter().map(|stop| &stop.finding));
    for waiver in quoted.iter().filter_map(|stop| stop.expired.as_ref()) {
        let line = format!("the waiver of {} expired on {} ({})", waiver.rule, waiver.expires, waiver.origin);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if let Some(more) = stops.len().checked_sub(QUOTED).filter(|more| *more > 0) {
        lines.push(format!("… and {more} more"));
    }
    lines
}
