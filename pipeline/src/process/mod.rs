//! Runs programs: never through a shell, never without a deadline, never leaving anything of theirs behind.
//!
//! Each program leads a process group of its own, which is ended as a whole: at the deadline, when the run is
//! cancelled, and when the future is dropped. Every line of output passes the [`Redactor`] before anyone sees it.

mod argv;
mod error;
mod output;

pub use argv::Argv;
pub use error::ProcessError;

use crate::secret::Redactor;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use output::Chunk;
use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How long a program has between SIGTERM and SIGKILL: enough for a compiler or a test to remove its temporary files.
pub const TERM_GRACE: Duration = Duration::from_secs(5);

/// How long output is awaited after a program has ended, when something that it started still holds its output open.
const LINGER: Duration = Duration::from_secs(2);

/// How many of the last lines are kept for error texts.
pub const TAIL_LINES: usize = 40;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a program ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// How long it ran.
    pub duration: Duration,
    /// The last [`TAIL_LINES`] lines of both outputs, as they came; secrets masked.
    pub tail: Vec<String>,
}

impl Finished {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// `exit status 101` or `ended by signal 9 (SIGKILL)`.
    pub fn status_text(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => format!("ended by signal {number} ({signal})"),
                Err(_) => format!("ended by signal {number}"),
            },
            (None, None) => "ended in an unknown way".into(),
        }
    }

    /// Turns any end but exit status 0 into an error.
    ///
    /// # Errors
    /// [`ProcessError::Failed`].
    pub fn check(self, argv: &Argv) -> Result<Self, ProcessError> {
        if self.success() { Ok(self) } else { Err(self.into_error(argv)) }
    }

    /// The error that this end is, if it is not the one that is wanted.
    pub fn into_error(self, argv: &Argv) -> ProcessError {
        ProcessError::Failed { command: argv.to_string(), status: self.status_text(), tail: self.tail }
    }
}

/// What a program wrote to standard output, as bytes.
pub struct Captured {
    /// How it ended; `tail` has the lines of standard error alone.
    pub finished: Finished,
    /// The bytes of standard output, which may be a secret.
    pub stdout: Zeroizing<Vec<u8>>,
}

/// Adds bytes that may be a secret: where the buffer must grow, what is left behind is wiped, which `Vec` by itself does not.
fn extend_wiping(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * buffer.capacity())));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// Runs programs for one run of Fairlead.
#[derive(Debug, Clone, Default)]
pub struct Runner {
    /// Masks secrets in what they write.
    pub redactor: Redactor,
    /// Ends them all when it is cancelled.
    pub cancel: CancellationToken,
}

