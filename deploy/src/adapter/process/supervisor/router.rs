//! What the supervisor needs of a router, cut so that it can be tested without one.

use super::super::identity::Process;
use crate::adapter::router::protocol::{Table, UpstreamStats};
use async_trait::async_trait;
use pipeline::name::Name;
use std::{collections::BTreeMap, error::Error, net::TcpListener, path::Path, sync::Arc, time::Duration};

/// Why a router was not heard; only ever shown.
pub(super) type RouterError = Box<dyn Error + Send + Sync>;

/// One router.
#[async_trait]
pub(super) trait Router: Send + Sync {
    /// Replaces the whole table; when this returns, new requests go by it.
    async fn set(&self, table: &Table) -> Result<(), RouterError>;

    /// What was counted: upstream → counts.
    async fn stats(&self) -> Result<BTreeMap<String, UpstreamStats>, RouterError>;

    /// Returns when nothing is in flight on an upstream, or at the deadline.
    async fn idle(&self, upstream: &str, deadline: Duration) -> Result<(), RouterError>;

    /// Gives it the listening socket of a service.
    async fn add_listener(&self, service: &Name, socket: &TcpListener) -> Result<(), RouterError>;

    /// Lets it accept no more connections for a service.
    async fn remove_listener(&self, service: &Name) -> Result<(), RouterError>;

    /// A duplicate of each of its listening sockets.
    async fn take_listeners(&self) -> Result<BTreeMap<Name, TcpListener>, RouterError>;

    /// Tells it to stop accepting and to end when nothing is in flight, at the deadline at the latest.
    async fn retire(&self, deadline: Duration) -> Result<(), RouterError>;
}

/// Where routers come from.
#[async_trait]
pub(super) trait Routers: Send + Sync {
    /// Starts a router with its control socket at `folder`/`socket`. `None`: it has no process of its own.
    async fn start(&self, folder: &Path, socket: &str) -> Result<Option<Process>, RouterError>;

    /// The process that was started with this control socket, if one was and it lives.
    fn find(&self, folder: &Path, socket: &str) -> Option<Process>;

    /// Waits until the router behind a control socket answers, at most `deadline` long.
    async fn connect(
        &self,
        folder: &Path,
        socket: &str,
        deadline: Duration,
    ) -> Result<Arc<dyn Router>, RouterError>;
}
