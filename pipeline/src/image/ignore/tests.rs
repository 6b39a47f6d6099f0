use super::*;
use proptest::prelude::*;
use std::{fs, os::unix::ffi::OsStringExt};

fn rules(text: &str) -> Rules {
    Rules::parse(text.as_bytes(), Path::new(IGNORE_FILE)).unwrap()
}

fn story(error: IgnoreError) -> String {
    let error: &dyn std::error::Error = &error;
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[test]
fn the_last_pattern_that_matches_decides() {
    let rules = rules("*.md\n!README*.md\nREADME-secret.md\n");
    assert!(rules.is_excluded(Path::new("a.md")));
    assert!(!rules.is_excluded(Path::new("README.md")));
    assert!(rules.is_excluded(Path::new("README-secret.md")));
}

#[test]
fn what_matches_a_folder_covers_all_below_it() {
    let rules = rules("**/node_modules\n!a/node_modules/keep\n");
    assert!(rules.is_excluded(Path::new("a/b/node_modules/c/d")));
    assert!(rules.is_excluded(Path::new("a/node_modules/c")));
    assert!(!rules.is_excluded(Path::new("a/node_modules/keep")));
    assert!(!rules.is_excluded(Path::new("a/node_modules.txt")));
}

#[test]
fn an_excluded_folder_is_looked_into_only_for_exceptions_that_name_it() {
    let with_exception = rules("a\nb\n!a/x/y\n");
    assert!(with_exception.may_except_below(Path::new("a")));
    assert!(with_exception.may_except_below(Path::new("a/x")));
    assert!(!with_exception.may_except_below(Path::new("b")));
    assert!(!with_exception.may_except_below(Path::new("a/z")));
    assert!(!rules("*\n!**/keep\n").may_except_below(Path::new("a")));
    assert!(!rules("a*\n!ab\n").may_except_below(Path::new("a")));
}

#[test]
fn a_fault_is_told_with_its_line_and_what_to_do() {
    for (text, expected) in [
        ("a\n# b\n\n[c\n", "line 4 of the ignore file `.dockerignore` is no pattern: `[c`: `[` has no `]`"),
        ("a\r\n!\r\n", "line 2 of the ignore file `.dockerignore` is no pattern: `!`: `!` excepts nothing"),
        (
            "\u{feff}a\\d",
            "line 1 of the ignore file `.dockerignore` is no pattern: `a\\d`: `\\d` means one thing",
        ),
    ] {
        let error = story(Rules::parse(text.as_bytes(), Path::new(IGNORE_FILE)).unwrap_err());
        assert!(error.starts_with(expected), "{error}");
    }
    let error = story(Rules::parse(b"#\xff is a comment\na\xff\n", Path::new(IGNORE_FILE)).unwrap_err());
    assert!(error.contains("line 2") && error.contains("UTF-8"), "{error}");
}

#[test]
fn the_file_beside_the_dockerfile_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = Some(Path::new("docker/api.Dockerfile"));
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    assert_eq!(Rules::read(folder.path(), dockerfile).unwrap().file(), None);
    file(".dockerignore", "a\n");
    let of_the_context = Rules::read(folder.path(), dockerfile).unwrap();
    assert_eq!(of_the_context.file(), Some(Path::new(".dockerignore")));
    fs::create_dir(folder.path().join("docker")).unwrap();
    file("docker/api.Dockerfile.dockerignore", "**\n");
    let own = Rules::read(folder.path(), dockerfile).unwrap();
    assert_eq!(own.file(), Some(Path::new("docker/api.Dockerfile.dockerignore")));
    assert!(own.is_excluded(Path::new("b")));
    for kept in ["docker/api.Dockerfile", "docker/api.Dockerfile.dockerignore"] {
        assert!(!own.is_excluded(Path::new(kept)) && own.may_except_below(Path::new("docker")), "{kept}");
    }
}

#[test]
fn the_dockerfile_is_kept_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".dockerignore"), "*").unwrap();
    let rules = Rules::read(folder.path(), Some(Path::new("[x*Dockerfile"))).unwrap();
    assert!(!rules.is_excluded(Path::new("[x*Dockerfile")));
    assert!(rules.is_excluded(Path::new("[xyDockerfile")));
}

#[test]
fn an_ignore_file_that_cannot_be_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".dockerignore");
    fs::create_dir(&path).unwrap();
    let error = Rules::read(folder.path(), None).unwrap_err();
    assert!(matches!(error, IgnoreError::Read { .. }), "{error}");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![b'a'; LARGEST_FILE as usize + 1]).unwrap();
    assert!(Rules::read(folder.path(), None).unwrap_err().to_string().contains("larger than 1 MiB"));
}

proptest! {
    #[test]
    fn cleaning_once_is_enough(path in "[a./]{1,12}") {
        let cleaned = clean(&path);
        prop_assert_eq!(clean(&cleaned), cleaned);
    }

    #[test]
    fn no_file_and_no_path_is_too_strange(
        text in prop::collection::vec(any::<u8>(), 0..60),
        path in prop::collection::vec(1_u8.., 1..20),
    ) {
        if let Ok(rules) = Rules::parse(&text, Path::new(IGNORE_FILE)) {
            rules.is_excluded(Path::new(&std::ffi::OsString::from_vec(path)));
        }
    }

    /// Patterns of one kind: the order of those without exceptions never matters.
    #[test]
    fn without_exceptions_order_does_not_matter(
        patterns in prop::collection::vec("[ab*/]{1,6}", 1..5),
        path in "[ab](/[ab]{1,2}){0,3}",
    ) {
        let forward = rules(&patterns.join("\n"));
        let backward = rules(&patterns.iter().rev().cloned().collect::<Vec<_>>().join("\n"));
        prop_assert_eq!(forward.is_excluded(Path::new(&path)), backward.is_excluded(Path::new(&path)));
    }
}
