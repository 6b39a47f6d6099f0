//! Why a program could not be run, or did not end well.

use std::{io, time::Duration};

/// Why a program did not come to an end of its own, or not to a good one.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program.
    #[error("cannot run `{program}`: there is no such program; install it, or add its folder to PATH")]
    NotFound {
        /// As it was asked for.
        program: String,
    },
    /// There is no such folder to run it in.
    #[error("cannot run `{program}` in `{folder}`: there is no such folder")]
    NoFolder {
        /// The program.
        program: String,
        /// The folder.
        folder: String,
    },
    /// The system refused to start it.
    #[error("cannot run `{program}`")]
    Start {
        /// As it was asked for.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with anything but exit status 0.
    #[error("`{command}` failed: {status}{}", quote(.tail))]
    Failed {
        /// The command line, quoted for people.
        command: String,
        /// See [`Finished::status_text`](super::Finished::status_text).
        status: String,
        /// Its last lines; secrets masked.
        tail: Vec<String>,
    },
    /// It ran longer than it may, and was ended.
    #[error("`{command}` was ended after {} s, its time limit{}", .limit.as_secs_f32(), quote(.tail))]
    Deadline {
        /// The command line, quoted for people.
        command: String,
        /// The time that it had.
        limit: Duration,
        /// Its last lines; secrets masked.
        tail: Vec<String>,
    },
    /// The run was cancelled, and it was ended.
    #[error("`{command}` was ended because the run was cancelled")]
    Cancelled {
        /// The command line, quoted for people.
        command: String,
    },
    /// It wrote more than the caller takes, and was ended.
    #[error("`{command}` wrote more than {limit} bytes and was ended")]
    TooMuchOutput {
        /// The command line, quoted for people.
        command: String,
        /// In bytes.
        limit: usize,
    },
    /// The system did not tell how it ended.
    #[error("lost track of `{command}`")]
    Lost {
        /// The command line, quoted for people.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Lines for the end of an error text: the last few, indented.
fn quote(tail: &[String]) -> String {
    const SHOWN: usize = 10;
    let lines = &tail[tail.len().saturating_sub(SHOWN)..];
    lines.iter().map(|line| format!("\n  | {line}")).collect()
}
