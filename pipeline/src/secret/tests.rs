use super::*;
use crate::process::ProcessError;
use proptest::prelude::*;
use std::{error::Error, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

async fn fetch(reference: SecretRef, root: &Path) -> Result<Secret, SecretError> {
    let variables = Variables::from([("TOKEN".into(), "from-env".into()), ("EMPTY".into(), "".into())]);
    resolve(&reference, root, &variables, DEADLINE, &CancellationToken::new()).await
}

fn command(script: &str) -> SecretRef {
    SecretRef::Command(["sh", "-c", script].map(String::from).to_vec())
}

/// The whole story that a user would see.
fn story(error: &dyn Error) -> String {
    let mut text = format!("{error} / {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" / {error}"));
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn each_kind_of_reference_gives_its_value_without_one_trailing_newline() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), b"two\n\n").unwrap();
    fs::write(root.path().join("b"), b"nul\0\xff\r\n").unwrap();
    for (reference, expected) in [
        (SecretRef::Env("TOKEN".into()), &b"from-env"[..]),
        (SecretRef::File("a".into()), b"two\n"),
        (SecretRef::File(root.path().join("b")), b"nul\0\xff"),
        (command("echo from-command"), b"from-command"),
        (command("cat a"), b"two\n"),
    ] {
        assert_eq!(fetch(reference, root.path()).await.unwrap().expose(), expected);
    }
}

#[tokio::test]
async fn what_gives_no_value_says_why_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("empty"), b"\n").unwrap();
    fs::write(root.path().join("huge"), vec![b'x'; Secret::MAX_BYTES + 1]).unwrap();
    for (reference, expected) in [
        (SecretRef::Env("NONE".into()), "`NONE` is not set: export it"),
        (SecretRef::Env("EMPTY".into()), "the environment variable `EMPTY` gave an empty value"),
        (SecretRef::File("none".into()), "none`"),
        (SecretRef::File(".".into()), "not a regular file"),
        (SecretRef::File("empty".into()), "gave an empty value"),
        (SecretRef::File("huge".into()), "more than 1048576 bytes"),
        (SecretRef::Command(vec![]), "an empty list"),
        (SecretRef::Command(vec!["no-such-program-1".into()]), "no such program"),
        (command("echo no access >&2; exit 4"), "`sh` failed: exit status 4\n  | no access"),
        (command("yes"), "wrote more than"),
        (command(":"), "the command `sh` gave an empty value"),
    ] {
        let text = story(&fetch(reference, root.path()).await.unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn the_largest_value_is_taken() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("big"), [vec![b'x'; Secret::MAX_BYTES], b"\n".to_vec()].concat()).unwrap();
    assert_eq!(
        fetch(SecretRef::File("big".into()), root.path()).await.unwrap().expose().len(),
        Secret::MAX_BYTES
    );
    assert_eq!(fetch(command("cat big"), root.path()).await.unwrap().expose().len(), Secret::MAX_BYTES);
}

#[tokio::test]
async fn a_failing_command_does_not_tell_the_value_or_its_arguments() {
    let root = tempfile::tempdir().unwrap();
    let error = fetch(command("echo s3cret-value; echo got s3cret-value >&2; exit 1"), root.path()).await;
    let text = story(&error.unwrap_err());
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("got ***"), "{text}");
}

#[tokio::test]
async fn a_command_has_a_deadline() {
    let reference = command("sleep 600");
    let limit = Duration::from_millis(100);
    let error =
        resolve(&reference, Path::new("/"), &Variables::new(), limit, &CancellationToken::new()).await;
    let error = error.unwrap_err();
    assert!(matches!(&error, SecretError::Command { source: ProcessError::Deadline { .. } }), "{error:?}");
    assert!(!story(&error).contains("600"));
}

#[test]
fn a_value_does_not_print_and_knows_what_a_variable_can_hold() {
    let secret = Secret::new(b"hidden".to_vec());
    assert_eq!(format!("{secret:?}"), "Secret(…)");
    assert_eq!(secret.expose_for_env().unwrap(), "hidden");
    assert!(Secret::new(b"a\0b".to_vec()).expose_for_env().is_none());
}

#[test]
fn a_key_is_made_once_private_and_decides_the_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let secret = Secret::new(b"value".to_vec());
    let first = keyed_digest(&EnvironmentKey::load_or_create(&path).unwrap(), &secret);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(keyed_digest(&EnvironmentKey::load_or_create(&path).unwrap(), &secret), first);
    let other = EnvironmentKey::load_or_create(&folder.path().join("other")).unwrap();
    assert_ne!(keyed_digest(&other, &secret), first);
    assert_ne!(keyed_digest(&other, &Secret::new(b"value2".to_vec())), keyed_digest(&other, &secret));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(story(&EnvironmentKey::load(&path).unwrap_err()).contains("give it mode 0600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"short").unwrap();
    assert!(story(&EnvironmentKey::load_or_create(&path).unwrap_err()).contains("not 32 bytes"));
}

/// The expected digest was computed with another implementation (Python's `hmac`).
#[test]
fn the_keyed_digest_is_hmac_sha256() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    crate::store::create_exclusive(&path, &[0x0b; 32], crate::store::PRIVATE).unwrap();
    let digest = keyed_digest(&EnvironmentKey::load(&path).unwrap(), &Secret::new(b"Hi There".to_vec()));
    assert_eq!(digest.hex(), "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7");
}

fn knowing(values: &[&[u8]]) -> Redactor {
    let redactor = Redactor::default();
    values.iter().for_each(|value| redactor.learn(&Secret::new(value.to_vec())));
    redactor
}

