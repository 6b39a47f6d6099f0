//! The other side of the supervisor's control socket: asks it, starts it, replaces it.

use super::{
    executable,
    folders::Folders,
    logs, procfs,
    protocol::{Hello, Op, PROTOCOL, Reply, Request},
    socket,
    supervisor::{Options, StateError, state::State},
};
use crate::model::Millis;
use pipeline::{crossing, failpoint, name::Name};
use std::{
    fs::File,
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{io::BufReader, time::Instant};

/// How long a supervisor may take to answer after it was started or replaced.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// The pause between two looks at a supervisor that starts.
const START_EVERY: Duration = Duration::from_millis(20);

/// How long a supervisor that ended at once may still turn out to have found another one running.
const ENDED_GRACE: Duration = Duration::from_secs(1);

/// How many supervisors are started before it is told that they do not stay. Two: what kills a second one, as an operator
/// or the lack of memory may have killed the first, is no accident.
const STARTS: u32 = 2;

/// How long an answer may take beyond what the request itself waits for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Variables that a supervisor gets from the command that starts it. Any other may be a secret, and everything in its
/// environment would stay readable there.
const PASSED_VARIABLES: [&str; 3] = ["PATH", "HOME", "RUST_BACKTRACE"];

/// Which supervisor an environment needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The environment's state folder.
    pub state_dir: PathBuf,
    /// The environment.
    pub environment: Name,
    /// The target's name.
    pub target: Name,
    /// The executable that, called with [`super::supervisor::SUBCOMMAND`], is a supervisor. It is copied.
    pub executable: PathBuf,
    /// What the executable is called: letters, digits, `.`, `-` and `_`; different for different executables.
    pub version: String,
}

