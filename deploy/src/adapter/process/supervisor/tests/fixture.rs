//! What the tests share.

use crate::{
    adapter::{
        process::{
            Client, Launch, PlannedBundle, ProcessPlan, ProcessTarget,
            identity::Process,
            protocol::{CommitEntry, Op, Reply},
            supervisor::{
                Options, SupervisorError,
                router::{Router, RouterError, Routers},
                serve_with,
            },
        },
        router::protocol::{Table, UpstreamStats},
    },
    bundle::{Bundle, BundleArtifact, BundleHash, BundleSecret, BundleSource, Limits},
    check::{Check, Probe},
    model::{Action, Intent, IntentId, Millis, UnitFacts, UnitId, UnitPhase},
    plan::Migration,
    port::{EffectError, EffectOutput, Target, TargetSeen},
};
use async_trait::async_trait;
use pipeline::{digest::Digest, name::Name, secret::SecretRef};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::Notify, task::JoinHandle};

/// No wait of a test is longer; a busy machine needs much of it.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A unit that runs until it is told to stop.
pub(super) const SLEEPER: &str = "#!/bin/sh\nexec sleep 600\n";

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A supervisor, its target, and the folder that both live in.
pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) routers: Arc<Books>,
    pub(super) target: ProcessTarget,
    pub(super) bundles: Vec<BundleHash>,
    serve: Option<JoinHandle<Result<(), SupervisorError>>>,
}

/// One service's bundle, made of a script.
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) bundle: Bundle,
    pub(super) source: BundleSource,
    pub(super) release: &'static str,
    pub(super) port: u16,
}

pub(super) fn script(text: &'static str) -> Script {
    let artifact = BundleArtifact { name: "unit".to_owned(), digest: Digest::of_bytes(text) };
    let bundle = Bundle {
        host: std::net::IpAddr::from([127, 0, 0, 1]),
        port: 8000,
        service: name("api"),
        artifact,
        args: Vec::new(),
        env: BTreeMap::from([("COLOR".to_owned(), "blue".to_owned())]),
        port_env: "API_PORT".to_owned(),
        host_env: Some("API_HOST".to_owned()),
        files: BTreeMap::new(),
        secrets: BTreeMap::new(),
        limits: Limits::default(),
    };
    let source = BundleSource { artifact: PathBuf::new(), files: BTreeMap::new(), secrets: BTreeMap::new() };
    Script { text, bundle, source, release: "r1", port: free_port() }
}

impl Script {
    pub(super) fn with(mut self, change: impl FnOnce(&mut Bundle)) -> Self {
        change(&mut self.bundle);
        self
    }

    pub(super) fn with_secret(mut self, secret: &str, in_env: bool) -> Self {
        let planned = BundleSecret { keyed_digest: Digest::of_bytes(secret), in_env };
        self.bundle.secrets.insert(secret.to_owned(), planned);
        self.source.secrets.insert(secret.to_owned(), SecretRef::Env(secret.to_owned()));
        self
    }

    pub(super) fn planned(&self, folder: &Path) -> PlannedBundle {
        let artifact = folder.join(format!("artifact-{}", self.bundle.artifact.digest.short()));
        std::fs::write(&artifact, self.text).expect("it writes");
        let entry = CommitEntry {
            bundle: self.bundle.hash(),
            release: self.release.to_owned(),
            replicas: 1,
            check: check(),
            port: self.port,
            irreversible: false,
        };
        let source = BundleSource { artifact, ..self.source.clone() };
        let host = Ipv4Addr::LOCALHOST.into();
        PlannedBundle { entry, host, health_path: None, source: Some((self.bundle.clone(), source)) }
    }
}

