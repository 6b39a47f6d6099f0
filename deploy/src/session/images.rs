//! Which images and releases an environment needs: what runs, what a rollback returns to, and what an open rollout brings.

use super::{Kind, Place, Session, SessionError, planning::record_error};
use crate::{
    bundle::{BundleArtifact, BundleHash},
    config::environment::TargetKind,
    port::{Target, TargetSeen},
};
use pipeline::{digest::Digest, name::Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

/// An image that is needed, and for what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeededImage {
    /// Its name, without tag and digest.
    pub name: String,
    /// The digest that the registry gave it, or its id on the engine if it is nowhere else.
    pub digest: Digest,
    /// For what, in words: `api runs on here of production`.
    pub why: String,
}

impl Session {
    /// The images that the targets of this environment and its open rollout need; none of targets that run no images.
    ///
    /// # Errors
    /// When a target or the record does not say: then nobody knows what is needed.
    pub async fn needed_images(&self) -> Result<BTreeSet<NeededImage>, SessionError> {
        let runs_images = |place: &Place| place.kind == TargetKind::Docker;
        let names: BTreeSet<Name> =
            self.places().into_iter().filter(runs_images).map(|place| place.target).collect();
        let mut targets = self.targets(None).await?;
        let mut standing = self.standing(&targets).await?;
        targets.retain(|name, _| names.contains(name));
        standing.retain(|name, _| names.contains(name));
        let mut needed = BTreeSet::new();
        for (name, seen) in &standing {
            let of = format!("on {name} of {}", self.environment());
            for (hash, words) in bundles(seen) {
                let image = described(targets[name].as_ref(), name, &hash).await?;
                let why = format!("{words} {of}");
                needed.insert(NeededImage { name: image.name, digest: image.digest, why });
            }
        }
        let record = self.store().load().map_err(record_error)?;
        for bundle in record.open.iter().flat_map(|open| open.plan.bundles.values()) {
            let why = format!("{} in the open rollout of {}", bundle.service, self.environment());
            let BundleArtifact { name, digest } = bundle.artifact.clone();
            needed.insert(NeededImage { name, digest, why });
        }
        Ok(needed)
    }

    /// The releases that the targets of this environment and its open rollout need: what stands, what runs, what a rollback
    /// can return to, and what is on its way.
    ///
    /// # Errors
    /// When a target or the record does not say: then nobody knows what is needed.
    pub async fn needed_releases(&self) -> Result<BTreeSet<String>, SessionError> {
        let standing = self.standing(&self.targets(None).await?).await?;
        let mut needed: BTreeSet<String> = standing.values().flat_map(releases).collect();
        let record = self.store().load().map_err(record_error)?;
        needed.extend(record.open.map(|open| open.plan.release));
        Ok(needed)
    }
}

/// The releases that a target needs.
fn releases(seen: &TargetSeen) -> BTreeSet<String> {
    let standing = seen.ledger.services.values();
    let entries = standing.flat_map(|standing| iter::once(&standing.current).chain(&standing.previous));
    let units = seen.units.iter().map(|facts| &facts.release);
    entries.map(|entry| &entry.release).chain(units).cloned().collect()
}

/// The bundles that a target needs, and for what.
fn bundles(seen: &TargetSeen) -> BTreeMap<BundleHash, String> {
    let mut bundles = BTreeMap::new();
    for (service, standing) in &seen.ledger.services {
        for entry in &standing.previous {
            bundles.insert(entry.bundle, format!("{service} returns to {}", entry.release));
        }
    }
    for facts in &seen.units {
        bundles.insert(facts.unit.bundle, format!("{} runs {}", facts.unit.service, facts.release));
    }
    for (service, standing) in &seen.ledger.services {
        let current = &standing.current;
        bundles.insert(current.bundle, format!("{service} stands at {}", current.release));
    }
    bundles
}

async fn described(
    target: &dyn Target,
    name: &Name,
    hash: &BundleHash,
) -> Result<BundleArtifact, SessionError> {
    let bundle = target.bundle(hash).await.map_err(|error| {
        let text = format!("target {name} does not say which image bundle {} is made of", hash.short());
        SessionError::new(Kind::State, text).because(error)
    })?;
    Ok(bundle.artifact)
}
