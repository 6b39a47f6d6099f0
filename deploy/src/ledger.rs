//! The ledger: what stands on a target, kept on the target itself.

use crate::{bundle::BundleHash, check::Check};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What stands on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ledger {
    /// Format version; see [`Ledger::FORMAT`].
    pub version: u32,
    /// The environment that owns this target.
    pub environment: Name,
    /// The target's name.
    pub target: Name,
    /// The generation of the rollout that wrote it last; it never falls.
    pub generation: u64,
    /// What stands of each service.
    pub services: BTreeMap<Name, Standing>,
    /// Releases whose migration was run here: service → releases, oldest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub migrated: BTreeMap<Name, Vec<String>>,
}

/// What stands of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Standing {
    /// What is meant to run.
    pub current: Entry,
    /// What ran before, newest first; each is still on the target, whole.
    pub previous: Vec<Entry>,
}

/// One bundle that is or was current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// The bundle.
    pub bundle: BundleHash,
    /// The release that brought it.
    pub release: String,
    /// How many units.
    pub replicas: u16,
    /// How its units are checked.
    pub check: Check,
    /// The stable port.
    pub port: u16,
    /// When it became current.
    pub at: jiff::Timestamp,
    /// Whether its release is irreversible: nothing that stood before it is brought back across it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub irreversible: bool,
}

impl Standing {
    /// Whether to bring an earlier bundle back is to go back across a release that is irreversible: the current one,
    /// or one that stood between.
    pub fn is_across_irreversible(&self, earlier: &BundleHash) -> bool {
        let newer = std::iter::once(&self.current).chain(&self.previous);
        newer.take_while(|entry| entry.bundle != *earlier).any(|entry| entry.irreversible)
    }
}

impl Ledger {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;

    /// The ledger of a target where nothing stands yet.
    pub fn empty(environment: Name, target: Name) -> Self {
        Self {
            version: Self::FORMAT,
            environment,
            target,
            generation: 0,
            services: BTreeMap::new(),
            migrated: BTreeMap::new(),
        }
    }

    /// How many releases of each service it remembers as migrated: no target keeps more bundles than this, and a
    /// release whose bundle is gone comes back, if at all, as rarely as it was made.
    pub const MIGRATED_KEPT: usize = 1_000;

    /// Whether the migration of this release of a service was run here.
    pub fn has_migrated(&self, service: &Name, release: &str) -> bool {
        self.migrated.get(service).is_some_and(|releases| releases.iter().any(|one| one == release))
    }

    /// Records that the migration of this release of a service was run here; the oldest of too many is forgotten.
    pub fn add_migrated(&mut self, service: &Name, release: &str) {
        if self.has_migrated(service, release) {
            return;
        }
        let releases = self.migrated.entry(service.clone()).or_default();
        releases.push(release.to_owned());
        releases.drain(..releases.len().saturating_sub(Self::MIGRATED_KEPT));
    }
}
