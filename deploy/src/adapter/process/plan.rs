//! What the process target must know of a plan.

use super::protocol::CommitEntry;
use crate::{
    bundle::{Bundle, BundleHash, BundleSource},
    plan::Migration,
};
use pipeline::name::Name;
use std::{collections::BTreeMap, net::IpAddr};

/// All that a plan says about the bundles that it may bring to this machine, or bring back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessPlan {
    /// Every bundle of the plan: the new ones and those that a rollback would restore.
    pub bundles: BTreeMap<BundleHash, PlannedBundle>,
    /// What is run once for the release that is brought, by service, if it was not run yet.
    pub migrations: BTreeMap<Name, Migration>,
    /// How many bundles of each service are kept besides the current one.
    pub keep: usize,
}

/// One bundle of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBundle {
    /// What the ledger says once it is current; its release is what units are started with, its port the stable one.
    pub entry: CommitEntry,
    /// The address of the stable port.
    pub host: IpAddr,
    /// The path that the router may GET to see whether a unit lives, if the service speaks HTTP.
    pub health_path: Option<String>,
    /// What it is and where its parts are; `None`: it stands here already.
    pub source: Option<(Bundle, BundleSource)>,
}
