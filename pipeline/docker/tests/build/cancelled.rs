//! A build that is given up stops on the engine.

use crate::kit::{BUILDERS, ENGINES, Folder, SHELL, connect};
use docker::build::{BuildEvent, Builder};
use std::{fs, path::Path, time::Duration};
use tests::wait_for;

/// Until an engine has ended a container, on a busy machine.
const GONE: Duration = Duration::from_secs(30);

/// Whether a process of this machine, in whatever container, was started with this word.
fn runs(word: &str) -> bool {
    let folders = fs::read_dir("/proc").expect("Linux tells of its processes").flatten();
    let mut commands = folders.filter_map(|folder| fs::read(folder.path().join("cmdline")).ok());
    commands.any(|command| command.split(|b| *b == 0).any(|argument| argument == word.as_bytes()))
}

#[tokio::test]
async fn dropping_the_build_ends_the_program_that_it_runs() {
    for (generation, builder) in ENGINES.into_iter().flat_map(|g| BUILDERS.map(|b| (g, b))) {
        let connection = connect(generation).await;
        let word = format!("marker-{}-{generation:?}-{builder:?}", std::process::id());
        let step = format!("RUN [\"/bin/sh\", \"-c\", \"echo running; read x </dev/zero\", \"{word}\"]");
        let folder = Folder::new(&format!("{SHELL}{step}\n"));
        let request = folder.request(builder);
        let (began, begins) = tokio::sync::oneshot::channel();
        let mut began = Some(began);
        let building = connection.build(&request, |event| {
            if matches!(&event, BuildEvent::Output { line, .. } if line == "running")
                && let Some(began) = began.take()
            {
                began.send(()).unwrap();
            }
        });
        tokio::select! {
            built = building => panic!("it ended by itself: {built:?}"),
            _ = begins => {}
        }
        // `select!` has dropped the build. That it ran at all is what makes its end count.
        let gone = tokio::task::spawn_blocking(move || {
            wait_for("the end of the step's program", GONE, || (!runs(&word)).then_some(()));
        });
        gone.await.unwrap();
    }
}

#[tokio::test]
async fn the_program_of_a_running_step_is_seen() {
    // The control of the test above: what it looks for is there while the build goes on.
    let connection = connect(ENGINES[1]).await;
    let word = format!("control-{}", std::process::id());
    let folder = Folder::new(&format!(
        "{SHELL}RUN [\"/bin/sh\", \"-c\", \"echo running; read x </dev/zero\", \"{word}\"]\n"
    ));
    let request = folder.request(Builder::Best);
    let mut seen = false;
    let building = connection.build(&request, |event| {
        if matches!(&event, BuildEvent::Output { .. }) {
            seen = runs(&word);
        }
    });
    drop(tokio::time::timeout(Duration::from_secs(8), building).await);
    assert!(seen, "no process was seen with the argument that the step gives it");
}

/// Whether this process has the file open.
fn is_open(path: &Path) -> bool {
    let files = fs::read_dir("/proc/self/fd").expect("Linux tells of open files").flatten();
    files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == path))
}

#[tokio::test]
async fn dropping_the_build_while_its_context_is_sent_ends_the_sending() {
    for (generation, builder) in ENGINES.into_iter().flat_map(|g| BUILDERS.map(|b| (g, b))) {
        let connection = connect(generation).await;
        let folder = Folder::new(&format!("{SHELL}COPY endless /\n"));
        // More than any test would wait for.
        let endless = folder.path().canonicalize().unwrap().join("endless");
        fs::File::create(&endless).unwrap().set_len(1 << 42).unwrap();
        let request = folder.request(builder);
        let (began, begins) = tokio::sync::oneshot::channel();
        let mut began = Some(began);
        let building = connection.build(&request, |event| {
            if matches!(&event, BuildEvent::Sending { bytes } if *bytes > 8 << 20)
                && let Some(began) = began.take()
            {
                began.send(is_open(&endless)).unwrap();
            }
        });
        tokio::select! {
            built = building => panic!("it ended by itself: {built:?}"),
            was_open = begins => assert!(was_open.unwrap()),
        }
        let gone = tokio::task::spawn_blocking(move || {
            wait_for("the end of the sending", GONE, || (!is_open(&endless)).then_some(()));
        });
        gone.await.unwrap();
    }
}
