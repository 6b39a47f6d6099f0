//! What of a repository may be removed. Pure; [`Registry::survey`](crate::Registry::survey) finds out what is there.
//!
//! **Invariant.** Only what a content tag leads to is chosen, with what belongs to it and to nothing else. Nothing that
//! stays is left without a part of it: whatever somebody needs, a moving tag or a manifest of others reaches is kept.

use crate::{Node, unreached};
use pipeline::{digest::Digest, image::reference::Tag};
use std::collections::{BTreeMap, BTreeSet};

/// How a tag begins that is named by the content of its image: `id-0123456789ab`, never moved.
const CONTENT: &str = "id-";
/// How the tag of the list of what is attached to a manifest begins.
const LIST: &str = "sha256-";
/// The digits of a short digest, and of a commit in a tag.
const SHORT: usize = 12;
/// The digits of the hash of changes in the tag of a tree that was not clean.
const CHANGES: usize = 6;

/// A manifest, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// What it reaches.
    pub node: Node,
    /// Its config's digest, which engines call the image's id.
    pub config: Option<Digest>,
}

/// What was seen of a repository: all that a tag leads to or that was asked for, with its parts and what is attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The manifests.
    pub manifests: BTreeMap<Digest, Seen>,
    /// The tags.
    pub tags: BTreeMap<Tag, Digest>,
}

/// Why a manifest stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Somebody needs it: who, in words.
    Needed(BTreeSet<String>),
    /// A tag points to it that is moved from image to image.
    Tag(Tag),
    /// No content tag leads to it: others have made it.
    Foreign,
    /// An index or an image that stays needs it.
    Reached,
}

/// An image that may be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// Its manifest.
    pub digest: Digest,
    /// The tags that go with it.
    pub tags: Vec<Tag>,
    /// What is attached to it, and the lists of that: removed before it, for without it they are not found again.
    pub attached: Vec<Digest>,
    /// What it is an index of: removed after it, for registries refuse to take a part of what is there.
    pub parts: Vec<Digest>,
}

/// What goes and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// What may be removed, in the order of the digests.
    pub goes: Vec<Going>,
    /// What stays of that which has a tag or is needed, and why.
    pub stays: BTreeMap<Digest, Why>,
}

/// What a tag is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Named by the content of its image.
    Content,
    /// Named by the commit, or by what else names a release; it is made together with a content tag.
    Release,
    /// The list of what is attached to something.
    List,
    /// Moved from image to image, or given by somebody else.
    Moving,
}

impl Kind {
    fn of(tag: &Tag) -> Self {
        let tag = tag.as_str();
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let is_release = match (tag.split_once("-dirty-"), tag.strip_prefix("tree-")) {
            (Some((commit, changes)), _) => hex(commit, SHORT) && hex(changes, CHANGES),
            (None, Some(tree)) => hex(tree, SHORT),
            (None, None) => hex(tag, SHORT),
        };
        match () {
            () if tag.strip_prefix(CONTENT).is_some_and(|id| hex(id, SHORT)) => Self::Content,
            () if list_of(tag).is_some() => Self::List,
            () if is_release => Self::Release,
            () => Self::Moving,
        }
    }
}

/// The manifest of whose attachments a tag names the list.
pub(crate) fn list_of(tag: &str) -> Option<Digest> {
    format!("sha256:{}", tag.strip_prefix(LIST)?).parse().ok()
}

/// What may be removed of a repository, where `needed` says what somebody needs, by the digest of a manifest or by an
/// image's id, and who.
pub fn select(survey: &Survey, needed: &BTreeMap<Digest, BTreeSet<String>>) -> Selection {
    let view = View::new(survey, needed);
    let nodes: BTreeMap<Digest, Node> =
        survey.manifests.iter().map(|(digest, seen)| (*digest, seen.node.clone())).collect();
    let mut kept: BTreeSet<Digest> =
        survey.manifests.keys().filter(|digest| view.has_a_right(digest)).copied().collect();
    // What is reached by nobody and is not ours to remove stays as well, and so does what that reaches.
    loop {
        let loose = unreached(&nodes, &BTreeSet::new(), &kept);
        let goes = view.going(&loose);
        let chosen: BTreeSet<Digest> = goes.iter().flat_map(Going::all).collect();
        let others: Vec<Digest> = loose.difference(&chosen).copied().collect();
        if others.is_empty() {
            return Selection { goes, stays: view.staying(&chosen) };
        }
        kept.extend(others);
    }
}

impl Going {
    /// All of it, in the order in which it is removed.
    pub fn all(&self) -> impl Iterator<Item = Digest> {
        self.attached.iter().copied().chain([self.digest]).chain(self.parts.iter().copied())
    }
}

