//! Images published by real engines of both generations to a real registry.

use docker::{
    Address, Connection,
    push::{Event, LayerState, Patience, Push, PushError, Pushed, push},
};
use pipeline::{digest::Digest, secret::Secret};
use registry::{Artifact, Content, Login, Options, Registry, Repository, Tag, Which};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};
use tests::{Engine, Generation};

/// An engine with an image that nobody else has, and where it is to go.
struct Bench<'a> {
    engine: Connection,
    registry: &'a tests::Registry,
    push: Push,
    told: Mutex<Vec<Event>>,
}

impl<'a> Bench<'a> {
    async fn new(generation: Generation, registry: &'a tests::Registry, name: &str, bytes: usize) -> Self {
        let engine = Engine::shared(generation);
        let image = import(engine, bytes);
        let connection = Connection::open(Address::Unix(engine.socket())).await.expect("it answers");
        let host = registry.address().parse().expect("a host");
        let path = format!("{name}-{}", engine.generation().name().replace('.', "-"));
        let push = Push {
            image,
            repository: Repository::new(host, &path).expect("a name"),
            first: tag("release-1"),
            others: vec![tag("main"), tag("latest")],
        };
        Self { engine: connection, registry, push, told: Mutex::default() }
    }

    fn client(&self) -> Registry {
        self.client_as(self.registry.user(), self.registry.password())
    }

    fn client_as(&self, user: &str, password: &str) -> Registry {
        let login = Login::password(user, Secret::new(password.as_bytes().to_vec()));
        client(&self.push.repository, login)
    }

    async fn push(&self, client: &Registry) -> Result<Pushed, PushError> {
        self.push_telling(client, |_| ()).await
    }

    async fn push_telling(
        &self,
        client: &Registry,
        also: impl Fn(&Event) + Send + Sync,
    ) -> Result<Pushed, PushError> {
        let tell = |event: Event| {
            also(&event);
            self.told.lock().expect("no panic").push(event);
        };
        push(&self.engine, client, &self.push, &patience(), &tell).await
    }

    fn told(&self) -> Vec<Event> {
        std::mem::take(&mut self.told.lock().expect("no panic"))
    }

    async fn digests(&self, client: &Registry) -> BTreeMap<String, Digest> {
        let mut digests = BTreeMap::new();
        for tag in client.tags(&self.push.repository).await.expect("tags") {
            let which = Which::Tag(tag.clone());
            let digest = client.digest(&self.push.repository, &which).await.expect("an answer");
            digests.insert(tag.to_string(), digest.expect("a listed tag is there"));
        }
        digests
    }
}

fn client(repository: &Repository, login: Login) -> Registry {
    let options = Options { attempts: 3, first_wait: Duration::from_millis(200), ..Options::default() };
    Registry::new(repository.host.clone(), login, options).expect("a client")
}

