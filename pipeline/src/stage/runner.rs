//! All stages of a release: each as soon as what it needs is there, side by side within a limit.

use super::{
    Context, ImageStage, PublishStage, ScanStage, Stage, StageError, StageName, StagePlan, StageResult, Why,
    default_test, image,
    made::{Made, Part},
    maker::ImageMaker,
    outlook, plan_stages, publish,
    record::{Last, Record},
    run::Task,
    run_stage,
    scan::{self, Scanner},
};
use crate::{
    event::Event,
    fingerprint::Stamps,
    git::{self, Tree},
    image::labels::ImageLabels,
    name::Name,
    release::{Kept, ReleaseId, StageVerdict},
    scan::Subject,
};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream::FuturesUnordered,
};
use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};
use tokio::sync::Semaphore;

/// What a release is made from: what its images say of themselves, and how they are called.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The full commit hash, if the project is in git.
    pub commit: Option<String>,
    /// The branch, if one is checked out.
    pub branch: Option<String>,
    /// Whether the tree has changes that the commit does not have.
    pub dirty: bool,
    /// When the commit was made, in seconds since 1970.
    pub commit_time: Option<u64>,
    /// Where the repository comes from, as a URL without a login.
    pub url: Option<String>,
    /// The name that the release will have, where that is known before anything is built.
    pub release: Option<ReleaseId>,
}

impl Origin {
    /// That of what is built from a tree now. Asks git, and blocks.
    pub fn of(root: &Path, tree: Option<&Tree>) -> Self {
        let Some((tree, commit)) = tree.and_then(|tree| Some((tree, tree.commit.clone()?))) else {
            return Self::default();
        };
        let nothing = (BTreeMap::new(), BTreeMap::new());
        // Side by side: most of what either takes is the start of git.
        let (commit_time, url) = std::thread::scope(|scope| {
            let time = scope.spawn(|| git::commit_time(root));
            let url = git::origin(root);
            (time.join().expect("it does not panic"), url)
        });
        Self {
            commit: Some(commit),
            branch: tree.branch.clone(),
            dirty: tree.is_dirty(),
            commit_time,
            url,
            release: ReleaseId::of(Some(tree), &nothing.0, &nothing.1).ok(),
        }
    }

    /// What an image says of itself.
    pub(super) fn labels(&self) -> ImageLabels {
        let seconds = self.commit_time.and_then(|time| i64::try_from(time).ok());
        ImageLabels {
            release: self.release.clone(),
            revision: self.commit.clone(),
            source: self.url.clone(),
            version: self.release.as_ref().map(|release| release.0.clone()),
            created: seconds.and_then(|time| jiff::Timestamp::from_second(time).ok()),
        }
    }
}

/// What is to be run.
pub struct Order<'a> {
    /// All stages that are configured.
    pub stages: &'a [Stage],
    /// Which of them are asked for.
    pub names: &'a [StageName],
    /// Whether they run even if nothing has changed.
    pub force: bool,
    /// Those before this one are taken as they passed last, whatever has changed since.
    pub from: Option<StageName>,
    /// How many are worked on at the same time.
    pub jobs: usize,
    /// What the release is made from.
    pub origin: Origin,
    /// Who makes images; needed if any stage is about them.
    pub maker: Option<Arc<dyn ImageMaker>>,
}

/// The first failure, which ended all that ran beside it.
#[derive(Debug, Clone)]
pub struct StageFailure {
    /// Which stage.
    pub stage: StageName,
    /// Of which service.
    pub service: Option<Name>,
    /// Whether it has been told as an event; not if nothing had begun.
    pub is_told: bool,
    /// Why.
    pub error: Arc<StageError>,
}

impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for StageFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

type Job<'a> = Shared<BoxFuture<'a, Result<Part, StageFailure>>>;

