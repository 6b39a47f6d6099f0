//! What stands of each service over all targets, as one. Pure.

use crate::{
    ledger::{Entry, Standing},
    port::TargetSeen,
};
use pipeline::name::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Two targets on which a service stands differently, so that there is no one way back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{service} does not stand alike everywhere: release {} ({}) on target {one}, release {} ({}) on target {other}",
    .of_one.release, .of_one.bundle.short(), .of_other.release, .of_other.bundle.short()
)]
pub struct Disagreement {
    /// Of what.
    pub service: Name,
    /// A target.
    pub one: Name,
    /// What stands there.
    pub of_one: Entry,
    /// The other.
    pub other: Name,
    /// What stands there.
    pub of_other: Entry,
}

/// The first service that stands differently on two targets. Where it does not stand at all is no disagreement: a target
/// may have joined since.
pub fn disagreement(standing: &BTreeMap<Name, TargetSeen>) -> Option<Disagreement> {
    let mut known: BTreeMap<&Name, (&Name, &Entry)> = BTreeMap::new();
    for (target, seen) in standing {
        for (service, stands) in &seen.ledger.services {
            let (one, of_one) = *known.entry(service).or_insert((target, &stands.current));
            if !is_alike(of_one, &stands.current) {
                return Some(Disagreement {
                    service: service.clone(),
                    one: one.clone(),
                    of_one: of_one.clone(),
                    other: target.clone(),
                    of_other: stands.current.clone(),
                });
            }
        }
    }
    None
}

/// Whether two entries are the same but for when and by which release they came to be.
fn is_alike(one: &Entry, other: &Entry) -> bool {
    one.bundle == other.bundle
        && one.replicas == other.replicas
        && one.port == other.port
        && one.check == other.check
}

/// What stands of each service, from the target that remembers most of it: one that joined later knows less.
pub fn merged(standing: &BTreeMap<Name, TargetSeen>) -> BTreeMap<Name, Standing> {
    let mut merged: BTreeMap<Name, Standing> = BTreeMap::new();
    for (service, stands) in standing.values().flat_map(|seen| &seen.ledger.services) {
        let known = merged.entry(service.clone()).or_insert_with(|| stands.clone());
        if stands.previous.len() > known.previous.len() {
            *known = stands.clone();
        }
    }
    merged
}

/// The targets of a list on which nothing of a service stands, although it does on others.
pub(super) fn absent(
    service: &Name,
    targets: &[Name],
    standing: &BTreeMap<Name, TargetSeen>,
) -> BTreeSet<Name> {
    targets.iter().filter(|target| !stands(service, target, standing)).cloned().collect()
}

/// Whether a service stands on a target.
pub(super) fn stands(service: &Name, target: &Name, standing: &BTreeMap<Name, TargetSeen>) -> bool {
    standing.get(target).is_some_and(|seen| seen.ledger.services.contains_key(service))
}
