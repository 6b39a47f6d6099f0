//! Files arrive whole, with their modes, under their names.

use crate::kit::{LONG, connect, hostile};
use ssh::{FILE_MAX, Failure, Mode};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tests::Host;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_is_written_with_its_mode_and_replaces_the_one_before() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let folder = machine.homes().join("root/one/two");
    host.make_folder(&folder).await.expect("it can be made");
    host.make_folder(&folder).await.expect("it is there");
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o7777, 0o700);
    let path = folder.join("file");
    assert_eq!(host.get(&path).await.expect("an answer"), None);
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    for (content, mode, bits) in
        [(&b"a secret"[..], Mode::Private, 0o600), (&large, Mode::Program, 0o755), (b"", Mode::Shared, 0o644)]
    {
        host.put(&path, content, mode, LONG).await.expect("it can be written");
        assert!(fs::read(&path).expect("a file") == content, "another content");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, bits);
        assert!(host.get(&path).await.expect("an answer").expect("a file") == content);
        assert_eq!(names(&folder), ["file"]);
    }
    host.remove(&path).await.expect("it can be removed");
    host.remove(&path).await.expect("it is gone");
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn names_are_names_whatever_is_in_them() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let folder = machine.homes().join("root");
    let mut expected = Vec::new();
    for name in hostile().into_iter().filter(|name| (1..200).contains(&name.len()) && !name.contains('/')) {
        host.put(&folder.join(&name), name.as_bytes(), Mode::Shared, LONG).await.expect("it can be written");
        assert_eq!(host.get(&folder.join(&name)).await.expect("an answer"), Some(name.clone().into_bytes()));
        expected.push(name);
    }
    expected.sort();
    expected.dedup();
    assert_eq!(names(&folder), expected);
}

#[tokio::test]
async fn what_cannot_be_written_leaves_what_was_there() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let small = machine.homes().join("root/small");
    fs::create_dir(&small).expect("room");
    let mount = ["-t", "tmpfs", "-o", "size=65536", "tmpfs", small.to_str().expect("text")];
    assert!(host.run("mount", &mount, &[], LONG).await.expect("an answer").is_success());
    let path = small.join("file");
    host.put(&path, b"before", Mode::Private, LONG).await.expect("there is room for that");
    let error =
        host.put(&path, &vec![1; 200_000], Mode::Private, LONG).await.expect_err("there is none for that");
    assert!(
        error.to_string().contains(&format!("writing a file on `host` failed: `{}`", path.display())),
        "{error}"
    );
    assert_eq!(host.get(&path).await.expect("an answer").as_deref(), Some(&b"before"[..]));
    let list = host.run("ls", &["-A", small.to_str().expect("text")], &[], LONG).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&list.stdout), "file\n");

    let nowhere = PathBuf::from("/no/such/folder/file");
    let error = host.put(&nowhere, b"x", Mode::Shared, LONG).await.expect_err("there is no such folder");
    assert!(matches!(error.failure, Failure::File { .. }), "{error}");
    let endless = host.get(Path::new("/dev/zero")).await.expect_err("it has no end");
    assert!(matches!(endless.failure, Failure::TooLarge { max: FILE_MAX, .. }), "{endless}");
}
