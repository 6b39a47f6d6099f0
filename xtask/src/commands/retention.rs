//! After a deploy: manifests of releases that have had their time are removed, so that what they keep in a registry can
//! go as well.
//!
//! After a deploy, and not after a build: only then has it just been seen what stands, and a build neither needs the
//! targets nor waits for them.

use crate::{
    context::Context,
    failure::Failure,
    wire::{self, Opened},
};
use deploy::STATE_FOLDER;
use pipeline::{
    causes::in_one_line,
    release::{Kept, Manifests, ReleaseId, retention::surplus},
};
use std::{collections::BTreeSet, time::Duration};

/// The longest that all environments together may take to say what they need: what is removed today can as well be removed
/// after the next deploy, and nobody wants to wait for it.
const DEADLINE: Duration = Duration::from_secs(15);

/// Removes the manifests of releases that are neither among the newest nor needed anywhere. Where it is not known what is
/// needed, nothing is removed and that is told: the deploy is done all the same.
pub(super) async fn remove_old_releases(context: &Context, opened: &Opened, deployed: &str) {
    let manifests = Manifests::new(&opened.root.join(STATE_FOLDER));
    let keep = usize::from(opened.loaded.project.keep_manifests);
    // Mostly there is nothing to do, and then nobody is asked.
    if manifests.list().is_ok_and(|made| made.len() <= keep) {
        return;
    }
    let needed = match tokio::time::timeout(DEADLINE, needed(context)).await {
        Ok(Ok(needed)) => needed,
        // This program cannot ask an environment that has engines. One that deploys there can, and will.
        Ok(Err(Failure::NeedsParts(_))) => return,
        Ok(Err(failure)) => return kept(context, failure.to_text(crate::paint::Paint::OFF).trim_end()),
        Err(_) => {
            let text = format!("the environments did not say within {} s what they need", DEADLINE.as_secs());
            return kept(context, &text);
        }
    };
    let removed = remove(&manifests, needed, deployed, keep);
    if let Err(error) = removed.and_then(|()| remove_executables(&manifests, &wire::kept(opened))) {
        kept(context, &in_one_line(&error));
    }
}

fn kept(context: &Context, why: &str) {
    let first = why.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let first = context.redactor.mask(first);
    context
        .narrator
        .note(&format!("warning: old release manifests were kept: {first}; the next deploy tries again"));
}

/// What stands, can be returned to, or is on its way, in every environment of the project.
async fn needed(context: &Context) -> Result<BTreeSet<ReleaseId>, Failure> {
    let mut needed = BTreeSet::new();
    for name in wire::environments(context)? {
        let opened = wire::open_other(context, name.as_str())?;
        needed.extend(opened.session.needed_releases().await?.into_iter().map(ReleaseId));
    }
    Ok(needed)
}

fn remove(
    manifests: &Manifests,
    mut needed: BTreeSet<ReleaseId>,
    deployed: &str,
    keep: usize,
) -> std::io::Result<()> {
    needed.insert(ReleaseId(deployed.to_owned()));
    // The one that was made last may be waiting to be deployed elsewhere.
    needed.extend(manifests.latest().map_err(std::io::Error::other)?.map(|release| release.id));
    let mut made = Vec::new();
    for id in manifests.list()? {
        // One that cannot be read says not how old it is: it stays, and whoever needs it is told why it cannot be read.
        if let Ok(Some(release)) = manifests.find(&id) {
            made.push((id, release.created_at));
        }
    }
    surplus(&made, &needed, keep).iter().try_for_each(|id| manifests.remove(id))
}

/// Removes the executables of releases whose manifests are gone, as other machines have handed them over.
fn remove_executables(manifests: &Manifests, kept: &Kept) -> std::io::Result<()> {
    let mut wanted = Vec::new();
    for id in manifests.list()? {
        // Of one that cannot be read nobody knows what it needs.
        let Ok(Some(release)) = manifests.find(&id) else { return Ok(()) };
        wanted.extend(release.services.into_values().map(|artifact| artifact.digest));
    }
    let latest = manifests.latest().map_err(std::io::Error::other)?;
    wanted
        .extend(latest.into_iter().flat_map(|release| release.services.into_values()).map(|one| one.digest));
    kept.keep_only(wanted)
}
