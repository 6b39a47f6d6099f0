//! A project of its own for each test: a git repository with two services, in a temporary folder that is empty of
//! processes when the test ends.

use crate::{
    evidence, http,
    law::{Case, Watched, Witness},
    machine::{Shared, Whole},
    ports::Port,
    processes::{Process, processes_under, signal},
    program::{Background, Output, binaries, environment},
    shape::Shape,
    sockets::listening_ports_of_each,
    tree::{Tree, digest_of},
    units::Unit,
    wait::{pause, wait_for},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What the program keeps, relative to the project.
const STATE: &str = ".fairlead";

/// How long `down` may take.
const DOWN_DEADLINE: Duration = Duration::from_secs(30);

/// How long everything may take to end after `down` has.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Commands that roll out, forward or back.
const ROLLS_OUT: [&str; 5] = ["deploy", "resume", "rollback", "promote", "cancel"];

/// A project, and the program that deploys it.
pub struct Project {
    root: TempDir,
    /// Where it is, without symbolic links, as the kernel names it.
    path: PathBuf,
    shape: Shape,
    ports: BTreeMap<&'static str, Port>,
    program: PathBuf,
    variables: Vec<(String, OsString)>,
    changes: u32,
    /// Looks at every rollout, from the first command on.
    witness: RefCell<Option<Witness>>,
    /// What it looks at.
    watched: Watched,
    /// Why its rollouts are not judged, if they are not.
    unjudged: Option<&'static str>,
    machine: Machine,
}

enum Machine {
    Shared(Shared),
    Whole(Whole),
    /// That of the project beside which this one is.
    Beside,
}

impl Project {
    /// A project of the default shape, committed.
    #[expect(clippy::new_without_default, reason = "it takes a share of the machine")]
    pub fn new() -> Self {
        Self::with(Shape::default())
    }

    /// A project of this shape, committed.
    pub fn with(shape: Shape) -> Self {
        Self::create(shape, Machine::Shared(Shared::new()))
    }

    /// Another project for a test that has this one; two that a test asks for one by one may wait for each other.
    pub fn beside(&self, shape: Shape) -> Self {
        let machine = match &self.machine {
            Machine::Shared(share) => Machine::Shared(Shared::beside(share)),
            Machine::Whole(_) | Machine::Beside => Machine::Beside,
        };
        Self::create(shape, machine)
    }

    /// The same, with the machine to itself: for tests that measure.
    pub fn alone(shape: Shape) -> Self {
        Self::create(shape, Machine::Whole(Whole::new()))
    }

    fn create(shape: Shape, machine: Machine) -> Self {
        // Short: the control sockets are below it, and the path of a socket has at most 107 bytes.
        let root = tempfile::Builder::new().prefix("fl-").tempdir().expect("a temporary folder");
        let path = root.path().canonicalize().expect("it was just made");
        let ports = shape.services.iter().map(|service| (service.name, Port::new())).collect();
        let program = binaries().xtask.clone();
        let project = Self {
            root,
            path,
            shape,
            ports,
            program,
            variables: vec![],
            changes: 0,
            witness: RefCell::default(),
            watched: Watched::Processes,
            unjudged: None,
            machine,
        };
        project.write("api.conf", "ministers = education, health\n");
        project.write("secret.txt", "hf_first-value-of-the-secret\n");
        project.write(".gitignore", "/.fairlead/\n/bin/\n/secret.txt\n/plan.json\n");
        for service in &project.shape.services {
            let built = &binaries();
            let built = if service.name == "api" { &built.noogh_api } else { &built.noogh_mcp };
            let to = project.artifact(service.name);
            fs::create_dir_all(project.path.join("bin")).expect("a folder for executables");
            fs::hard_link(built, &to)
                .or_else(|_| fs::copy(built, &to).map(drop))
                .expect("a copy of the service");
            project.write(&format!("src/{}.txt", service.name), "0\n");
        }
        project.write_configuration();
        project.git(&["init", "--quiet", "--initial-branch=main"]);
        project.commit();
        project
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the program keeps.
    pub fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// What its configuration says.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The stable port of a service.
    ///
    /// # Panics
    /// If there is no such service.
    pub fn port(&self, service: &str) -> u16 {
        self.ports.get(service).unwrap_or_else(|| panic!("no service `{service}`")).number()
    }

    /// Changes the configuration; not committed.
    pub fn reshape(&mut self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.shape);
        self.write_configuration();
    }

    /// Writes a file of the project; not committed.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("a folder in the project");
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// Edits a file of the project; not committed.
    ///
    /// # Panics
    /// If it is not there.
    pub fn edit(&self, name: &str, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.path.join(name)).expect("a file of the project");
        self.write(name, edit(text));
    }

    /// The executable that the next release of a service is made of.
    pub fn artifact(&self, service: &str) -> PathBuf {
        self.path.join("bin").join(format!("noogh-{service}"))
    }

    /// The digest of that executable.
    ///
    /// # Panics
    /// If it is not there.
    pub fn artifact_digest(&self, service: &str) -> String {
        digest_of(&self.artifact(service)).expect("an executable")
    }

    /// Changes a service's code, as far as anyone can tell: a source file and the bytes of the executable, which runs
    /// as before. Committed.
    pub fn change_code(&mut self, service: &str) {
        self.changes += 1;
        let (name, count) = (format!("src/{service}.txt"), self.changes);
        self.write(&name, format!("{count}\n"));
        let mut bytes = fs::read(self.artifact(service)).expect("an executable");
        // Whatever follows the sections of an ELF file is not loaded.
        bytes.extend_from_slice(format!("\nchange {count} of {service}\n").as_bytes());
        self.replace_artifact(service, &bytes);
        self.commit();
    }

    /// Puts other bytes in the place of a service's executable; not committed.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn replace_artifact(&self, service: &str, bytes: &[u8]) {
        let artifact = self.artifact(service);
        let new = artifact.with_extension("new");
        fs::write(&new, bytes).expect("an executable");
        fs::set_permissions(&new, Permissions::from_mode(0o755)).expect("our own file");
        // By another name first: the old one may be a link to what all tests use.
        fs::rename(new, artifact).expect("a rename within a folder");
    }

    /// The names of its services.
    pub fn services(&self) -> Vec<&'static str> {
        self.shape.services.iter().map(|service| service.name).collect()
    }

    /// Commits everything.
    pub fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "Change something"]);
    }

    /// The name of the release of what is committed, as documented: the commit's first twelve digits.
    pub fn release(&self) -> String {
        self.git(&["rev-parse", "HEAD"])[..12].to_owned()
    }

    /// Uses another program from now on.
    pub fn use_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The program in use.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Sets a variable of the program's environment from now on.
    pub fn set_variable(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Starts the program.
    pub fn spawn(&self, arguments: &[&str]) -> Background {
        self.spawn_with(arguments, &[])
    }

    /// Starts the program with more variables, for this run alone.
    pub fn spawn_with(&self, arguments: &[&str], variables: &[(&str, &OsStr)]) -> Background {
        let rolls_out = |argument: &&str| ROLLS_OUT.contains(argument);
        if self.unjudged.is_none() && arguments.iter().any(rolls_out) {
            let start = || Witness::start(&self.path, &self.state(), self.watched.clone());
            self.witness.borrow_mut().get_or_insert_with(start);
        }
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.path).env_clear();
        command
            .envs(environment(&self.path))
            .envs(self.variables.iter().cloned())
            .envs(variables.iter().copied());
        Background::start(&mut command)
    }

    /// Another program than ours, to be run as ours is: in the project's folder, with what ours is given.
    pub fn tool(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).env_clear();
        command.envs(environment(&self.path)).envs(self.variables.iter().cloned());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.spawn(arguments).wait();
        self.is_seen();
        output
    }

    /// Waits until what stands was seen, before the test goes on and may change it.
    pub fn is_seen(&self) {
        if let Some(witness) = self.witness.borrow().as_ref() {
            witness.has_looked(&self.state());
        }
    }

    /// Runs `deploy`.
    #[track_caller]
    pub fn deploy(&self) -> Output {
        self.run(&["deploy"])
    }

    /// Starts `deploy` with its events as JSON lines.
    pub fn spawn_deploy(&self) -> Background {
        self.spawn(&["deploy", "--format", "json"])
    }

    /// Judges the rollouts of another environment, from now on, whose units are elsewhere.
    pub(crate) fn is_watched(&mut self, watched: Watched) {
        if self.watched != watched {
            self.watched = watched;
            drop(self.witness.take());
        }
    }

    /// Leaves its rollouts unjudged by the judge of the laws from now on, for this reason.
    pub fn is_not_judged(&mut self, because: &'static str) {
        self.unjudged = Some(because);
        drop(self.witness.take());
    }

    /// Every rollout since the first command or the last call, as it was seen from outside and told by the journal.
    pub fn cases(&self) -> Vec<Case> {
        self.witnessed().0
    }

    fn witnessed(&self) -> (Vec<Case>, Vec<String>) {
        self.witness.take().map(|witness| witness.cases(&self.state())).unwrap_or_default()
    }

    /// The laws that were broken by rollouts since the first command, or since [`Project::cases`].
    fn breaches(&self) -> Vec<String> {
        let (cases, unseen) = self.witnessed();
        let unseen = unseen.into_iter().map(|run| format!("{run}: the witness was too slow to see its plan"));
        let broken = cases.iter().flat_map(|case| {
            let breaches = case.breaches().into_iter();
            breaches.map(|breach| format!("{}: {breach}", case.plan.run)).collect::<Vec<_>>()
        });
        broken.chain(unseen).collect()
    }

    /// The units that run.
    pub fn units(&self) -> Vec<Unit> {
        Unit::all_under(&self.path)
    }

    /// The units of one service that run.
    pub fn units_of(&self, service: &str) -> Vec<Unit> {
        self.units().into_iter().filter(|unit| unit.service() == service).collect()
    }

    /// The processes of a service's units.
    pub fn processes_of(&self, service: &str) -> Vec<Process> {
        self.units_of(service).into_iter().map(|unit| unit.process).collect()
    }

    /// Asserts, from outside, that a service stands whole: as many units as configured, each of this release and
    /// listening on its own port, and the stable port answers with it.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn assert_serves(&self, service: &str, release: &str) {
        let wanted = self.shape.services.iter().find(|one| one.name == service).map_or(0, |one| one.replicas);
        let units = self.units_of(service);
        assert_eq!(units.len(), usize::from(wanted), "units of {service}: {units:#?}");
        let ports = listening_ports_of_each(units.iter().map(|unit| unit.process.pid));
        for (unit, ports) in units.iter().zip(ports) {
            assert_eq!(unit.variable("FAIRLEAD_RELEASE"), release, "{unit:#?}");
            let own = unit.variable(&format!("{}_PORT", service.to_uppercase()));
            assert!(ports.iter().any(|port| port.to_string() == own), "it does not listen: {unit:#?}");
        }
        // More often than there are units: each is asked.
        for _ in 0..2 * wanted + 1 {
            let health = http::health(self.port(service));
            assert_eq!(health["release"], release, "{service}: {health}");
        }
    }

    /// Asserts that nothing of the project runs or listens, and that no bundle is left.
    ///
    /// # Panics
    /// If something is left.
    #[track_caller]
    pub fn assert_nothing_stands(&self) {
        assert_eq!(self.units(), []);
        for (service, port) in &self.ports {
            let answer = http::get(port.number(), "/health");
            assert!(answer.is_err(), "port {} of {service} answers: {answer:?}", port.number());
        }
        let bundles = find(&self.state(), "bundles")
            .into_iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let bundles: Vec<_> = bundles.map(|entry| entry.path()).collect();
        assert!(bundles.is_empty(), "left behind: {bundles:?}");
    }

    /// All units as far as they must come back byte for byte, in a stable order.
    pub fn identities(&self) -> Vec<String> {
        let mut identities: Vec<_> = self.units().iter().map(Unit::identity).collect();
        identities.sort();
        identities
    }

    /// All of the project's files and units, to show that nothing changed. The repository of git is left out: looking
    /// at it may write its index.
    pub fn snapshot(&self) -> (Tree, Vec<Process>) {
        let units = self.units().into_iter().map(|unit| unit.process);
        (Tree::of(&self.path, &[".git"]), units.collect())
    }

    /// The newest dossier.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn dossier(&self) -> Value {
        let folders = find(&self.state(), "dossier").into_iter().chain(find(&self.state(), "dossiers"));
        let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let json =
            files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
        let newest = json.max_by_key(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok());
        let text = fs::read_to_string(newest.expect("a dossier")).expect("a dossier that can be read");
        serde_json::from_str(&text).expect("a dossier in JSON")
    }

    /// The reason code of the newest dossier.
    #[track_caller]
    pub fn reason(&self) -> String {
        let dossier = self.dossier();
        dossier["cause"]["reason"].as_str().unwrap_or_else(|| panic!("no reason: {dossier:#}")).to_owned()
    }

    /// Runs git in the project.
    ///
    /// # Panics
    /// If it fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "core.fsync=none"]);
        command.args(arguments).current_dir(&self.path).env_clear().envs(environment(&self.path));
        let output = command.output().expect("git can be started");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn write_configuration(&self) {
        self.write("fairlead.toml", self.shape.project_file(|service| self.port(service)));
        self.write("deploy/environments/local.toml", self.shape.environment_file());
    }

    /// Ends everything that belongs to the project: how `down` went, and what had to be ended by force after it.
    fn end(&self) -> (Option<Output>, Vec<Process>) {
        let runs = !processes_under(&self.path).is_empty();
        let down = runs.then(|| self.spawn(&["down", "--yes"]).end_within(DOWN_DEADLINE)).flatten();
        let until = Instant::now() + END_DEADLINE;
        while !processes_under(&self.path).is_empty() && Instant::now() < until {
            pause(Duration::from_millis(10));
        }
        let left = processes_under(&self.path);
        while !processes_under(&self.path).is_empty() && Instant::now() < until + END_DEADLINE {
            for process in processes_under(&self.path) {
                signal(process.pid, Signal::SIGKILL);
            }
            pause(Duration::from_millis(10));
        }
        (down, left)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let breaches = if failed { Vec::new() } else { self.breaches() };
        if failed || !breaches.is_empty() {
            evidence::show(&self.path, &self.state());
        }
        let (down, left) = self.end();
        // Everything is dead now, so that the folder can be removed when the fields are dropped.
        if !failed && !left.is_empty() {
            evidence::show(&self.path, &self.state());
            panic!("left over in {}: {left:#?}\nafter {down:?}", self.root.path().display());
        }
        assert!(breaches.is_empty(), "laws were broken:\n{}", breaches.join("\n"));
    }
}

/// Folders of this name below a folder.
fn find(folder: &Path, name: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    folders
        .filter(|path| path.is_dir() && !path.is_symlink())
        .flat_map(|path| {
            let is_it = path.file_name().is_some_and(|found| found == name);
            if is_it { vec![path] } else { find(&path, name) }
        })
        .collect()
}

impl Project {
    /// Waits until units of a service are as a test wants them.
    #[track_caller]
    pub fn wait_for_units(&self, what: &str, service: &str, is_it: impl Fn(&[Unit]) -> bool) -> Vec<Unit> {
        wait_for(what, Duration::from_secs(20), || Some(self.units_of(service)).filter(|units| is_it(units)))
    }
}
