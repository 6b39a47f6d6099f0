//! A static program becomes an image by itself.

use crate::kit::{ENGINES, connect, inspect, run};
use docker::build::{BINARY_PATH, BinaryImage, BuildError, BuildEvent, BuiltImage, ImageLabels};
use pipeline::release::ReleaseId;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};
use tests::{Engine, Generation};

async fn make(connection: &docker::Connection, request: &BinaryImage) -> Result<BuiltImage, BuildError> {
    connection.image_of_binary(request, |_| {}).await
}

/// A static program that says as whom it runs, and with which arguments.
fn program(folder: &Path) -> PathBuf {
    let source = folder.join("who.rs");
    let text = r#"fn main() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ids = status.lines().filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"));
        for id in ids { println!("{}", id.split_whitespace().nth(1).unwrap()); }
        println!("{:?}", std::env::args().collect::<Vec<_>>());
    }"#;
    fs::write(&source, text).expect("a source");
    let path = folder.join("who");
    let mut compiler = Command::new("rustc");
    compiler.args(["-C", "target-feature=+crt-static", "--target", "x86_64-unknown-linux-gnu", "-o"]);
    let output = compiler.arg(&path).arg(&source).output().expect("rustc");
    assert!(output.status.success(), "{output:?}");
    path
}

fn request(binary: &Path) -> BinaryImage {
    let labels =
        ImageLabels { release: Some(ReleaseId("0123456789ab".to_owned())), ..ImageLabels::default() };
    BinaryImage { labels: labels.into(), ..BinaryImage::new(binary) }
}

#[tokio::test]
async fn it_runs_as_a_user_who_is_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(&program(folder.path()));
    request.names = vec!["who:1".parse().unwrap(), "example.org/who:2".parse().unwrap()];
    for generation in ENGINES {
        let connection = connect(generation).await;
        let mut sent = 0;
        let image = connection
            .image_of_binary(&request, |event| {
                if let BuildEvent::Sending { bytes } | BuildEvent::Sent { bytes } = event {
                    sent = bytes;
                }
            })
            .await
            .unwrap();
        assert!(sent > image.size_bytes && image.size_bytes > 500_000, "{image:?} {sent}");
        let said = run(&connection, &image, &["--port=1"]).await;
        assert_eq!(said, "1000\n1000\n[\"/service\", \"--port=1\"]\n", "{generation:?}");
        let seen = inspect(&connection, &image).await;
        let mut names = seen.repo_tags.unwrap();
        names.sort();
        assert_eq!(names, ["example.org/who:2", "who:1"]);
        let config = seen.config.unwrap();
        assert_eq!(config.labels.unwrap()["fairlead.release"], "0123456789ab");
        assert_eq!(config.entrypoint.unwrap(), [BINARY_PATH]);
    }
}

#[tokio::test]
async fn the_same_program_and_labels_are_the_same_image_on_every_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    fs::copy(Engine::shared(Generation::Docker20).busybox(), &one).unwrap();
    fs::copy(&one, &other).unwrap();
    fs::File::options().append(true).open(&other).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut ids = Vec::new();
    for generation in ENGINES {
        let connection = connect(generation).await;
        for binary in [&one, &other] {
            let image = make(&connection, &request(binary)).await.unwrap();
            ids.push(image.id);
            // Made anew each time, not found.
            connection.docker().remove_image(&image.id.to_string(), Some(force()), None).await.unwrap();
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let connection = connect(Generation::Docker28).await;
    let mut another = request(&one);
    another.labels.insert("another".to_owned(), "label".to_owned());
    assert_ne!(make(&connection, &another).await.unwrap().id, ids[0]);
}

fn force() -> bollard::query_parameters::RemoveImageOptions {
    bollard::query_parameters::RemoveImageOptionsBuilder::default().force(true).build()
}

#[tokio::test]
async fn a_program_that_needs_libraries_is_refused_with_what_to_do() {
    let connection = connect(Generation::Docker28).await;
    let this = std::env::current_exe().unwrap();
    let error = make(&connection, &BinaryImage::new(&this)).await.unwrap_err();
    let text = error.to_string();
    for words in ["linked dynamically", "ld-linux", "+crt-static", "Dockerfile"] {
        assert!(text.contains(words), "{text}");
    }
    let error = make(&connection, &BinaryImage::new("/nonexistent/program")).await.unwrap_err();
    assert!(error.to_string().contains("cannot read the program `/nonexistent/program`"), "{error}");
}
