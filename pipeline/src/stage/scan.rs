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
        trivy::{Fresh, ScanError, Trivy},
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
    looked: OnceCell<Result<Trivy, Arc<ScanError>>>,
    fresh: OnceCell<Result<Fresh, Arc<ScanError>>>,
}

impl Scanner {
    /// What is installed. Changes nothing.
    async fn look(&self, context: &Context, rules: &Rules) -> Result<&Trivy, Arc<ScanError>> {
        let looking =
            async { Trivy::look(&context.runner, &context.variables, rules).await.map_err(Arc::new) };
        self.looked.get_or_init(|| looking).await.as_ref().map_err(Arc::clone)
    }

    /// Its database, up to date.
    async fn fresh(&self, trivy: &Trivy, rules: &Rules) -> Result<&Fresh, Arc<ScanError>> {
        let refreshing = async { trivy.refresh(rules).await.map_err(Arc::new) };
        self.fresh.get_or_init(|| refreshing).await.as_ref().map_err(Arc::clone)
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

/// A scan before the stage to begin with: what was found then is judged by the rules of now. Nothing is scanned, and without
/// a report of this very image nothing goes on where a scan is required.
pub(super) fn taken(
    context: &Context,
    stage: &ScanStage,
    image: Option<&Image>,
    scanner: &Scanner,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<(StageVerdict, ScanVerdict), StageError> {
    let task = Task { stage: StageName::Scan, service: stage.subject.service(), emit };
    let scan = Scan { context, stage, image: None, scanner, task: &task };
    let last = Report::read(&context.state, &stage.subject).ok().flatten();
    let last = last.filter(|last| last.image == image.map(|image| image.id));
    let judged = match (last, stage.rules.need) {
        (Some(report), _) => scan.judged(&report).map(|(_, verdict)| verdict),
        (None, Need::Optional) => Ok(ScanVerdict::not_scanned("a later stage was begun with".to_owned())),
        (None, Need::Required) => Err(StageError::NothingBefore { stage: StageName::Scan }),
    };
    judged.map(|verdict| (StageVerdict::NotRun, verdict)).map_err(|error| task.failed(context, error))
}

/// Finds out whether there is anything to do; asks the scanner for its version, and reads the configuration.
pub(super) async fn plan(
    context: &Context,
    stage: &ScanStage,
    image: Option<&Image>,
    scanner: &Scanner,
    force: bool,
) -> Result<ScanPlan, StageError> {
    let trivy = scanner.look(context, &stage.rules).await.map_err(|error| stage.error(error))?;
    let (last, is_unreadable) = match Report::read(&context.state, &stage.subject) {
        Ok(last) => (last, false),
        Err(_) => (None, true),
    };
    let stamps = last.as_ref().map(|last| last.stamps.clone()).unwrap_or_default();
    let of_image = image.map(|image| (image, trivy.database));
    let (fingerprint, stamps) = fingerprint(context, stage, &trivy.version, of_image, stamps).await?;
    let why = match last {
        _ if force => Err(RunReason::Forced),
        None if is_unreadable => Err(RunReason::RecordUnreadable),
        None => Err(RunReason::FirstTime),
        Some(last) => match fingerprint.difference_from(&last.fingerprint) {
            Some(difference) => Err(RunReason::Inputs(difference)),
            None if image.is_some() && trivy.is_due() => Err(RunReason::DatabaseDue),
            None => Ok(last),
        },
    };
    Ok(ScanPlan { why, fingerprint, stamps })
}

/// What a scan reads: of an image also when the database was made. Of the policy there is nothing in it: that is asked every
/// time.
async fn fingerprint(
    context: &Context,
    stage: &ScanStage,
    version: &str,
    image: Option<(&Image, Option<Timestamp>)>,
    stamps: Stamps,
) -> Result<(Fingerprint, Stamps), StageError> {
    let mut values = BTreeMap::from([
        ("the version of Trivy".to_owned(), version.to_owned()),
        ("the form of findings".to_owned(), FINDING_FORMAT.to_owned()),
    ]);
    if let Some((image, database)) = image {
        values.insert("the image".to_owned(), image.id.to_string());
        let made = database.map_or_else(|| "none".to_owned(), |made| made.to_string());
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
        let rules = &*stage.rules;
        let trivy = self.scanner.look(context, rules).await.map_err(|error| stage.error(error))?;
        let scanner = format!("Trivy {}", trivy.version);
        let (report, bill) = match (subject, self.image) {
            (Subject::Image(_), Some((image, engine))) => {
                let fresh = self.scanner.fresh(trivy, rules).await.map_err(|error| stage.error(error))?;
                if let Some(warning) = &fresh.warning {
                    self.task.advanced(context, warning);
                }
                let made = Some(fresh.made);
                let scan = trivy.image(image.id, image.size_bytes, engine, rules).await.map_err(error)?;
                // With the database of now, which may be a newer one than that of the plan.
                let of_image = Some((image, made));
                let (fingerprint, stamps) =
                    self::fingerprint(context, stage, &trivy.version, of_image, stamps).await?;
                let report = Report::new(scanner, made, Some(image.id), scan.findings);
                (report.made_of(fingerprint, stamps), Some(scan.bill))
            }
            (Subject::Image(_), None) => return Err(StageError::NothingBefore { stage: StageName::Image }),
            (Subject::Configuration(paths), _) => {
                let mut findings = Vec::new();
                for path in paths {
                    findings.extend(trivy.configuration(&context.root, path, rules).await.map_err(error)?);
                }
                findings.sort();
                findings.dedup();
                (Report::new(scanner, None, None, findings).made_of(fingerprint, stamps), None)
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
        let (scanner, rules) = (self.scanner, &*self.stage.rules);
        let at = |error| self.stage.error(error);
        if self.image.is_some() {
            scanner.fresh(scanner.look(self.context, rules).await.map_err(at)?, rules).await.map_err(at)?;
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
