//! Real components: Docker engines of two generations, a registry with a password, and hosts with SSH, started by the scripts in
//! `tests/components` and taken down when they are dropped, or when the process of the tests ends, however it ends.
//! Root and Debian 12 are needed; the first start fetches the programs, later ones take less than a second.

use crate::http::Answer;
use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

/// Longer than any answer of an engine that a test asks for itself.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Which Docker Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 20.10, as Debian 12 has it.
    Docker20,
    /// 28, as Debian's unstable has it.
    Docker28,
}

impl Generation {
    /// All that tests are to pass with.
    pub const ALL: [Self; 2] = [Self::Docker20, Self::Docker28];

    /// As `tests/components/engine` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker20 => "20.10",
            Self::Docker28 => "28",
        }
    }
}

/// A Docker engine of its own: its images, containers, networks and volumes are nobody else's.
#[derive(Debug)]
pub struct Engine {
    generation: Generation,
    folder: TempDir,
}

impl Engine {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started, with what the script says.
    #[track_caller]
    pub fn start(generation: Generation) -> Self {
        let folder = folder("fl-engine");
        run("engine", ["up", generation.name()].as_ref(), folder.path(), Some(std::process::id()));
        Self { generation, folder }
    }

    /// The one of this process, started when it is first asked for: for tests that give what they make names of their own.
    ///
    /// # Panics
    /// As [`Engine::start`].
    #[track_caller]
    pub fn shared(generation: Generation) -> &'static Self {
        static ENGINES: [Shared<Engine>; 2] = [Shared::new(), Shared::new()];
        ENGINES[generation as usize].get(|| Self::start(generation))
    }

    /// Which one it is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Where all that it has is kept, with its log as `engine.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The socket that it answers on.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("docker.sock")
    }

    /// A static program with the usual tools in it, for images from nothing.
    pub fn busybox(&self) -> PathBuf {
        self.folder().join("bin/busybox")
    }

    /// The newest version of the API that it offers, as it says itself.
    ///
    /// # Panics
    /// If it does not say.
    #[track_caller]
    pub fn api_version(&self) -> String {
        let version = self.get("/version").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(version.status, 200, "/version: {}", version.body);
        version.json()["ApiVersion"].as_str().expect("a version").to_owned()
    }

    /// Asks it for `PATH`, without any client.
    ///
    /// # Errors
    /// No answer, or none that is one.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        ask(&self.socket(), path).map_err(|error| format!("{path} of {}: {error}", self.socket().display()))
    }

    /// The real client of this generation, with the credentials in this folder (`DOCKER_CONFIG`) and no others.
    pub fn client(&self, config: &Path) -> Command {
        let mut client = Command::new(self.folder().join("bin/docker"));
        client.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_API_VERSION");
        client.env("DOCKER_HOST", format!("unix://{}", self.socket().display())).env("DOCKER_CONFIG", config);
        client.stdin(Stdio::null());
        client
    }

    /// Ends its process as a crash does. What it had stays, and [`Engine::go_on`] starts it again.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn halt(&self) {
        run("engine", ["halt"].as_ref(), self.folder(), None);
    }

    /// Starts it again after [`Engine::halt`], with what it had.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn go_on(&self) {
        run("engine", ["go-on"].as_ref(), self.folder(), None);
    }

    /// Ends it, and says if something of it could not be taken away; dropping it does the same.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        down("engine", self.folder());
    }
}

/// A registry on loopback that asks for a password. Engines reach it without TLS.
#[derive(Debug)]
pub struct Registry {
    folder: TempDir,
    address: String,
    user: String,
    password: String,
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started, with what the script says.
    #[track_caller]
    pub fn start() -> Self {
        let folder = folder("fl-registry");
        run("registry", ["up"].as_ref(), folder.path(), Some(std::process::id()));
        let read = |name| {
            fs::read_to_string(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let (address, user, password) = (read("address"), read("user"), read("password"));
        Self { folder, address, user, password }
    }

    /// The one of this process, started when it is first asked for: for tests that give what they push names of their own.
    ///
    /// # Panics
    /// As [`Registry::start`].
    #[track_caller]
    pub fn shared() -> &'static Self {
        static REGISTRY: Shared<Registry> = Shared::new();
        REGISTRY.get(Self::start)
    }

    /// Where all that it has is kept, with its log as `registry.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `127.0.0.1:PORT`, as in the name of an image.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port alone.
    ///
    /// # Panics
    /// Never: the script writes one.
    pub fn port(&self) -> u16 {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {}", self.address))
    }

    /// Who may do everything.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its password: every printable character of ASCII that is no letter, and letters; 72 bytes.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Lets another user in, who may do everything too. A password that is longer than 72 bytes is refused.
    ///
    /// # Panics
    /// If that cannot be done, with what the script says.
    #[track_caller]
    pub fn admit(&self, user: &str, password: &str) {
        let mut command = command("registry");
        command.arg("account").arg(self.folder()).arg(user).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the script");
        let written = child.stdin.take().expect("a pipe").write_all(password.as_bytes());
        let output = child.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(written.is_ok() && output.status.success(), "tests/components/registry account:\n{said}");
    }

    /// Ends its process as a crash does. What it had stays, and [`Registry::go_on`] starts it again.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn halt(&self) {
        run("registry", ["halt"].as_ref(), self.folder(), None);
    }