impl Runner {
    /// Runs a program to its end and hands on each line as it comes. Any exit status is `Ok`; see
    /// [`Finished::check`]. Lines lose their line ending, are decoded as UTF-8 (what is not becomes U+FFFD), and are
    /// cut at 1 MiB.
    ///
    /// # Errors
    /// If it could not be started, ran into `limit`, or was cancelled.
    pub async fn run(
        &self,
        argv: &Argv,
        limit: Duration,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<Finished, ProcessError> {
        let mut tail = Tail::default();
        let mut handle = |chunk| {
            if let Chunk::Line(stream, bytes) = chunk {
                let line = self.redactor.mask_bytes(&bytes);
                on_line(stream, &line);
                tail.push(line);
            }
            ControlFlow::Continue(())
        };
        let ended = self.drive(argv, limit, output::lines, &mut handle).await?;
        ended.finish(argv, limit, tail.into_lines())
    }

    /// Runs a program to its end and returns what it wrote to standard output, unmasked, as bytes.
    ///
    /// # Errors
    /// Those of [`Runner::run`], and if it writes more than `max_bytes`.
    pub async fn capture(
        &self,
        argv: &Argv,
        limit: Duration,
        max_bytes: usize,
    ) -> Result<Captured, ProcessError> {
        let mut stdout = Zeroizing::new(Vec::new());
        let mut tail = Tail::default();
        let mut handle = |chunk: Chunk| {
            match chunk {
                Chunk::Line(_, bytes) => tail.push(self.redactor.mask_bytes(&bytes)),
                Chunk::Bytes(bytes) => extend_wiping(&mut stdout, &bytes),
            }
            if stdout.len() > max_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ended = self.drive(argv, limit, output::bytes, &mut handle).await?;
        if ended.why == Why::TooMuchOutput {
            return Err(ProcessError::TooMuchOutput { command: argv.to_string(), limit: max_bytes });
        }
        Ok(Captured { finished: ended.finish(argv, limit, tail.into_lines())?, stdout })
    }

    /// [`Runner::capture`] for whoever is not asynchronous: the calling thread waits.
    ///
    /// # Errors
    /// Those of [`Runner::capture`].
    pub fn capture_blocking(
        &self,
        argv: &Argv,
        limit: Duration,
        max_bytes: usize,
    ) -> Result<Captured, ProcessError> {
        let start = |source| ProcessError::Start { program: argv.program.display().to_string(), source };
        let capture = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(start)?.block_on(self.capture(argv, limit, max_bytes))
        };
        // In a thread of its own: one that serves a runtime already must not wait for another.
        std::thread::scope(|scope| scope.spawn(capture).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts the program, hands on its output, and ends it if it must be ended.
    async fn drive(
        &self,
        argv: &Argv,
        limit: Duration,
        read_stdout: output::Reader<tokio::process::ChildStdout>,
        handle: &mut (dyn FnMut(Chunk) -> ControlFlow<()> + Send),
    ) -> Result<Ended, ProcessError> {
        let started = Instant::now();
        let (mut child, group) = start(argv)?;
        let (sender, mut chunks) = mpsc::channel(256);
        let mut readers = JoinSet::new(); // Aborts its tasks when it is dropped.
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(read_stdout(stdout, Stream::Stdout, sender.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(output::lines(stderr, Stream::Stderr, sender));
        }
        let (why, status) = self.wait(&mut child, &group, started + limit, &mut chunks, handle).await;
        let drain = async {
            while let Some(chunk) = chunks.recv().await {
                if handle(chunk).is_break() {
                    return if why == Why::Itself { Why::TooMuchOutput } else { why };
                }
            }
            why
        };
        let (why, drained) = match timeout(LINGER, drain).await {
            Ok(why) => (why, true),
            Err(_) => (why, false),
        };
        if drained && why == Why::Itself {
            group.forget();
        } // Otherwise dropping the group ends what is left of it.
        let status = status.map_err(|source| ProcessError::Lost { command: argv.to_string(), source })?;
        Ok(Ended { why, status, duration: started.elapsed() })
    }

    /// Waits for the program's end, which the deadline, a cancellation or too much output bring about: SIGTERM to the
    /// group, SIGKILL after the grace. Output is taken throughout, so that a full pipe cannot keep it from ending.
    async fn wait(
        &self,
        child: &mut Child,
        group: &Group,
        deadline: Instant,
        chunks: &mut mpsc::Receiver<Chunk>,
        handle: &mut (dyn FnMut(Chunk) -> ControlFlow<()> + Send),
    ) -> (Why, io::Result<ExitStatus>) {
        let mut why = Why::Itself;
        let mut timer = deadline;
        let mut open = true;
        loop {
            let ending = tokio::select! {
                status = child.wait() => return (why, status),
                chunk = chunks.recv(), if open => match chunk {
                    None => { open = false; continue }
                    Some(chunk) if why != Why::TooMuchOutput => match handle(chunk) {
                        ControlFlow::Break(()) if why == Why::Itself => Why::TooMuchOutput,
                        _ => continue,
                    },
                    Some(_) => continue,
                },
                () = self.cancel.cancelled(), if why == Why::Itself => Why::Cancelled,
                () = sleep_until(timer) => Why::Deadline,
            };
            if why == Why::Itself {
                why = ending;
                timer = Instant::now() + TERM_GRACE;
                group.signal(Signal::SIGTERM);
            } else {
                timer = Instant::now() + TERM_GRACE;
                group.signal(Signal::SIGKILL);
            }
        }
    }
}

/// Why a program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Itself,
    Deadline,
    Cancelled,
    TooMuchOutput,
}

/// A program that has ended.
struct Ended {
    why: Why,
    status: ExitStatus,
    duration: Duration,
}

impl Ended {
    fn finish(self, argv: &Argv, limit: Duration, tail: Vec<String>) -> Result<Finished, ProcessError> {
        match self.why {
            Why::Deadline => Err(ProcessError::Deadline { command: argv.to_string(), limit, tail }),
            Why::Cancelled => Err(ProcessError::Cancelled { command: argv.to_string() }),
            Why::Itself | Why::TooMuchOutput => {
                let (code, signal) = (self.status.code(), self.status.signal());
                Ok(Finished { code, signal, duration: self.duration, tail })
            }
        }
    }
}

/// Starts a program as the leader of a process group of its own.
fn start(argv: &Argv) -> Result<(Child, Group), ProcessError> {
    let program = argv.program.to_string_lossy().into_owned();
    let mut command = Command::new(&argv.program);
    command.args(&argv.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    if let Some(folder) = &argv.folder {
        if !folder.is_dir() {
            return Err(ProcessError::NoFolder { program, folder: folder.display().to_string() });
        }
        command.current_dir(folder);
    }
    for name in &argv.unset {
        command.env_remove(name);
    }
    command.envs(&argv.set);
    if argv.ends_with_us {
        end_with_us(&mut command);
    }
    let child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ProcessError::NotFound { program },
        _ => ProcessError::Start { program, source },
    })?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    Ok((child, Group { leader }))
}

/// Lets the kernel kill the program when the thread that starts it ends, which in a runtime is when the process does.
#[expect(unsafe_code, reason = "only the child itself can ask for this, between fork and exec")]
fn end_with_us(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have been killed before it was asked for.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor locks.
    unsafe {
        command.pre_exec(ask);
    }
}

/// A process group that is killed when this is dropped, so that no path out of a run leaves anything behind.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // The only errors are that the group is gone, and that we may not: neither leaves anything to do.
            let _ = killpg(leader, signal);
        }
    }

    /// Nothing of it is left: its number may be given to others.
    fn forget(mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The last lines.
#[derive(Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: String) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}

#[cfg(test)]
mod tests;
