//! Routers as processes of their own: `EXECUTABLE __router --control SOCKET --version VERSION`.

use super::{
    super::{identity::Process, logs, procfs},
    Options,
    router::{Router, RouterError, Routers},
};
use crate::adapter::router::{
    RouterClient,
    protocol::{Table, UpstreamStats},
};
use async_trait::async_trait;
use pipeline::{crossing, name::Name};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::TcpListener,
    os::fd::AsRawFd,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// The hidden subcommand under which an executable must call [`crate::adapter::router::serve`].
pub const ROUTER_SUBCOMMAND: &str = "__router";

/// Starts routers of the supervisor's own executable.
pub(super) struct ProcessRouters {
    executable: PathBuf,
    version: String,
    log: PathBuf,
}

impl ProcessRouters {
    /// Routers that tell what they have to tell in the supervisor's log.
    pub(super) fn new(options: &Options, log: PathBuf) -> Self {
        Self { executable: options.executable.clone(), version: options.version.clone(), log }
    }
}

#[async_trait]
impl Routers for ProcessRouters {
    async fn start(&self, folder: &Path, socket: &str) -> Result<Option<Process>, RouterError> {
        let log = logs::open(&self.log)?;
        let mut command = Command::new(&self.executable);
        // Its socket is named relative to its working directory, because a long path would not fit.
        command
            .args([ROUTER_SUBCOMMAND, "--control", socket, "--version", &self.version])
            .current_dir(folder);
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        crossing!("router.launch.before");
        let pid = command.spawn()?.id();
        crossing!("router.launch.after");
        let ended = || io::Error::other("the router ended right after its start: see supervisor.log");
        Ok(Some(Process::of(pid).ok_or_else(ended)?))
    }

    fn find(&self, folder: &Path, socket: &str) -> Option<Process> {
        let is_it =
            |pid: &u32| [ROUTER_SUBCOMMAND, socket].iter().all(|part| procfs::has_argument(*pid, part));
        procfs::processes_under(folder).into_iter().find(is_it).and_then(Process::of)
    }

    async fn connect(
        &self,
        folder: &Path,
        socket: &str,
        deadline: Duration,
    ) -> Result<Arc<dyn Router>, RouterError> {
        let folder = File::open(folder)?;
        let control = PathBuf::from(format!("/proc/self/fd/{}/{socket}", folder.as_raw_fd()));
        let (client, _) = RouterClient::connect(&control, deadline).await?;
        Ok(Arc::new(RouterProcess { client, _folder: folder }))
    }
}

/// A router behind its control socket.
struct RouterProcess {
    client: RouterClient,
    /// The socket's path leads through this open file.
    _folder: File,
}

#[async_trait]
impl Router for RouterProcess {
    async fn set(&self, table: &Table) -> Result<(), RouterError> {
        Ok(self.client.set(table.clone()).await?)
    }

    async fn stats(&self) -> Result<BTreeMap<String, UpstreamStats>, RouterError> {
        Ok(self.client.stats().await?)
    }

    async fn idle(&self, upstream: &str, deadline: Duration) -> Result<(), RouterError> {
        self.client.idle(upstream, deadline).await?;
        Ok(())
    }

    async fn add_listener(&self, service: &Name, socket: &TcpListener) -> Result<(), RouterError> {
        Ok(self.client.add_listener(service, socket).await?)
    }

    async fn remove_listener(&self, service: &Name) -> Result<(), RouterError> {
        Ok(self.client.remove_listener(service).await?)
    }

    async fn take_listeners(&self) -> Result<BTreeMap<Name, TcpListener>, RouterError> {
        Ok(self.client.take_listeners().await?)
    }

    async fn retire(&self, deadline: Duration) -> Result<(), RouterError> {
        Ok(self.client.retire(deadline).await?)
    }
}