struct View<'a> {
    survey: &'a Survey,
    tags: BTreeMap<Digest, Vec<&'a Tag>>,
    attached: BTreeMap<Digest, Vec<Digest>>,
    needed: &'a BTreeMap<Digest, BTreeSet<String>>,
}

impl<'a> View<'a> {
    fn new(survey: &'a Survey, needed: &'a BTreeMap<Digest, BTreeSet<String>>) -> Self {
        let mut tags: BTreeMap<Digest, Vec<&Tag>> = BTreeMap::new();
        for (tag, digest) in &survey.tags {
            tags.entry(*digest).or_default().push(tag);
        }
        let mut attached: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for (digest, seen) in &survey.manifests {
            if let Some(subject) = seen.node.subject {
                attached.entry(subject).or_default().push(*digest);
            }
        }
        Self { survey, tags, attached, needed }
    }

    fn tags(&self, digest: &Digest) -> &[&'a Tag] {
        self.tags.get(digest).map_or(&[], Vec::as_slice)
    }

    /// Whether a content tag leads to it, and is right.
    fn is_ours(&self, digest: &Digest) -> bool {
        let Some(seen) = self.survey.manifests.get(digest) else { return false };
        let ids = [Some(*digest), seen.config];
        let is_right = |tag: &Tag| ids.iter().flatten().any(|id| tag.as_str()[CONTENT.len()..] == id.short());
        self.tags(digest).iter().any(|tag| Kind::of(tag) == Kind::Content && is_right(tag))
    }

    fn who_needs(&self, digest: &Digest) -> BTreeSet<String> {
        let config = self.survey.manifests.get(digest).and_then(|seen| seen.config);
        let all = [Some(*digest), config].into_iter().flatten();
        all.filter_map(|digest| self.needed.get(&digest)).flatten().cloned().collect()
    }

    fn moving_tag(&self, digest: &Digest) -> Option<&'a Tag> {
        self.tags(digest).iter().copied().find(|tag| Kind::of(tag) == Kind::Moving)
    }

    /// Whether it stays by itself, whatever else does.
    fn has_a_right(&self, digest: &Digest) -> bool {
        let is_needed = [Some(*digest), self.survey.manifests.get(digest).and_then(|seen| seen.config)];
        let is_needed = is_needed.iter().flatten().any(|digest| self.needed.contains_key(digest));
        let is_foreign = self.tags(digest).iter().any(|tag| match Kind::of(tag) {
            Kind::Moving => true,
            Kind::List => false,
            Kind::Content | Kind::Release => !self.is_ours(digest),
        });
        is_needed || is_foreign
    }

    /// The images of ours among what is reached by nobody, each with what belongs to it.
    fn going(&self, loose: &BTreeSet<Digest>) -> Vec<Going> {
        let mut taken: BTreeSet<Digest> =
            loose.iter().filter(|digest| self.is_ours(digest)).copied().collect();
        let images: Vec<Digest> = taken.iter().copied().collect();
        let mut goes = Vec::new();
        for digest in images {
            let tags = self.tags(&digest).iter().map(|tag| (*tag).clone()).collect();
            let mut going = Going { digest, tags, attached: Vec::new(), parts: Vec::new() };
            let mut open = vec![(digest, false)];
            while let Some((one, is_attached)) = open.pop() {
                let parts = self.survey.manifests.get(&one).map_or(&[][..], |seen| &seen.node.manifests);
                let attached = self.attached.get(&one).map_or(&[][..], Vec::as_slice);
                let next = parts.iter().map(|part| (*part, is_attached));
                for (next, is_attached) in next.chain(attached.iter().map(|one| (*one, true))) {
                    if loose.contains(&next) && taken.insert(next) {
                        if is_attached { &mut going.attached } else { &mut going.parts }.push(next);
                        open.push((next, is_attached));
                    }
                }
            }
            goes.push(going);
        }
        goes
    }

    fn staying(&self, chosen: &BTreeSet<Digest>) -> BTreeMap<Digest, Why> {
        let is_list = |digest: &Digest| self.tags(digest).iter().all(|tag| Kind::of(tag) == Kind::List);
        let is_told = |digest: &&Digest| !is_list(digest) || !self.who_needs(digest).is_empty();
        let staying = self.survey.manifests.keys().filter(|digest| !chosen.contains(digest)).filter(is_told);
        let why = |digest: &Digest| match (self.who_needs(digest), self.moving_tag(digest)) {
            (needed, _) if !needed.is_empty() => Why::Needed(needed),
            (_, Some(tag)) => Why::Tag(tag.clone()),
            _ if !self.is_ours(digest) => Why::Foreign,
            _ => Why::Reached,
        };
        staying.map(|digest| (*digest, why(digest))).collect()
    }
}

#[cfg(test)]
mod tests;
