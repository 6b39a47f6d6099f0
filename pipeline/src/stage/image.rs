//! The `image` stage: the image of one service, made of its executable or by a Dockerfile.

use super::{
    Context, ImageStage, RunReason, StageError, StageName,
    maker::{ImageMaker, ImageOrder, News, Source},
    record::{Last, Record},
    run::Task,
    runner::{Order, Origin},
};
use crate::{
    config::image::{DockerfileSource, ImageSource},
    event::Event,
    fingerprint::{Fingerprint, FingerprintError, Hashes, Stamps},
    image::context::Context as BuildContext,
    release::{Artifact, Image, StageVerdict},
    secret::{DEADLINE, Secret, resolve},
};
use jiff::Timestamp;
use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path};

/// What else decides which image is made of an executable: how we make it. To be raised when that changes.
const BINARY_IMAGE_FORMAT: &str = "1";

/// What the `image` stage of one service is to do.
pub(super) struct ImagePlan {
    /// The image that still stands for what would be made, and since when; or why one must be made.
    pub(super) why: Result<(Image, Timestamp), RunReason>,
    fingerprint: Fingerprint,
    /// What was learnt of the files.
    pub(super) stamps: Stamps,
    last: Last,
}

/// Makes the image of a service, unless nothing has changed; tells it as events. `learnt` is what an earlier look at its
/// files has taught.
pub(super) async fn run(
    context: &Context,
    stage: &ImageStage,
    artifact: Option<&Artifact>,
    Order { origin, maker, force, .. }: &Order<'_>,
    learnt: Option<&Stamps>,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<(StageVerdict, Image), StageError> {
    let task = Task { stage: StageName::Image, service: Some(&stage.service), emit };
    let maker = maker.as_deref().expect("whoever asks for images says who makes them");
    let planned = plan(context, stage, artifact, maker, *force, learnt).await;
    let ImagePlan { why, fingerprint, stamps, last } =
        planned.map_err(|error| task.failed(context, error))?;
    let reason = match why {
        Ok((image, since)) => {
            task.skipped(since);
            if let Some(mut record) = last.record.filter(|record| record.stamps != stamps) {
                record.stamps = stamps;
                // A cache: the stage is no worse off without it.
                let _ = record.write(&context.state, StageName::Image, Some(&stage.service));
            }
            return Ok((StageVerdict::SkippedUnchanged, image));
        }
        Err(reason) => reason,
    };
    let started = task.started(&reason);
    let made = make(context, stage, artifact, origin, maker, &task).await;
    let record = Record::new(true, fingerprint, stamps);
    let made = task.keep(context, started, record, made, |image| {
        format!("{} ({})", image.id.short(), super::build::size(image.size_bytes))
    })?;
    Ok((StageVerdict::Passed, made))
}

/// Finds out whether there is anything to do; asks the engine and reads the build context. `learnt` is what is known of its
/// files, if that is more than the record of the last run knows.
pub(super) async fn plan(
    context: &Context,
    stage: &ImageStage,
    artifact: Option<&Artifact>,
    maker: &dyn ImageMaker,
    force: bool,
    learnt: Option<&Stamps>,
) -> Result<ImagePlan, StageError> {
    let at = |source| StageError::Maker { stage: StageName::Image, service: stage.service.clone(), source };
    let facts = maker.facts().await.map_err(at)?;
    let last = Last::read(&context.state, StageName::Image, Some(&stage.service));
    let stamps = learnt.or(last.record.as_ref().map(|record| &record.stamps)).cloned().unwrap_or_default();
    let mut values = BTreeMap::from([
        ("the engine".to_owned(), facts.engine),
        ("the engine's version".to_owned(), facts.version),
        ("the platform".to_owned(), facts.platform),
        ("the image's description".to_owned(), described(&stage.source)),
    ]);
    if let Some(artifact) = artifact.filter(|_| stage.source == ImageSource::FromBinary) {
        values.insert("the executable".to_owned(), artifact.digest.to_string());
        values.insert("the form of images of executables".to_owned(), BINARY_IMAGE_FORMAT.to_owned());
    }
    let (root, owned) = (context.root.clone(), stage.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut hashes = Hashes::new(stamps);
        let files = match &owned.source {
            ImageSource::FromBinary => BTreeMap::new(),
            ImageSource::Dockerfile(source) => files_of(&root, &owned, source, &mut hashes)?,
        };
        Ok::<_, StageError>((files, hashes.into_stamps()))
    });
    let (files, stamps) = reading.await.expect("reading a context does not panic")?;
    let fingerprint = Fingerprint { files, values };
    let why = match last.image(&fingerprint, force) {
        Ok((image, since)) => match maker.has(image.id).await.map_err(at)? {
            true => Ok((image.clone(), since)),
            false => Err(RunReason::ImageGone(image.id)),
        },
        Err(reason) => Err(reason),
    };
    Ok(ImagePlan { why, fingerprint, stamps, last })
}

