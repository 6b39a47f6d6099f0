//! An engine, a folder to build from, and what a test asks of an image.

use bollard::{
    container::LogOutput,
    models::{ContainerCreateBody, ImageInspect},
    query_parameters::{LogsOptionsBuilder, RemoveContainerOptionsBuilder},
};
use docker::{
    Address, Connection,
    build::{BuildError, BuildEvent, Builder, BuiltImage, ImageBuild},
};
use futures::StreamExt;
use std::{fs, path::Path};
use tempfile::TempDir;
use tests::{Engine, Generation};

/// Both generations.
pub(crate) const ENGINES: [Generation; 2] = Generation::ALL;

/// Both builders.
pub(crate) const BUILDERS: [Builder; 2] = [Builder::Best, Builder::Classic];

/// A shell, and nothing else: `RUN` works.
pub(crate) const SHELL: &str = "FROM scratch AS shell\nCOPY busybox /bin/sh\n";

/// The shared engine of a generation.
pub(crate) async fn connect(generation: Generation) -> Connection {
    let socket = Engine::shared(generation).socket();
    Connection::open(Address::Unix(socket)).await.expect("an engine that answers")
}

/// A context with `busybox` and a Dockerfile.
pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new(dockerfile: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let busybox = Engine::shared(Generation::Docker20).busybox();
        fs::copy(busybox, folder.path().join("busybox")).expect("busybox");
        fs::write(folder.path().join("Dockerfile"), dockerfile).expect("a Dockerfile");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    pub(crate) fn request(&self, builder: Builder) -> ImageBuild {
        ImageBuild { builder, ..ImageBuild::new(self.path()) }
    }
}

/// Builds, and gives also what was told.
pub(crate) async fn build(
    connection: &Connection,
    request: &ImageBuild,
) -> (Result<BuiltImage, BuildError>, Vec<BuildEvent>) {
    let mut events = Vec::new();
    let built = connection.build(request, |event| events.push(event)).await;
    (built, events)
}

/// Builds what must come out well.
#[track_caller]
pub(crate) fn well(
    (built, events): (Result<BuiltImage, BuildError>, Vec<BuildEvent>),
) -> (BuiltImage, Vec<BuildEvent>) {
    match built {
        Ok(image) => (image, events),
        Err(error) => panic!("{error}\n{error:?}\n{events:#?}"),
    }
}

/// What was told, one line each: `began NAME`, `cached NAME`, `done NAME`, `failed NAME`, `| LINE`.
pub(crate) fn told(events: &[BuildEvent]) -> Vec<String> {
    let line = |event: &BuildEvent| match event {
        BuildEvent::StepBegan { step } => Some(format!("began {step}")),
        BuildEvent::StepCached { step } => Some(format!("cached {step}")),
        BuildEvent::StepDone { step, .. } => Some(format!("done {step}")),
        BuildEvent::StepFailed { step } => Some(format!("failed {step}")),
        BuildEvent::Output { line, .. } => Some(format!("| {line}")),
        BuildEvent::Sending { .. } | BuildEvent::Sent { .. } | BuildEvent::Warning { .. } => None,
    };
    events.iter().filter_map(line).collect()
}

/// Whether a step whose name ends so was told of with this word.
pub(crate) fn was(events: &[BuildEvent], word: &str, step: &str) -> bool {
    told(events).iter().any(|line| line.starts_with(word) && line.ends_with(step))
}

pub(crate) async fn inspect(connection: &Connection, image: &BuiltImage) -> ImageInspect {
    connection.docker().inspect_image(&image.id.to_string()).await.expect("the image is there")
}

/// What the command writes in a container of the image, which must end well.
pub(crate) async fn run(connection: &Connection, image: &BuiltImage, command: &[&str]) -> String {
    let docker = connection.docker();
    let body = ContainerCreateBody {
        image: Some(image.id.to_string()),
        cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        ..ContainerCreateBody::default()
    };
    let container = docker.create_container(None, body).await.expect("a container").id;
    docker.start_container(&container, None).await.expect("it starts");
    let mut ends = docker.wait_container(&container, None);
    let end = ends.next().await.expect("it ends");
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
    let logs: Vec<_> = docker.logs(&container, Some(options)).collect().await;
    let text: String =
        logs.into_iter().map(|log: Result<LogOutput, _>| log.expect("a log").to_string()).collect();
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&container, Some(options)).await.expect("it goes");
    assert_eq!(end.unwrap_or_else(|error| panic!("{error}: {text}")).status_code, 0, "{text}");
    text
}
