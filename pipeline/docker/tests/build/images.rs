//! What is asked for is what is built.

use crate::kit::{BUILDERS, ENGINES, Folder, SHELL, build, connect, inspect, run, told, was, well};
use bollard::query_parameters::ImportImageOptions;
use docker::{
    Address, Connection,
    build::{BuildEvent, Builder, BuiltImage, ImageLabels},
};
use futures::StreamExt;
use pipeline::release::ReleaseId;
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    time::{Duration, SystemTime},
};
use tests::{Engine, Generation};

#[tokio::test]
async fn stages_arguments_labels_and_names() {
    let dockerfile = format!(
        "{SHELL}ARG GREETING=nothing\nRUN echo \"$GREETING\" > /greeting\n\
         FROM scratch AS wanted\nCOPY --from=shell /bin/sh /bin/sh\nCOPY --from=shell /greeting /greeting\n\
         LABEL of.the.dockerfile=yes\nCMD [\"/bin/sh\", \"-c\", \"read x </greeting; echo $x\"]\n\
         FROM shell AS last\nRUN exit 9\n"
    );
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let folder = Folder::new(&dockerfile);
            let mut request = folder.request(builder);
            request.target = Some("wanted".parse().unwrap());
            // What a query must escape, and what a shell must not see.
            request.args.insert("GREETING".parse().unwrap(), "a&b=c%20+version=1 d".to_owned());
            request.labels = ImageLabels {
                release: Some(ReleaseId("0123456789ab".to_owned())),
                source: Some("https://example.org/x?a=1&b=2".to_owned()),
                ..ImageLabels::default()
            }
            .into();
            request.names =
                ["stages:1", "example.org:5000/stages/again:2"].map(|name| name.parse().unwrap()).to_vec();
            let (image, events) = well(build(&connection, &request).await);
            assert!(image.size_bytes > 500_000, "{image:?}");
            let seen = inspect(&connection, &image).await;
            let labels = seen.config.unwrap().labels.unwrap();
            let expected: HashMap<String, String> = [
                ("fairlead.release", "0123456789ab"),
                ("org.opencontainers.image.source", "https://example.org/x?a=1&b=2"),
                ("of.the.dockerfile", "yes"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            assert_eq!(labels, expected, "{generation:?} {builder:?}");
            let names = seen.repo_tags.unwrap();
            for name in ["stages:1", "example.org:5000/stages/again:2"] {
                assert!(names.iter().any(|known| known == name), "{names:?}");
            }
            assert_eq!(
                run(&connection, &image, &["/bin/sh", "-c", "read x </greeting; echo $x"]).await,
                "a&b=c%20+version=1 d\n"
            );
            assert!(was(&events, "done", " > /greeting"), "{:#?}", told(&events));
            let sent =
                events.iter().any(|event| matches!(event, BuildEvent::Sent { bytes } if *bytes > 500_000));
            assert!(sent, "{events:#?}");
            assert!(
                !was(&events, "began", "RUN exit 9") || builder == Builder::Classic,
                "{:#?}",
                told(&events)
            );
        }
    }
}

#[tokio::test]
async fn a_second_build_is_cached_unless_it_may_not_be() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            // Another text for each, so that neither builder finds the other's work.
            let step = format!("RUN echo {builder:?} > /made");
            let folder = Folder::new(&format!("{SHELL}{step}\n"));
            let mut request = folder.request(builder);
            let (first, events) = well(build(&connection, &request).await);
            assert!(was(&events, "done", &step) && !was(&events, "cached", &step), "{:#?}", told(&events));
            let (second, events) = well(build(&connection, &request).await);
            assert!(was(&events, "cached", &step) && !was(&events, "done", &step), "{:#?}", told(&events));
            assert_eq!(first.id, second.id, "{generation:?} {builder:?}");
            request.no_cache = true;
            let (_, events) = well(build(&connection, &request).await);
            assert!(was(&events, "done", &step) && !was(&events, "cached", &step), "{:#?}", told(&events));
        }
    }
}

