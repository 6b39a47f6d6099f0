//! The stages of the pipeline, as they are configured: where they are run, and what comes of them.

use crate::{
    context::Context,
    engines,
    failure::Failure,
    reports::Told,
    wire::{self, Opened, VERSION},
};
use deploy::{
    STATE_FOLDER,
    config::{Loaded, ScanNeed},
    session::{Kind, SessionError},
};
use pipeline::{
    config::{file::ArtifactSource, image::ImageSource, scalar::Span},
    event::Event,
    fingerprint, git,
    image::reference::Repository,
    name::Name,
    process::Runner,
    release::{Manifests, Parts, Release, StageVerdict},
    scan::{Need, Policy, Rules, Subject, Waivers},
    stage::{
        ArtifactSpec, BuildStage, Context as StageContext, ImageMaker, ImageStage, Made, Order, Origin,
        PublishStage, Published, ScanStage, Stage, StageFailure, StageName, TestCommand, TestStage,
        run_stages,
    },
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// The host of images that are nowhere but on the engine that made them: what other tools call it, too, and where nobody
/// who pulls them by mistake finds another one.
const NOWHERE: &str = "localhost";

/// What is asked of the stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Which; those that are not configured are left out.
    pub(crate) names: &'a [StageName],
    /// Whether they run even if nothing has changed.
    pub(crate) force: bool,
    /// Those before this one are taken as they passed last.
    pub(crate) from: Option<StageName>,
}

/// Runs stages, or skips them; with the build stage among them a release is made and its manifest written.
pub(crate) async fn run(
    context: &Context,
    opened: &Opened,
    request: Request<'_>,
    cancel: CancellationToken,
) -> Result<Option<Release>, Failure> {
    let state = opened.root.join(STATE_FOLDER);
    let stage_context = StageContext {
        root: opened.root.clone(),
        state: state.clone(),
        variables: context.variables.clone(),
        runner: Runner { redactor: context.redactor.clone(), cancel },
        answer_limit: fingerprint::DEADLINE,
    };
    let stages = configured(context, opened)?;
    let makes_images = opened.loaded.environment.runs_images();
    let maker = makes_images.then(|| engines::maker(context, &opened.loaded)).transpose()?;
    // While git is asked; what is wrong with it is told when it is needed.
    let _asked = maker.clone().map(|maker| {
        AbortOnDropHandle::new(tokio::spawn(async move { maker.facts().await.map(drop).unwrap_or_default() }))
    });
    // The tree as it was before the build: what is changed meanwhile is not in the release.
    let tree = tokio::task::block_in_place(|| git::inspect(&opened.root))
        .map_err(|error| Failure::state("cannot tell the state of the work tree").because(error))?;
    let origin = tokio::task::block_in_place(|| match makes_images {
        true => Origin::of(&opened.root, tree.as_ref()),
        false => Origin::default(),
    });
    let narrate = context.narrator.pipeline_events();
    let told = Told::default();
    let emit = |event: Event| {
        opened.session.remember(&event);
        told.take(&event);
        narrate(event);
    };
    let order = Order {
        stages: &stages,
        names: request.names,
        force: request.force,
        from: request.from,
        jobs: usize::from(opened.loaded.project.stages.jobs),
        origin,
        maker: maker.clone(),
    };
    let made = match run_stages(&stage_context, order, &emit).await {
        Ok(made) => made,
        Err(error) => {
            told.keep(context, &state, tree.as_ref(), None);
            return Err(failed(context, &opened.loaded.environment.name, &error));
        }
    };
    let published = made.verdicts.get(StageName::Publish.as_str()) == Some(&StageVerdict::Passed);
    let Some(release) = assemble(opened, tree.as_ref(), made)? else {
        told.keep(context, &state, tree.as_ref(), None);
        return Ok(None);
    };
    Manifests::new(&state)
        .write(&release)
        .map_err(|error| Failure::state("cannot write the release manifest").because(error))?;
    told.keep(context, &state, tree.as_ref(), Some(&release));
    if let Some(maker) = maker.filter(|_| published) {
        attach(context, opened, &release, maker.as_ref()).await?;
    }
    emit(Event::ReleaseMade {
        release: release.id.clone(),
        dirty: release.dirty,
        services: opened.loaded.environment.services.len(),
    });
    Ok(Some(release))
}