fn patience() -> Patience {
    Patience { attempts: 3, first_wait: Duration::from_millis(500), ..Patience::default() }
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

/// An image of one layer with this many bytes of noise in it, which do not compress.
fn import(engine: &Engine, bytes: usize) -> Digest {
    let folder = tempfile::tempdir().expect("a folder");
    let mut noise = Vec::new();
    let random = fs::File::open("/dev/urandom").expect("noise");
    random.take(bytes as u64).read_to_end(&mut noise).expect("noise");
    fs::write(folder.path().join("noise"), noise).expect("a file");
    let mut tar = Command::new("tar")
        .arg("-c")
        .arg("-C")
        .arg(folder.path())
        .arg("noise")
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar");
    let mut client = engine.client(folder.path());
    client.args(["import", "-"]).stdin(tar.stdout.take().expect("a pipe"));
    let output = client.output().expect("the client");
    assert!(tar.wait().expect("tar").success() && output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().parse().expect("the image's id")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_verified_and_tagged_last_and_the_second_time_nothing_is_done() {
    let registry = tests::Registry::shared();
    for generation in Generation::ALL {
        let bench = Bench::new(generation, registry, "team/api", 100_000).await;
        let client = bench.client();
        let tags_when_verified = Mutex::new(None);
        let pushed = bench
            .push_telling(&client, |event| {
                if let Event::Verified { .. } = event {
                    let folder = registry.folder().join("data/docker/registry/v2/repositories");
                    let folder = folder.join(bench.push.repository.path()).join("_manifests/tags");
                    *tags_when_verified.lock().expect("no panic") = Some(names(&folder));
                }
            })
            .await
            .expect("it is published");
        assert!(!pushed.was_there);
        assert_eq!(pushed.moved, bench.push.others);
        // As the registry keeps it on its disk: nothing else had a name before the image was verified.
        assert_eq!(tags_when_verified.into_inner().expect("no panic"), Some(vec!["release-1".to_owned()]));
        let steps: Vec<_> = bench.told();
        let is_pushed = |event: &Event| matches!(event, Event::Layer { state: LayerState::Pushed, .. });
        assert!(steps.iter().any(is_pushed), "{steps:?}");

        let digests = bench.digests(&client).await;
        let names = ["release-1", "main", "latest"];
        assert_eq!(digests, names.map(|name| (name.to_owned(), pushed.digest)).into());
        let manifest = client.manifest(&bench.push.repository, &Which::Digest(pushed.digest)).await;
        let manifest = manifest.expect("an answer").expect("it is there");
        let Content::Image { config, .. } = &manifest.content else { panic!("{manifest:?}") };
        assert_eq!(config.digest, bench.push.image);

        let again = bench.push(&client).await.expect("it is there");
        assert_eq!(again, Pushed { digest: pushed.digest, was_there: true, moved: vec![] });
        let told = bench.told();
        assert!(
            matches!(told[..], [Event::AlreadyThere { .. }, Event::TagStays { .. }, Event::TagStays { .. }]),
            "{told:?}"
        );
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_every_kind_are_understood_by_both_generations() {
    let registry = tests::Registry::shared();
    // The second and third hold in base64 what the two kinds of it write differently, wherever they come to stand.
    let nasty =
        ["\"\\\\\"{}:,'", "~~~~>>>>????", "a~b?c>~d?>e~?>", " leading:and:trailing ", "p%41+ss/w=rd&x#y"];
    for generation in Generation::ALL {
        let mut bench = Bench::new(generation, registry, "team/nasty", 10_000).await;
        for (number, password) in nasty.iter().enumerate() {
            let user = format!("user{number}-{}", generation.name());
            registry.admit(&user, password);
            // Another image, because what is there is not pushed again.
            bench.push.image = import(Engine::shared(generation), 10_000);
            bench.push.first = tag(&format!("release-{number}"));
            let client = bench.client_as(&user, password);
            let pushed =
                bench.push(&client).await.unwrap_or_else(|e| panic!("{generation:?} {password}: {e}"));
            assert!(!pushed.was_there, "{password}");
        }
        bench.push.image = import(Engine::shared(generation), 10_000);
        bench.push.first = tag("release-of-all");
        let pushed = bench.push(&bench.client()).await.expect("the password with every character");
        assert!(!pushed.was_there);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_where_it_came_from_and_without_it() {
    let registry = tests::Registry::shared();
    for generation in Generation::ALL {
        let bench = Bench::new(generation, registry, "team/wrong", 10_000).await;
        let error =
            bench.push(&bench.client_as("fairlead", "hunter2hunter2")).await.expect_err("it is wrong");
        let text = format!("{error} {error:?}");
        assert!(matches!(error, PushError::Registry(registry::Error::Unauthorized { .. })), "{text}");
        assert!(text.contains("given by the caller") && text.contains("docker login"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(bench.digests(&bench.client()).await, BTreeMap::new());

        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.json"), r#"{"auths": {}}"#).expect("a file");
        let variables = [("DOCKER_CONFIG".into(), folder.path().into())].into();
        let login = Login::find(&bench.push.repository.host, None, &variables, Duration::from_secs(5)).await;
        let anonymous = client(&bench.push.repository, login.expect("none is no error"));
        let error = bench.push(&anonymous).await.expect_err("it asks for a password");
        assert!(error.to_string().contains("none was found"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_of_a_release_is_never_moved() {
    let registry = tests::Registry::shared();
    let mut bench = Bench::new(Generation::Docker28, registry, "team/taken", 10_000).await;
    let client = bench.client();
    let pushed = bench.push(&client).await.expect("it is published");
    bench.push.image = import(Engine::shared(Generation::Docker28), 10_000);
    let error = bench.push(&client).await.expect_err("another image");
    assert!(matches!(error, PushError::Taken { found, .. } if found == pushed.digest), "{error}");
    assert!(bench.digests(&client).await.values().all(|digest| *digest == pushed.digest));

    // Under a name of its own it goes, and takes the moving tags along.
    bench.push.first = tag("release-2");
    let next = bench.push(&client).await.expect("it is published");
    assert_eq!(next.moved, bench.push.others);
    let digests = bench.digests(&client).await;
    assert_eq!((digests["release-1"], digests["latest"]), (pushed.digest, next.digest));

    bench.push.image = Digest::of_bytes("nothing");
    bench.push.first = tag("release-3");
    let error = bench.push(&client).await.expect_err("there is no such image");
    assert!(matches!(error, PushError::NoImage { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_restarted_in_mid_push_is_waited_for() {
    for generation in Generation::ALL {
        let registry = tests::Registry::start();
        let bench = Bench::new(generation, &registry, "team/restarted", 48_000_000).await;
        let client = bench.client();
        let (gone, back) = (AtomicBool::new(false), AtomicBool::new(false));
        let pushed = bench
            .push_telling(&client, |event| match event {
                Event::Layer { state: LayerState::Pushing { .. }, .. }
                    if !gone.swap(true, Ordering::SeqCst) =>
                {
                    registry.halt();
                }
                Event::Layer { state: LayerState::Failed { .. }, .. } | Event::Retrying { .. }
                    if !back.swap(true, Ordering::SeqCst) =>
                {
                    registry.go_on();
                }
                _ => {}
            })
            .await
            .expect("it is published in the end");
        assert!(gone.into_inner() && back.into_inner(), "it was not gone in the middle: {:?}", bench.told());
        let digests = bench.digests(&client).await;
        assert!(digests.len() == 3 && digests.values().all(|digest| *digest == pushed.digest), "{digests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_gone_is_told_and_a_second_run_succeeds() {
    for generation in Generation::ALL {
        let registry = tests::Registry::start();
        let bench = Bench::new(generation, &registry, "team/gone", 10_000).await;
        let client = bench.client();
        // Gone before anything: our own look at it finds that out.
        registry.halt();
        let error = bench.push(&client).await.expect_err("nobody answers");
        let unreachable =
            registry::Error::Unreachable { operation: String::new(), attempts: 0, source: "".into() };
        let PushError::Registry(inner) = &error else { panic!("{error:?}") };
        assert_eq!(std::mem::discriminant(inner), std::mem::discriminant(&unreachable), "{error}");
        assert!(error.to_string().contains("3 attempts"), "{error}");
        registry.go_on();
        bench.push(&client).await.expect("it is published");
        assert_eq!(bench.digests(&client).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_space_is_told_as_such() {
    for generation in Generation::ALL {
        let registry = tests::Registry::start();
        let _disk = tests::SmallDisk::under_registry(&registry, "4m");
        let bench = Bench::new(generation, &registry, "team/full", 24_000_000).await;
        let error = bench.push(&bench.client()).await.expect_err("it does not fit");
        assert!(matches!(error, PushError::Registry(registry::Error::Full { .. })), "{error} {error:?}");
        assert!(error.to_string().contains("no space left"), "{error}");
        assert_eq!(bench.digests(&bench.client()).await, BTreeMap::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_attached_to_what_was_pushed_and_found_again() {
    let registry = tests::Registry::shared();
    let bench = Bench::new(Generation::Docker20, registry, "team/attached", 10_000).await;
    let client = bench.client();
    let repository = &bench.push.repository;
    let pushed = bench.push(&client).await.expect("it is published");
    let manifest = client.manifest(repository, &Which::Digest(pushed.digest)).await;
    let subject = manifest.expect("an answer").expect("it is there").descriptor();
    let artifact = |kind: &str| Artifact {
        artifact_type: format!("application/{kind}+json"),
        media_type: "application/json".to_owned(),
        bytes: format!(r#"{{"kind": "{kind}"}}"#).into(),
        annotations: [("org.example.by".to_owned(), "a test".to_owned())].into(),
    };
    let first = client.attach(repository, &subject, &artifact("spdx")).await.expect("attached");
    let second = client.attach(repository, &subject, &artifact("scan")).await.expect("attached");
    assert_eq!(client.attach(repository, &subject, &artifact("spdx")).await.expect("attached"), first);
    let found = client.attached(repository, pushed.digest, None).await.expect("an answer");
    assert_eq!(found, [first.clone(), second]);
    let kind = Some("application/spdx+json");
    let found = client.attached(repository, pushed.digest, kind).await.expect("an answer");
    assert_eq!(found, std::slice::from_ref(&first));
    let bytes = client.artifact(repository, &first, 1000).await.expect("an answer");
    assert_eq!(bytes.as_deref(), Some(br#"{"kind": "spdx"}"#.as_slice()));
    // What it is attached to has not changed.
    assert_eq!(bench.digests(&client).await["latest"], pushed.digest);
}