/// All that the builder is given, by the path in the project.
fn files_of(
    root: &Path,
    stage: &ImageStage,
    source: &DockerfileSource,
    hashes: &mut Hashes,
) -> Result<BTreeMap<String, String>, StageError> {
    let at = |source| StageError::Context { service: stage.service.clone(), source };
    let folder = root.join(&source.context);
    let context = BuildContext::open(&folder, Some(&source.dockerfile)).map_err(at)?;
    let mut files = BTreeMap::new();
    for (path, metadata) in context.entries().map_err(at)? {
        let mode = metadata.mode() & 0o7777;
        let what = if metadata.is_dir() {
            format!("folder {mode:04o}")
        } else {
            let read = |source: crate::fingerprint::FileError| StageError::Fingerprint {
                stage: StageName::Image,
                source: FingerprintError::from(source),
            };
            match hashes.digest(&context.root().join(&path)).map_err(read)? {
                Some(digest) => format!("{digest} {mode:04o}"),
                None => format!("special {mode:04o}"),
            }
        };
        files.insert(source.context.join(&path).to_string_lossy().into_owned(), what);
    }
    Ok(files)
}

/// The description without references to secrets: a token that is replaced does not make another image.
fn described(source: &ImageSource) -> String {
    let mut source = source.clone();
    if let ImageSource::Dockerfile(dockerfile) = &mut source {
        dockerfile.secrets.clear();
    }
    serde_json::to_string(&source).expect("our own types serialize: string keys, no fallible impl")
}

async fn make(
    context: &Context,
    stage: &ImageStage,
    artifact: Option<&Artifact>,
    origin: &Origin,
    maker: &dyn ImageMaker,
    task: &Task<'_>,
) -> Result<Image, StageError> {
    let order = ImageOrder {
        source: source(context, stage, artifact).await?,
        labels: origin.labels().into(),
        epoch: origin.commit_time,
        repository: stage.repository.clone(),
        cache: stage.cache(origin),
        timeout: stage.timeout,
    };
    let news =
        News { step: &|text| task.advanced(context, &text), line: &|text| task.output(context, &text) };
    let stage_name = StageName::Image;
    let made = tokio::select! {
        made = maker.make(&order, news) => made,
        () = context.runner.cancel.cancelled() => return Err(StageError::Cancelled { stage: stage_name }),
    };
    let made = made.map_err(|source| StageError::Image {
        stage: stage_name,
        service: stage.service.clone(),
        source,
    })?;
    Ok(Image {
        repository: stage.repository.to_string(),
        digest: made.id,
        id: made.id,
        size_bytes: made.size_bytes,
        tags: Vec::new(),
    })
}

/// What it is made of, with its secrets.
async fn source(
    context: &Context,
    stage: &ImageStage,
    artifact: Option<&Artifact>,
) -> Result<Source, StageError> {
    let source = match (&stage.source, artifact) {
        (ImageSource::Dockerfile(source), _) => source,
        (ImageSource::FromBinary, Some(artifact)) => {
            return Ok(Source::Binary(context.root.join(&artifact.path)));
        }
        (ImageSource::FromBinary, None) => return Err(StageError::NothingBefore { stage: StageName::Build }),
    };
    let mut secrets = BTreeMap::new();
    for (word, reference) in &source.secrets {
        let (variables, cancel) = (&context.variables, &context.runner.cancel);
        let secret: Secret =
            resolve(reference, &context.root, variables, DEADLINE, cancel).await.map_err(|source| {
                StageError::Secret { service: stage.service.clone(), secret: word.to_string(), source }
            })?;
        context.runner.redactor.learn(&secret);
        secrets.insert(word.word().clone(), secret);
    }
    Ok(Source::Dockerfile {
        context: context.root.join(&source.context),
        dockerfile: source.dockerfile.clone(),
        target: source.target.as_ref().map(|target| target.word().clone()),
        args: source.args.iter().map(|(word, value)| (word.word().clone(), value.clone())).collect(),
        secrets,
        platform: source.platform.as_ref().map(|platform| platform.platform().clone()),
    })
}
