//! Images for the pipeline: made on an engine, published to a registry.

use crate::{
    Address, Connection,
    build::{BinaryImage, BuildEvent, BuiltImage, ImageBuild, ImageName, Logins, Step},
    push::{self, Patience, Push},
};
use async_trait::async_trait;
use bytes::Bytes;
use pipeline::{
    causes::in_one_line,
    crossing,
    digest::Digest,
    image::reference::{Host, Reference, Repository, Which},
    secret::{DEADLINE, Variables},
    stage::{BuilderFacts, ImageMaker, ImageOrder, MadeImage, MakerError, News, PublishOrder, Source},
};
use registry::{Artifact, Descriptor, Login, Options, Registry};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, OnceCell};

/// What a release's manifest is called where it is attached to its images.
const MANIFEST_TYPE: &str = "application/vnd.fairlead.release-manifest+json";

/// What is told where a cache is wanted and the engine cannot have one.
const NO_BUILDKIT: &str = "no cache from the registry: the engine has no BuildKit";

/// One engine, and the registries that its images go to.
pub struct EngineImages {
    address: Address,
    variables: Variables,
    own: Option<Host>,
    connection: OnceCell<Connection>,
    /// Registries that were asked before: each knows its login and how it wants to be asked, and keeps connections.
    registries: Mutex<BTreeMap<Host, Arc<Registry>>>,
}

impl EngineImages {
    /// Those of an engine. Nothing is asked yet. Logins are looked for as `variables` say; what our own variables say is for
    /// the registry `own` alone, see [`Login::find`].
    pub fn new(address: Address, variables: Variables, own: Option<Host>) -> Self {
        Self { address, variables, own, connection: OnceCell::new(), registries: Mutex::default() }
    }

    /// Connected when it is first needed.
    async fn connection(&self) -> Result<&Connection, MakerError> {
        let opening = || Connection::open(self.address.clone());
        self.connection.get_or_try_init(opening).await.map_err(|error| told(&error))
    }

    async fn registry(&self, repository: &Repository) -> Result<Arc<Registry>, MakerError> {
        // Held while a login is looked for: whoever comes meanwhile would look for the same.
        let mut registries = self.registries.lock().await;
        if let Some(registry) = registries.get(&repository.host) {
            return Ok(registry.clone());
        }
        let host = repository.host.clone();
        let login = Login::find(&host, self.own.as_ref(), &self.variables, DEADLINE).await;
        let login = login.map_err(|error| told(&error))?;
        let registry =
            Registry::new(host.clone(), login, Options::default()).map_err(|error| told(&error))?;
        Ok(registries.entry(host).or_insert(Arc::new(registry)).clone())
    }

    /// Has a build take up what earlier ones did, and carry on what it does itself. Without it, it takes longer and is as
    /// good: so nothing here is an error.
    async fn take_up(
        &self,
        connection: &Connection,
        cache: &[Reference],
        request: &mut ImageBuild,
        news: &News<'_>,
    ) {
        if !connection.facts.has_buildkit {
            return (news.step)(NO_BUILDKIT.to_owned());
        }
        request.inline_cache = true;
        match self.carriers(cache).await {
            Ok(found) if found.is_empty() => (news.step)("no cache in the registry yet".to_owned()),
            Ok(found) => {
                let names: Vec<String> = found.iter().map(ToString::to_string).collect();
                (news.step)(format!("looking for earlier steps in {}", names.join(", ")));
                request.cache_from = found;
            }
            Err(error) => (news.step)(format!("warning: no cache from the registry: {error}")),
        }
    }