/// Tells what is to happen with each stage, and runs what is asked for. The first failure ends all that still runs.
///
/// # Errors
/// The first failure; it has been told as [`Event::StageFailed`], unless the run was cancelled.
pub async fn run_stages(
    context: &Context,
    order: Order<'_>,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<Made, StageFailure> {
    // Cancelled by a failure, too, which does not cancel the caller.
    let mut context = context.clone();
    context.runner.cancel = context.runner.cancel.child_token();
    let plans = plan(&context, &order).await?;
    let scanner = Scanner::default();
    let outlook = outlook::of(&context, &order, &plans, &scanner).await;
    if !outlook.stages.is_empty() {
        emit(Event::StagesPlanned { stages: outlook.stages });
    }
    let permits = Semaphore::new(order.jobs.max(1));
    let work = Work { context: &context, order: &order, permits, stamps: outlook.stamps, scanner, emit };
    let mut made = Made::default();
    let mut jobs: BTreeMap<(StageName, Option<Name>), Job<'_>> = BTreeMap::new();
    for plan in &plans {
        if order.names.contains(&plan.name) {
            jobs.insert((plan.name, None), work.stage(plan).boxed().shared());
        } else {
            made.verdicts.insert(plan.name.to_string(), unasked(&plan.why));
        }
    }
    for stage in order.stages.iter().filter(|stage| order.names.contains(&stage.name())) {
        let job = |stage, service: Option<&Name>| jobs.get(&(stage, service.cloned())).cloned();
        match stage {
            Stage::Image(stage) => {
                let build = job(StageName::Build, None).filter(|_| stage.has_executable);
                let key = (StageName::Image, Some(stage.service.clone()));
                jobs.insert(key, work.image(stage, build).boxed().shared());
            }
            Stage::Scan(stage) => {
                let service = stage.subject.service();
                let image = service.and_then(|service| job(StageName::Image, Some(service)));
                let key = (StageName::Scan, service.cloned());
                jobs.insert(key, work.scan(stage, image).boxed().shared());
            }
            Stage::Publish(stage) => {
                let image = job(StageName::Image, Some(&stage.service));
                let tests = job(StageName::Test, None).into_iter();
                let scans = [None, Some(&stage.service)].map(|service| job(StageName::Scan, service));
                let before = tests.chain(scans.into_iter().flatten()).collect();
                let key = (StageName::Publish, Some(stage.service.clone()));
                jobs.insert(key, work.publish(stage, image, before).boxed().shared());
            }
            Stage::Test(_) | Stage::Build(_) => {}
        }
    }
    let mut running: FuturesUnordered<_> =
        jobs.into_iter().map(|(key, job)| async move { (key, job.await) }).collect();
    let mut first = None;
    while let Some(((stage, service), ended)) = running.next().await {
        match ended {
            Ok(part) => made.add(stage, service, part),
            Err(failure) => {
                context.runner.cancel.cancel();
                first.get_or_insert(failure);
            }
        }
    }
    first.map_or(Ok(made), Err)
}

/// Plans what can be planned before anything runs.
async fn plan(context: &Context, order: &Order<'_>) -> Result<Vec<StagePlan>, StageFailure> {
    let stages = default_test::looked_up(context, order.stages).await;
    let (context, force) = (context.clone(), order.force);
    let planning = tokio::task::spawn_blocking(move || {
        put_back(&context, &stages);
        plan_stages(&context, &stages, force)
    });
    let planned = planning.await.expect("planning does not panic");
    planned.map_err(|error| {
        let stage = error.stage().unwrap_or(StageName::Build);
        StageFailure { stage, service: None, is_told: false, error: Arc::new(error) }
    })
}

/// Puts executables that another machine has handed over where a build would have left them, if it is not here that they were
/// made. What cannot be put back is missed by the plan, which then has it made anew.
fn put_back(context: &Context, stages: &[Stage]) {
    let kept = Kept::new(&context.root, &context.state);
    for stage in stages.iter().filter(|stage| stage.name() == StageName::Build) {
        let record = Last::read(&context.state, StageName::Build, stage.variant().as_ref()).record;
        for artifact in record.iter().flat_map(|record| record.artifacts.values()) {
            let _ = kept.put_back(artifact);
        }
    }
}

/// The verdict of a stage that was not asked for: an earlier pass still counts if nothing has changed since.
fn unasked(why: &Why) -> StageVerdict {
    match why {
        Why::Skip { .. } => StageVerdict::SkippedUnchanged,
        Why::Run(_) => StageVerdict::NotRun,
    }
}

/// What all tasks share.
struct Work<'a> {
    context: &'a Context,
    order: &'a Order<'a>,
    permits: Semaphore,
    /// What planning has learnt of the files that images are made of.
    stamps: BTreeMap<Name, Stamps>,
    scanner: Scanner,
    emit: &'a (dyn Fn(Event) + Send + Sync),
}

