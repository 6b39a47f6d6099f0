//! Docker engines and registries, in a program that was built with them; see [`crate::parts`].

#[cfg(feature = "docker")]
mod examine;
#[cfg(feature = "docker")]
mod linked;
#[cfg(feature = "docker")]
mod prune;
#[cfg(not(feature = "docker"))]
mod unlinked;

#[cfg(feature = "docker")]
pub(crate) use examine::examine;
#[cfg(feature = "docker")]
pub(crate) use linked::{maker, platforms, router};
#[cfg(feature = "docker")]
pub(crate) use prune::look;
#[cfg(not(feature = "docker"))]
pub(crate) use unlinked::{examine, look, maker, platforms, router};

use pipeline::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Images that are needed, and for what.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// By the digest of their manifest or by their id: who needs them, in words.
    pub(crate) who: BTreeMap<Digest, BTreeSet<String>>,
    /// By the name of a repository: the digests that it is asked for. No ids: a registry fails that is asked for the manifest
    /// of what is none.
    pub(crate) asked: BTreeMap<String, BTreeSet<Digest>>,
}

impl Needed {
    /// Adds an image by its digest.
    pub(crate) fn add(&mut self, repository: &str, digest: Digest, who: String) {
        self.who.entry(digest).or_default().insert(who);
        self.asked.entry(repository.to_owned()).or_default().insert(digest);
    }
}
