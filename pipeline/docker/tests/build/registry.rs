//! Builds that need a registry with a password: for their base image, or for what earlier builds did.

use crate::kit::{BUILDERS, ENGINES, Folder, SHELL, build, connect, run, told, was, well};
use docker::{
    Address, EngineImages,
    build::{Builder, Logins},
};
use pipeline::{
    image::reference::{Reference, Repository, Which},
    secret::Variables,
    stage::{ImageMaker, ImageOrder, News, PublishOrder, Source},
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};
use tempfile::TempDir;
use tests::{Engine, Generation, Registry};

/// A folder of logins that the real client wrote.
struct LoggedIn(TempDir);

impl LoggedIn {
    fn to(registry: &Registry) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let password = folder.path().join("password");
        fs::write(&password, registry.password()).expect("a file");
        let mut client = Engine::shared(Generation::Docker28).client(folder.path());
        client.args(["login", "--username", registry.user(), "--password-stdin", registry.address()]);
        let output = client.stdin(fs::File::open(&password).expect("a file")).output().expect("the client");
        fs::remove_file(password).expect("our own file");
        assert!(output.status.success(), "{output:?}");
        Self(folder)
    }

    fn variables(&self) -> Variables {
        [("DOCKER_CONFIG".into(), self.0.path().into())].into()
    }
}

/// Runs the real client, which must succeed.
#[track_caller]
fn docker(engine: &Engine, config: &Path, words: &[&str]) -> String {
    let output = engine.client(config).args(words).output().expect("the client");
    assert!(output.status.success(), "docker {words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Puts an image with a shell into the registry, and takes it from the engine again.
fn publish_shell(engine: &Engine, config: &Path, name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("bin")).expect("a folder");
    fs::copy(engine.busybox(), folder.path().join("bin/sh")).expect("a shell");
    let mut tar = Command::new("tar");
    tar.arg("-c").arg("-C").arg(folder.path()).arg("bin").stdout(Stdio::piped());
    let mut tar = tar.spawn().expect("tar");
    let mut client = engine.client(config);
    client.args(["import", "-", name]).stdin(tar.stdout.take().expect("a pipe"));
    let output = client.output().expect("the client");
    assert!(tar.wait().expect("tar").success() && output.status.success(), "{output:?}");
    docker(engine, config, &["push", name]);
    docker(engine, config, &["rmi", name]);
}

#[tokio::test]
async fn a_base_image_is_taken_from_a_registry_with_the_logins_of_the_docker_client() {
    let registry = Registry::shared();
    let logins = LoggedIn::to(registry);
    for generation in ENGINES {
        let (engine, connection) = (Engine::shared(generation), connect(generation).await);
        for builder in BUILDERS {
            let name =
                format!("{}/base/{builder:?}-{}", registry.address(), generation.name()).to_lowercase();
            publish_shell(engine, logins.0.path(), &name);
            // The name in an argument: the Dockerfile does not hold it.
            let folder = Folder::new("ARG BASE\nFROM $BASE\nRUN echo built > /built\n");
            let mut request = folder.request(builder);
            request.args.insert("BASE".parse().unwrap(), name.clone());

            // Nobody, and whoever our own variables name without the registry being ours, is not let in.
            let foreign: Variables = [
                (registry::USERNAME.into(), registry.user().into()),
                (registry::PASSWORD.into(), registry.password().into()),
            ]
            .into();
            for logins in [Logins::default(), Logins::new(foreign.clone(), None)] {
                request.logins = logins;
                let error = build(&connection, &request).await.0.expect_err("it asks for a password");
                assert!(error.to_string().contains("docker login"), "{generation:?} {builder:?}: {error}");
            }

            let own = Logins::new(foreign, Some(registry.address().parse().expect("a host")));
            for logins in [Logins::new(logins.variables(), None), own] {
                request.logins = logins;
                request.no_cache = true;
                let (image, events) = well(build(&connection, &request).await);
                let read = ["/bin/sh", "-c", "read x </built; echo $x"];
                assert_eq!(run(&connection, &image, &read).await, "built\n", "{generation:?} {builder:?}");
                assert!(!format!("{events:?}").contains(registry.password()));
                docker(engine, logins_folder(), &["rmi", "--force", &image.id.to_string()]);
                let _ = engine.client(logins_folder()).args(["rmi", &name]).output();
            }
        }
    }
}

/// No logins.
fn logins_folder() -> &'static Path {
    Path::new("/nonexistent")
}

