use super::*;
use proptest::prelude::*;

fn digest(number: u8) -> Digest {
    Digest::of_bytes([number])
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// The content tag of a manifest.
fn content(number: u8) -> Tag {
    tag(&format!("id-{}", digest(number).short()))
}

/// The tag of the list of what is attached to a manifest.
fn list(subject: u8) -> Tag {
    tag(&format!("sha256-{}", digest(subject).hex()))
}

fn image(subject: Option<u8>) -> Seen {
    Seen { node: Node { subject: subject.map(digest), ..Node::default() }, config: None }
}

fn index(parts: &[u8]) -> Seen {
    let manifests = parts.iter().copied().map(digest).collect();
    Seen { node: Node { manifests, ..Node::default() }, config: None }
}

fn list_of_attached(subject: u8, parts: &[u8]) -> Seen {
    let node = Node { subject: Some(digest(subject)), is_list: true, ..index(parts).node };
    Seen { node, config: None }
}

fn survey<const M: usize, const T: usize>(manifests: [(u8, Seen); M], tags: [(Tag, u8); T]) -> Survey {
    Survey {
        manifests: manifests.map(|(number, seen)| (digest(number), seen)).into(),
        tags: tags.map(|(tag, number)| (tag, digest(number))).into(),
    }
}

fn needed(numbers: &[u8]) -> BTreeMap<Digest, BTreeSet<String>> {
    numbers.iter().map(|number| (digest(*number), BTreeSet::from(["a target".to_owned()]))).collect()
}

/// The numbers of what goes, as images.
fn images(selection: &Selection) -> BTreeSet<Digest> {
    selection.goes.iter().map(|going| going.digest).collect()
}

#[test]
fn what_is_needed_stays_and_of_the_rest_only_what_a_content_tag_leads_to_goes() {
    let survey = survey(
        [(1, image(None)), (2, image(None)), (3, image(None)), (4, image(None)), (5, image(None))],
        [
            (content(1), 1),
            (tag("0123456789ab"), 1),
            (content(2), 2),
            (content(3), 3),
            (tag("main"), 3),
            (tag("v1.0"), 4),
            (content(4), 5), // A content tag that lies.
        ],
    );
    let selection = select(&survey, &needed(&[2, 9]));
    let [going] = &selection.goes[..] else { panic!("{selection:?}") };
    assert_eq!(going.digest, digest(1));
    assert_eq!(going.tags, [tag("0123456789ab"), content(1)]);
    let why = |number| &selection.stays[&digest(number)];
    assert_eq!(why(2), &Why::Needed(BTreeSet::from(["a target".to_owned()])));
    assert_eq!(why(3), &Why::Tag(tag("main")));
    assert_eq!(why(4), &Why::Tag(tag("v1.0")));
    assert_eq!(why(5), &Why::Foreign);
}

#[test]
fn an_image_is_needed_by_its_id_as_well_as_by_its_digest() {
    let seen = Seen { config: Some(digest(7)), ..image(None) };
    let survey = survey([(1, seen)], [(content(7), 1)]);
    assert_eq!(images(&select(&survey, &needed(&[]))), BTreeSet::from([digest(1)]));
    assert_eq!(images(&select(&survey, &needed(&[7]))), BTreeSet::new());
}

#[test]
fn what_is_attached_goes_before_its_image_and_parts_go_after_it() {
    let survey = survey(
        [
            (1, index(&[2, 3])),
            (2, image(None)),
            (3, image(None)),
            (4, image(Some(1))),
            (5, image(Some(2))),
            (6, list_of_attached(1, &[4])),
        ],
        [(content(1), 1), (list(1), 6)],
    );
    let selection = select(&survey, &needed(&[]));
    let [going] = &selection.goes[..] else { panic!("{selection:?}") };
    let all: Vec<Digest> = going.all().collect();
    assert_eq!(all.len(), 6, "all of it: {going:?}");
    let place = |number| all.iter().position(|one| *one == digest(number)).expect("it goes");
    for attached in [4, 5, 6] {
        assert!(place(attached) < place(1), "{attached}");
    }
    assert!(place(1) < place(2) && place(1) < place(3));
    assert_eq!(selection.stays, BTreeMap::new());
    // As long as it is needed, all of it stays.
    assert_eq!(select(&survey, &needed(&[1])).goes, []);
}

#[test]
fn an_image_that_an_index_of_others_holds_stays_with_what_is_attached() {
    let survey = survey(
        [(1, image(None)), (2, index(&[1])), (3, image(Some(1)))],
        [(content(1), 1), (tag("0123456789ab"), 2)],
    );
    let selection = select(&survey, &needed(&[]));
    assert_eq!(selection.goes, []);
    assert_eq!(selection.stays[&digest(1)], Why::Reached);
    assert_eq!(selection.stays[&digest(2)], Why::Foreign);
}

#[test]
fn tags_of_releases_are_told_from_tags_that_move() {
    for (text, kind) in [
        ("id-0123456789ab", Kind::Content),
        ("0123456789ab", Kind::Release),
        ("0123456789ab-dirty-aabbcc", Kind::Release),
        ("tree-0123456789ab", Kind::Release),
        ("id-0123456789abc", Kind::Moving),
        ("id-0123456789aB", Kind::Moving),
        ("0123456789ab-dirty-", Kind::Moving),
        ("latest", Kind::Moving),
        ("main", Kind::Moving),
        ("sha256-0123", Kind::Moving),
    ] {
        assert_eq!(Kind::of(&tag(text)), kind, "{text}");
    }
    assert_eq!(Kind::of(&list(1)), Kind::List);
}

const COUNT: u8 = 16;

prop_compose! {
    fn surveys()(
        manifests in prop::collection::vec(
            (prop::collection::vec(0..COUNT, 0..3), prop::option::of(0..COUNT), any::<bool>(), prop::option::of(0..COUNT)),
            0..COUNT as usize,
        ),
        tags in prop::collection::vec((0u8..5, 0..COUNT), 0..24),
    ) -> Survey {
        let manifests: BTreeMap<Digest, Seen> = manifests.into_iter().enumerate().map(|(number, one)| {
            let (parts, subject, is_list, config) = one;
            let is_list = is_list && subject.is_some();
            let node = Node { subject: subject.map(digest), is_list, ..index(&parts).node };
            (digest(number as u8), Seen { node, config: config.map(digest) })
        }).collect();
        let tags = tags.into_iter().enumerate().map(|(place, (kind, number))| {
            let name = match kind {
                0 | 1 => content(number),
                2 => tag(&format!("{place:012x}")),
                3 => tag(&format!("branch-{place}")),
                _ => list(number),
            };
            (name, digest(number))
        });
        let tags = tags.filter(|(_, digest)| manifests.contains_key(digest)).collect();
        Survey { manifests, tags }
    }
}

/// All that these reach, themselves included: written otherwise than what is tested.
fn reach(survey: &Survey, from: impl IntoIterator<Item = Digest>) -> BTreeSet<Digest> {
    let mut reached: BTreeSet<Digest> =
        from.into_iter().filter(|digest| survey.manifests.contains_key(digest)).collect();
    loop {
        let parts = reached.iter().flat_map(|digest| survey.manifests[digest].node.manifests.clone());
        let is_attached = |seen: &Seen| seen.node.subject.is_some_and(|subject| reached.contains(&subject));
        let attached =
            survey.manifests.iter().filter(|(_, seen)| is_attached(seen)).map(|(digest, _)| *digest);
        let next: BTreeSet<Digest> =
            parts.chain(attached).filter(|digest| survey.manifests.contains_key(digest)).collect();
        let before = reached.len();
        reached.extend(next);
        if reached.len() == before {
            return reached;
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_is_reachable_is_ever_chosen(
        survey in surveys(),
        wanted in prop::collection::btree_set(0..COUNT, 0..4),
    ) {
        let needed = needed(&wanted.into_iter().collect::<Vec<_>>());
        let selection = select(&survey, &needed);
        let all: Vec<Digest> = selection.goes.iter().flat_map(Going::all).collect();
        let chosen: BTreeSet<Digest> = all.iter().copied().collect();
        prop_assert_eq!(all.len(), chosen.len(), "each goes once");

        // Nothing that is needed, by digest or by id, and nothing that it reaches.
        let is_needed = |digest: &Digest| {
            needed.contains_key(digest) || survey.manifests[digest].config.is_some_and(|id| needed.contains_key(&id))
        };
        let roots = survey.manifests.keys().filter(|digest| is_needed(digest)).copied();
        prop_assert!(reach(&survey, roots).is_disjoint(&chosen));
        // Nothing that a moving tag leads to.
        let moving = survey.tags.iter().filter(|(tag, _)| Kind::of(tag) == Kind::Moving).map(|(_, digest)| *digest);
        prop_assert!(reach(&survey, moving).is_disjoint(&chosen));
        // Nothing that stays has a part, or something attached to it, that goes.
        let stays = survey.manifests.keys().filter(|digest| !chosen.contains(digest)).copied();
        prop_assert!(reach(&survey, stays).is_disjoint(&chosen));
        // Only what a content tag leads to, and what it reaches.
        let images: BTreeSet<Digest> = images(&selection);
        for image in &images {
            let is_content = |tag: &Tag| Kind::of(tag) == Kind::Content;
            prop_assert!(survey.tags.iter().any(|(tag, digest)| digest == image && is_content(tag)));
        }
        prop_assert!(chosen.is_subset(&reach(&survey, images)));
        // What goes, goes at once.
        let left = Survey {
            manifests: survey.manifests.iter().filter(|(one, _)| !chosen.contains(one)).map(|(a, b)| (*a, b.clone())).collect(),
            tags: survey.tags.iter().filter(|(_, one)| !chosen.contains(one)).map(|(a, b)| (a.clone(), *b)).collect(),
        };
        prop_assert_eq!(select(&left, &needed).goes, vec![]);
    }
}
