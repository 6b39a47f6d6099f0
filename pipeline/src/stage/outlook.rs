//! What is to happen with every stage, told before the first one runs.
//!
//! What reads the project alone is certain. What is made of something that runs depends on what comes of that: the same
//! executable as before makes no other image. It is looked at again in its turn, and that decides.

use super::{
    Context, ImageStage, PublishStage, RunReason, ScanStage, Stage, StageName, StagePlan, Why, image,
    maker::ImageMaker,
    plan::unchanged_since,
    publish,
    record::Record,
    runner::Order,
    scan::{self, Scanner},
};
use crate::{
    fingerprint::Stamps,
    name::Name,
    release::{Artifact, Image},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};

/// How long engine and registry may take to answer before nothing is foretold: whoever waits for the first stage to begin
/// waits for this, too. What they do not answer now they are asked again.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a stage before the one to begin with does not run.
const TAKEN: &str = "taken as it passed last";

/// The same, where there is no pass to take.
const LEFT_OUT: &str = "left out, though it has not passed";

/// What is to happen with a stage, or with one service's part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStage {
    /// Which.
    pub stage: StageName,
    /// Of which service, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// Whether it runs.
    pub outlook: Outlook,
    /// Why: `src/main.rs changed`, `inputs unchanged since …`, `on what build makes`.
    pub reason: String,
}

/// Whether a stage runs, as far as that is known before the first one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outlook {
    /// It runs.
    Runs,
    /// It is skipped.
    Skipped,
    /// It depends on what comes of another one, or on what nobody answers now.
    Depends,
}

/// `runs: first time`, `skipped: inputs unchanged since …`, `depends: on what build makes`.
impl fmt::Display for PlannedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outlook {
            Outlook::Runs => "runs",
            Outlook::Skipped => "skipped",
            Outlook::Depends => "depends",
        };
        write!(f, "{word}: {}", self.reason)
    }
}

/// An outlook and its reason.
type Told = (Outlook, String);

/// What is known of all stages that are asked for.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Each, in the order in which they are configured.
    pub(super) stages: Vec<PlannedStage>,
    /// What was learnt of the files that images are made of, so that they need not be read again.
    pub(super) stamps: BTreeMap<Name, Stamps>,
}

/// Finds out what is to happen. Asks engine and registry, and changes nothing.
pub(super) async fn of(
    context: &Context,
    order: &Order<'_>,
    plans: &[StagePlan],
    scanner: &Scanner,
) -> Planned {
    let view = View { context, order, plans, scanner };
    let asked = |name| order.names.contains(&name);
    let services = order.stages.iter().filter_map(|stage| match stage {
        Stage::Image(stage) if asked(StageName::Image) => Some(view.service(stage)),
        _ => None,
    });
    let services = futures::future::join_all(services).await;
    let mut planned = Planned::default();
    for plan in plans.iter().filter(|plan| asked(plan.name)) {
        planned.add(plan.name, None, view.certain(plan));
    }
    let configuration = order.stages.iter().find_map(|stage| match stage {
        Stage::Scan(stage) if stage.subject.service().is_none() && asked(StageName::Scan) => Some(stage),
        _ => None,
    });
    if let Some(stage) = configuration {
        planned.add(StageName::Scan, None, view.scan(stage, None).await);
    }
    for Service { name, image, scan, publish, stamps } in services {
        planned.add(StageName::Image, Some(&name), image);
        if let Some(scan) = scan {
            planned.add(StageName::Scan, Some(&name), scan);
        }
        if let Some(publish) = publish {
            planned.add(StageName::Publish, Some(&name), publish);
        }
        planned.stamps.extend(stamps.map(|stamps| (name, stamps)));
    }
    planned
}

impl Planned {
    fn add(&mut self, stage: StageName, service: Option<&Name>, (outlook, reason): Told) {
        self.stages.push(PlannedStage { stage, service: service.cloned(), outlook, reason });
    }
}

/// What is known of the image of a service.
struct Service {
    name: Name,
    image: Told,
    scan: Option<Told>,
    publish: Option<Told>,
    stamps: Option<Stamps>,
}

/// What the outlook is made from.
struct View<'a> {
    context: &'a Context,
    order: &'a Order<'a>,
    plans: &'a [StagePlan],
    scanner: &'a Scanner,
}

