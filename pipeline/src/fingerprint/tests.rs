use super::*;
use crate::git::tests::{commit, git, repository};
use std::{fs, os::unix::fs::symlink};

fn asking() -> Asking<'static> {
    static RUNNER: std::sync::LazyLock<crate::process::Runner> = std::sync::LazyLock::new(Default::default);
    Asking { runner: &RUNNER, limit: DEADLINE }
}

fn taken(root: &Path, scope: &Scope) -> Fingerprint {
    let workspace = Workspace::read(root, "cargo".as_ref(), &asking()).unwrap();
    take(root, scope, workspace.as_ref(), &mut Hashes::new(Stamps::default())).unwrap()
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
}

/// A workspace: `app` needs `lib` (inherited from the workspace), `lib` needs `outside` (by path), tests of `app` need
/// `kit`; `other` is needed by nobody.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("project");
    let inherited = "[dependencies]\nlib.workspace = true\n[dev-dependencies]\nkit = { path = \"../kit\" }\n";
    write(
        &root,
        &[
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n[workspace.dependencies]\nlib = { path = \"crates/lib\" }\n",
            ),
            ("Cargo.lock", "version = 4\n"),
            ("crates/app/Cargo.toml", &manifest("app", inherited)),
            ("crates/app/src/main.rs", "fn main() {}"),
            ("crates/app/src/bin/extra.rs", "fn main() {}"),
            (
                "crates/lib/Cargo.toml",
                &manifest("lib", "[dependencies]\noutside = { path = \"../../../outside\" }\n"),
            ),
            ("crates/lib/src/lib.rs", ""),
            ("crates/kit/Cargo.toml", &manifest("kit", "")),
            ("crates/kit/src/lib.rs", ""),
            ("crates/other/Cargo.toml", &manifest("other", "")),
            ("crates/other/src/lib.rs", ""),
            ("../outside/Cargo.toml", &manifest("outside", "[workspace]\n")),
            ("../outside/src/lib.rs", ""),
        ],
    );
    git(&root, &["init", "--quiet"]);
    commit(&root);
    folder
}

fn app(dev_dependencies: bool) -> Scope {
    Scope { packages: vec!["app".into()], dev_dependencies, ..Scope::default() }
}

#[test]
fn a_package_is_read_with_what_it_depends_on_by_path_and_what_cargo_reads() {
    let folder = workspace();
    let root = folder.path().join("project");
    let names = |scope: &Scope| taken(&root, scope).files.into_keys().collect::<Vec<_>>();
    let built = names(&app(false));
    for name in ["Cargo.toml", "Cargo.lock", "crates/app/src/main.rs", "crates/lib/src/lib.rs"] {
        assert!(built.contains(&name.to_owned()), "{name} in {built:?}");
    }
    assert!(built.iter().any(|name| name.ends_with("outside/src/lib.rs")), "{built:?}");
    assert!(!built.iter().any(|name| name.contains("kit") || name.contains("other")), "{built:?}");
    assert!(names(&app(true)).contains(&"crates/kit/src/lib.rs".to_owned()));
}

#[test]
fn each_change_is_named_and_what_is_not_read_changes_nothing() {
    let folder = workspace();
    let root = folder.path().join("project");
    let because = |earlier: &Fingerprint| {
        taken(&root, &app(false)).difference_from(earlier).map(|difference| difference.to_string())
    };
    let first = taken(&root, &app(false));
    write(&root, &[("crates/other/src/lib.rs", "// changed"), ("README.md", "new"), ("target/x", "x")]);
    assert_eq!(because(&first), None);
    write(&root, &[("crates/app/src/main.rs", "fn main() { }")]);
    assert_eq!(because(&first).unwrap(), "`crates/app/src/main.rs` changed");
    write(&root, &[("crates/lib/src/new.rs", "")]);
    assert_eq!(because(&first).unwrap(), "`crates/app/src/main.rs` changed, and 1 more input");
    let second = taken(&root, &app(false));
    fs::remove_file(root.join("crates/app/src/bin/extra.rs")).unwrap();
    assert_eq!(because(&second).unwrap(), "`crates/app/src/bin/extra.rs` was removed");
    write(&root, &[("crates/app/src/bin/extra.rs", "fn main() {}")]);
    assert_eq!(because(&second), None, "undone");
    write(&root, &[(".cargo/config.toml", "")]);
    assert_eq!(because(&second).unwrap(), "`.cargo/config.toml` is new");
}

#[test]
fn values_are_named_with_what_they_were() {
    let with = |pairs: &[(&str, &str)]| Fingerprint {
        values: pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        ..Fingerprint::default()
    };
    let difference =
        |now: &[(&str, &str)], then| with(now).difference_from(&with(then)).map(|d| d.to_string());
    let old = &[("the toolchain", "rustc 1.95.0")];
    assert_eq!(difference(old, old), None);
    assert_eq!(
        difference(&[("the toolchain", "rustc 1.96.0")], old).unwrap(),
        "the toolchain changed from rustc 1.95.0 to rustc 1.96.0"
    );
    assert_eq!(difference(&[], old).unwrap(), "the toolchain was unset");
    let variables = Variables::from([("RUSTFLAGS".into(), "-g".into()), ("HOME".into(), "/".into())]);
    let words = compiler_variables(&variables);
    assert_eq!(words.keys().collect::<Vec<_>>(), ["the variable RUSTFLAGS"]);
    assert!(!words["the variable RUSTFLAGS"].contains("-g"));
}

