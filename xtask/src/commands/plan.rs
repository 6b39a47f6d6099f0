//! `plan`: what a deploy would change.

use super::{
    protection::{self, Scanned},
    stage,
};
use crate::{
    cli::{Plan as Request, Source},
    context::Context,
    failure::Failure,
    github,
    paint::Paint,
    render,
    signals::{Stops, Then},
    stages,
    wire::{self, Opened},
};
use deploy::{config::ScanNeed, plan::Plan};

/// Shows a plan, and writes it down if asked to.
pub(super) async fn run(context: &Context, request: &Request) -> Result<(), Failure> {
    let environment = &request.environment.environment;
    let opened = wire::open(context, environment)?;
    if opened.loaded.environment.protected {
        protection::check_request(protection::Asked {
            program: &context.program,
            environment,
            set: &context.global.set,
            overrides: &opened.loaded.provenance,
            is_made: request.source.release.is_some(),
        })?;
    }
    let mut stops = Stops::listen()?;
    let plan = make(context, &opened, &mut stops, &request.source).await?;
    context.output.document(&plan, |paint| render::plan(&plan, paint))?;
    if let Some(freeze) = opened.session.freeze().await? {
        let lift = context.command(&format!("lock --unfreeze {environment}"));
        let why = freeze.sentence();
        context.narrator.note(&format!("`{environment}` is frozen: {why}; `{lift}` lifts the freeze"));
    }
    if let Some(path) = &request.out {
        wire::write_plan(path, &plan)?;
        let carry_out = context.command(&format!("deploy {environment} --plan {}", path.display()));
        context.narrator.note(&format!("the plan was written: `{carry_out}` carries it out"));
    }
    if let Some(pull) = request.comment {
        let text = render::plan(&plan, Paint::OFF);
        let about = format!("plan {environment}");
        let title = format!("Plan for `{environment}`: release {}", plan.release);
        github::comment(context, &opened, &mut stops, pull, (&about, &title, &text)).await;
    }
    Ok(())
}

/// Gets the release, building it if need be, and makes a plan that brings it.
pub(super) async fn make(
    context: &Context,
    opened: &Opened,
    stops: &mut Stops,
    source: &Source,
) -> Result<Plan, Failure> {
    let release = match &source.release {
        Some(text) => wire::find_release(context, opened, text)?,
        None => {
            let from = source.from.map(Into::into);
            let request = stages::Request { names: stage::ALL, force: source.force, from };
            let made = stage::run_all(context, opened, stops, request).await?;
            made.ok_or_else(|| Failure::from(Failure::usage("the build stage made no release")))?
        }
    };
    let environment = &opened.loaded.environment;
    let (name, project) = (environment.name.as_str(), &opened.loaded.project);
    if environment.protected {
        protection::check_release(name, &release, project.registry.is_some())?;
    }
    if let (Some(scan), ScanNeed::Required) = (&project.stages.scan, environment.scan) {
        let scanned =
            Scanned { images: environment.runs_images(), configuration: !scan.configuration.is_empty() };
        protection::check_scans(name, &release, scanned)?;
    }
    let planning = opened.session.plan(&release, source.only.as_ref(), source.irreversible);
    Ok(stops.guard(planning, || Then::Leave).await.ok_or(Failure::Stopped)??)
}
