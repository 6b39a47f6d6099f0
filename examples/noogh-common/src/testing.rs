//! Services under test: started by the test on a free port, or deployed somewhere already.

use crate::client::{Client, TestError};
use serde_json::Value;
use std::{
    env,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

/// How long a test waits for a log line or the end of a process.
const DEADLINE: Duration = Duration::from_secs(10);

/// The release that a service under test is told to be.
pub const RELEASE: &str = "release-under-test";

/// The bundle that a service under test is told to be.
pub const BUNDLE: &str = "bundle-under-test";

/// What a smoke test asks: a deployed service, or one that ends with the test.
#[derive(Debug)]
pub struct Subject {
    /// Asks it.
    pub client: Client,
    /// The release that it must be, if the test can know.
    pub release: Option<String>,
    _process: Option<Process>,
}

impl Subject {
    /// The service at the address in `url_variable`, or, if that is not set, a new process of `executable`.
    ///
    /// A deployed service is checked against `FAIRLEAD_RELEASE`, if that is set.
    ///
    /// # Errors
    /// If the address is none, or the process does not start.
    pub async fn find(url_variable: &str, executable: &str, prefix: &str) -> Result<Self, TestError> {
        if let Ok(url) = env::var(url_variable) {
            let release = env::var("FAIRLEAD_RELEASE").ok();
            return Ok(Self { client: Client::new(&url)?, release, _process: None });
        }
        let process = Process::start(executable, prefix, &[])?;
        let client = process.client().await?;
        Ok(Self { client, release: Some(RELEASE.to_owned()), _process: Some(process) })
    }
}

/// A process of a service; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    lines: watch::Receiver<usize>,
}

impl Process {
    /// Starts `executable` on a free port of this machine, with these variables and no others of the test's own;
    /// `prefix` is that of its variables, such as `API`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(executable: &str, prefix: &str, variables: &[(&str, &str)]) -> Result<Self, TestError> {
        let mut child = Command::new(executable)
            .env_clear()
            .env(format!("{prefix}_HOST"), "127.0.0.1")
            .env(format!("{prefix}_PORT"), "0")
            .env("FAIRLEAD_RELEASE", RELEASE)
            .env("FAIRLEAD_BUNDLE", BUNDLE)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = Arc::new(Mutex::default());
        let (counter, lines) = watch::channel(0);
        let stderr = child.stderr.take().ok_or("the process has no standard error")?;
        tokio::spawn(keep(BufReader::new(stderr), Arc::clone(&log), counter));
        Ok(Self { child, log, lines })
    }

    /// The lines that it has logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a log line with this message.
    ///
    /// # Errors
    /// If the process ends without it, or the deadline passes; with everything that was logged.
    pub async fn logged(&self, message: &str) -> Result<Value, TestError> {
        let find = || {
            let lines = self.log();
            lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line: &Value| line["message"] == message)
        };
        let mut lines = self.lines.clone();
        let wait = async {
            loop {
                lines.mark_unchanged();
                match find() {
                    Some(line) => return Some(line),
                    None if lines.changed().await.is_err() => return find(),
                    None => {}
                }
            }
        };
        let line = timeout(DEADLINE, wait).await.ok().flatten();
        line.ok_or_else(|| format!("no line `{message}` in the log: {:#?}", self.log()).into())
    }

    /// A client for it, once it listens.
    ///
    /// # Errors
    /// If it does not come to listen.
    pub async fn client(&self) -> Result<Client, TestError> {
        let line = self.logged("listening").await?;
        Client::new(&format!("http://{}", line["address"].as_str().unwrap_or_default()))
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub async fn signal(&self, name: &str) -> Result<(), TestError> {
        let id = self.child.id().ok_or("the process has ended")?.to_string();
        // The shell's own `kill`: not every machine has a program of that name.
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().await?;
        if status.success() { Ok(()) } else { Err(format!("cannot send {name}: {status}").into()) }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within the deadline.
    pub async fn ended(&mut self) -> Result<ExitStatus, TestError> {
        let status = timeout(DEADLINE, self.child.wait()).await.map_err(|_| "the process does not end")??;
        // All that it logged is there once the other end of the pipe is closed.
        let _ = timeout(DEADLINE, self.lines.wait_for(|_| false)).await;
        Ok(status)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn runs(&mut self) -> Result<bool, TestError> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

async fn keep(
    stderr: BufReader<tokio::process::ChildStderr>,
    log: Arc<Mutex<Vec<String>>>,
    counter: watch::Sender<usize>,
) {
    let mut lines = stderr.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        counter.send_modify(|count| *count += 1);
    }
}
