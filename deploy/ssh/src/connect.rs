//! Opening connections: a few at a time, and again where a server says that it has too many.

use super::{Failure, Host, HostAddress, HostError};
use openssh::{ControlPersist, KnownHosts, SessionBuilder};
use std::{
    fs::Permissions,
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

/// How connections are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// A configuration of `ssh` instead of the user's own. Jump hosts, keys and known hosts are said there.
    pub config: Option<PathBuf>,
    /// The longest that a connection may take, all attempts together. Ten seconds: a host that takes longer is not well.
    pub connect: Duration,
    /// How often a silent host is asked whether it is still there; after three times without an answer the connection is
    /// lost. In whole seconds, at least one. Five: what is lost is known after 15 s, well before a lease of 60 s ends.
    pub alive: Duration,
    /// How many connections are being made at the same time. Eight: one that is being made is a process that computes, and
    /// the servers of OpenSSH begin to refuse at ten that have not said who they are, which counts where all go through one
    /// jump host.
    pub at_once: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { config: None, connect: Duration::from_secs(10), alive: Duration::from_secs(5), at_once: 8 }
    }
}

/// How long a connection stays open without a channel. As long as we live we keep one; if we are killed, it ends then.
const IDLE_SECONDS: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");

/// The first wait before a server that had too many is asked again. Doubled each time, and up to as much longer, so that
/// those who were refused together do not come back together.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Makes connections.
#[derive(Debug)]
pub struct Connector {
    options: Options,
    /// Where their sockets are, for us alone.
    folder: Arc<TempDir>,
    turns: Semaphore,
}

impl Connector {
    /// One that has made none yet.
    ///
    /// # Errors
    /// No folder for sockets can be made.
    pub fn new(options: Options) -> std::io::Result<Self> {
        // The name is short, because that of a socket may have 107 bytes.
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("fl-ssh").permissions(Permissions::from_mode(0o700)).tempdir()?;
        let turns = Semaphore::new(options.at_once.max(1));
        Ok(Self { options, folder: Arc::new(folder), turns })
    }

    /// Connects.
    ///
    /// # Errors
    /// See [`Failure`]; which of them may pass is said by [`Failure::is_retryable`].
    pub async fn connect(&self, address: &HostAddress) -> Result<Host, HostError> {
        let error = |failure| HostError { host: address.clone(), doing: "connecting".to_owned(), failure };
        let until = Instant::now() + self.options.connect;
        let slow = |_| {
            let said = format!("it did not let us in within {} s", self.options.connect.as_secs_f64());
            error(Failure::Unreachable { said })
        };
        let _turn = timeout_at(until, self.turns.acquire()).await.map_err(slow)?.expect("it is never closed");
        let builder = self.builder(address, until);
        let mut wait = FIRST_WAIT;
        loop {
            let opening = builder.connect_mux(address.host());
            let failure = match timeout_at(until, opening).await.map_err(slow)? {
                Ok(session) => {
                    let keeping = Host::keep(address.clone(), session, self.folder.clone());
                    return timeout_at(until, keeping).await.map_err(slow)?.map_err(error);
                }
                Err(openssh::Error::Connect(why)) => Failure::of_words(&why.to_string(), address),
                Err(openssh::Error::Master(why)) => Failure::Local(why),
                Err(other) => Failure::Client { said: other.to_string() },
            };
            wait = wait.saturating_mul(2);
            let pause = wait / 2 + jitter(wait / 2);
            if !matches!(failure, Failure::Crowded { .. }) || Instant::now() + pause >= until {
                return Err(error(failure));
            }
            sleep(pause).await;
        }
    }

    fn builder(&self, address: &HostAddress, until: Instant) -> SessionBuilder {
        let mut builder = SessionBuilder::default();
        // In whole seconds, and longer than what is left, so that it is this that ends.
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_secs(1);
        builder
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(left)
            .server_alive_interval(self.options.alive.max(Duration::from_secs(1)))
            .control_directory(self.folder.path())
            .control_persist(ControlPersist::IdleFor(IDLE_SECONDS));
        if let Some(config) = &self.options.config {
            builder.config_file(config);
        }
        if let Some(user) = address.user() {
            builder.user(user.to_owned());
        }
        if let Some(port) = address.port() {
            builder.port(port);
        }
        builder
    }
}

/// Up to so long, another each time.
fn jitter(most: Duration) -> Duration {
    // The standard library's own seed is as random as this needs to be.
    let share = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    most.mul_f64(share)
}