#[tokio::test]
async fn what_the_ignore_file_leaves_out_is_not_sent() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let folder = Folder::new("FROM scratch\nCOPY . /\n");
            folder.write(".dockerignore", "target\n*.secret\n!kept.secret\n");
            for name in ["target/large", "a.secret", "kept.secret", "src/main.rs"] {
                folder.write(name, name);
            }
            let (image, _) = well(build(&connection, &folder.request(builder)).await);
            let there = run(&connection, &image, &["/busybox", "find", "/src", "/kept.secret"]).await;
            assert_eq!(there, "/src\n/src/main.rs\n/kept.secret\n", "{generation:?} {builder:?}");
            let gone = ["/busybox", "sh", "-c", "[ ! -e /target ] && [ ! -e /a.secret ] && echo gone"];
            assert_eq!(run(&connection, &image, &gone).await, "gone\n");
        }
    }
}

/// Everything that a context may hold, and something that is left out.
fn of_every_kind() -> Folder {
    let folder = Folder::new("FROM scratch\nCOPY busybox /busybox\nCOPY tree /tree\n");
    folder.write(".dockerignore", "tree/out\n!tree/out/deep/kept\n");
    let names = [
        "tree/b c",
        "tree/program",
        "tree/empty",
        "tree/foo/x",
        "tree/foo-bar",
        "tree/out/left",
        "tree/ü/日本",
        "tree/out/deep/kept",
    ];
    for name in names {
        folder.write(name, name);
    }
    folder.write("tree/empty", "");
    folder.write("tree/large", &"0123456789".repeat(100_000));
    let path = |name: &str| folder.path().join("tree").join(name);
    fs::create_dir(path("nothing")).expect("it can be made");
    symlink("foo/../b c", path("link")).expect("it can be made");
    symlink("nowhere", path("broken")).expect("it can be made");
    for (name, mode) in
        [("program", 0o4755), ("foo/x", 0o600), ("nothing", 0o1777), ("foo", 0o2750), ("large", 0o444)]
    {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).expect("it can be made");
    }
    folder
}

/// Each path below `/tree` with its kind, mode, owner, size, time and, of a file, content.
async fn tree_of(connection: &Connection, image: &BuiltImage) -> String {
    let script = "cd /tree && /busybox find . | /busybox sort | while read -r path; do \
                  /busybox stat -c '%N %f %u:%g %s %Y' \"$path\"; \
                  [ -f \"$path\" ] && /busybox sha256sum \"$path\"; done; true";
    run(connection, image, &["/busybox", "sh", "-c", script]).await
}

/// BuildKit asks for the context entry by entry, the classic builder unpacks an archive.
#[tokio::test]
async fn both_builders_get_the_same_context() {
    let folder = of_every_kind();
    let mut trees = Vec::new();
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let mut request = folder.request(builder);
            request.source_date_epoch = Some(1_000_000_000);
            let (image, _) = well(build(&connection, &request).await);
            let tree = tree_of(&connection, &image).await;
            // Nobody else makes a folder of its own accord, and gives it the time at which it does: the one that is copied
            // to, and those that are excluded and have something in them that is not.
            let is_made =
                |line: &&str| ["./out ", "./out/deep ", ". "].iter().any(|made| line.starts_with(made));
            let lines: Vec<String> = tree.lines().filter(|line| !is_made(line)).map(str::to_owned).collect();
            let has = |end: &str| lines.iter().any(|line| line.ends_with(end));
            assert!(has("./ü/日本") && has("./out/deep/kept") && !tree.contains("left"), "{tree}");
            let told = lines.iter().filter(|line| line.starts_with(['.', '\'']));
            let late: Vec<&String> = told.filter(|line| !line.ends_with(" 1000000000")).collect();
            assert!(late.is_empty(), "{generation:?} {builder:?}: {late:#?}");
            // The classic builder takes it away.
            assert_eq!(has("./program 89ed 0:0 12 1000000000"), builder == Builder::Best, "{tree}");
            trees.push(lines.into_iter().filter(|line| !line.contains("./program ")).collect::<Vec<_>>());
        }
    }
    for tree in &trees[1..] {
        assert_eq!(&trees[0], tree);
    }
}

/// A file is sent again when it has changed, also where its size and its time are as before.
#[tokio::test]
async fn what_looks_the_same_is_not_taken_for_the_same() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new("FROM scratch\nCOPY busybox /busybox\nCOPY said /said\n");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for said in ["one", "two"] {
            folder.write("said", said);
            let file = fs::File::options().write(true).open(folder.path().join("said")).unwrap();
            file.set_modified(time).unwrap();
            let mut request = folder.request(Builder::Best);
            request.source_date_epoch = Some(1_000_000_000);
            let (image, _) = well(build(&connection, &request).await);
            assert_eq!(run(&connection, &image, &["/busybox", "cat", "/said"]).await, said, "{generation:?}");
        }
    }
}

