//! Commands: an argument list in a process group of its own, which never outlives the look that started it.

use super::http::BODY_MAX_BYTES;
use crate::{check::Answer, model::UnitFacts};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// How long output that is already written may take to arrive after the command has ended.
const LINGER: Duration = Duration::from_millis(200);

/// Which of a command's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Runs a probe command and leaves the first bytes of its output in `seen`.
pub(super) async fn probe(
    argv: &[String],
    unit: &UnitFacts,
    address: SocketAddr,
    seen: &mut Vec<u8>,
) -> Answer {
    let env = BTreeMap::from([
        ("FAIRLEAD_UNIT_ADDRESS".to_owned(), address.to_string()),
        ("FAIRLEAD_UNIT_HOST".to_owned(), address.ip().to_string()),
        ("FAIRLEAD_UNIT_PORT".to_owned(), address.port().to_string()),
        ("FAIRLEAD_UNIT".to_owned(), unit.unit.to_string()),
        ("FAIRLEAD_RELEASE".to_owned(), unit.release.clone()),
        ("FAIRLEAD_BUNDLE".to_owned(), unit.unit.bundle.to_string()),
    ]);
    let keep = |_, bytes: &[u8]| {
        let room = BODY_MAX_BYTES - seen.len();
        seen.extend_from_slice(&bytes[..room.min(bytes.len())]);
    };
    match run(argv, &env, keep).await {
        Ok(status) if status.success() => Answer::Pass,
        Ok(status) => Answer::CommandFailed(code(status)),
        Err(error) => Answer::ProviderError(cannot_run(argv, &error)),
    }
}

/// Runs a command until it ends; its output goes to `sink` as it comes. Its process group is killed when this is
/// dropped before, or when it leaves processes behind that hold its output open.
///
/// # Errors
/// It could not be started, or not be waited for.
pub(super) async fn run(
    argv: &[String],
    env: &BTreeMap<String, String>,
    sink: impl FnMut(Stream, &[u8]),
) -> io::Result<ExitStatus> {
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(args)
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut group = Group::of(&child);
    let out = child.stdout.take().expect("standard output is piped");
    let err = child.stderr.take().expect("standard error is piped");
    let mut output = std::pin::pin!(copy(out, err, sink));
    let mut drained = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = &mut output, if !drained => drained = true,
        }
    };
    if !drained && tokio::time::timeout(LINGER, &mut output).await.is_err() {
        // Something that it started still holds its output, so the group still exists.
        group.kill();
    }
    group.forget();
    Ok(status)
}

/// A status as a shell would give it: the exit code, or 128 and the signal.
pub(super) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Why a command could not be run, for people.
pub(super) fn cannot_run(argv: &[String], error: &io::Error) -> String {
    match argv.first() {
        Some(program) => format!("cannot run `{program}`: {error}"),
        None => "cannot run a command that is empty".to_owned(),
    }
}

/// The process group of a command; killed when it is dropped.
struct Group(Option<Pid>);

impl Group {
    /// The group that `child` leads.
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            // That it is gone already is as good.
            let _gone = killpg(leader, Signal::SIGKILL);
        }
    }

    /// Its number may be given to another group from now on.
    fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Hands both streams to `sink` as they come, until both end.
async fn copy(
    mut out: impl AsyncRead + Unpin,
    mut err: impl AsyncRead + Unpin,
    mut sink: impl FnMut(Stream, &[u8]),
) {
    let (mut out_bytes, mut err_bytes) = ([0; 8192], [0; 8192]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let (stream, count) = tokio::select! {
            count = out.read(&mut out_bytes), if out_open => (Stream::Out, count.unwrap_or(0)),
            count = err.read(&mut err_bytes), if err_open => (Stream::Err, count.unwrap_or(0)),
        };
        match stream {
            Stream::Out => out_open = count > 0,
            Stream::Err => err_open = count > 0,
        }
        let bytes = if stream == Stream::Out { &out_bytes } else { &err_bytes };
        sink(stream, &bytes[..count]);
    }
}