/// Why a supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None runs.
    #[error("no supervisor runs for `{}`", .folder.display())]
    NotRunning {
        /// Its folder.
        folder: PathBuf,
    },
    /// The connection broke, or what came was not an answer.
    #[error("cannot ask the supervisor in `{}`", .folder.display())]
    Broken {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error(
        "the supervisor in `{}` did not answer within {} s: see its supervisor.log, or end it (its units go on) and try \
         again", .folder.display(), .after.as_secs()
    )]
    TimedOut {
        /// Its folder.
        folder: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// It refused.
    #[error("the supervisor refused: {message}")]
    Refused {
        /// Its own words.
        message: String,
    },
    /// It could not be started.
    #[error("cannot start a supervisor: {what}")]
    Start {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the one before it left cannot be read.
    #[error(transparent)]
    State(StateError),
    /// It ended at once.
    #[error("the supervisor ended right after its start: {}", if .last.is_empty() { "see `supervisor.log`" } else { .last })]
    Ended {
        /// The last lines of its log.
        last: String,
    },
}

/// Asks the supervisor of one environment. Each question is a connection of its own, so that they may go side by side.
#[derive(Debug, Clone)]
pub struct Client {
    folder: PathBuf,
}

impl Client {
    /// The client of a state folder, whether a supervisor runs or not.
    pub fn new(state_dir: &Path) -> io::Result<Self> {
        Ok(Self { folder: Folders::new(state_dir)?.supervisor() })
    }

    /// Who is it? `None` if none runs.
    ///
    /// # Errors
    /// When one runs and does not answer as it should.
    pub async fn hello(&self) -> Result<Option<Hello>, ClientError> {
        match self.ask(0, Op::Hello, START_DEADLINE / 2).await {
            Ok(Reply::Hello(hello)) => Ok(Some(hello)),
            Ok(other) => Err(self.broken(unexpected(&other))),
            Err(ClientError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for something and waits for the answer as long as the request may take.
    ///
    /// # Errors
    /// When there is no answer. A refusal is an answer.
    pub async fn call(&self, generation: u64, op: Op) -> Result<Reply, ClientError> {
        let takes = match &op {
            Op::Watch { timeout: span, .. }
            | Op::Drain { deadline: span, .. }
            | Op::Stop { grace: span, .. }
            | Op::Migrate { timeout: span, .. }
            | Op::Shutdown { grace: span } => Duration::from_millis(*span),
            _ => Duration::ZERO,
        };
        self.ask(generation, op, takes + ANSWER_DEADLINE).await
    }

    async fn ask(&self, generation: u64, op: Op, deadline: Duration) -> Result<Reply, ClientError> {
        let request = Request { protocol: PROTOCOL, generation, op };
        match tokio::time::timeout(deadline, self.exchange(&request)).await {
            Ok(reply) => reply,
            Err(_) => Err(ClientError::TimedOut { folder: self.folder.clone(), after: deadline }),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Reply, ClientError> {
        let stream =
            socket::connect(&self.folder, socket::CONTROL).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { folder: self.folder.clone() }
                }
                _ => self.broken(error),
            })?;
        let (reader, mut writer) = stream.into_split();
        let exchange = async {
            socket::write_document(&mut writer, request).await?;
            let reply = socket::read_document(&mut BufReader::new(reader)).await?;
            reply.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        exchange.await.map_err(|error| self.broken(error))
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { folder: self.folder.clone(), source }
    }
}

/// Makes sure that a supervisor of this version runs: starts one, or lets the one that runs become it.
///
/// # Errors
/// See [`ClientError`].
pub async fn ensure(launch: &Launch) -> Result<Client, ClientError> {
    let start_error = |what: &str, source| ClientError::Start { what: what.to_owned(), source };
    check_version(&launch.version).map_err(|e| start_error("its version cannot be a file name", e))?;
    let folders =
        Folders::new(&launch.state_dir).map_err(|e| start_error("there is no working directory", e))?;
    let client = Client { folder: folders.supervisor() };
    let until = Instant::now() + START_DEADLINE;
    let (mut child, mut starts, mut has_handed_over) = (None, 0, false);
    loop {
        match client.hello().await {
            Ok(Some(hello)) if hello.version == launch.version => {
                if let Some(child) = child.as_mut().filter(|child: &&mut Child| child.id() != hello.pid) {
                    has_given_way(child, until).await;
                }
                return Ok(client);
            }
            Ok(Some(_)) if !has_handed_over => {
                hand_over(&client, &folders, launch).await?;
                has_handed_over = true;
            }
            Ok(None) if child.is_none() && !has_handed_over => {
                child = Some(start(&folders, launch)?);
                starts += 1;
            }
            // Between two images, or about to be ready.
            Ok(_) | Err(ClientError::Broken { .. }) => {}
            Err(error) => return Err(error),
        }
        if starts < STARTS && child.as_mut().is_some_and(is_killed) {
            child = None;
        }
        if let Some(child) = &mut child {
            look_after(child, &client, launch, &folders).await?;
        }
        if Instant::now() > until {
            return Err(ClientError::TimedOut { folder: client.folder, after: START_DEADLINE });
        }
        tokio::time::sleep(START_EVERY).await;
    }
}

/// Stops every unit, the router and the supervisor of an environment; ledger and bundles stay. If the supervisor was
/// killed and left something running, another one is started to end it. Returns whether anything ran.
///
/// # Errors
/// See [`ClientError`]; what could not be stopped is named.
pub async fn take_down(launch: &Launch, grace: Millis) -> Result<bool, ClientError> {
    if shutdown(&launch.state_dir, grace).await? {
        return Ok(true);
    }
    if !is_orphaned(launch)? {
        return Ok(false);
    }
    ensure(launch).await?;
    shutdown(&launch.state_dir, grace).await
}

/// Whether units or routers on record run, or may run, although there is no supervisor.
fn is_orphaned(launch: &Launch) -> Result<bool, ClientError> {
    let start_error = |what: &str| {
        let what = what.to_owned();
        move |source| ClientError::Start { what, source }
    };
    let folders = Folders::new(&launch.state_dir).map_err(start_error("there is no working directory"))?;
    let state = State::read(&folders).map_err(ClientError::State)?;
    let boot_id = procfs::boot_id().map_err(start_error("this run of the machine cannot be told"))?;
    let state = state.after_boot(&boot_id);
    Ok(state.is_unsure() || state.processes().any(|process| process.is_alive()))
}

/// Stops every unit, the router and the supervisor of an environment; ledger and bundles stay. Returns whether there
/// was one.
///
/// # Errors
/// See [`ClientError`]; what could not be stopped is named.
pub async fn shutdown(state_dir: &Path, grace: Millis) -> Result<bool, ClientError> {
    let folders = Folders::new(state_dir)
        .map_err(|source| ClientError::Start { what: "there is no working directory".to_owned(), source })?;
    let client = Client { folder: folders.supervisor() };
    if client.hello().await?.is_none() {
        return Ok(false);
    }
    let generation = match client.call(0, Op::Observe).await? {
        Reply::Seen(seen) => seen.generation,
        other => return Err(refused(&client, other)),
    };
    match client.call(generation, Op::Shutdown { grace }).await? {
        Reply::Done => {}
        other => return Err(refused(&client, other)),
    }
    let until = Instant::now() + START_DEADLINE;
    while client.hello().await.is_ok_and(|hello| hello.is_some()) {
        if Instant::now() > until {
            return Err(ClientError::TimedOut { folder: client.folder, after: START_DEADLINE });
        }
        tokio::time::sleep(START_EVERY).await;
    }
    Ok(true)
}

/// Lets the supervisor that runs become the executable of this launch.
async fn hand_over(client: &Client, folders: &Folders, launch: &Launch) -> Result<(), ClientError> {
    let executable = executable::copy(folders, launch)?;
    let op = Op::HandOver { executable, version: launch.version.clone() };
    match client.call(0, op).await? {
        Reply::Done => Ok(()),
        other => Err(refused(client, other)),
    }
}

/// Starts a supervisor that outlives this process.
fn start(folders: &Folders, launch: &Launch) -> Result<Child, ClientError> {
    let executable = executable::copy(folders, launch)?;
    let start_error = |what: String| move |source| ClientError::Start { what, source };
    let log_path = folders.supervisor_log();
    let open = || {
        let log = logs::open(&log_path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err): (File, File) = open().map_err(start_error(format!("its log {}", log_path.display())))?;
    let options = Options::new(
        folders.root().to_owned(),
        launch.environment.clone(),
        launch.target.clone(),
        executable.clone(),
        launch.version.clone(),
    );
    let passed = PASSED_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(&executable);
    command.args(options.to_args()).env_clear().envs(passed).current_dir("/");
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    command.envs(failpoint::handed_on());
    crossing!("supervisor.start.before");
    let child = command.spawn().map_err(start_error(format!("`{}`", executable.display())))?;
    crossing!("supervisor.start.after");
    Ok(child)
}

/// Waits for the end of a supervisor that was started beside another one, at most until then. It ends when it finds the
/// other; if that one was shut down before it has looked, it would serve on where nobody wants it any more.
async fn has_given_way(child: &mut Child, until: Instant) {
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        tokio::time::sleep(START_EVERY).await;
    }
}

/// Whether a signal has ended it: it did not end because of what it found.
fn is_killed(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(status)) if status.signal().is_some())
}

/// Tells early when a supervisor ended at its start, unless it ended because another one runs.
async fn look_after(
    child: &mut Child,
    client: &Client,
    launch: &Launch,
    folders: &Folders,
) -> Result<(), ClientError> {
    if !matches!(child.try_wait(), Ok(Some(_))) {
        return Ok(());
    }
    let until = Instant::now() + ENDED_GRACE;
    while Instant::now() < until {
        if client.hello().await?.is_some_and(|hello| hello.version == launch.version) {
            return Ok(());
        }
        tokio::time::sleep(START_EVERY).await;
    }
    let lines = logs::tail(&folders.supervisor_log(), 5).unwrap_or_default();
    Err(ClientError::Ended { last: lines.join(" | ") })
}

fn check_version(version: &str) -> io::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !version.is_empty() && version.len() <= 100 && version.chars().all(is_plain) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{version}`")))
}

fn refused(client: &Client, reply: Reply) -> ClientError {
    match reply {
        Reply::Failed(failed) => ClientError::Refused { message: failed.message },
        Reply::Fenced { generation } => {
            ClientError::Refused { message: format!("a rollout (generation {generation}) has taken over") }
        }
        other => client.broken(unexpected(&other)),
    }
}

pub(super) fn unexpected(reply: &Reply) -> io::Error {
    let what = match reply {
        Reply::WrongProtocol { protocol } => format!("it speaks protocol {protocol}, not {PROTOCOL}"),
        _ => "it answered something else than was asked".to_owned(),
    };
    io::Error::new(io::ErrorKind::InvalidData, what)
}