/// The stages as they are configured, in their order.
fn configured(context: &Context, opened: &Opened) -> Result<Vec<Stage>, Failure> {
    let loaded = &opened.loaded;
    let paths = |inputs: &[String]| inputs.iter().map(PathBuf::from).collect();
    let (project, environment) = (&loaded.project, &loaded.environment);
    let stages = &project.stages;
    let test = stages.test.as_ref().map(|test| {
        Stage::Test(TestStage {
            command: test.command.clone().map_or(TestCommand::Default, TestCommand::Own),
            packages: Vec::new(),
            inputs: paths(&test.inputs),
            timeout: millis(&test.timeout),
        })
    });
    let services = environment.services.iter().filter_map(|(name, service)| {
        let artifact = match service.artifact.as_ref()? {
            ArtifactSource::CargoBin(name) => ArtifactSpec::CargoBin(name.clone()),
            ArtifactSource::Path(path) => ArtifactSpec::Path(path.clone()),
        };
        Some((name.clone(), artifact))
    });
    let from_binary = environment.services.values().any(|one| one.image == Some(ImageSource::FromBinary));
    let build = Stage::Build(BuildStage {
        command: stages.build.command.clone(),
        services: services.collect(),
        packages: Vec::new(),
        inputs: paths(&stages.build.inputs),
        statically: environment.runs_images() && from_binary,
        timeout: millis(&stages.build.timeout),
    });
    let mut all: Vec<Stage> = test.into_iter().chain([build]).collect();
    let rules = scan_rules(context, opened)?;
    if let (Some(rules), Some(scan)) = (&rules, &stages.scan)
        && !scan.configuration.is_empty()
    {
        let subject = Subject::Configuration(scan.configuration.clone());
        all.push(Stage::Scan(ScanStage { subject, rules: rules.clone() }));
    }
    if !environment.runs_images() {
        return Ok(all);
    }
    for name in environment.services.keys() {
        all.extend(of_image(loaded, name, rules.as_ref())?);
    }
    Ok(all)
}

fn millis(span: &Span) -> Duration {
    Duration::from_millis(span.as_millis())
}

/// What is done with the image of a service, if it has one.
fn of_image(loaded: &Loaded, name: &Name, rules: Option<&Arc<Rules>>) -> Result<Vec<Stage>, Failure> {
    let (project, service) = (&loaded.project, &loaded.environment.services[name]);
    let stages = &project.stages;
    let mut all = Vec::new();
    let Some(source) = service.image.clone() else { return Ok(all) };
    let published = project.registry.as_ref().map(|registry| {
        let repository = registry.prefix.prefix().repository(name);
        let repository = repository.map_err(|error| Failure::usage(error.to_string()))?;
        Ok::<_, Failure>(Published { repository, default_branch: registry.default_branch.clone() })
    });
    let published = published.transpose()?;
    all.push(Stage::Image(ImageStage {
        service: name.clone(),
        source,
        has_executable: service.artifact.is_some(),
        repository: local_repository(&project.name, name)?,
        published: published.clone(),
        timeout: millis(&stages.image.timeout),
    }));
    if let Some(rules) = rules {
        let subject = Subject::Image(name.clone());
        all.push(Stage::Scan(ScanStage { subject, rules: rules.clone() }));
    }
    if let Some(Published { repository, default_branch }) = published {
        all.push(Stage::Publish(PublishStage {
            service: name.clone(),
            repository,
            default_branch,
            timeout: millis(&stages.publish.timeout),
        }));
    }
    Ok(all)
}

