//! Holds the build context against the real Docker client: for every row of `cases.json` the tree is built, its context
//! is sent, and what was sent is compared with what the client sent, file by file and in order. `record.py` made the
//! table; where two generations of the client differ, the newer one counts.

#![cfg(test)] // Tells clippy that helpers are tests too.

use pipeline::image::context::{Context, Times};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io::Read,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Rows on which the client does something that contradicts its documentation, and on which we refuse the pattern.
const REFUSED_BY_US: [&str; 5] = [
    "a star in a class",
    "a question mark in a class",
    "a named class",
    "a caret and a star",
    "an escaped letter that is a class to the client",
];

/// A row on which the classic client does not do what BuildKit does: it does not know `<Dockerfile>.dockerignore`.
const AS_BUILDKIT: &str = "an ignore file of the Dockerfile's own";

/// A row; `record.py` tells how it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    tree: Vec<String>,
    ignore: Option<String>,
    dockerfile: Option<String>,
    #[serde(flatten)]
    outcome: Outcome,
    newer: Option<Outcome>,
}

#[derive(Clone, Deserialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Sent(Vec<String>),
    Refused(String),
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("cases.json")).unwrap()
}

/// `%FF` is the byte 0xFF.
fn raw(name: &str) -> PathBuf {
    let mut bytes = Vec::new();
    for (index, part) in name.split("%FF").enumerate() {
        bytes.extend((index > 0).then_some(0xff));
        bytes.extend(part.as_bytes());
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn shown(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    chunks.map(|chunk| chunk.valid().to_owned() + &"%FF".repeat(chunk.invalid().len())).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// All folders down to this one, with the usual mode whatever the umask.
fn create_folder(root: &Path, folder: &Path) {
    let below = folder.strip_prefix(root).unwrap();
    let mut path = root.to_owned();
    for name in below {
        path.push(name);
        if !path.exists() {
            fs::create_dir(&path).unwrap();
            set_mode(&path, 0o755);
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    set_mode(path, 0o644);
}

fn build(case: &Case) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut modes = Vec::new();
    for entry in &case.tree {
        let (mode, entry) = match entry.split_once(' ') {
            Some((mode, name)) if mode.len() == 4 && mode.bytes().all(|b| b.is_ascii_digit()) => {
                (u32::from_str_radix(mode, 8).ok(), name)
            }
            _ => (None, entry.as_str()),
        };
        let (name, target) = entry.split_once(" -> ").map_or((entry, None), |(n, t)| (n, Some(t)));
        let path = root.join(raw(name.trim_end_matches(['/', '|', '='])));
        create_folder(root, path.parent().unwrap());
        match target {
            Some(target) => symlink(raw(target), &path).unwrap(),
            None if name.ends_with('/') => create_folder(root, &path),
            None if name.ends_with('|') => {
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
                set_mode(&path, 0o644);
            }
            None if name.ends_with('=') => drop(UnixListener::bind(&path).unwrap()),
            None => write(&path, raw(name).as_os_str().as_bytes()),
        }
        modes.extend(mode.map(|mode| (path, mode)));
    }
    if let Some(ignore) = &case.ignore {
        write(&root.join(".dockerignore"), ignore.as_bytes());
    }
    let dockerfile = root.join(raw(case.dockerfile.as_deref().unwrap_or("Dockerfile")));
    if dockerfile.symlink_metadata().is_err() {
        write(&dockerfile, b"FROM scratch\n");
    }
    for (path, mode) in modes {
        set_mode(&path, mode);
    }
    folder
}

/// What we send, written as in the table; or why not, with the causes.
fn outcome(case: &Case) -> Outcome {
    let folder = build(case);
    let dockerfile = case.dockerfile.as_deref().unwrap_or("Dockerfile");
    let mut stream = Vec::new();
    let sent = Context::open(folder.path(), Some(Path::new(dockerfile)))
        .and_then(|context| context.send(&mut stream, Times::Fixed(0)));
    match sent {
        Ok(sent) => {
            assert_eq!(sent.stream_bytes, stream.len() as u64, "{}", case.name);
            Outcome::Sent(listed(&stream, folder.path()))
        }
        Err(error) => {
            let causes =
                std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            Outcome::Refused(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
        }
    }
}

/// The entries of a stream; the content of each file is compared with the disk.
fn listed(stream: &[u8], root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in tar::Archive::new(stream).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        let (mark, usual) = match header.entry_type() {
            tar::EntryType::Directory => (String::new(), 0o755),
            tar::EntryType::Symlink => (format!(" -> {}", shown(&entry.link_name_bytes().unwrap())), 0o777),
            tar::EntryType::Fifo => ("|".to_owned(), 0o644),
            tar::EntryType::Regular => {
                assert!(fs::read(root.join(OsStr::from_bytes(&path))).unwrap() == content);
                (String::new(), 0o644)
            }
            other => panic!("{other:?}"),
        };
        let mode = header.mode().unwrap();
        let name = shown(&path) + &mark;
        names.push(if mode == usual { name } else { format!("{mode:04o} {name}") });
    }
    names
}

#[test]
fn the_same_files_are_sent_as_by_the_real_client() {
    let mut wrong = Vec::new();
    let is_comparable =
        |case: &&Case| !REFUSED_BY_US.contains(&case.name.as_str()) && case.name != AS_BUILDKIT;
    for case in cases().iter().filter(is_comparable) {
        let ours = outcome(case);
        let theirs = case.newer.as_ref().unwrap_or(&case.outcome);
        let same = match (&ours, theirs) {
            (Outcome::Refused(_), Outcome::Refused(_)) => true,
            (ours, theirs) => ours == theirs,
        };
        if !same {
            wrong.push(format!("{}: {:?}\n  the client: {theirs:?}\n  we: {ours:?}", case.name, case.ignore));
        }
    }
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn patterns_that_mean_two_things_are_refused_with_their_line() {
    let cases = cases();
    for name in REFUSED_BY_US {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        assert!(matches!(case.outcome, Outcome::Sent(_)), "{name}: the client refuses it too");
        let Outcome::Refused(error) = outcome(case) else { panic!("{name} is not refused") };
        assert!(
            error.contains("line 1") && error.contains("another in its documentation"),
            "{name}: {error}"
        );
    }
}

#[test]
fn the_ignore_file_of_the_dockerfile_comes_before_that_of_the_context() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == AS_BUILDKIT).unwrap();
    // What stands in that file is its own name, and the other file excludes `a`.
    let all = [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "a", "b"];
    assert_eq!(outcome(case), Outcome::Sent(all.map(str::to_owned).to_vec()));
}

#[test]
fn the_table_has_rows_of_every_kind() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name is there twice");
    let refused = cases.iter().filter(|case| matches!(case.outcome, Outcome::Refused(_))).count();
    assert!(cases.len() >= 160 && refused >= 10, "{} rows, {refused} refused", cases.len());
}

/// Runs Debian's client on every row; needs its `docker.io` and python3, but no engine.
#[test]
#[ignore = "needs the real client: apt-get install docker.io"]
fn the_table_is_what_the_real_client_does() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerignore/record.py");
    let status = Command::new("python3").arg(script).arg("--check").status().unwrap();
    assert!(status.success());
}
