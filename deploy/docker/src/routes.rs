//! Traffic: what the target needs of whatever holds the stable ports.

use async_trait::async_trait;
use deploy::{adapter::router::protocol::UpstreamStats, model::UnitId};
use pipeline::name::Name;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// All that is routed: service → its stable port and the units behind it.
pub type Table = BTreeMap<Name, Route>;

/// The traffic of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The stable port.
    pub address: SocketAddr,
    /// The path that may be asked of a unit to see whether it lives, if it speaks HTTP.
    pub health_path: Option<String>,
    /// Units that run: where they are published on the engine's machine, and their share; 0 = no new requests.
    pub units: BTreeMap<UnitId, (SocketAddr, u16)>,
}

/// Why traffic is not routed as it should be.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// A stable port is held by something else.
    #[error("port {} of {service} is held by something else: end that, or give the service another port", .address.port())]
    Taken {
        /// Whose port.
        service: Name,
        /// Which.
        address: SocketAddr,
    },
    /// Whatever holds the ports was not heard, or refused.
    #[error("cannot {operation}")]
    Failed {
        /// What was to be done.
        operation: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whatever holds the stable ports of an engine's services and shares their traffic among the units: a router on this
/// machine for an engine on this machine, one in a container for an engine elsewhere.
#[async_trait]
pub trait Routes: Send + Sync {
    /// Holds these ports and no others, and routes by this table; when it returns, new requests go by it. Idempotent. What
    /// fails leaves the table as it was.
    async fn apply(&self, table: &Table) -> Result<(), RoutesError>;

    /// What was counted, by unit; `None`: nothing holds the ports now, so no unit has traffic.
    async fn counts(&self) -> Option<BTreeMap<String, UpstreamStats>>;

    /// Waits until nothing is in flight on a unit, at most this long; returns how much still is.
    async fn idle(&self, unit: &UnitId, deadline: Duration) -> Result<u32, RoutesError>;
}