#[test]
fn names_and_contents_that_are_not_text_work_with_and_without_git() {
    use std::os::unix::ffi::OsStrExt;
    let repository = repository();
    let bare = tempfile::tempdir().unwrap();
    for root in [repository.path(), bare.path()] {
        let odd = root.join(OsStr::from_bytes(b"odd \xff\n"));
        fs::write(&odd, b"\xff\xfe").unwrap();
        symlink("/nonexistent", root.join("link")).unwrap();
        let first = taken(root, &Scope::default());
        assert!(serde_json::to_string(&first).unwrap().contains("(6f646420ff0a)"));
        assert!(first.files.contains_key("link"));
        assert_eq!(taken(root, &Scope::default()), first);
        fs::write(&odd, b"\xff\xff").unwrap();
        assert!(taken(root, &Scope::default()).difference_from(&first).unwrap().what.contains("odd"));
    }
}

#[test]
fn without_git_everything_but_hidden_and_target_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a", ""), ("b/c", ""), (".hidden/x", ""), ("target/x", ""), ("b/target/x", "")]);
    assert_eq!(taken(folder.path(), &Scope::default()).files.into_keys().collect::<Vec<_>>(), ["a", "b/c"]);
}

/// Otherwise a stage in an ignored folder would read nothing, never differ, and be skipped for ever.
#[test]
fn a_folder_that_git_ignores_is_read_all_the_same() {
    let repository = repository();
    write(repository.path(), &[(".gitignore", "out/\n"), ("out/x/y", "1")]);
    let scope = Scope { paths: vec!["out/x".into(), "a".into()], ..Scope::default() };
    assert_eq!(taken(repository.path(), &scope).files.into_keys().collect::<Vec<_>>(), ["a", "out/x/y"]);
}

#[test]
fn what_is_named_but_does_not_exist_is_refused() {
    let folder = workspace();
    let root = folder.path().join("project");
    let workspace = Workspace::read(&root, "cargo".as_ref(), &asking()).unwrap();
    let refused = |scope: &Scope, workspace: Option<&Workspace>| {
        take(&root, scope, workspace, &mut Hashes::new(Stamps::default())).unwrap_err().to_string()
    };
    let packages = Scope { packages: vec!["apq".into()], ..Scope::default() };
    let text = refused(&packages, workspace.as_ref());
    assert_eq!(text, "the workspace has no package `apq`; it has `app`, `kit`, `lib`, `other`");
    assert!(refused(&packages, None).starts_with("there is no Cargo.toml"));
    let paths = Scope { paths: vec!["none".into()], ..Scope::default() };
    assert!(refused(&paths, workspace.as_ref()).contains("none` is named as an input of the stage"));
    let workspace = workspace.unwrap();
    assert_eq!(workspace.package_with_binary("extra").unwrap(), "app");
    assert!(workspace.package_with_binary("exta").unwrap_err().to_string().contains("`app`, `extra`"));
    write(&root, &[("Cargo.toml", "[workspace")]);
    let error = Workspace::read(&root, "cargo".as_ref(), &asking()).unwrap_err().to_string();
    assert!(error.contains("`cargo metadata` failed"), "{error}");
    assert!(
        Workspace::read(&root, "no-cargo-1".as_ref(), &asking())
            .unwrap_err()
            .to_string()
            .contains("rustup.rs")
    );
}

#[test]
fn a_stamp_vouches_for_a_settled_file_only_and_for_no_changed_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "one").unwrap();
    let mut hashes = Hashes::new(Stamps::default());
    let one = hashes.digest(&path).unwrap().unwrap();
    let fresh = hashes.into_stamps();
    assert_eq!(fresh, Stamps::default(), "it was written just now");

    // Times cannot be turned back for the test, as the time of change follows; so the clock is moved on.
    let mut later = Hashes::in_the_future(fresh);
    assert_eq!(later.digest(&path).unwrap(), Some(one));
    let settled = later.into_stamps();
    assert_ne!(settled, Stamps::default());
    let mut again = Hashes::new(settled.clone());
    assert_eq!(again.digest(&path).unwrap(), Some(one));
    assert_eq!(again.into_stamps(), settled, "a stamp that holds is kept");

    fs::write(&path, "two").unwrap(); // The same size, and surely another time.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).unwrap();
    assert_eq!(Hashes::new(settled.clone()).digest(&path).unwrap(), Some(Digest::of_bytes("two")));
    let other = folder.path().join("b");
    fs::write(&other, "six").unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(Hashes::new(settled.clone()).digest(&path).unwrap(), Some(Digest::of_bytes("six")));
    fs::remove_file(&path).unwrap();
    assert_eq!(Hashes::new(settled).digest(&path).unwrap(), None);
}
