//! A target of its own on an engine, with an image from nothing and the real router.

use async_trait::async_trait;
use bollard::{
    Docker,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion},
};
use deploy::{
    adapter::{
        process::{PlannedBundle, ProcessPlan, protocol::CommitEntry},
        router,
    },
    bundle::{Bundle, BundleArtifact, BundleFile, BundleHash, BundleSecret, BundleSource, Limits},
    model::{Action, Intent, IntentId, Millis, UnitFacts, UnitId},
    plan::Migration,
    port::{EffectError, EffectOutput, Target, TargetSeen},
};
use docker::{Address, Connection};
use docker_target::{Credentials, DockerTarget, LaunchRouter, LocalRoutes, Options, Place};
use futures::StreamExt;
use pipeline::{digest::Digest, name::Name, secret::SecretRef};
use std::{
    collections::BTreeMap,
    future::Future,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tests::{Engine, Generation, Port, Registry, http};

/// Longer than anything takes that is waited for here, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The value of every secret. It is to be found nowhere but in one file.
pub(crate) const SECRET: &str = "fl-secret-value-4711";

/// The executable of the image.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Routers in this process: the real one, with its socket, but no process of its own.
pub(crate) struct Guest;

#[async_trait]
impl LaunchRouter for Guest {
    async fn start(&self, folder: &Path, socket: &str) -> io::Result<()> {
        let control = folder.join(socket);
        let options =
            router::Options { control, version: "guest".to_owned(), process: router::Process::Guest };
        tokio::spawn(router::serve(options));
        Ok(())
    }
}

/// What a test has.
pub(crate) struct Fixture {
    pub(crate) generation: Generation,
    pub(crate) engine: &'static Engine,
    pub(crate) docker: Docker,
    pub(crate) place: Place,
    pub(crate) image: Digest,
    pub(crate) port: u16,
    /// Held against other tests.
    ports: Vec<Port>,
    pub(crate) plan: ProcessPlan,
    pub(crate) credentials: Credentials,
    pub(crate) folder: TempDir,
}

/// A test's own target on each generation's engine.
pub(crate) async fn everywhere<F: Future<Output = ()>>(test: impl Fn(Fixture) -> F) {
    for generation in Generation::ALL {
        test(Fixture::on(Engine::shared(generation)).await).await;
    }
}

impl Fixture {
    pub(crate) async fn on(engine: &'static Engine) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let project = name(&format!("p{}-{number}", std::process::id()));
        let connection = Connection::open(Address::Unix(engine.socket())).await.expect("it answers");
        let docker = connection.docker().clone();
        let image = build(&docker, engine, &project, "").await;
        let port = Port::new();
        Self {
            generation: engine.generation(),
            engine,
            docker,
            place: Place { project, environment: name("test"), target: name("here") },
            image,
            port: port.number(),
            ports: vec![port],
            plan: ProcessPlan { keep: 1, ..ProcessPlan::default() },
            credentials: Credentials::default(),
            folder: tempfile::Builder::new().prefix("fl-t").tempdir().expect("a folder"),
        }
    }

    /// Another port that nobody else gets as long as this is there.
    pub(crate) fn another_port(&mut self) -> u16 {
        let port = Port::new();
        let number = port.number();
        self.ports.push(port);
        number
    }

    /// What stands on the target is reached by as many of these as one likes.
    pub(crate) async fn target(&self) -> DockerTarget {
        self.target_with(self.plan.clone()).await
    }

    /// With another plan.
    pub(crate) async fn target_with(&self, plan: ProcessPlan) -> DockerTarget {
        self.target_behind(plan, Arc::new(Guest)).await
    }

    /// The folder of the router.
    pub(crate) fn router(&self) -> PathBuf {
        self.folder.path().join("router")
    }

    /// With routers from elsewhere.
    pub(crate) async fn target_behind(
        &self,
        plan: ProcessPlan,
        launch: Arc<dyn LaunchRouter>,
    ) -> DockerTarget {
        self.target_at(&self.engine.socket(), plan, launch).await
    }

    /// With the engine at another socket.
    pub(crate) async fn target_at(
        &self,
        socket: &Path,
        plan: ProcessPlan,
        launch: Arc<dyn LaunchRouter>,
    ) -> DockerTarget {
        let resolve = |_: &str, _: &SecretRef, _: &BundleSecret| Ok(SECRET.as_bytes().to_vec());
        DockerTarget::new(Options {
            place: self.place.clone(),
            connection: Connection::open(Address::Unix(socket.to_owned())).await.expect("it answers"),
            plan,
            secrets: Arc::new(resolve),
            credentials: self.credentials.clone(),
            routes: Arc::new(LocalRoutes::new(self.router(), launch)),
        })
    }

    /// A bundle of `api` that runs a script.
    pub(crate) fn bundle(&self, script: &str) -> Bundle {
        let text = |text: &str| text.to_owned();
        Bundle {
            service: name("api"),
            artifact: BundleArtifact { name: text("from-nothing"), digest: self.image },
            args: vec![text(BUSYBOX), text("sh"), text("-c"), text(script)],
            env: BTreeMap::from([(text("GREETING"), text("hello"))]),
            host: "127.0.0.1".parse().expect("an address"),
            port: self.port,
            port_env: text("PORT"),
            host_env: Some(text("HOST")),
            files: BTreeMap::from([(
                text("api.conf"),
                BundleFile { digest: Digest::of_bytes(CONFIG), mode: 0o644, env: Some(text("CONFIG")) },
            )]),
            secrets: BTreeMap::from([(
                text("TOKEN"),
                BundleSecret { keyed_digest: Digest::of_bytes("keyed"), in_env: false },
            )]),
            limits: Limits { memory_max_bytes: Some(64 << 20), open_files_max: Some(512) },
        }
    }

    /// Takes a bundle into the plan, as one that comes from this machine with this release.
    pub(crate) fn plan(&mut self, bundle: &Bundle, release: &str) -> BundleHash {
        let config = self.folder.path().join("api.conf");
        std::fs::write(&config, CONFIG).expect("a file");
        let source = BundleSource {
            artifact: config.clone(),
            files: bundle.files.keys().map(|file| (file.clone(), config.clone())).collect(),
            secrets: bundle.secrets.keys().map(|one| (one.clone(), SecretRef::Env(one.clone()))).collect(),
        };
        let hash = bundle.hash();
        let entry = CommitEntry {
            bundle: hash,
            release: release.to_owned(),
            replicas: 1,
            check: engine::samples::check(),
            port: bundle.port,
            irreversible: false,
        };
        let (host, source) = (bundle.host, Some((bundle.clone(), source)));
        let planned = PlannedBundle { entry, host, health_path: None, source };
        self.plan.bundles.insert(hash, planned);
        hash
    }

    /// A migration of `api` that runs a script.
    pub(crate) fn plan_migration(&mut self, script: &str, timeout: Millis) {
        let args = [BUSYBOX, "sh", "-c", script].map(str::to_owned).to_vec();
        self.plan.migrations.insert(name("api"), Migration { args, timeout });
    }

    pub(crate) fn unit(&self, slot: u16, bundle: BundleHash) -> UnitId {
        UnitId { service: name("api"), target: self.place.target.clone(), slot, bundle }
    }

    /// Brings the image to a registry, with the real client.
    pub(crate) fn push(&self, registry: &Registry, image: &str) {
        let config = tempfile::tempdir().expect("a folder");
        let mut log_in = self.engine.client(config.path());
        log_in.args(["login", "--username", registry.user(), "--password-stdin", registry.address()]);
        let mut log_in = log_in.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a client");
        let mut pipe = log_in.stdin.take().expect("a pipe");
        pipe.write_all(registry.password().as_bytes()).expect("it listens");
        drop(pipe);
        assert!(log_in.wait().expect("its end").success());
        for words in [vec!["tag", &self.image.to_string(), image], vec!["push", "--quiet", image]] {
            let output = self.engine.client(config.path()).args(&words).output().expect("a client");
            assert!(output.status.success(), "{words:?}: {output:?}");
        }
    }

    /// The answer of the engine itself, without the target or any client.
    pub(crate) fn raw(&self, path: &str) -> serde_json::Value {
        let answer = self.engine.get(path).expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }
}

/// Asks a port of this machine.
pub(crate) async fn get(port: u16, path: &'static str) -> Result<http::Answer, String> {
    tokio::task::spawn_blocking(move || http::get(port, path)).await.expect("it does not panic")
}

/// Waits until a unit serves its config file.
pub(crate) async fn served(port: u16) -> http::Answer {
    let look = move || http::get(port, "/api.conf").ok();
    let waits = move || tests::wait_for("the unit's config file", PATIENCE, look);
    tokio::task::spawn_blocking(waits).await.expect("it does not panic")
}

/// The users of an image that has some.
const USERS: &str = "root:x:0:0::/:/bin/sh\napp:x:4711:4711::/:/bin/sh\n";

/// What is in the config file.
pub(crate) const CONFIG: &str = "mode = \"test\"\n";

impl Fixture {
    /// Another image, with a user that has a name.
    pub(crate) async fn image_with_user(&self) -> Digest {
        let more = "COPY passwd /etc/passwd\nUSER app\n";
        build(&self.docker, self.engine, &self.place.project, more).await
    }
}

/// An image from nothing, with one static program and no user.
async fn build(docker: &Docker, engine: &Engine, project: &Name, more: &str) -> Digest {
    let busybox = std::fs::read(engine.busybox()).expect("a program");
    let dockerfile = format!("FROM scratch\nCOPY busybox {BUSYBOX}\nLABEL project={project}\n{more}");
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in [
        ("Dockerfile", 0o644, dockerfile.as_bytes()),
        ("busybox", 0o755, busybox.as_slice()),
        ("passwd", 0o644, USERS.as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).expect("memory");
    }
    let tag = format!("from-nothing:{project}");
    let options = BuildImageOptionsBuilder::default().t(&tag).version(BuilderVersion::BuilderV1).build();
    let body = bollard::body_full(tar.into_inner().expect("memory").into());
    let mut said = docker.build_image(options, None, Some(body));
    while let Some(line) = said.next().await {
        line.expect("it builds");
    }
    let id = docker.inspect_image(&tag).await.expect("it was built").id.expect("an id");
    id.parse().expect("a digest")
}

pub(crate) fn prepare(bundle: BundleHash) -> Action {
    Action::Prepare { target: name("here"), service: name("api"), bundle }
}

pub(crate) fn migrate(bundle: BundleHash) -> Action {
    Action::Migrate { target: name("here"), service: name("api"), bundle }
}

pub(crate) fn start(unit: &UnitId) -> Action {
    Action::Start { unit: unit.clone() }
}

pub(crate) fn stop(unit: &UnitId, grace: Millis) -> Action {
    Action::Stop { unit: unit.clone(), grace }
}

pub(crate) fn commit(bundle: Option<BundleHash>) -> Action {
    Action::Commit { target: name("here"), services: BTreeMap::from([(name("api"), bundle)]) }
}

/// Performs an action.
pub(crate) async fn act(
    target: &DockerTarget,
    generation: u64,
    action: Action,
) -> Result<EffectOutput, EffectError> {
    target.perform(generation, &Intent { id: IntentId(1), action }).await
}

/// Performs it twice: the second time must be as good as the first.
#[track_caller]
pub(crate) fn twice(target: &DockerTarget, generation: u64, action: Action) -> impl Future<Output = ()> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        for time in ["first", "second"] {
            let done = act(target, generation, action.clone()).await;
            assert!(done.is_ok(), "{caller}: {} the {time} time: {done:?}", action.verb());
        }
    }
}

/// What is seen of the only unit.
pub(crate) async fn only(target: &DockerTarget) -> UnitFacts {
    let seen = target.observe().await.expect("it answers");
    match <[UnitFacts; 1]>::try_from(seen.units) {
        Ok([unit]) => unit,
        Err(units) => panic!("not one unit: {units:#?}"),
    }
}

/// Observes whenever the target tells of a change, until something is seen.
pub(crate) async fn until<T>(
    target: &DockerTarget,
    what: &str,
    mut look: impl FnMut(TargetSeen) -> Option<T>,
) -> T {
    let looks = async {
        loop {
            if let Some(found) = look(target.observe().await.expect("it answers")) {
                return found;
            }
            target.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
