//! A host that is connected.

use super::{Failure, HostAddress, HostError};
use openssh::{ForwardType, Session, Socket, Stdio};
use openssh_sftp_client::Sftp;
use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How many commands run at the same time. A server of OpenSSH lets ten channels be open (`MaxSessions`): one of them we
/// keep, one is for files, and two are left.
const COMMANDS: usize = 6;

/// The longest that a host may take for what is small, while its connection lives: a socket, a name, a folder. As long as
/// an engine may take to begin an answer; a disk that takes longer does not work.
pub const WAIT: Duration = Duration::from_secs(120);

/// A connection to a host. When it is dropped, it ends with all that goes through it.
pub struct Host {
    pub(crate) address: HostAddress,
    pub(crate) session: Arc<Session>,
    pub(crate) commands: Semaphore,
    pub(crate) files: OnceCell<Sftp>,
    folder: Arc<TempDir>,
    sockets: AtomicU64,
    lost: CancellationToken,
    _kept: AbortOnDropHandle<()>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Host {
    /// Keeps a connection open as long as this lives: by a program there that reads until we write no more, whose end is
    /// that of the connection.
    pub(crate) async fn keep(
        address: HostAddress,
        session: Session,
        folder: Arc<TempDir>,
    ) -> Result<Self, Failure> {
        let session = Arc::new(session);
        let mut keeper = session.clone().arc_command("cat");
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().await.map_err(|error| Failure::Client { said: error.to_string() })?;
        let open = keeper.stdin().take();
        let lost = CancellationToken::new();
        let ended = lost.clone();
        let kept = tokio::spawn(async move {
            // How it ends does not matter: it ends of itself in no other way.
            drop(keeper.wait().await);
            drop(open);
            ended.cancel();
        });
        Ok(Self {
            address,
            session,
            commands: Semaphore::new(COMMANDS),
            files: OnceCell::new(),
            folder,
            sockets: AtomicU64::new(0),
            lost,
            _kept: AbortOnDropHandle::new(kept),
        })
    }

    /// Which host.
    pub fn address(&self) -> &HostAddress {
        &self.address
    }

    /// Ends when the connection has.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Whether the connection has ended.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Makes a socket of this machine that leads to one of the host: whoever connects here is connected there. Nobody else
    /// on this machine may. It is there as long as the connection. Whether somebody listens at its other end is known when it
    /// is used.
    ///
    /// # Errors
    /// The connection is lost, the host does not answer for [`WAIT`], or its server does not let sockets be forwarded.
    pub async fn forward(&self, socket: &Path) -> Result<PathBuf, HostError> {
        let name = self.sockets.fetch_add(1, Ordering::Relaxed);
        let begin = self.session.control_socket().parent().unwrap_or(self.folder.path());
        let here = begin.join(format!("s{name}"));
        let asking = self.session.request_port_forward(
            ForwardType::Local,
            Socket::UnixSocket { path: here.clone().into() },
            Socket::UnixSocket { path: socket.to_owned().into() },
        );
        let asking = async { asking.await.map_err(|error| self.failure(error)) };
        self.within(WAIT, &format!("forwarding `{}`", socket.display()), asking).await?;
        Ok(here)
    }

    /// Does something until the connection is lost, and no longer than so.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        doing: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, HostError> {
        let done = timeout(limit, self.or_lost(work)).await.unwrap_or(Err(Failure::Deadline { limit }));
        done.map_err(|failure| self.error(doing.to_owned(), failure))
    }

    /// Does something until the connection is lost.
    pub(crate) async fn or_lost<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            // What has an answer has it, also if the connection has ended since.
            biased;
            done = work => done,
            () = self.lost.cancelled() => Err(Failure::Lost),
        }
    }

    pub(crate) fn error(&self, doing: String, failure: Failure) -> HostError {
        HostError { host: self.address.clone(), doing, failure }
    }

    pub(crate) fn failure(&self, error: openssh::Error) -> Failure {
        match error {
            openssh::Error::Disconnected | openssh::Error::RemoteProcessTerminated => Failure::Lost,
            openssh::Error::InvalidCommand => Failure::ZeroByte,
            _ if self.is_lost() => Failure::Lost,
            openssh::Error::SshMux(source) => Failure::Client { said: source.to_string() },
            other => Failure::Client { said: other.to_string() },
        }
    }
}
