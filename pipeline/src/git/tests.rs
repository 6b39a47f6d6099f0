use super::*;
use std::os::unix::fs::symlink;

/// A repository with one commit of `a` and `dir/b`, isolated from the user's configuration.
pub(crate) fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet", "--initial-branch=main"]);
    fs::create_dir(folder.path().join("dir")).unwrap();
    fs::write(folder.path().join("a"), "one").unwrap();
    fs::write(folder.path().join("dir/b"), "two").unwrap();
    commit(folder.path());
    folder
}

pub(crate) fn commit(folder: &Path) {
    git(folder, &["add", "--all"]);
    git(folder, &["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "x"]);
}

pub(crate) fn git(folder: &Path, args: &[&str]) {
    let shell = Shell::new().unwrap();
    shell.change_dir(folder);
    let isolated =
        cmd!(shell, "git {args...}").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    isolated.quiet().run().unwrap();
}

fn tree(folder: &Path) -> Tree {
    inspect(folder).unwrap().unwrap()
}

fn digest(folder: &Path) -> Digest {
    tree(folder).state_digest().unwrap()
}

#[test]
fn a_clean_tree_has_a_commit_a_branch_and_no_changes() {
    let repository = repository();
    let tree = tree(&repository.path().join("dir"));
    assert_eq!(tree.root, repository.path().canonicalize().unwrap());
    assert_eq!(tree.commit.as_ref().unwrap().len(), 40);
    assert_eq!(tree.branch.as_deref(), Some("main"));
    assert!(!tree.is_dirty(), "{tree:?}");
    git(repository.path(), &["checkout", "--quiet", "--detach"]);
    assert_eq!(inspect(repository.path()).unwrap().unwrap().branch, None);
}

#[test]
fn a_folder_outside_git_is_a_normal_answer_and_a_missing_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(inspect(folder.path()).unwrap(), None);
    assert_eq!(files(folder.path(), &[]).unwrap(), None);
    assert!(inspect(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn a_repository_without_a_commit_has_none() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet"]);
    assert_eq!(tree(folder.path()).commit, None);
}

#[test]
fn changed_new_and_removed_files_are_changes_but_ignored_ones_and_our_own_are_not() {
    let repository = repository();
    let path = repository.path();
    fs::write(path.join(".gitignore"), "*.log\n").unwrap();
    commit(path);
    for folder in ["target", ".fairlead", "dir/target"] {
        fs::create_dir(path.join(folder)).unwrap();
    }
    for file in ["x.log", "target/x", ".fairlead/x"] {
        fs::write(path.join(file), "x").unwrap();
    }
    assert!(!tree(path).is_dirty(), "{:?}", tree(path));
    fs::write(path.join("a"), "changed").unwrap();
    fs::remove_file(path.join("dir/b")).unwrap();
    fs::write(path.join("dir/target/new file\n"), "x").unwrap();
    let odd = OsStr::from_bytes(b"odd \xff");
    fs::write(path.join(odd), "x").unwrap();
    let changed: Vec<_> = tree(path).changes.into_iter().map(|c| c.path).collect();
    let expected: Vec<PathBuf> = ["a", "dir/b", "dir/target/new file\n"].map(PathBuf::from).to_vec();
    assert_eq!(changed, [expected, vec![odd.into()]].concat());
}

#[test]
fn the_digest_follows_content_mode_and_name_and_nothing_else() {
    let repository = repository();
    let path = repository.path();
    let clean = digest(path);
    fs::write(path.join("new"), "1").unwrap();
    let one = digest(path);
    assert_ne!(one, clean);
    assert_eq!(digest(&path.join("dir")), one, "wherever it is asked from");
    git(path, &["add", "new"]);
    assert_eq!(digest(path), one, "staging changes nothing");
    fs::write(path.join("new"), "2").unwrap();
    let two = digest(path);
    assert_ne!(two, one, "content of a staged file");
    fs::set_permissions(path.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(digest(path), two, "mode");
    git(path, &["reset", "--quiet"]);
    fs::rename(path.join("new"), path.join("other")).unwrap();
    fs::set_permissions(path.join("other"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_ne!(digest(path), two, "name");
    fs::remove_file(path.join("other")).unwrap();
    assert_eq!(digest(path), clean, "undone");
    symlink("nowhere", path.join("link")).unwrap();
    let link = digest(path);
    fs::remove_file(path.join("link")).unwrap();
    symlink("elsewhere", path.join("link")).unwrap();
    assert_ne!(digest(path), link, "where a link points");
}

#[test]
fn a_conflict_is_a_change() {
    let repository = repository();
    let path = repository.path();
    git(path, &["checkout", "--quiet", "-b", "side"]);
    fs::write(path.join("a"), "side").unwrap();
    commit(path);
    git(path, &["checkout", "--quiet", "main"]);
    fs::write(path.join("a"), "main").unwrap();
    commit(path);
    let shell = Shell::new().unwrap();
    shell.change_dir(path);
    cmd!(shell, "git merge side").quiet().ignore_status().ignore_stdout().ignore_stderr().run().unwrap();
    assert_eq!(tree(path).changes, [Change { path: "a".into(), submodule: None }]);
}

#[test]
fn files_are_those_that_git_tracks_or_would_track() {
    let repository = repository();
    let path = repository.path();
    fs::write(path.join(".gitignore"), "*.log\n").unwrap();
    for file in ["x.log", "dir/new", "dir/[odd]*", "dir/y.log"] {
        fs::write(path.join(file), "x").unwrap();
    }
    fs::create_dir(path.join("target")).unwrap();
    fs::write(path.join("target/out"), "x").unwrap();
    let list =
        |under: &[&str]| files(path, &under.iter().map(PathBuf::from).collect::<Vec<_>>()).unwrap().unwrap();
    let of = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(list(&[]), of(&[".gitignore", "a", "dir/[odd]*", "dir/b", "dir/new"]));
    assert_eq!(list(&[""]), list(&[]));
    assert_eq!(list(&["dir"]), of(&["dir/[odd]*", "dir/b", "dir/new"]));
    assert_eq!(list(&["dir/[odd]*"]), of(&["dir/[odd]*"]), "names are not patterns");
    let from_dir = files(&path.join("dir"), &["../a".into()]).unwrap().unwrap();
    assert_eq!(from_dir, of(&["../a"]));
}

#[test]
fn git_that_fails_is_an_error_and_not_the_absence_of_git() {
    let repository = repository();
    fs::write(repository.path().join(".git/index"), "nonsense").unwrap();
    let error = inspect(repository.path()).unwrap_err().to_string();
    assert!(error.contains("`git status` failed") && error.contains("index"), "{error}");
}

#[test]
fn the_origin_of_a_repository_is_told_without_a_login() {
    for (url, told) in [
        ("https://user:token@example.org/team/app.git", "https://example.org/team/app.git"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("ssh://git@example.org:22/app", "ssh://example.org:22/app"),
        ("git@example.org:team/app.git", "git@example.org:team/app.git"),
        ("https://token@example.org", "https://example.org"),
    ] {
        assert_eq!(super::without_login(url), told);
    }
}

#[test]
fn a_git_that_waits_for_something_is_ended_with_all_that_it_started() {
    let repository = repository();
    let monitor = repository.path().join("monitor");
    let number = repository.path().join("number");
    fs::write(&monitor, format!("#!/bin/sh\necho $$ > '{}'\nexec sleep 600\n", number.display())).unwrap();
    fs::set_permissions(&monitor, fs::Permissions::from_mode(0o755)).unwrap();
    git(repository.path(), &["config", "core.fsmonitor", monitor.to_str().unwrap()]);
    // Long enough for git to have started it, also on a busy machine.
    let limit = Duration::from_secs(4);
    let error = inspect_within(repository.path(), limit).unwrap_err();
    assert!(matches!(error, GitError::Deadline { command: "status", .. }), "{error}");
    let pid: i32 = fs::read_to_string(number).unwrap().trim().parse().unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(10);
    // A zombie that nobody has reaped yet can be told so, too.
    while nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok() && !is_zombie(pid) {
        assert!(std::time::Instant::now() < until, "what git started goes on");
        std::thread::yield_now();
    }
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
