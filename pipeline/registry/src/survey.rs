//! Finding out what lies in a repository, and removing some of it.

use crate::{Content, Error, Going, Manifest, Node, Registry, Seen, Survey, prune::list_of};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{
    digest::Digest,
    image::reference::{Repository, Tag, Which},
};
use std::collections::{BTreeMap, BTreeSet};

/// How many manifests are asked for at once: registries limit the rate, not the patience.
const SIDE_BY_SIDE: usize = 4;

/// A manifest that is to be looked at.
struct Open {
    digest: Digest,
    manifest: Option<Manifest>,
    /// What it is attached to, by the word of the registry.
    subject: Option<Digest>,
    is_list: bool,
}

impl Registry {
    /// Looks at a repository: at all that a tag leads to, at what is asked for by its digest, at their parts, and at what
    /// is attached to any of these. Manifests that nothing of this leads to are not found; no registry lists them.
    ///
    /// # Errors
    /// The registry's; also a manifest that is not understood, for nobody knows what it reaches.
    pub async fn survey(&self, repository: &Repository, asked: &BTreeSet<Digest>) -> Result<Survey, Error> {
        let tagged = stream::iter(self.tags(repository).await?).map(|tag| async move {
            let manifest = self.manifest(repository, &Which::Tag(tag.clone())).await?;
            Ok::<_, Error>(manifest.map(|manifest| (tag, manifest)))
        });
        // A tag that has gone since leads nowhere.
        let tagged: Vec<(Tag, Manifest)> =
            tagged.buffered(SIDE_BY_SIDE).try_filter_map(|found| async { Ok(found) }).try_collect().await?;
        let mut survey = Survey::default();
        let mut known: BTreeMap<Digest, Open> = BTreeMap::new();
        for (tag, manifest) in tagged {
            let digest = manifest.digest;
            let list = list_of(tag.as_str()).filter(|_| matches!(manifest.content, Content::Index { .. }));
            survey.tags.insert(tag, digest);
            // Under another tag, too, it is no list alone.
            let one = Open { digest, manifest: Some(manifest), subject: list, is_list: list.is_some() };
            let other = known.entry(digest).or_insert(one);
            other.is_list &= list.is_some();
        }
        for digest in asked {
            known.entry(*digest).or_insert(Open::new(*digest, None));
        }
        let mut queued: BTreeSet<Digest> = known.keys().copied().collect();
        let mut wave: Vec<Open> = known.into_values().collect();
        while !wave.is_empty() {
            let looks = stream::iter(wave).map(|open| self.look_at(repository, open));
            let looked: Vec<_> = looks.buffered(SIDE_BY_SIDE).try_collect().await?;
            wave = Vec::new();
            for (digest, seen, attached) in looked.into_iter().flatten() {
                let parts = seen.node.manifests.iter().map(|part| Open::new(*part, None));
                let attached = attached.into_iter().map(|one| Open::new(one, Some(digest)));
                wave.extend(parts.chain(attached).filter(|open| queued.insert(open.digest)));
                survey.manifests.insert(digest, seen);
            }
        }
        Ok(survey)
    }

    /// What a manifest reaches, and what is attached to it; `None` if it is not there.
    async fn look_at(
        &self,
        repository: &Repository,
        open: Open,
    ) -> Result<Option<(Digest, Seen, Vec<Digest>)>, Error> {
        let which = Which::Digest(open.digest);
        let manifest = match open.manifest {
            Some(manifest) => Some(manifest),
            None => self.manifest(repository, &which).await?,
        };
        let Some(manifest) = manifest else { return Ok(None) };
        let (manifests, config, subject) = match manifest.content {
            Content::Image { config, subject, .. } => {
                (Vec::new(), Some(config.digest), subject.map(|subject| subject.digest))
            }
            Content::Index { manifests } => {
                (manifests.into_iter().map(|one| one.digest).collect(), None, None)
            }
        };
        let attached = match open.is_list {
            true => Vec::new(),
            false => self.attached(repository, open.digest, None).await?,
        };
        let node = Node { manifests, subject: subject.or(open.subject), is_list: open.is_list };
        let attached = attached.into_iter().map(|one| one.digest).collect();
        Ok(Some((open.digest, Seen { node, config }, attached)))
    }

    /// Removes images with all that belongs to them, and tells of each manifest. Gives how many there were: what was gone
    /// already is none of them.
    ///
    /// # Errors
    /// The registry's. What was removed until then is gone; the same again goes on.
    pub async fn remove(
        &self,
        repository: &Repository,
        goes: &[Going],
        tell: impl Fn(Digest),
    ) -> Result<usize, Error> {
        let mut count = 0;
        for digest in goes.iter().flat_map(Going::all) {
            if self.delete_manifest(repository, digest).await? {
                count += 1;
                tell(digest);
            }
        }
        Ok(count)
    }
}

impl Open {
    fn new(digest: Digest, subject: Option<Digest>) -> Self {
        Self { digest, manifest: None, subject, is_list: false }
    }
}