/// The session has no words for it, an archive has.
#[tokio::test]
async fn a_name_that_is_no_text_is_sent_too() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new("FROM scratch\nCOPY . /\n");
        fs::write(folder.path().join(OsStr::from_bytes(b"caf\xe9")), "coffee").unwrap();
        let (image, _) = well(build(&connection, &folder.request(Builder::Best)).await);
        let said = run(&connection, &image, &["/busybox", "sh", "-c", "/busybox cat /caf*"]).await;
        assert_eq!(said, "coffee", "{generation:?}");
    }
}

/// BuildKit leaves the Dockerfile out if it is told to, though it must have it to build.
#[tokio::test]
async fn an_ignored_dockerfile_is_not_in_the_image() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new("FROM scratch\nCOPY . /\n");
        folder.write(".dockerignore", "Dockerfile\n.dockerignore\n");
        let (image, _) = well(build(&connection, &folder.request(Builder::Best)).await);
        let there = run(&connection, &image, &["/busybox", "sh", "-c", "cd / && echo [D.]*"]).await;
        assert!(!there.contains("Dockerfile") && !there.contains(".dockerignore"), "{generation:?}: {there}");
    }
}

#[tokio::test]
async fn a_cache_mount_is_kept_between_builds() {
    let step = |n: u32| {
        format!(
            "RUN --mount=type=cache,target=/cache echo {n} >> /cache/builds; while read x; do echo saw $x; done </cache/builds"
        )
    };
    for generation in ENGINES {
        let connection = connect(generation).await;
        for (n, expected) in [(1, vec!["| saw 1"]), (2, vec!["| saw 1", "| saw 2"])] {
            let folder = Folder::new(&format!("{SHELL}{}\n", step(n)));
            let (_, events) = well(build(&connection, &folder.request(Builder::Best)).await);
            let saw: Vec<String> =
                told(&events).into_iter().filter(|line| line.starts_with("| saw")).collect();
            assert_eq!(saw, expected, "{generation:?}");
        }
    }
}

#[tokio::test]
async fn with_a_time_given_the_same_files_are_the_same_image_on_a_new_engine() {
    let connection = connect(Generation::Docker28).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        // Each time a fresh checkout, with files of other times.
        let folder = Folder::new("FROM scratch\nCOPY busybox /\nCOPY src /src\n");
        folder.write("src/main.rs", "fn main() {}");
        let mut request = folder.request(Builder::Best);
        request.source_date_epoch = Some(1_000_000_000);
        request.no_cache = true;
        ids.push(well(build(&connection, &request).await).0);
    }
    assert_eq!(ids[0], ids[1]);
    let created = inspect(&connection, &ids[0]).await.created.unwrap();
    assert_eq!(created.timestamp(), 1_000_000_000);
}

#[tokio::test]
async fn an_image_for_another_platform_says_so() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new("FROM scratch\nCOPY busybox /busybox\n");
        let mut request = folder.request(Builder::Best);
        request.platform = Some("linux/arm64".parse().unwrap());
        let (image, _) = well(build(&connection, &request).await);
        assert_eq!(
            inspect(&connection, &image).await.architecture.as_deref(),
            Some("arm64"),
            "{generation:?}"
        );
    }
}

#[tokio::test]
async fn a_build_takes_up_what_an_image_from_another_engine_carries() {
    for generation in ENGINES {
        let step = "RUN echo carried > /carried";
        let folder = Folder::new(&format!("{SHELL}{step}\n"));
        let mut request = folder.request(Builder::Best);
        request.inline_cache = true;
        request.names = vec!["carries-cache:1".parse().unwrap()];
        let there = connect(generation).await;
        well(build(&there, &request).await);
        let other = Engine::start(generation);
        let here = Connection::open(Address::Unix(other.socket())).await.unwrap();
        let carried = there.docker().export_image("carries-cache:1");
        let loaded: Vec<_> =
            here.docker().import_image_stream(ImportImageOptions::default(), carried, None).collect().await;
        assert!(loaded.iter().all(Result::is_ok), "{loaded:?}");
        request.cache_from = request.names.clone();
        request.names.clear();
        let (_, events) = well(build(&here, &request).await);
        assert!(was(&events, "cached", step), "{generation:?}: {:#?}", told(&events));
    }
}
