use super::*;
use proptest::prelude::*;

fn matches(pattern: &str, path: &str) -> bool {
    Pattern::parse(pattern).unwrap().matches(&path.chars().collect::<Vec<_>>())
}

/// The language once more, by trying everything: for patterns of plain characters, `?`, `*` and `**`.
fn tries(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*'] | ['*', '*', '/'] => true,
        ['*', '*', '/', rest @ ..] | ['*', '*', rest @ ..] => {
            let after_slash = |at: usize| path[at] == '/' && tries(rest, &path[at + 1..]);
            tries(rest, path) || (0..path.len()).any(after_slash)
        }
        ['*', rest @ ..] => (0..=path.len())
            .take_while(|at| *at == 0 || path[at - 1] != '/')
            .any(|at| tries(rest, &path[at..])),
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && tries(rest, &path[1..]),
        [first, rest @ ..] => path.first() == Some(first) && tries(rest, &path[1..]),
    }
}

#[test]
fn wildcards_stop_at_slashes_and_two_stars_do_not() {
    for (pattern, path, expected) in [
        ("*.log", "a.log", true),
        ("*.log", "dir/a.log", false),
        ("**/*.log", "a.log", true),
        ("**/*.log", "x/y/a.log", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "ab", false),
        ("a/**", "a/x/y", true),
        ("a/**", "a", false),
        ("**.log", "x/a.log", true),
        ("a?c", "a/c", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a+b", "a+b", true),
    ] {
        assert_eq!(matches(pattern, path), expected, "{pattern} on {path}");
    }
}

#[test]
fn a_hostile_pattern_takes_no_time() {
    let pattern = "*a".repeat(400) + "**/b";
    assert!(!matches(&pattern, &"a".repeat(4000)));
}

#[test]
fn faults_say_what_to_write_instead() {
    for (pattern, expected) in [
        ("[a", PatternError::OpenClass),
        ("[a\\", PatternError::OpenClass),
        ("[", PatternError::OpenClass),
        ("[]", PatternError::EmptyClass),
        ("[^]", PatternError::EmptyClass),
        ("[a-]", PatternError::StrayDash),
        ("[-a]", PatternError::StrayDash),
        ("[z-a]", PatternError::EmptyRange('z', 'a')),
        ("a\\", PatternError::OpenEscape),
        ("\\d", PatternError::AmbiguousEscape('d')),
        ("[*]", PatternError::AmbiguousWildcard('*')),
        ("[[:alpha:]]", PatternError::AmbiguousName),
        ("^a*", PatternError::AmbiguousCaret),
    ] {
        assert_eq!(Pattern::parse(pattern), Err(expected), "{pattern}");
    }
}

proptest! {
    #[test]
    fn it_matches_what_trying_everything_matches(pattern in "[ab?*/]{1,8}", path in "[ab/]{0,8}") {
        // `**name` is the one form that means something else.
        prop_assume!(!pattern.starts_with("**") || pattern[2..].starts_with(['/', '*']) || pattern.contains('?'));
        let characters: Vec<char> = pattern.chars().collect();
        let expected = tries(&characters, &path.chars().collect::<Vec<_>>());
        prop_assert_eq!(matches(&pattern, &path), expected, "{} on {}", pattern, path);
    }

    #[test]
    fn no_text_is_too_strange(pattern in ".{0,20}", path in ".{0,20}") {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            pattern.matches(&path.chars().collect::<Vec<_>>());
        }
    }

    #[test]
    fn escaped_punctuation_is_itself(text in "[!-/:-@\\[-`{-~]{1,12}") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert!(matches(&escaped, &text));
        prop_assert!(Pattern::literal(&text.chars().collect::<Vec<_>>()).matches(&text.chars().collect::<Vec<_>>()));
    }
}