impl View<'_> {
    /// Of what reads the project alone.
    fn certain(&self, plan: &StagePlan) -> Told {
        match &plan.why {
            _ if self.is_before(plan.name) => {
                let has_passed = plan.record.as_ref().is_some_and(|record| record.passed);
                (Outlook::Skipped, if has_passed { TAKEN } else { LEFT_OUT }.to_owned())
            }
            Why::Run(reason) => (Outlook::Runs, reason.to_string()),
            Why::Skip { since } => (Outlook::Skipped, unchanged_since(*since)),
        }
    }

    async fn service(&self, stage: &ImageStage) -> Service {
        let (told, stamps, image) = self.image(stage).await;
        let publishes = self.order.names.contains(&StageName::Publish);
        let publish = self.order.stages.iter().find_map(|other| match other {
            Stage::Publish(publish) if publishes && publish.service == stage.service => Some(publish),
            _ => None,
        });
        let publish = match publish {
            Some(publish) => Some(self.publish(publish, image.as_ref()).await),
            None => None,
        };
        let scans = self.order.names.contains(&StageName::Scan);
        let scan = self.order.stages.iter().find_map(|other| match other {
            Stage::Scan(scan) if scans && scan.subject.service() == Some(&stage.service) => Some(scan),
            _ => None,
        });
        let scan = match scan {
            Some(scan) => Some(self.scan(scan, image.as_ref()).await),
            None => None,
        };
        Service { name: stage.service.clone(), image: told, scan, publish, stamps }
    }

    /// What happens with an image, and which one it is if that is known.
    async fn image(&self, stage: &ImageStage) -> (Told, Option<Stamps>, Option<Image>) {
        if self.is_before(StageName::Image) {
            let record = Record::read(&self.context.state, StageName::Image, Some(&stage.service));
            let record = record.ok().flatten().filter(|record| record.passed);
            return ((Outlook::Skipped, TAKEN.to_owned()), None, record.and_then(|record| record.image));
        }
        if self.order.force {
            return ((Outlook::Runs, RunReason::Forced.to_string()), None, None);
        }
        let artifact = match self.artifact(stage) {
            Ok(artifact) => artifact,
            Err(told) => return (told, None, None),
        };
        let Some(maker) = self.maker() else { return (unanswered("there is no engine"), None, None) };
        let planning = image::plan(self.context, stage, artifact, maker, false, None);
        match self.within(planning).await {
            Ok(image::ImagePlan { why: Ok((image, since)), stamps, .. }) => {
                ((Outlook::Skipped, unchanged_since(since)), Some(stamps), Some(image))
            }
            Ok(image::ImagePlan { why: Err(reason), stamps, .. }) => {
                ((Outlook::Runs, reason.to_string()), Some(stamps), None)
            }
            Err(told) => (told, None, None),
        }
    }

    /// The executable that an image is made of, if it has one and `build` does not make it anew.
    fn artifact(&self, stage: &ImageStage) -> Result<Option<&Artifact>, Told> {
        let build = self.plans.iter().find(|plan| plan.name == StageName::Build);
        let asked = self.order.names.contains(&StageName::Build);
        let Some(build) = build.filter(|_| stage.has_executable && asked) else { return Ok(None) };
        if matches!(build.why, Why::Run(_)) && !self.is_before(StageName::Build) {
            return Err((Outlook::Depends, "on what build makes".to_owned()));
        }
        Ok(build.record.as_ref().and_then(|record| record.artifacts.get(&stage.service)))
    }

    async fn publish(&self, stage: &PublishStage, image: Option<&Image>) -> Told {
        if self.order.force {
            return (Outlook::Runs, RunReason::Forced.to_string());
        }
        let Some(image) = image else { return (Outlook::Depends, "on which image is made".to_owned()) };
        let Some(maker) = self.maker() else { return unanswered("there is no registry") };
        match self.within(publish::plan(self.context, stage, image, &self.order.origin, maker, false)).await {
            Ok(publish::PublishPlan { why: Ok((_, since)), .. }) => {
                (Outlook::Skipped, unchanged_since(since))
            }
            Ok(publish::PublishPlan { why: Err(reason), .. }) => (Outlook::Runs, reason.to_string()),
            Err(told) => told,
        }
    }

    /// What happens with a scan; `image` is what is scanned, if that is known.
    async fn scan(&self, stage: &ScanStage, image: Option<&Image>) -> Told {
        if self.is_before(StageName::Scan) {
            return (Outlook::Skipped, "judged by what was found last".to_owned());
        }
        if self.order.force {
            return (Outlook::Runs, RunReason::Forced.to_string());
        }
        if stage.subject.service().is_some() && image.is_none() {
            return (Outlook::Depends, "on which image is made".to_owned());
        }
        match self.within(scan::plan(self.context, stage, image, self.scanner, false)).await {
            Ok(scan::ScanPlan { why: Ok(report), .. }) => (Outlook::Skipped, unchanged_since(report.at)),
            Ok(scan::ScanPlan { why: Err(reason), .. }) => (Outlook::Runs, reason.to_string()),
            Err(told) => told,
        }
    }

    /// An answer, or that there is none now. What is wrong is told in the stage's turn, as its failure.
    async fn within<T>(&self, asking: impl Future<Output = Result<T, super::StageError>>) -> Result<T, Told> {
        tokio::select! {
            answer = tokio::time::timeout(DEADLINE, asking) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(unanswered(&self.context.runner.redactor.mask(&error.story()))),
                Err(_) => Err(unanswered(&format!("no answer within {} s", DEADLINE.as_secs()))),
            },
            () = self.context.runner.cancel.cancelled() => Err(unanswered("the run was cancelled")),
        }
    }

    fn maker(&self) -> Option<&dyn ImageMaker> {
        self.order.maker.as_deref()
    }

    fn is_before(&self, stage: StageName) -> bool {
        self.order.from.is_some_and(|from| stage < from)
    }
}

fn unanswered(why: &str) -> Told {
    (Outlook::Depends, format!("on what cannot be told yet: {why}"))
}
