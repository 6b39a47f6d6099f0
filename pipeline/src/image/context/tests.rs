use super::*;
use std::fs::File;
use std::{
    fs::Permissions,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt, fs::symlink, net::UnixListener},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// More than one buffer, so that the receiver is called while the file is being read.
const LARGE: usize = 1024 * 1024;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn send(folder: &TempDir, times: Times) -> (Sent, Vec<u8>) {
    let mut stream = Vec::new();
    let sent = Context::open(folder.path(), None).unwrap().send(&mut stream, times).unwrap();
    (sent, stream)
}

fn digest(folder: &TempDir) -> Digest {
    send(folder, Times::AS_ON_DISK).0.digest
}

fn set_modified(folder: &TempDir, name: &str, seconds: u64) {
    let file = File::options().write(true).open(folder.path().join(name)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

/// Does something once, when the first bytes arrive, and keeps all of them.
struct Meanwhile<F: FnMut()> {
    act: Option<F>,
    bytes: Vec<u8>,
}

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(mut act) = self.act.take() {
            act();
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error of a context in which that happens while it is sent, after checking that no receiver can take the stream
/// for a whole one.
fn error_when(folder: &TempDir, act: impl FnMut()) -> ContextError {
    let mut receiver = Meanwhile { act: Some(act), bytes: Vec::new() };
    let error = Context::open(folder.path(), None).unwrap().send(&mut receiver, Times::Fixed(0)).unwrap_err();
    assert!(receiver.act.is_none() && !receiver.bytes.ends_with(&[0; 1024]), "there is an end mark");
    error
}

#[test]
fn the_same_files_give_the_same_stream_wherever_and_whenever_they_are() {
    let one = folder(&[("b", b"1"), ("a/x", b"2"), ("a-b", b"3")]);
    let two = folder(&[("a-b", b"3"), ("a/x", b"2"), ("b", b"1")]);
    set_modified(&two, "b", 1_000_000_000);
    let ((sent_one, stream_one), (sent_two, stream_two)) =
        (send(&one, Times::Fixed(7)), send(&two, Times::Fixed(7)));
    assert!(stream_one == stream_two);
    assert_eq!(sent_one, sent_two);
    assert_eq!((sent_one.entries, sent_one.content_bytes), (4, 3));
    assert_eq!(sent_one.stream_bytes, stream_one.len() as u64);
    assert_eq!(sent_one.digest, digest(&two), "times are no part of the digest");
}

#[test]
fn the_digest_covers_names_modes_contents_and_links() {
    let context = folder(&[("a", b"1"), ("b", b"2")]);
    let path = context.path();
    let mut seen = vec![digest(&context)];
    let mut changed = |what: &str| {
        let digest = digest(&context);
        assert!(!seen.contains(&digest), "{what}");
        seen.push(digest);
    };
    fs::write(path.join("a"), "3").unwrap();
    changed("content");
    fs::set_permissions(path.join("a"), Permissions::from_mode(0o755)).unwrap();
    changed("mode");
    fs::rename(path.join("a"), path.join("c")).unwrap();
    changed("name");
    symlink("b", path.join("link")).unwrap();
    changed("a link");
    fs::remove_file(path.join("link")).unwrap();
    symlink("c", path.join("link")).unwrap();
    changed("where a link leads");
    fs::remove_file(path.join("link")).unwrap();
    fs::write(path.join("link"), "c").unwrap();
    changed("a file in the place of a link");
    fs::create_dir(path.join("empty")).unwrap();
    changed("an empty folder");
}

#[test]
fn what_is_left_out_is_no_part_of_the_digest() {
    let context = folder(&[(".dockerignore", b"target\n*.log"), ("a", b"1"), ("target/x", b"2")]);
    let before = digest(&context);
    fs::write(context.path().join("target/y"), "3").unwrap();
    fs::write(context.path().join("a.log"), "4").unwrap();
    assert_eq!(digest(&context), before);
}

#[test]
fn times_are_capped_and_never_raised() {
    let context = folder(&[("new", b""), ("old", b"")]);
    set_modified(&context, "new", 2000);
    set_modified(&context, "old", 500);
    let times = |times| {
        let stream = send(&context, times).1;
        let mut archive = tar::Archive::new(&stream[..]);
        archive.entries().unwrap().map(|e| e.unwrap().header().mtime().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(times(Times::CappedAt(1000)), [1000, 500]);
    assert_eq!(times(Times::AS_ON_DISK), [2000, 500]);
    assert_eq!(times(Times::Fixed(1000)), [1000, 1000]);
}

#[test]
fn a_file_that_grows_shrinks_or_changes_is_an_error() {
    let content = vec![b'x'; LARGE];
    let context = folder(&[("large", &content)]);
    let path = context.path().join("large");
    let write = |length: usize, byte: u8| fs::write(&path, vec![byte; length]).unwrap();
    for (what, length, byte) in
        [("grows", LARGE + 1, b'x'), ("shrinks", LARGE / 2, b'x'), ("changes", LARGE, b'y')]
    {
        write(LARGE, b'x');
        set_modified(&context, "large", 1000);
        let error = error_when(&context, || write(length, byte));
        assert!(
            matches!(&error, ContextError::Changed { path } if path == Path::new("large")),
            "{what}: {error}"
        );
    }
}

#[test]
fn what_vanishes_is_an_error_unless_it_was_left_out() {
    let content = vec![b'x'; LARGE];
    let files: [(&str, &[u8]); 4] =
        [("a", &content), ("b", b""), ("out/x", b""), (".dockerignore", b"out\n!out/y")];
    let context = folder(&files);
    let error = error_when(&context, || fs::remove_file(context.path().join("b")).unwrap());
    assert!(matches!(&error, ContextError::Vanished { path } if path == Path::new("b")), "{error}");

    let context = folder(&files);
    let act = || fs::remove_dir_all(context.path().join("out")).unwrap();
    let receiver = Meanwhile { act: Some(act), bytes: Vec::new() };
    Context::open(context.path(), None).unwrap().send(receiver, Times::Fixed(0)).unwrap();
}

#[test]
fn a_receiver_that_takes_no_more_ends_it() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let context = folder(&[("a", b"1")]);
    let error = Context::open(context.path(), None).unwrap().send(Full, Times::Fixed(0)).unwrap_err();
    assert!(
        matches!(&error, ContextError::Write(source) if source.kind() == io::ErrorKind::ConnectionReset),
        "{error:?}"
    );
}

#[test]
fn a_receiver_that_panics_gets_no_end_mark() {
    let content = vec![b'x'; LARGE];
    let context = folder(&[("a", &content)]);
    let mut receiver = Meanwhile { act: Some(|| panic!("the receiver's own fault")), bytes: Vec::new() };
    let send = || Context::open(context.path(), None).unwrap().send(&mut receiver, Times::Fixed(0));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(send)).is_err());
    assert_eq!(receiver.bytes, b"");
}

#[test]
fn sockets_are_left_out_and_told_of() {
    let context = folder(&[("a", b"1")]);
    let before = digest(&context);
    let _socket = UnixListener::bind(context.path().join("s")).unwrap();
    let sent = send(&context, Times::Fixed(0)).0;
    assert_eq!(sent.sockets, [Path::new("s")]);
    assert_eq!(sent.digest, before);
}

#[test]
fn a_device_is_refused() {
    let rules = Rules::parse(b"*\n!null\n", Path::new(".dockerignore")).unwrap();
    let context = Context { root: PathBuf::from("/dev"), dockerfile: None, rules };
    let error = context.send(io::sink(), Times::Fixed(0)).unwrap_err();
    assert!(error.to_string().starts_with("`null` of the build context is a device"), "{error}");
}

#[test]
fn names_that_are_not_utf8_arrive_as_they_are() {
    let context = folder(&[]);
    let name = OsString::from_vec(b"caf\xe9".to_vec());
    fs::write(context.path().join(&name), "1").unwrap();
    let stream = send(&context, Times::Fixed(0)).1;
    let mut archive = tar::Archive::new(&stream[..]);
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(*entry.path_bytes(), *b"caf\xe9");
}

#[test]
fn the_dockerfile_must_be_in_the_context() {
    let context = folder(&[("inner/a", b"1"), ("Dockerfile", b"FROM scratch")]);
    let inner = context.path().join("inner");
    let open = |name: &str| Context::open(&inner, Some(Path::new(name)));
    assert!(matches!(open("Dockerfile").unwrap_err(), ContextError::Dockerfile { .. }));
    assert!(matches!(open("../Dockerfile").unwrap_err(), ContextError::DockerfileOutside { .. }));
    symlink("../Dockerfile", inner.join("link")).unwrap();
    assert!(matches!(open("link").unwrap_err(), ContextError::DockerfileOutside { .. }));
    symlink("a", inner.join("good")).unwrap();
    assert_eq!(open("./good").unwrap().dockerfile(), Some(Path::new("a")));
    let error = Context::open(&context.path().join("none"), None).unwrap_err();
    assert!(matches!(error, ContextError::Root { .. }), "{error}");
}

#[test]
fn what_fairlead_keeps_is_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    for path in [".fairlead/local/bundles/1/secret", "web/.fairlead/file", "a.txt"] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    fs::write(folder.path().join(".dockerignore"), "!.fairlead\n").unwrap();
    let entries = Context::open(folder.path(), None).unwrap().entries().unwrap();
    let paths: Vec<_> = entries.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(paths, [".dockerignore", "a.txt", "web", "web/.fairlead", "web/.fairlead/file"]);
}