    /// Those of these images that are there, each once.
    async fn carriers(&self, cache: &[Reference]) -> Result<Vec<ImageName>, MakerError> {
        let Some(first) = cache.first() else { return Ok(Vec::new()) };
        let registry = self.registry(&first.repository).await?;
        let (mut digests, mut found) = (BTreeSet::new(), Vec::new());
        for reference in cache {
            let digest = registry.digest(&reference.repository, &reference.which()).await;
            if digest.map_err(|error| told(&error))?.is_some_and(|digest| digests.insert(digest)) {
                found.extend(reference.to_string().parse::<ImageName>().ok());
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl ImageMaker for EngineImages {
    async fn facts(&self) -> Result<BuilderFacts, MakerError> {
        let connection = self.connection().await?;
        let builder = if connection.facts.has_buildkit { "BuildKit" } else { "the classic builder" };
        Ok(BuilderFacts {
            engine: connection.address.to_string(),
            version: format!("{}, {builder}", connection.facts.version),
            platform: connection.facts.platform.clone(),
        })
    }

    async fn has(&self, image: Digest) -> Result<bool, MakerError> {
        match self.connection().await?.docker().inspect_image(&image.to_string()).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(told(&error)),
        }
    }

    async fn make(&self, order: &ImageOrder, news: News<'_>) -> Result<MadeImage, MakerError> {
        let connection = self.connection().await?;
        let named = name(&order.repository);
        let sending = AtomicU64::new(FIRST_SENDING);
        let hear = |event| tell(&news, &sending, event);
        let built = match &order.source {
            Source::Binary(binary) => {
                let mut request = BinaryImage::new(binary);
                request.labels.clone_from(&order.labels);
                request.names = vec![named];
                request.source_date_epoch = order.epoch.unwrap_or_default();
                request.deadline = order.timeout;
                connection.image_of_binary(&request, hear).await
            }
            Source::Dockerfile { context, dockerfile, target, args, secrets, platform } => {
                let mut request = ImageBuild::new(context);
                request.dockerfile.clone_from(dockerfile);
                request.target.clone_from(target);
                request.args.clone_from(args);
                request.secrets.clone_from(secrets);
                request.platform.clone_from(platform);
                request.labels.clone_from(&order.labels);
                request.names = vec![named];
                request.source_date_epoch = order.epoch;
                request.deadline = order.timeout;
                request.logins = Logins::new(self.variables.clone(), self.own.clone());
                if let Some(cache) = &order.cache {
                    self.take_up(connection, cache, &mut request, &news).await;
                }
                connection.build(&request, hear).await
            }
        };
        crossing!("image.made");
        let BuiltImage { id, size_bytes } = built.map_err(|error| MakerError {
            message: in_one_line(&error),
            excerpt: error.last_lines.clone(),
        })?;
        Ok(MadeImage { id, size_bytes })
    }

    async fn is_published(&self, repository: &Repository, digest: Digest) -> Result<bool, MakerError> {
        let registry = self.registry(repository).await?;
        let found = registry.digest(repository, &Which::Digest(digest)).await;
        Ok(found.map_err(|error| told(&error))?.is_some())
    }

    async fn publish(&self, order: &PublishOrder, news: News<'_>) -> Result<Digest, MakerError> {
        let (connection, registry) = (self.connection().await?, self.registry(&order.repository).await?);
        let push = Push {
            image: order.image,
            repository: order.repository.clone(),
            first: order.first.clone(),
            others: order.others.clone(),
        };
        let patience = Patience { whole: order.timeout, ..Patience::default() };
        let tell = |event: push::Event| {
            let text = event.to_string();
            if event.is_step() { (news.step)(text) } else { (news.line)(text) }
        };
        crossing!("image.publish.before");
        let pushed = push::push(connection, &registry, &push, &patience, &tell).await;
        crossing!("image.publish.after");
        Ok(pushed.map_err(|error| told(&error))?.digest)
    }

    async fn attach(
        &self,
        repository: &Repository,
        digest: Digest,
        manifest: &[u8],
    ) -> Result<(), MakerError> {
        let registry = self.registry(repository).await?;
        let which = Which::Digest(digest);
        let image = registry.manifest(repository, &which).await.map_err(|error| told(&error))?;
        let image = image.ok_or_else(|| MakerError {
            message: format!("`{}` is not in the registry (any more)", repository.with(&which)),
            excerpt: Vec::new(),
        })?;
        let subject = Descriptor {
            media_type: image.media_type.clone(),
            digest,
            size: image.bytes.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
            platform: None,
            urls: Vec::new(),
        };
        let artifact = Artifact {
            artifact_type: MANIFEST_TYPE.to_owned(),
            media_type: "application/json".to_owned(),
            bytes: Bytes::copy_from_slice(manifest),
            annotations: BTreeMap::new(),
        };
        crossing!("image.attach.before");
        let attached = registry.attach(repository, &subject, &artifact).await;
        crossing!("image.attach.after");
        attached.map(drop).map_err(|error| told(&error))
    }
}

fn told(error: &(dyn std::error::Error + 'static)) -> MakerError {
    MakerError { message: in_one_line(error), excerpt: Vec::new() }
}

/// What an image is called on the engine until it is published.
fn name(repository: &Repository) -> ImageName {
    repository.to_string().parse().expect("a repository is a name of an image")
}

/// Bytes of a context from which on it is told how much was sent: less is sent in no time.
const FIRST_SENDING: u64 = 16_000_000;

/// Steps as one reads them: what was done and how long it took, or that it was there; what was written as lines.
fn tell(news: &News<'_>, sending: &AtomicU64, event: BuildEvent) {
    let seconds = |took: Duration| format!("{:.1} s", took.as_secs_f64());
    match event {
        BuildEvent::StepCached { step } => (news.step)(format!("cached {step}")),
        BuildEvent::StepDone { step, took } if is_of_interest(&step) => {
            (news.step)(format!("{step} ({})", seconds(took)));
        }
        BuildEvent::StepFailed { step } => (news.step)(format!("failed: {step}")),
        BuildEvent::Warning { message } => (news.step)(format!("warning: {message}")),
        BuildEvent::StepBegan { step } | BuildEvent::StepDone { step, .. } => (news.line)(step.to_string()),
        BuildEvent::Output { line, .. } => (news.line)(line),
        BuildEvent::Sending { bytes } if bytes >= sending.load(Ordering::Relaxed) => {
            // Each time that it has doubled: a log on which nothing is redrawn is not to be filled with it.
            sending.store(bytes.saturating_mul(2), Ordering::Relaxed);
            (news.line)(format!("sending the context: {} MB so far", bytes / 1_000_000));
        }
        BuildEvent::Sending { .. } => {}
        BuildEvent::Sent { .. } => {}
    }
}

/// What the Dockerfile says, and not what the builder does for itself.
fn is_of_interest(step: &Step) -> bool {
    !step.name.starts_with("[internal]")
}
