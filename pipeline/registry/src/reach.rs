//! What of a repository nothing reaches any more. Pure.

use pipeline::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// A manifest, as far as it reaches others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The manifests that it is an index of.
    pub manifests: Vec<Digest>,
    /// The manifest that it is attached to.
    pub subject: Option<Digest>,
    /// Whether it is the list of what is attached to [`Node::subject`], kept under a tag where a registry keeps none: it
    /// reaches nothing by that tag, else an image would never go whose list is still there.
    pub is_list: bool,
}

/// The manifests of a repository that nothing reaches, and that may be removed.
///
/// What is retained (a release that stands somewhere or may come back) and what a tag points to is reached; so is what an
/// index that is reached is made of, and what is attached to something that is reached. A digest that is retained or named
/// by an index and is not in the repository reaches nothing.
pub fn unreached(
    manifests: &BTreeMap<Digest, Node>,
    tagged: &BTreeSet<Digest>,
    retained: &BTreeSet<Digest>,
) -> BTreeSet<Digest> {
    let mut attached: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    for (digest, node) in manifests {
        if let Some(subject) = node.subject {
            attached.entry(subject).or_default().push(*digest);
        }
    }
    let is_list = |digest: &&Digest| manifests.get(digest).is_some_and(|node| node.is_list);
    let mut open: Vec<Digest> =
        tagged.iter().filter(|digest| !is_list(digest)).chain(retained).copied().collect();
    let mut reached = BTreeSet::new();
    while let Some(digest) = open.pop() {
        let Some(node) = manifests.get(&digest) else { continue };
        if reached.insert(digest) {
            open.extend(&node.manifests);
            open.extend(attached.get(&digest).into_iter().flatten());
        }
    }
    manifests.keys().filter(|digest| !reached.contains(digest)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(number: u8) -> Digest {
        Digest::of_bytes([number])
    }

    fn digests(numbers: &[u8]) -> BTreeSet<Digest> {
        numbers.iter().copied().map(digest).collect()
    }

    fn node(manifests: &[u8], subject: Option<u8>) -> Node {
        Node {
            manifests: manifests.iter().copied().map(digest).collect(),
            subject: subject.map(digest),
            is_list: false,
        }
    }

    #[test]
    fn an_image_keeps_its_platforms_and_what_is_attached_to_them() {
        let manifests = BTreeMap::from([
            (digest(1), node(&[2, 3], None)),
            (digest(2), node(&[], None)),
            (digest(3), node(&[], None)),
            (digest(4), node(&[], Some(2))),
            (digest(5), node(&[], Some(4))),
            (digest(6), node(&[], None)),
            (digest(7), node(&[], Some(6))),
            (digest(8), Node { is_list: true, ..node(&[7], Some(6)) }),
            (digest(9), Node { is_list: true, ..node(&[4], Some(2)) }),
        ]);
        // The lists have tags; only that of what is reached stays.
        assert_eq!(unreached(&manifests, &digests(&[1, 8, 9]), &digests(&[])), digests(&[6, 7, 8]));
        assert_eq!(unreached(&manifests, &digests(&[8, 9]), &digests(&[6])), digests(&[1, 2, 3, 4, 5, 9]));
        assert_eq!(unreached(&manifests, &digests(&[]), &digests(&[42])).len(), manifests.len());
    }

    prop_compose! {
        fn repositories()(
            nodes in prop::collection::vec((prop::collection::vec(0u8..24, 0..4), prop::option::of(0u8..24), any::<bool>()), 0..20)
        ) -> BTreeMap<Digest, Node> {
            let nodes = nodes.into_iter().enumerate().map(|(number, (manifests, subject, is_list))| {
                let node = node(&manifests, subject);
                (digest(number as u8), Node { is_list: is_list && subject.is_some(), ..node })
            });
            nodes.collect()
        }
    }

    proptest! {
        #[test]
        fn what_is_removed_breaks_nothing_that_stays(
            manifests in repositories(),
            tagged in prop::collection::btree_set(0u8..24, 0..4),
            retained in prop::collection::btree_set(0u8..24, 0..4),
        ) {
            let (tagged, retained) = (
                tagged.into_iter().map(digest).collect::<BTreeSet<_>>(),
                retained.into_iter().map(digest).collect::<BTreeSet<_>>(),
            );
            let gone = unreached(&manifests, &tagged, &retained);
            for (digest, node) in &manifests {
                if gone.contains(digest) {
                    // It has no right of its own, and nobody who stays needs it.
                    prop_assert!(!retained.contains(digest));
                    prop_assert!(node.is_list || !tagged.contains(digest));
                    prop_assert!(!node.subject.is_some_and(|s| manifests.contains_key(&s) && !gone.contains(&s)));
                } else {
                    for inner in &node.manifests {
                        prop_assert!(!gone.contains(inner));
                    }
                }
            }
            // What goes, goes at once: a second look finds nothing that the first left.
            let left: BTreeMap<_, _> =
                manifests.into_iter().filter(|(digest, _)| !gone.contains(digest)).collect();
            prop_assert!(unreached(&left, &tagged, &retained).is_empty());
        }
    }
}