fn check() -> Check {
    Check {
        probe: Probe::Tcp,
        identity: None,
        interval: 1,
        timeout: 1,
        healthy_passes: 1,
        healthy_for: 1,
        healthy_deadline: 1,
        unhealthy_failures: 1,
        provider_error_limit: 1,
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

impl Fixture {
    /// A supervisor that runs, and a target that knows these bundles.
    pub(super) async fn new(scripts: &[Script]) -> Self {
        let mut fixture = Self::without_supervisor(scripts);
        fixture.serve().await;
        fixture
    }

    pub(super) fn without_supervisor(scripts: &[Script]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let planned: Vec<PlannedBundle> =
            scripts.iter().map(|script| script.planned(folder.path())).collect();
        let bundles: Vec<BundleHash> = planned.iter().map(|planned| planned.entry.bundle).collect();
        let bundles_by_hash = bundles.iter().copied().zip(planned).collect();
        let plan = ProcessPlan { bundles: bundles_by_hash, migrations: migrations(), keep: 2 };
        let target = target(folder.path(), plan);
        Self { folder, routers: Arc::default(), target, bundles, serve: None }
    }

    /// Starts a supervisor and waits until it answers.
    pub(super) async fn serve(&mut self) {
        let task = serve_with(self.options(), Arc::new(Handle(self.routers.clone())));
        self.serve = Some(tokio::spawn(task));
        let client = self.client();
        within("the supervisor answers", async {
            // The socket of one that was just killed may still take a connection and drop it.
            while !matches!(client.hello().await, Ok(Some(_))) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Why a supervisor does not start.
    pub(super) async fn serve_error(&self) -> SupervisorError {
        within("it ends", serve_with(self.options(), Arc::new(Handle(self.routers.clone()))))
            .await
            .expect_err("it does not start")
    }

    fn options(&self) -> Options {
        let launch = launch(self.folder.path());
        Options::new(launch.state_dir, launch.environment, launch.target, launch.executable, launch.version)
    }

    /// Ends the supervisor as SIGKILL would: nothing is told or tidied.
    pub(super) async fn kill_supervisor(&mut self) {
        let serve = self.serve.take().expect("it runs");
        serve.abort();
        within("the task ends", serve).await.expect_err("it was aborted");
        // Its own tasks end a little later, and with them its socket.
        let client = self.client();
        within("nobody answers", async {
            while !matches!(client.hello().await, Ok(None)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until the supervisor has ended by itself.
    pub(super) async fn ended(&mut self) {
        let serve = self.serve.take().expect("it runs");
        within("it ends", serve).await.expect("no panic").expect("a clean end");
    }

    /// A target that has not acted, as another command on this machine has.
    pub(super) fn onlooker(&self) -> ProcessTarget {
        target(self.folder.path(), ProcessPlan::default())
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.state_dir()).expect("a client")
    }

    /// Asks the supervisor itself.
    pub(super) async fn ask(&self, generation: u64, op: Op) -> Reply {
        self.client().call(generation, op).await.expect("an answer")
    }

    /// A unit of one of the bundles.
    pub(super) fn unit(&self, slot: u16, bundle: usize) -> UnitId {
        UnitId { service: name("api"), target: name("here"), slot, bundle: self.bundles[bundle] }
    }

    pub(super) async fn perform(&self, action: Action) -> Result<EffectOutput, EffectError> {
        self.perform_as(1, action).await
    }

    pub(super) async fn perform_as(
        &self,
        generation: u64,
        action: Action,
    ) -> Result<EffectOutput, EffectError> {
        within("the action ends", self.target.perform(generation, &Intent { id: IntentId(1), action })).await
    }

    pub(super) async fn prepare(&self, bundle: usize) -> Result<EffectOutput, EffectError> {
        let bundle = self.bundles[bundle];
        self.perform(Action::Prepare { target: name("here"), service: name("api"), bundle }).await
    }

    /// Prepares and starts a unit.
    pub(super) async fn start(&self, slot: u16, bundle: usize) -> UnitId {
        self.prepare(bundle).await.expect("it is prepared");
        let unit = self.unit(slot, bundle);
        self.perform(Action::Start { unit: unit.clone() }).await.expect("it starts");
        unit
    }

    pub(super) async fn stop(&self, unit: &UnitId, grace: Millis) {
        self.perform(Action::Stop { unit: unit.clone(), grace }).await.expect("it stops");
    }

    /// Makes a bundle current, or the service gone.
    pub(super) async fn commit(&self, generation: u64, bundle: Option<usize>) {
        let services = BTreeMap::from([(name("api"), bundle.map(|bundle| self.bundles[bundle]))]);
        self.perform_as(generation, Action::Commit { target: name("here"), services })
            .await
            .expect("it commits");
    }

    pub(super) async fn seen(&self) -> TargetSeen {
        within("it observes", self.target.observe()).await.expect("an observation")
    }

    pub(super) async fn facts(&self, unit: &UnitId) -> Option<UnitFacts> {
        self.seen().await.units.into_iter().find(|facts| facts.unit == *unit)
    }

    /// Waits until a unit shows what is expected.
    pub(super) async fn until(&self, unit: &UnitId, expected: impl Fn(&UnitFacts) -> bool) -> UnitFacts {
        within("the unit changes", async {
            loop {
                match self.facts(unit).await {
                    Some(facts) if expected(&facts) => return facts,
                    _ => self.target.changed().await,
                }
            }
        })
        .await
    }

    /// Waits until a unit has ended by itself.
    pub(super) async fn exited(&self, unit: &UnitId) -> crate::model::Exit {
        match self.until(unit, |facts| matches!(facts.phase, UnitPhase::Exited(_))).await.phase {
            UnitPhase::Exited(exit) => exit,
            _ => unreachable!("just looked at"),
        }
    }

    /// Waits until a unit's log has a line.
    pub(super) async fn logged(&self, unit: &UnitId, line: &str) {
        within("the unit logs", async {
            while !self.target.log_tail(unit, 50).await.expect("its log").iter().any(|l| l == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Drop for Fixture {
    /// No process outlives its test, and nobody writes into its folder any more when that is removed.
    fn drop(&mut self) {
        if let Some(serve) = self.serve.take() {
            serve.abort();
        }
        use crate::adapter::process::{folders::Folders, supervisor::state::State};
        let folders = Folders::new(&self.state_dir()).expect("a path");
        let Ok(state) = State::read(&folders) else { return };
        let migrations = state.migrations.values().map(|run| run.life.process());
        for process in state.units.values().map(|unit| unit.process()).chain(migrations).flatten() {
            process.signal_group(nix::sys::signal::Signal::SIGKILL);
            process.reap();
        }
        self.routers.kept().closed = true;
        self.routers.end();
    }
}

fn target(folder: &Path, plan: ProcessPlan) -> ProcessTarget {
    let secrets = |secret: &str, _: &SecretRef, _: &BundleSecret| match secret {
        "GONE" => Err("the vault is closed".to_owned()),
        _ => Ok(format!("value of {secret}").into_bytes()),
    };
    ProcessTarget::new(launch(folder), plan, Arc::new(secrets)).expect("a target")
}

/// What the target is to run for service api.
fn migrations() -> BTreeMap<Name, Migration> {
    let args = ["migrate", "--all"].map(str::to_owned).to_vec();
    BTreeMap::from([(name("api"), Migration { args, timeout: 15_000 })])
}

fn launch(folder: &Path) -> Launch {
    Launch {
        state_dir: folder.join("state"),
        environment: name("local"),
        target: name("here"),
        executable: "/nonexistent/fairlead".into(),
        version: "test".to_owned(),
    }
}

/// The process that a handle names.
pub(super) fn process(facts: &UnitFacts) -> Process {
    facts.handle.parse().expect("a handle")
}

pub(super) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("not within the deadline: {what}"))
}

/// A router that keeps books. Like a router process it outlives the supervisor.
#[derive(Default)]
pub(super) struct Books {
    pub(super) kept: Mutex<Kept>,
    /// Told when nothing is in flight any more.
    pub(super) idle: Notify,
    pub(super) changed: Notify,
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) started: u32,
    pub(super) process: Option<Process>,
    pub(super) table: Table,
    pub(super) listeners: BTreeMap<Name, TcpListener>,
    pub(super) stats: BTreeMap<String, UpstreamStats>,
    pub(super) retired: bool,
    /// Whether the test has ended, so that no router may start any more.
    closed: bool,
}

impl Books {
    pub(super) fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("no test panicked with it")
    }

    /// Service api: unit → weight.
    pub(super) fn weights(&self) -> BTreeMap<String, u16> {
        let kept = self.kept();
        let route = kept.table.0.get(&name("api")).cloned().unwrap_or_default();
        route.upstreams.into_iter().map(|upstream| (upstream.name, upstream.weight)).collect()
    }

    fn end(&self) {
        if let Some(process) = self.kept().process.take() {
            process.signal_group(nix::sys::signal::Signal::SIGKILL);
            process.reap();
        }
    }
}

/// Hands the books out.
#[derive(Clone, Default)]
pub(super) struct Handle(pub(super) Arc<Books>);

#[async_trait]
impl Routers for Handle {
    async fn start(&self, _: &Path, _: &str) -> Result<Option<Process>, RouterError> {
        self.0.end();
        // It needs a life of its own, so that its death can be noticed.
        let mut kept = self.0.kept();
        if kept.closed {
            return Err("the test has ended".into());
        }
        let mut command = Command::new("/bin/sleep");
        let child =
            command.arg("600").process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let process = Process::of(child.id());
        *kept = Kept { started: kept.started + 1, process, ..Kept::default() };
        Ok(process)
    }

    fn find(&self, _: &Path, _: &str) -> Option<Process> {
        self.0.kept().process
    }

    async fn connect(&self, _: &Path, _: &str, _: Duration) -> Result<Arc<dyn Router>, RouterError> {
        let is_there = self.0.kept().process.is_some_and(Process::is_alive);
        if is_there { Ok(Arc::new(self.clone())) } else { Err("no router answers".into()) }
    }
}

#[async_trait]
impl Router for Handle {
    async fn set(&self, table: &Table) -> Result<(), RouterError> {
        self.0.kept().table = table.clone();
        self.0.changed.notify_waiters();
        Ok(())
    }

    async fn stats(&self) -> Result<BTreeMap<String, UpstreamStats>, RouterError> {
        Ok(self.0.kept().stats.clone())
    }

    async fn idle(&self, upstream: &str, deadline: Duration) -> Result<(), RouterError> {
        let busy = || self.0.kept().stats.get(upstream).is_some_and(|stats| stats.in_flight > 0);
        let wait = async {
            while busy() {
                self.0.idle.notified().await;
            }
        };
        let _ = tokio::time::timeout(deadline, wait).await;
        Ok(())
    }

    async fn add_listener(&self, service: &Name, socket: &TcpListener) -> Result<(), RouterError> {
        self.0.kept().listeners.insert(service.clone(), socket.try_clone()?);
        Ok(())
    }

    async fn remove_listener(&self, service: &Name) -> Result<(), RouterError> {
        self.0.kept().listeners.remove(service);
        Ok(())
    }

    async fn take_listeners(&self) -> Result<BTreeMap<Name, TcpListener>, RouterError> {
        let kept = self.0.kept();
        kept.listeners.iter().map(|(service, socket)| Ok((service.clone(), socket.try_clone()?))).collect()
    }

    async fn retire(&self, _: Duration) -> Result<(), RouterError> {
        self.0.kept().retired = true;
        self.0.end();
        Ok(())
    }
}
