//! Commands: lists of words.

use super::{Failure, Host, HostError};
use openssh::{Child, Stdio};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// How much is kept of what a command writes on either of its outputs, in bytes; the rest is read and forgotten. Enough for
/// any list that we ask for, and little beside what a hundred hosts may have to say.
pub const OUTPUT_MAX: usize = 1 << 20;

/// How long a command that was told to end has for it before it is killed there, in seconds.
const KILL_SECONDS: u64 = 5;

/// How much longer than there a command is waited for here: what ends it there may itself be slow to be heard of.
const GRACE: Duration = Duration::from_secs(KILL_SECONDS + 5);

/// What ends a command there when its time is over.
const WATCH: &str = "timeout";

/// The code by which `timeout` says that it ended the command.
const TIMED_OUT: i32 = 124;

/// The code by which it says that it had to kill it; also that of a command that somebody else killed.
const KILLED: i32 = 137;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// What it wrote, up to [`OUTPUT_MAX`].
    pub stdout: Vec<u8>,
    /// What it complained of, up to [`OUTPUT_MAX`].
    pub stderr: Vec<u8>,
}

impl Answer {
    /// Whether it ended well.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

impl Host {
    /// Runs a program with these words, and writes `input` to it. After `limit` it is ended, there as well. What is secret
    /// goes into `input`, for words are seen in the list of processes.
    ///
    /// That a command ends with another code than 0 is an answer, not an error.
    ///
    /// # Errors
    /// There is no such program, it did not end in time, or the connection was lost: then it may have done its work or not.
    /// A program that a signal ends cannot be told from the last.
    pub async fn run(
        &self,
        program: &str,
        words: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Answer, HostError> {
        let running = async {
            // Its time begins when it does.
            let turn = async { Ok(self.commands.acquire().await.expect("it is never closed")) };
            let _turn = self.or_lost(turn).await?;
            let running = self.or_lost(self.run_within(program, words, input, limit));
            timeout(limit + GRACE, running).await.unwrap_or(Err(Failure::Deadline { limit }))
        };
        running.await.map_err(|failure| self.error(format!("`{program}`"), failure))
    }

    async fn run_within(
        &self,
        program: &str,
        words: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        // Whoever lets go of a command here does not end it there.
        let mut command = self.session.command(WATCH);
        command.arg(format!("--kill-after={KILL_SECONDS}")).arg(format!("{:.3}", limit.as_secs_f64()));
        command.arg(program).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().await.map_err(|error| self.failure(error))?;
        let (stdout, stderr) = talk(&mut child, input).await;
        let status = match child.wait().await {
            // A code that is taken for an error on the way.
            Err(openssh::Error::Remote(_)) => return Err(missing(program, &stderr)),
            status => status.map_err(|error| self.failure(error))?,
        };
        match status.code() {
            // A command may have one of these codes of its own accord.
            Some(TIMED_OUT | KILLED) if begun.elapsed() >= limit => Err(Failure::Deadline { limit }),
            Some(code) => Ok(Answer { code, stdout, stderr }),
            None => Err(Failure::Lost),
        }
    }
}

/// Which program is not there: what `timeout` could not run, or `timeout` itself, of which the shell says so.
fn missing(program: &str, stderr: &[u8]) -> Failure {
    let said = String::from_utf8_lossy(stderr);
    let is_told = ["failed to run command", "can't execute"].into_iter().any(|words| said.contains(words));
    Failure::NoProgram { program: if is_told { program } else { WATCH }.to_owned() }
}

/// Writes and reads, side by side, so that neither waits for the other.
async fn talk<S>(child: &mut Child<S>, input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not want it all has its reasons, and says how it ended.
            drop(stdin.write_all(input).await);
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout), read(stderr));
    (stdout, stderr)
}

/// Reads to the end and keeps the beginning. What breaks off is told by how the command ends.
async fn read(source: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut source) = source else { return Vec::new() };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        let room = OUTPUT_MAX - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    kept
}
