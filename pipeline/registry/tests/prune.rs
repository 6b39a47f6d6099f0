//! A real registry, with a password, from which what nobody needs is removed.

use pipeline::{digest::Digest, secret::Secret};
use registry::{
    Artifact, Descriptor, Error, Login, Manifest, Options, Registry, Repository, Tag, Which, media_type,
    select,
};
use serde_json::json;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
};

struct Bench {
    registry: tests::Registry,
    client: Registry,
    repository: Repository,
}

impl Bench {
    fn new() -> Self {
        let registry = tests::Registry::start();
        let login = Login::password(registry.user(), Secret::new(registry.password().as_bytes().to_vec()));
        let host = registry.address().parse().expect("a host");
        let repository = Repository::new(host, "team/api").expect("a name");
        let client = Registry::new(repository.host.clone(), login, Options::default()).expect("a client");
        Self { registry, client, repository }
    }

    /// An image of one layer with this text, under its content tag and others; with something attached.
    async fn publish(&self, text: &str, tags: &[&str]) -> Manifest {
        let config = json!({ "text": text }).to_string().into_bytes();
        let blob = |bytes: &[u8]| bytes::Bytes::copy_from_slice(bytes);
        for bytes in [config.as_slice(), text.as_bytes()] {
            self.client.put_blob(&self.repository, &blob(bytes)).await.expect("a blob");
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_IMAGE,
            "config": Descriptor::new("application/vnd.oci.image.config.v1+json", &config),
            "layers": [Descriptor::new("application/vnd.oci.image.layer.v1.tar", text.as_bytes())],
        });
        let manifest = Manifest::parse(manifest.to_string().into(), None).expect("a manifest");
        let content = format!("id-{}", Digest::of_bytes(&config).short());
        for tag in tags.iter().copied().chain([content.as_str()]) {
            self.put(&manifest, tag).await;
        }
        let artifact = Artifact {
            artifact_type: "application/json".to_owned(),
            media_type: "application/json".to_owned(),
            bytes: format!("{{\"of\": {text:?}}}").into(),
            annotations: BTreeMap::new(),
        };
        let subject = manifest.descriptor();
        self.client.attach(&self.repository, &subject, &artifact).await.expect("attached");
        manifest
    }

    async fn put(&self, manifest: &Manifest, tag: &str) {
        let which = Which::Tag(tag.parse().expect("a tag"));
        self.client.put_manifest(&self.repository, &which, manifest).await.expect("a tag");
    }

    async fn has(&self, digest: Digest) -> bool {
        let found = self.client.digest(&self.repository, &Which::Digest(digest)).await;
        found.expect("an answer").is_some()
    }

    async fn tags(&self) -> BTreeSet<String> {
        let tags: Vec<Tag> = self.client.tags(&self.repository).await.expect("tags");
        tags.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_goes_with_what_is_attached_and_the_rest_stays_whole() {
    let bench = Bench::new();
    let old = bench.publish("old", &["00000000000a"]).await;
    let running = bench.publish("running", &["00000000000b"]).await;
    let newest = bench.publish("newest", &["00000000000c", "main", "latest"]).await;
    let held = bench.publish("held", &["00000000000d"]).await;
    // Of others: it is in the repository, and holds one of ours.
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [held.descriptor()],
    });
    bench.put(&Manifest::parse(index.to_string().into(), None).expect("an index"), "2.0").await;

    let needed = BTreeMap::from([(running.digest, BTreeSet::from(["a target".to_owned()]))]);
    let asked = needed.keys().copied().collect();
    let survey = bench.client.survey(&bench.repository, &asked).await.expect("a look");
    let selection = select(&survey, &needed);
    let [going] = &selection.goes[..] else { panic!("{selection:?}") };
    assert_eq!(going.digest, old.digest);
    assert_eq!(going.attached.len(), 2, "what is attached, and the list of it: {going:?}");

    let attached = going.attached.clone();
    let told = RefCell::new(Vec::new());
    let removed =
        bench.client.remove(&bench.repository, &selection.goes, |one| told.borrow_mut().push(one)).await;
    assert_eq!(removed.expect("it goes"), 3);
    assert_eq!(told.into_inner(), [attached.as_slice(), &[old.digest]].concat(), "the image last");
    for gone in attached.into_iter().chain([old.digest]) {
        assert!(!bench.has(gone).await, "{gone}");
    }
    for (name, stays) in [("running", &running), ("newest", &newest), ("held", &held)] {
        let missing = bench.client.missing(&bench.repository, stays).await.expect("an answer");
        assert!(bench.has(stays.digest).await && missing.is_empty(), "{name}");
        let attached = bench.client.attached(&bench.repository, stays.digest, None).await;
        assert_eq!(attached.expect("an answer").len(), 1, "{name}");
    }
    let tags = bench.tags().await;
    assert!(
        !tags.contains("00000000000a") && tags.contains("00000000000b") && tags.contains("latest"),
        "{tags:?}"
    );

    // A second time there is nothing to do, and what is gone is no error.
    let again = bench.client.survey(&bench.repository, &asked).await.expect("a look");
    assert_eq!(select(&again, &needed).goes, []);
    let removed = bench.client.remove(&bench.repository, &selection.goes, |_| ()).await;
    assert_eq!(removed.expect("no error"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_from_which_nothing_can_be_removed_says_what_to_switch_on() {
    let bench = Bench::new();
    let image = bench.publish("old", &[]).await;
    bench.registry.halt();
    let file = bench.registry.folder().join("config.yml");
    let text = fs::read_to_string(&file).expect("its configuration");
    let without = text.replace("delete: {enabled: true}", "delete: {enabled: false}");
    assert_ne!(text, without);
    fs::write(&file, without).expect("its configuration");
    bench.registry.go_on();

    let survey = bench.client.survey(&bench.repository, &BTreeSet::new()).await.expect("a look");
    let goes = select(&survey, &BTreeMap::new()).goes;
    assert_eq!(goes.len(), 1);
    let error = bench.client.remove(&bench.repository, &goes, |_| ()).await.expect_err("it is not allowed");
    assert!(matches!(error, Error::NoRemoval { .. }), "{error:?}");
    assert!(error.to_string().contains("REGISTRY_STORAGE_DELETE_ENABLED=true"), "{error}");
    assert!(bench.has(image.digest).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_has_nothing_to_remove() {
    let bench = Bench::new();
    let survey = bench.client.survey(&bench.repository, &BTreeSet::from([Digest::of_bytes("x")])).await;
    assert_eq!(survey.expect("a look"), registry::Survey::default());
}