/// How this environment's releases are scanned, if they are. Waivers are read here and not with the configuration: a mistake in
/// them must not be in the way of a rollback.
pub(crate) fn scan_rules(context: &Context, opened: &Opened) -> Result<Option<Arc<Rules>>, Failure> {
    let Loaded { project, environment, .. } = &opened.loaded;
    let need = match environment.scan {
        ScanNeed::Required => Need::Required,
        ScanNeed::Optional => Need::Optional,
        ScanNeed::Off => return Ok(None),
    };
    let Some(scan) = &project.stages.scan else { return Ok(None) };
    let services: Vec<&Name> = project.services.keys().collect();
    let waivers = Waivers::read(&opened.root, &scan.waivers, &services)
        .map_err(|problems| wire::config_failure(context, &problems))?;
    let policy = Policy {
        vulnerabilities: scan.vulnerabilities,
        misconfigurations: scan.misconfigurations,
        secrets: scan.secrets,
        fixed_only: scan.fixed_only,
        end_of_life: scan.end_of_life,
        always: scan.always.iter().map(ToString::to_string).collect(),
    };
    Ok(Some(Arc::new(Rules {
        policy,
        waivers,
        version: scan.version.clone(),
        database_age_max: millis(&scan.database_age_max),
        database_repositories: scan.database_repositories.clone(),
        image_size_max: scan.image_size_max.as_bytes(),
        timeout: millis(&scan.timeout),
        need,
    })))
}

/// What an image is called until it is published: `localhost/noogh/api`.
fn local_repository(project: &Name, service: &Name) -> Result<Repository, Failure> {
    let host = NOWHERE.parse().expect("a name of a host");
    Repository::new(host, &format!("{project}/{service}")).map_err(|error| {
        let text = format!("no image can have the name of {service} in {project}");
        SessionError::new(Kind::Usage, text).because(error).into()
    })
}

fn assemble(opened: &Opened, tree: Option<&git::Tree>, made: Made) -> Result<Option<Release>, Failure> {
    let Made { artifacts: Some(services), images, verdicts: stages, scans } = made else { return Ok(None) };
    let project = &opened.loaded.project.name;
    let parts = Parts { project, tree, tool_version: VERSION, services, images, stages, scans };
    let release = Release::assemble(parts, jiff::Timestamp::now())
        .map_err(|error| Failure::state("cannot make a release of what was built").because(error))?;
    Ok(Some(release))
}

/// Attaches the manifest of a release to its images, so that whoever has an image finds out what it was made with.
async fn attach(
    context: &Context,
    opened: &Opened,
    release: &Release,
    maker: &dyn ImageMaker,
) -> Result<(), Failure> {
    let manifest = serde_json::to_vec_pretty(release).expect("our own types serialize");
    for (service, image) in release.images.iter().filter(|(_, image)| image.is_published()) {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            let text = format!(
                "the manifest of release {} could not be attached to the image of {service}",
                release.id
            );
            let again = context.command(&format!("publish {} --force", opened.loaded.environment.name));
            Failure::from(
                SessionError::new(Kind::Stage, text).because(error).hint(format!("`{again}` tries again")),
            )
        };
        let repository = image.repository.parse::<pipeline::image::reference::Reference>();
        let repository = repository.map_err(|error| failed(error.into()))?.repository;
        maker.attach(&repository, image.digest, &manifest).await.map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// A stage that could not be planned, or failed; how one failed was told as an event.
fn failed(context: &Context, environment: &Name, failure: &StageFailure) -> Failure {
    if failure.error.is_cancelled() {
        return Failure::Stopped;
    }
    let StageFailure { stage, service, is_told, error } = failure;
    if !is_told {
        let text = "the stages could not begin: nothing was deployed";
        return SessionError::new(Kind::Stage, text).because(Arc::clone(error)).into();
    }
    let of = service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
    let command = match stage {
        StageName::Test => "test".to_owned(),
        StageName::Build | StageName::Image => format!("build {environment}"),
        StageName::Scan => format!("scan {environment}"),
        StageName::Publish => format!("publish {environment}"),
    };
    SessionError::new(Kind::Stage, format!("the stage `{stage}`{of} failed: nothing was deployed"))
        .hint(format!("`{}` runs it alone, -v shows all of its output", context.command(&command)))
        .into()
}