impl Work<'_> {
    async fn stage(&self, plan: &StagePlan) -> Result<Part, StageFailure> {
        if self.is_before(plan.name) {
            return self.taken_over(plan);
        }
        let _permit = self.permit().await;
        let StageResult { verdict, artifacts } = run_stage(self.context, plan, self.emit)
            .await
            .map_err(|error| failure(plan.name, None, error))?;
        Ok(Part::Stage(verdict, artifacts))
    }

    /// A stage before `--from`, as it passed last.
    fn taken_over(&self, plan: &StagePlan) -> Result<Part, StageFailure> {
        let record = plan.record.as_ref().filter(|record| record.passed);
        match (record, plan.name) {
            (Some(record), _) => Ok(Part::Stage(unasked(&plan.why), record.artifacts.clone())),
            (None, StageName::Test) => Ok(Part::Stage(StageVerdict::NotRun, BTreeMap::new())),
            (None, stage) => {
                let task = Task { stage, service: None, emit: self.emit };
                let error = task.failed(self.context, StageError::NothingBefore { stage });
                Err(failure(stage, None, error))
            }
        }
    }

    async fn image(&self, stage: &ImageStage, build: Option<Job<'_>>) -> Result<Part, StageFailure> {
        let service = Some(&stage.service);
        let artifact = match build {
            Some(build) => match build.await? {
                Part::Stage(_, artifacts) => artifacts.get(&stage.service).cloned(),
                Part::Image(..) | Part::Scan(..) => None,
            },
            None => None,
        };
        if self.is_before(StageName::Image) {
            let record = Record::read(&self.context.state, StageName::Image, service).ok().flatten();
            let image = record.filter(|record| record.passed).and_then(|record| record.image);
            let missing = || {
                let task = Task { stage: StageName::Image, service, emit: self.emit };
                let error = task.failed(self.context, StageError::NothingBefore { stage: StageName::Image });
                failure(StageName::Image, service, error)
            };
            return image.map(|image| Part::Image(StageVerdict::NotRun, image)).ok_or_else(missing);
        }
        let _permit = self.permit().await;
        let learnt = self.stamps.get(&stage.service);
        let made = image::run(self.context, stage, artifact.as_ref(), self.order, learnt, self.emit).await;
        let (verdict, image) = made.map_err(|error| failure(StageName::Image, service, error))?;
        Ok(Part::Image(verdict, image))
    }

    async fn scan(&self, stage: &ScanStage, image: Option<Job<'_>>) -> Result<Part, StageFailure> {
        let service = stage.subject.service();
        let image = match image {
            Some(image) => match image.await? {
                Part::Image(_, image) => Some(image),
                Part::Stage(..) | Part::Scan(..) => unreachable!("the image stage makes images"),
            },
            None => None,
        };
        let failed = |error| failure(StageName::Scan, service, error);
        if self.is_before(StageName::Scan) {
            let taken = scan::taken(self.context, stage, image.as_ref(), &self.scanner, self.emit);
            let (verdict, scan) = taken.map_err(failed)?;
            return Ok(Part::Scan(verdict, scan));
        }
        let _permit = self.permit().await;
        let engine = match (&stage.subject, &image) {
            (Subject::Image(_), Some(_)) => Some(self.engine(service).await.map_err(failed)?),
            _ => None,
        };
        let image = image.as_ref().zip(engine.as_deref());
        let ended = scan::run(self.context, stage, image, &self.scanner, self.order.force, self.emit).await;
        let (verdict, scan) = ended.map_err(failed)?;
        Ok(Part::Scan(verdict, scan))
    }

    /// Where the engine is that has the images.
    async fn engine(&self, service: Option<&Name>) -> Result<String, StageError> {
        let facts = self.maker().facts().await;
        facts.map(|facts| facts.engine).map_err(|source| {
            let (stage, service) = (StageName::Scan, service.expect("an image is a service's").clone());
            let task = Task { stage, service: Some(&service), emit: self.emit };
            task.failed(self.context, StageError::Maker { stage, service: service.clone(), source })
        })
    }

    /// What was not tested and scanned is not published; `before` is all of that.
    async fn publish(
        &self,
        stage: &PublishStage,
        image: Option<Job<'_>>,
        before: Vec<Job<'_>>,
    ) -> Result<Part, StageFailure> {
        let service = Some(&stage.service);
        let image = match image {
            Some(image) => image.await?,
            None => {
                let task = Task { stage: StageName::Publish, service, emit: self.emit };
                let error = task.failed(self.context, StageError::NothingBefore { stage: StageName::Image });
                return Err(failure(StageName::Publish, service, error));
            }
        };
        for job in before {
            job.await?;
        }
        let Part::Image(_, image) = image else { unreachable!("the image stage makes images") };
        let _permit = self.permit().await;
        let Order { origin, force, .. } = self.order;
        let published =
            publish::run(self.context, stage, &image, origin, self.maker(), *force, self.emit).await;
        let (verdict, image) = published.map_err(|error| failure(StageName::Publish, service, error))?;
        Ok(Part::Image(verdict, image))
    }

    fn is_before(&self, stage: StageName) -> bool {
        self.order.from.is_some_and(|from| stage < from)
    }

    fn maker(&self) -> &dyn ImageMaker {
        self.order.maker.as_deref().expect("whoever asks for images says who makes them")
    }

    async fn permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.permits.acquire().await.expect("it is never closed")
    }
}

fn failure(stage: StageName, service: Option<&Name>, error: StageError) -> StageFailure {
    StageFailure { stage, service: service.cloned(), is_told: true, error: Arc::new(error) }
}
