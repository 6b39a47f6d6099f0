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
    /// Whether to bring an earlier entry back is to go back across a release that is irreversible: the current one, or
    /// one that stood between. From one bundle of a release to another is across nothing.
    pub fn is_across_irreversible(&self, earlier: &Entry) -> bool {
        let newer = std::iter::once(&self.current).chain(&self.previous);
        let mut between = newer.take_while(|entry| entry.bundle != earlier.bundle);
        between.any(|entry| entry.irreversible && entry.release != earlier.release)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Probe;
    use pipeline::digest::Digest;

    fn hash(number: u8) -> BundleHash {
        BundleHash::new(Digest::of_bytes([number]))
    }

    fn entry(number: u8, irreversible: bool) -> Entry {
        let check = Check {
            probe: Probe::Tcp,
            identity: None,
            interval: 1,
            timeout: 1,
            healthy_passes: 1,
            healthy_for: 1,
            healthy_deadline: 1,
            unhealthy_failures: 1,
            provider_error_limit: 1,
        };
        let (bundle, release) = (hash(number), format!("r{number}"));
        let at = jiff::Timestamp::UNIX_EPOCH;
        Entry { bundle, release, replicas: 1, check, port: 8000, at, irreversible }
    }

    #[test]
    fn what_is_remembered_as_migrated_is_bounded_and_the_newest_stays() {
        let name: Name = "api".parse().expect("a name");
        let mut ledger = Ledger::empty("local".parse().expect("a name"), "here".parse().expect("a name"));
        for number in 0..=Ledger::MIGRATED_KEPT {
            ledger.add_migrated(&name, &format!("r{number}"));
            ledger.add_migrated(&name, &format!("r{number}"));
        }
        assert_eq!(ledger.migrated[&name].len(), Ledger::MIGRATED_KEPT);
        assert!(!ledger.has_migrated(&name, "r0") && ledger.has_migrated(&name, "r1"));
        assert!(ledger.has_migrated(&name, &format!("r{}", Ledger::MIGRATED_KEPT)));
    }

    #[test]
    fn a_way_back_is_across_what_came_after_it() {
        let standing = Standing { current: entry(4, false), previous: vec![entry(3, true), entry(2, false)] };
        assert!(!standing.is_across_irreversible(&entry(4, false)), "it is there");
        assert!(!standing.is_across_irreversible(&entry(3, true)), "back to the release itself");
        assert!(standing.is_across_irreversible(&entry(2, false)));

        let other_settings = Entry { release: "r3".to_owned(), ..entry(5, false) };
        let standing = Standing { current: entry(3, true), previous: vec![other_settings.clone()] };
        assert!(!standing.is_across_irreversible(&other_settings), "the same release");
    }
}