    /// Starts it again after [`Registry::halt`], at the same address, with what it had.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn go_on(&self) {
        run("registry", ["go-on"].as_ref(), self.folder(), None);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        down("registry", self.folder());
    }
}

/// A server that validates requests against GitHub's own description of its API, and answers by it. It keeps no state.
#[derive(Debug)]
pub struct Description {
    folder: TempDir,
    address: String,
}

impl Description {
    /// The one of this process, started when it is first asked for.
    ///
    /// # Panics
    /// If it cannot be started, with what the script says.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static DESCRIPTION: Shared<Description> = Shared::new();
        DESCRIPTION.get(|| {
            let folder = folder("fl-github");
            run("github", ["up"].as_ref(), folder.path(), Some(std::process::id()));
            let address = fs::read_to_string(folder.path().join("address")).expect("its address");
            Self { folder, address }
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The description itself, an OpenAPI document.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn document(&self) -> serde_json::Value {
        let text = fs::read(self.folder.path().join("description.json")).expect("the description");
        serde_json::from_slice(&text).expect("a document")
    }
}

/// A host with an SSH server, an address and processes of its own. Its files are this machine's.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
}

impl Host {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started, with what the script says.
    #[track_caller]
    pub fn start() -> Self {
        let folder = folder("fl-host");
        run("host", ["up"].as_ref(), folder.path(), Some(std::process::id()));
        Self { folder }
    }

    /// Where all that it has is kept: the client's `config`, `id` and `known_hosts`, and what it logs as `sshd.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration by which a client reaches it, as root, by the name `host`.
    pub fn config(&self) -> PathBuf {
        self.folder().join("config")
    }

    /// Where users have what is theirs: `root` and `deploy`.
    pub fn homes(&self) -> PathBuf {
        self.folder().join("home")
    }

    /// Its address.
    ///
    /// # Panics
    /// If the script wrote none.
    pub fn address(&self) -> String {
        fs::read_to_string(self.folder().join("address")).expect("its address")
    }

    /// What its SSH server has logged.
    ///
    /// # Panics
    /// If it has no log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("sshd.log")).expect("its log")
    }

    /// How many connections it has let in so far.
    pub fn let_in(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// Cuts its network, both ways, without a word to either side.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn cut(&self) {
        run("host", ["cut"].as_ref(), self.folder(), None);
    }

    /// Joins it again after [`Host::cut`].
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn mend(&self) {
        run("host", ["mend"].as_ref(), self.folder(), None);
    }

    /// Gives it another host key, which nobody knows.
    ///
    /// # Panics
    /// With what the script says.
    #[track_caller]
    pub fn rekey(&self) {
        run("host", ["rekey"].as_ref(), self.folder(), None);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        down("host", self.folder());
    }
}

/// Something that is started at most once in a process, also when the first attempt panics.
struct Shared<T> {
    value: OnceLock<T>,
    starting: Mutex<()>,
}

impl<T> Shared<T> {
    const fn new() -> Self {
        Self { value: OnceLock::new(), starting: Mutex::new(()) }
    }

    fn get(&self, start: impl FnOnce() -> T) -> &T {
        // A test whose start failed tells why; the next one tries again rather than fail for the poison.
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        self.value.get_or_init(start)
    }
}

/// A folder with a short path, because there will be a socket in it.
fn folder(prefix: &str) -> TempDir {
    tempfile::Builder::new().prefix(prefix).rand_bytes(6).tempdir().expect("a folder for a component")
}

fn down(script: &str, folder: &Path) {
    // A test that fails already is to be told of for its own reason.
    if std::thread::panicking() {
        drop(output(script, ["down"].as_ref(), folder, None));
    } else {
        run(script, ["down"].as_ref(), folder, None);
    }
}

#[track_caller]
fn run(script: &str, arguments: &[&str], folder: &Path, owner: Option<u32>) {
    let output = output(script, arguments, folder, owner);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "tests/components/{script} {} ({}):\n{said}",
        arguments[0],
        output.status
    );
}

fn output(script: &str, arguments: &[&str], folder: &Path, owner: Option<u32>) -> std::process::Output {
    let owner = owner.map(|owner| owner.to_string());
    let mut command = command(script);
    command.args(arguments).arg(folder).args(owner.as_ref().map(OsStr::new)).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("tests/components/{script}: {error}"))
}

fn command(script: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("components").join(script))
}

/// One request of HTTP/1.0, whose answer ends with the connection.
pub(crate) fn ask(socket: &Path, path: &str) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no whole answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}
