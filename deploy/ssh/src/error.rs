//! What goes wrong between this machine and a host.

use super::HostAddress;
use std::{path::PathBuf, time::Duration};

/// What failed, on which host, and why.
#[derive(Debug, thiserror::Error)]
#[error("{doing} on `{host}` failed: {failure}")]
pub struct HostError {
    /// The host.
    pub host: HostAddress,
    /// What was being done, as the beginning of a sentence.
    pub doing: String,
    /// Why.
    #[source]
    pub failure: Failure,
}

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody here has ever said whose key that is.
    #[error(
        "its host key is not known here; hold `ssh-keyscan {host} | ssh-keygen -lf -` against what the host itself says \
         (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then add the key to the known hosts"
    )]
    UnknownKey {
        /// What the host is called.
        host: String,
    },
    /// It shows another key than the one that is known.
    #[error(
        "its host key is not the one that is known here: the host was set up anew, or somebody else answers in its place; if \
         it was set up anew, remove the old key by `ssh-keygen -R {host}`, and add the new one"
    )]
    ChangedKey {
        /// What the host is called.
        host: String,
    },
    /// It knows none of our keys.
    #[error("it lets nobody in with the keys that were offered; try `ssh {host} true` (it said: {said})")]
    Denied {
        /// As `ssh` is to be called.
        host: HostAddress,
        /// Its words.
        said: String,
    },
    /// Nobody knows its name.
    #[error("nobody knows where it is ({said}); is its name right, and is it in the configuration of `ssh`?")]
    Unresolved {
        /// What `ssh` said.
        said: String,
    },
    /// Nobody answers there.
    #[error("it cannot be reached ({said}); is it up, and is the port right?")]
    Unreachable {
        /// What `ssh` said.
        said: String,
    },
    /// It refuses further connections for now.
    #[error(
        "it closed the connection before it said who it is, also when asked again ({said}): it has too many, see `MaxStartups` \
         in its configuration, or nothing there speaks SSH"
    )]
    Crowded {
        /// What `ssh` said.
        said: String,
    },
    /// `ssh` itself does not work.
    #[error("`ssh` failed: {said}")]
    Client {
        /// What it said, or why it cannot be run.
        said: String,
    },
    /// The connection has ended. What was under way may have happened or not.
    #[error("the connection was lost; whether it was done is not known and must be looked at again")]
    Lost,
    /// A command took too long, and was ended there.
    #[error("it did not end within {} s", limit.as_secs_f64())]
    Deadline {
        /// How long it might have taken.
        limit: Duration,
    },
    /// There is no such program there.
    #[error("there is no program `{program}` on the host")]
    NoProgram {
        /// Its name.
        program: String,
    },
    /// A word that no command can have.
    #[error("a word of the command has a zero byte in it")]
    ZeroByte,
    /// A file.
    #[error("`{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: openssh_sftp_client::Error,
    },
    /// A file is larger than what is read.
    #[error("`{}` has more than {max} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// What is read at most.
        max: u64,
    },
    /// The host cannot say that a file is on its disk.
    #[error(
        "its SFTP server has no `{what}`, without which a file might be lost in a crash; OpenSSH's has it"
    )]
    NoExtension {
        /// The extension.
        what: &'static str,
    },
    /// This machine.
    #[error("this machine: {0}")]
    Local(#[source] std::io::Error),
}

impl Failure {
    /// Whether it may go well another time without anybody doing something.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Crowded { .. } | Self::Lost | Self::Deadline { .. })
    }

    /// What `ssh` means by its words, when it could not connect.
    pub(crate) fn of_words(words: &str, host: &HostAddress) -> Self {
        let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = || lines.last().copied().unwrap_or("it said nothing").to_owned();
        let has = |part: &str| lines.iter().any(|line| line.contains(part));
        let named = || {
            let name = host.host();
            host.port().filter(|port| *port != 22).map_or(name.to_owned(), |port| format!("[{name}]:{port}"))
        };
        if has("IDENTIFICATION HAS CHANGED") || has("host key for") && has("has changed") {
            Self::ChangedKey { host: named() }
        } else if has("Host key verification failed") || has("host key is known for") {
            Self::UnknownKey { host: named() }
        } else if has("Permission denied (") || has("Too many authentication failures") {
            Self::Denied { host: host.clone(), said: said() }
        } else if has("Could not resolve hostname") {
            Self::Unresolved { said: said() }
        } else if has("kex_exchange_identification") || has("Exceeded MaxStartups") {
            Self::Crowded { said: said() }
        } else if [
            "Connection refused",
            "timed out",
            "No route to host",
            "is unreachable",
            "Connection closed",
            "reset by peer",
        ]
        .into_iter()
        .any(has)
        {
            Self::Unreachable { said: said() }
        } else {
            Self::Client { said: said() }
        }
    }
}