#[tokio::test]
async fn a_login_that_is_damaged_is_told_and_not_taken_for_none() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), "{").expect("a file");
    let variables: Variables = [("DOCKER_CONFIG".into(), folder.path().into())].into();
    let connection = connect(Generation::Docker28).await;
    for builder in BUILDERS {
        let context = Folder::new(&format!("FROM {}/base/damaged\n", Registry::shared().address()));
        let mut request = context.request(builder);
        request.logins = Logins::new(variables.clone(), None);
        let error = build(&connection, &request).await.0.expect_err("nobody knows the login");
        let text = pipeline::causes::in_one_line(&error);
        assert!(text.contains("are damaged in line 1"), "{builder:?}: {text}");
    }
}

/// A maker on one engine, and what it told.
struct Maker {
    maker: EngineImages,
    told: Mutex<Vec<String>>,
}

impl Maker {
    fn on(engine: &Engine, logins: &LoggedIn) -> Self {
        let maker = EngineImages::new(Address::Unix(engine.socket()), logins.variables(), None);
        Self { maker, told: Mutex::default() }
    }

    async fn make(&self, folder: &Folder, published: &Repository, cached: bool) -> (ImageOrder, String) {
        let tag = |text: &str| published.with(&Which::Tag(text.parse().expect("a tag")));
        let cache: Vec<Reference> = ["main", "latest"].map(tag).into();
        let order = ImageOrder {
            source: Source::Dockerfile {
                context: folder.path().to_owned(),
                dockerfile: "Dockerfile".into(),
                target: None,
                args: BTreeMap::new(),
                secrets: BTreeMap::new(),
                platform: None,
            },
            labels: BTreeMap::new(),
            epoch: None,
            repository: Repository::new("localhost".parse().expect("a host"), "cache/api").expect("a name"),
            cache: cached.then_some(cache),
            timeout: Duration::from_secs(300),
        };
        let tell = |text: String| self.told.lock().expect("no panic").push(text);
        let news = News { step: &tell, line: &|_| () };
        let made = self.maker.make(&order, news).await.unwrap_or_else(|error| panic!("{error}"));
        let first = format!("id-{}", made.id.short()).parse().expect("a tag");
        let publish = PublishOrder {
            image: made.id,
            repository: published.clone(),
            first,
            others: vec!["main".parse().expect("a tag")],
            timeout: Duration::from_secs(300),
        };
        let news = News { step: &|_| (), line: &|_| () };
        self.maker.publish(&publish, news).await.unwrap_or_else(|error| panic!("{error}"));
        let told = std::mem::take(&mut *self.told.lock().expect("no panic")).join("\n");
        (order, told)
    }
}

#[tokio::test]
async fn another_engine_takes_up_from_the_registry_what_the_first_has_done() {
    let registry = Registry::shared();
    let logins = LoggedIn::to(registry);
    for generation in ENGINES {
        let path = format!("cache/api-{}", generation.name().replace('.', "-"));
        let published = Repository::new(registry.address().parse().expect("a host"), &path).expect("a name");
        let step = "RUN echo slow > /slow";
        let folder = Folder::new(&format!("{SHELL}{step}\nCOPY changing /changing\n"));
        folder.write("changing", "1");

        let first = Maker::on(Engine::shared(generation), &logins);
        let (_, told) = first.make(&folder, &published, true).await;
        assert!(told.contains("no cache in the registry yet"), "{generation:?}: {told}");
        let is_cached =
            |told: &str| told.lines().any(|line| line.starts_with("cached ") && line.ends_with(step));
        assert!(!is_cached(&told), "{generation:?}: {told}");

        let empty = Engine::start(generation);
        let second = Maker::on(&empty, &logins);
        folder.write("changing", "2");
        let (_, told) = second.make(&folder, &published, true).await;
        assert!(told.contains(&format!("looking for earlier steps in {published}:main")), "{told}");
        assert!(is_cached(&told), "{generation:?}: {told}");
        assert!(
            !told.lines().any(|line| line.starts_with("cached ") && line.contains("COPY changing")),
            "{told}"
        );

        // What the second has done is there for a third; and without a cache nothing is looked for.
        let other = Engine::start(generation);
        let third = Maker::on(&other, &logins);
        let (_, told) = third.make(&folder, &published, false).await;
        assert!(!told.contains("cached ") && !told.contains("cache"), "{generation:?}: {told}");
    }
}

#[tokio::test]
async fn a_cache_that_cannot_be_had_is_a_warning_and_no_failure() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new(&format!("{SHELL}RUN echo {generation:?} > /made\n"));
        let mut request = folder.request(Builder::Best);
        request.cache_from =
            vec![format!("{}/none/here:main", Registry::shared().address()).parse().unwrap()];
        let (_, events) = well(build(&connection, &request).await);
        let warned = format!("{events:?}").contains("Warning { message: \"importing cache manifest from");
        assert!(warned && !told(&events).iter().any(|line| line.starts_with("failed")), "{events:#?}");
        assert!(was(&events, "done", "> /made"), "{events:#?}");
    }
}
