//! A large context passes through without being held. Alone in its program, so that the peak is that of building.
//! `CONTEXT_MIB=2048 cargo test -p docker --test build_memory` sends another size.

use docker::{
    Address, Connection,
    build::{BuildEvent, Builder, ImageBuild},
};
use std::{
    fs::{self, File},
    path::Path,
};
use tests::{Engine, Generation};

/// MiB of the file that is sent. It is sparse here, but not on the engine, whose disk must take it more than once.
const CONTEXT_MIB: u64 = 256;

/// KiB by which the peak may grow: a few pieces on their way, and what the allocator adds.
const ALLOWED_KIB: u64 = 16 * 1024;

/// The most memory that this program has had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it tells of the peak");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number of KiB")
}

async fn build(connection: &Connection, folder: &Path, builder: Builder) -> u64 {
    let request = ImageBuild { builder, ..ImageBuild::new(folder) };
    let mut sent = 0;
    let built = connection.build(&request, |event| {
        if let BuildEvent::Sending { bytes } | BuildEvent::Sent { bytes } = event {
            sent = bytes;
        }
    });
    built.await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    sent
}

#[tokio::test]
async fn a_large_context_passes_within_a_few_megabytes() {
    let engine = Engine::start(Generation::Docker28);
    let connection = Connection::open(Address::Unix(engine.socket())).await.expect("it answers");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("a Dockerfile");
    // All that is made once is made before: connections, threads.
    build(&connection, folder.path(), Builder::Best).await;
    let large = File::create(folder.path().join("large")).expect("a file");
    let context = tests::variable("CONTEXT_MIB", CONTEXT_MIB) * 1024 * 1024;
    large.set_len(context).expect("it is sparse");
    let before = peak_kib();
    for builder in [Builder::Best, Builder::Classic] {
        assert!(build(&connection, folder.path(), builder).await > context);
        let grown = peak_kib() - before;
        assert!(grown < ALLOWED_KIB, "{builder:?}: the peak grew by {grown} KiB");
    }
}