#[test]
fn values_are_masked_in_the_forms_in_which_programs_print_them() {
    let redactor = knowing(&[b"p\xc3\xa4ss \"w/o\"", b"token-77777"]);
    for (text, expected) in [
        ("nothing here", "nothing here"),
        ("is päss \"w/o\".", "is ***."),
        (r#"{"a":"päss \"w/o\""}"#, r#"{"a":"***"}"#),
        (r#"{"a":"p\u00e4ss \"w/o\""}"#, r#"{"a":"***"}"#),
        ("q=p%C3%A4ss%20%22w%2Fo%22&", "q=***&"),
        ("q=p%c3%a4ss%20%22w%2fo%22&", "q=***&"),
        ("q=p%C3%A4ss+%22w%2Fo%22&", "q=***&"),
        ("b64 dG9rZW4tNzc3Nzc= end", "b64 ***= end"),
        ("hex 746f6b656e2d3737373737", "hex ***"),
        ("token-77777token-77777 token-77777", "*** ***"),
        ("token-7777", "token-7777"),
    ] {
        assert_eq!(redactor.mask(text), expected);
    }
    // `user:token-77777`, `me:token-77777!` and `u:token-77777` as Basic credentials.
    for text in ["dXNlcjp0b2tlbi03Nzc3Nw==", "bWU6dG9rZW4tNzc3NzchCg==", "dTp0b2tlbi03Nzc3Nw=="] {
        assert!(redactor.mask(text).contains(MASK), "{text}");
    }
}

#[test]
fn short_values_are_left_alone_and_long_ones_are_masked_line_by_line() {
    let redactor = knowing(&[b"abc", b"first line\n  second line\nxyz"]);
    assert_eq!(redactor.mask("abc"), "abc");
    assert_eq!(redactor.mask("> first line"), "> ***");
    assert_eq!(redactor.mask("second line <"), "*** <");
}

#[test]
fn clones_share_what_they_learn_and_bytes_and_json_are_masked_too() {
    let redactor = Redactor::default();
    let clone = redactor.clone();
    redactor.learn(&Secret::new(b"raw\xff\xfebytes".to_vec()));
    redactor.learn(&Secret::new(b"12345".to_vec()));
    assert_eq!(clone.mask_bytes(b"<raw\xff\xfebytes>"), "<***>");
    assert_eq!(clone.mask("<raw\u{fffd}\u{fffd}bytes>"), "<***>");
    let mut value = serde_json::json!({"12345": ["a 12345", 12345, null], "b": {"c": "12345"}});
    clone.mask_json(&mut value);
    assert_eq!(value, serde_json::json!({"***": ["a ***", 12345, null], "b": {"c": "***"}}));
    assert_eq!(format!("{redactor:?}"), "Redactor(…)");
}

#[test]
fn overlapping_values_and_values_made_of_masks_do_not_survive() {
    let redactor = knowing(&[b"abcdef", b"defghi", b"****", b"x***y"]);
    assert_eq!(redactor.mask("-abcdefghi-"), "-***-");
    assert_eq!(redactor.mask("xabcdefy"), MASK);
    assert_eq!(redactor.mask("abcdef*"), MASK);
}

proptest! {
    #[test]
    fn no_known_value_survives(
        values in prop::collection::vec("[ab*\\\\\"é\n ]{4,9}", 1..4),
        pieces in prop::collection::vec("[ab*\\\\\"é\n ]{0,5}", 1..6),
        order in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let bytes: Vec<_> = values.iter().map(|v| v.as_bytes()).collect();
        let redactor = knowing(&bytes);
        let mut text = String::new();
        for (piece, index) in pieces.iter().zip(&order) {
            text.push_str(piece);
            text.push_str(index.get::<String>(&values));
        }
        let masked = redactor.mask(&text);
        for value in &values {
            prop_assert!(!masked.contains(value.as_str()), "{value:?} in {masked:?}");
        }
        // One line at a time, as the output of programs comes.
        for line in text.split('\n') {
            let masked = redactor.mask(line);
            for part in values.iter().flat_map(|v| v.split('\n')).map(str::trim).filter(|p| p.len() >= SHORTEST_MASKED) {
                prop_assert!(!masked.contains(part), "{part:?} in {masked:?}");
            }
        }
        prop_assert_eq!(redactor.mask(&masked), masked.as_ref());
    }

    #[test]
    fn encoded_values_do_not_survive(value in prop::collection::vec(any::<u8>(), 6..60), before in 0..4_usize) {
        let redactor = knowing(&[&value]);
        let json = serde_json::to_string(&String::from_utf8_lossy(&value)).unwrap();
        let json = json.trim_matches('"');
        if json.len() >= SHORTEST_MASKED {
            let masked = redactor.mask_bytes(format!("{{\"k\":\"{json}\"}}").as_bytes());
            prop_assert!(!masked.contains(json), "{:?}", masked);
        }
        let hex = hex::encode(&value);
        let masked = redactor.mask_bytes(format!("0x{hex}").as_bytes());
        prop_assert!(!masked.contains(&hex), "{:?}", masked);
        let raw = [&b"user:"[..before], &value, b":end"].concat();
        let masked = redactor.mask_bytes(&raw);
        if let Ok(text) = std::str::from_utf8(&value) {
            prop_assert!(!masked.contains(text));
        }
        prop_assert!(masked.contains(MASK));
    }

    #[test]
    fn text_without_a_value_stays_as_it_is(text in "[c-z0-9 ]{0,80}") {
        prop_assert_eq!(knowing(&[b"AAAA-BBBB"]).mask(&text), text.as_str());
    }
}
