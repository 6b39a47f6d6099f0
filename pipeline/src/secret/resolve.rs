//! Fetches the value that a reference names.

use super::{Redactor, Secret, SecretRef};
use crate::process::{Argv, ProcessError, Runner};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long the command of a secret may take: a password manager over a slow network, not a human at a prompt.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Environment variables by name.
pub type Variables = BTreeMap<OsString, OsString>;

/// Why a reference gave no value. None of the texts has a part of a value in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error(
        "the environment variable `{name}` is not set: export it before you run this, or name another source"
    )]
    NotSet {
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the secret from `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command's list is empty.
    #[error("the command of a secret is an empty list: give a program and its arguments")]
    NoCommand,
    /// The command failed.
    #[error("the command of a secret gave no value")]
    Command {
        /// Which command and why; its standard error masked.
        #[source]
        source: ProcessError,
    },
    /// The value is empty.
    #[error("{reference} gave an empty value: an empty secret is nearly always a mistake")]
    Empty {
        /// Where it came from.
        reference: String,
    },
    /// The value is too long.
    #[error("{reference} gave more than {} bytes, the most that a secret may have", Secret::MAX_BYTES)]
    TooLong {
        /// Where it came from.
        reference: String,
    },
}

/// Fetches a secret's value. Relative files and commands start from `root`; commands end at `deadline` and inherit
/// our own environment.
///
/// # Errors
/// See [`SecretError`].
pub async fn resolve(
    reference: &SecretRef,
    root: &Path,
    variables: &Variables,
    deadline: Duration,
    cancel: &CancellationToken,
) -> Result<Secret, SecretError> {
    let value = match reference {
        SecretRef::Env(name) => match variables.get(OsStr::new(name)) {
            Some(value) => Secret::new(value.as_bytes().to_vec()),
            None => return Err(SecretError::NotSet { name: name.clone() }),
        },
        SecretRef::File(path) => read_file(&root.join(path))?,
        SecretRef::Command(list) => run_command(list, root, deadline, cancel).await?,
    };
    if value.expose().is_empty() {
        return Err(SecretError::Empty { reference: reference.to_string() });
    }
    if value.expose().len() > Secret::MAX_BYTES {
        return Err(SecretError::TooLong { reference: reference.to_string() });
    }
    Ok(value)
}

/// Reads at most one byte more than a secret and its newline may have.
fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let read = || {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // All at once, so that growing the buffer leaves no unwiped copies behind.
        let mut value = Vec::with_capacity(Secret::MAX_BYTES + 2);
        file.take(Secret::MAX_BYTES as u64 + 2).read_to_end(&mut value)?;
        Ok(value)
    };
    let value = read().map_err(|source| SecretError::File { path: path.to_owned(), source })?;
    Ok(without_newline(value))
}

async fn run_command(
    list: &[String],
    root: &Path,
    deadline: Duration,
    cancel: &CancellationToken,
) -> Result<Secret, SecretError> {
    let argv = Argv::from_list(list).ok_or(SecretError::NoCommand)?.folder(root);
    let runner = Runner { redactor: Redactor::default(), cancel: cancel.clone() };
    let mut captured = runner
        .capture(&argv, deadline, Secret::MAX_BYTES + 2)
        .await
        .map_err(|source| SecretError::Command { source: without_arguments(source, list) })?;
    let value = without_newline(std::mem::take(&mut *captured.stdout));
    let mut finished = captured.finished;
    if finished.success() {
        return Ok(value);
    }
    let redactor = Redactor::default();
    redactor.learn(&value); // A command that fails late may have told the value on both outputs.
    for line in &mut finished.tail {
        *line = redactor.mask(line).into_owned();
    }
    let source = finished.into_error(&Argv::new(&argv.program));
    Err(SecretError::Command { source })
}

/// Names the program alone: the arguments say which secret, and some tools take a token there.
fn without_arguments(error: ProcessError, list: &[String]) -> ProcessError {
    let program = list.first().cloned().unwrap_or_default();
    match error {
        ProcessError::Deadline { limit, .. } => {
            ProcessError::Deadline { command: program, limit, tail: Vec::new() }
        }
        ProcessError::Cancelled { .. } => ProcessError::Cancelled { command: program },
        ProcessError::TooMuchOutput { limit, .. } => ProcessError::TooMuchOutput { command: program, limit },
        ProcessError::Lost { source, .. } => ProcessError::Lost { command: program, source },
        other => other,
    }
}

/// Drops one trailing newline: editors and commands add it, and it is never part of the value.
fn without_newline(mut value: Vec<u8>) -> Secret {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Secret::new(value)
}
