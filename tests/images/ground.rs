//! A project that is deployed to an engine, by way of a registry.

use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};
use tests::{
    Background, Engine, Generation, Login, Output, Project, Registry, Shape, program_with_engines,
    static_service,
};

/// The environment that it is deployed to.
pub(crate) const ENVIRONMENT: &str = "engine";

/// The engine that a project is deployed to.
pub(crate) enum Host {
    Shared(&'static Engine),
    Own(Engine),
}

impl Deref for Host {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Shared(engine) => engine,
            Self::Own(engine) => engine,
        }
    }
}

/// The project and what it goes to.
pub(crate) struct Ground {
    pub(crate) project: Project,
    pub(crate) engine: Host,
    pub(crate) registry: Registry,
    login: Login,
}

impl Ground {
    /// With one service, the API, whose image is made of its executable.
    pub(crate) fn new(generation: Generation) -> Self {
        Self::with(Host::Shared(Engine::shared(generation)), Project::with(Shape::api_only()))
    }

    /// With both services.
    pub(crate) fn of_both_services(generation: Generation) -> Self {
        Self::with(Host::Shared(Engine::shared(generation)), Project::with(Shape::default()))
    }

    /// With this project and this engine.
    pub(crate) fn with(engine: Host, mut project: Project) -> Self {
        let registry = Registry::start();
        project.use_program(program_with_engines().to_owned());
        let login = Login::new(&engine, &registry);
        let mut ground = Self { project, engine, registry, login };
        for service in ground.project.services() {
            let executable = fs::read(static_service(service)).expect("an executable");
            ground.project.replace_artifact(service, &executable);
        }
        ground.configure();
        ground
    }

    fn configure(&mut self) {
        self.project.add_engine(ENVIRONMENT, &self.engine, &self.registry);
        self.project.commit();
    }

    /// Changes the shape, rewrites the configuration and commits it.
    pub(crate) fn reshape(&mut self, change: impl FnOnce(&mut Shape)) {
        self.project.reshape(change);
        self.configure();
    }

    /// Starts the program with the login.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Background {
        self.project.spawn_with(arguments, &[self.login.variable()])
    }

    /// Starts a deploy with its events as JSON lines.
    pub(crate) fn spawn_deploy(&self) -> Background {
        self.spawn_deploy_with(&[])
    }

    /// The same with these variables.
    pub(crate) fn spawn_deploy_with(&self, variables: &[(&str, &OsStr)]) -> Background {
        let variables: Vec<_> = variables.iter().copied().chain([self.login.variable()]).collect();
        self.project.spawn_with(&["deploy", ENVIRONMENT, "--format", "json"], &variables)
    }

    /// Runs the program with the login.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.spawn(arguments).wait();
        self.project.is_seen();
        output
    }

    /// Deploys, and gives the events of the pipeline as they were told.
    #[track_caller]
    pub(crate) fn deploy(&self, code: i32) -> Vec<Value> {
        let output = self.spawn_deploy().wait().expect(code);
        self.project.is_seen();
        output.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What the real client prints for these words.
    #[track_caller]
    pub(crate) fn docker(&self, words: &[&str]) -> String {
        let output = self.engine.client(self.login.folder()).args(words).output().expect("the client");
        assert!(output.status.success(), "docker {words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// The containers that run of this project's units, by id; other tests have theirs on the same engine.
    #[track_caller]
    pub(crate) fn containers(&self) -> Vec<String> {
        let project = format!("label=io.fairlead.project={}", self.project.name_on_engines());
        let filters = ["--filter", "label=io.fairlead.kind=unit", "--filter", &project];
        let all = self.docker(&[&["ps", "--quiet", "--no-trunc"][..], &filters].concat());
        let mut ids: Vec<String> = all.lines().map(str::to_owned).collect();
        ids.sort();
        ids
    }

    /// What the engine says of a container.
    #[track_caller]
    pub(crate) fn inspect(&self, container: &str) -> Value {
        let text = self.docker(&["inspect", container]);
        serde_json::from_str::<Vec<Value>>(&text).expect("a list").remove(0)
    }

    /// The manifest of the release that was made last.
    #[track_caller]
    pub(crate) fn manifest(&self) -> Value {
        let path: PathBuf = self.project.state().join("release-manifest.json");
        serde_json::from_str(&fs::read_to_string(path).expect("a manifest")).expect("a document")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let down = self.run(&["down", ENVIRONMENT, "--yes"]);
        if !std::thread::panicking() {
            down.expect(0);
            assert_eq!(self.containers(), [""; 0], "containers are left");
        }
    }
}

/// Every file below a folder; none if there is no such folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}
