//! What a target remembers: one document, replaced as a whole.

use deploy::{bundle::BundleHash, ledger::Ledger, model::UnitId};
use pipeline::name::Name;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct State {
    /// The highest generation that acted here.
    pub(crate) generation: u64,
    /// What stands.
    pub(crate) ledger: Ledger,
    /// Stable ports, by service.
    pub(crate) listening: BTreeMap<Name, Listening>,
    /// Bundles that are whole.
    pub(crate) bundles: BTreeMap<BundleHash, Stored>,
    /// What is meant with each unit.
    pub(crate) units: BTreeMap<UnitId, Unit>,
}

/// The stable port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listening {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) health_path: Option<String>,
}

impl Listening {
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// A bundle that the engine holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Stored {
    /// Whose it is.
    pub(crate) service: Name,
    /// The volume with its files.
    pub(crate) volume: String,
    /// The id of its image on this engine.
    pub(crate) image: String,
    /// The user that its containers run as, as the engine takes it.
    pub(crate) user: String,
}

/// What is meant with a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Unit {
    /// The release that it was started with.
    pub(crate) release: String,
    /// Its share of the traffic.
    pub(crate) weight: u16,
    /// Where it is meant to be in its life.
    pub(crate) life: Life,
}

/// Where a unit is meant to be in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Life {
    /// It is being started: there may be no container yet.
    Starting,
    /// Its container was started.
    Running {
        /// Its container.
        container: String,
        /// Milliseconds since the Unix epoch, by the engine's clock.
        started_at: u64,
    },
    /// It was told to stop.
    Stopping,
}

impl State {
    /// Where nothing has happened yet.
    pub(crate) fn empty(environment: Name, target: Name) -> Self {
        Self {
            generation: 0,
            ledger: Ledger::empty(environment, target),
            listening: BTreeMap::new(),
            bundles: BTreeMap::new(),
            units: BTreeMap::new(),
        }
    }

    /// Every bundle that a unit or the ledger needs.
    pub(crate) fn needed(&self) -> BTreeSet<BundleHash> {
        let mut needed = deploy::adapter::process::needed(&self.ledger);
        needed.extend(self.units.keys().map(|unit| unit.bundle));
        needed
    }
}
