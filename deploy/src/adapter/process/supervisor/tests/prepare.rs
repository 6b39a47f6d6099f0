//! Bundles are brought here whole or not at all.

use super::fixture::{Fixture, SLEEPER, script};
use crate::{
    bundle::BundleFile,
    port::{EffectError, Target},
    reason::ReasonCode,
};
use pipeline::digest::Digest;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn refusal(result: Result<crate::port::EffectOutput, EffectError>) -> (ReasonCode, String) {
    match result {
        Err(EffectError::Terminal { reason, message }) => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_has_its_bytes_and_modes_and_only_its_owner_reads_it() {
    let config = tempfile::NamedTempFile::new().expect("a file");
    fs::write(config.path(), "color = 'blue'").expect("it writes");
    let mut service = script("#!/bin/sh\ncat \"$CONFIG\" \"$TOKEN_FILE\"\n").with_secret("TOKEN", false);
    let planned = BundleFile {
        digest: Digest::of_bytes("color = 'blue'"),
        mode: 0o640,
        env: Some("CONFIG".to_owned()),
    };
    service.bundle.files.insert("api.toml".to_owned(), planned);
    service.source.files.insert("api.toml".to_owned(), config.path().to_owned());
    let fixture = Fixture::new(&[service]).await;
    let unit = fixture.start(0, 0).await;

    let folder = fixture.state_dir().join("bundles").join(fixture.bundles[0].short());
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("bin/unit")), 0o755);
    assert_eq!(mode(&folder.join("files/api.toml")), 0o640);
    assert_eq!(mode(&folder.join("secrets/TOKEN")), 0o600);
    assert_eq!(mode(&fixture.state_dir().join("supervisor/control.sock")), 0o600);
    assert_eq!(mode(&fixture.state_dir().join("supervisor")), 0o700);
    fixture.logged(&unit, "color = 'blue'value of TOKEN").await;
    assert_eq!(
        fixture.target.bundle(&fixture.bundles[0]).await.expect("it is here").hash(),
        fixture.bundles[0]
    );

    drop(config);
    fixture.prepare(0).await.expect("its sources are not needed again");
    let document = fs::read_to_string(folder.join("bundle.json")).expect("it is there");
    assert!(!document.contains("value of TOKEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_since_it_was_planned_is_refused() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let artifact = fixture.folder.path().join(format!("artifact-{}", Digest::of_bytes(SLEEPER).short()));
    fs::write(&artifact, "#!/bin/sh\nexec sleep 1\n").expect("it writes");
    let (reason, message) = refusal(fixture.prepare(0).await);
    assert_eq!(reason, ReasonCode::PrepareFailed);
    assert!(message.contains("not what was planned") && message.contains("artifact-"), "{message}");
    let bundles = fixture.state_dir().join("bundles");
    assert_eq!(fs::read_dir(bundles).expect("it is there").count(), 0, "nothing is left");
    assert!(fixture.target.bundle(&fixture.bundles[0]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_bundle_is_mended_or_told() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let folder = fixture.state_dir().join("bundles").join(fixture.bundles[0].short());
    fs::write(folder.join("bin/unit"), "#!/bin/sh\n").expect("it writes");
    fixture.prepare(0).await.expect("it is made anew");
    assert_eq!(fs::read_to_string(folder.join("bin/unit")).expect("it is there"), SLEEPER);

    fs::write(folder.join("bin/unit"), "#!/bin/sh\n").expect("it writes");
    let artifact = format!("artifact-{}", Digest::of_bytes(SLEEPER).short());
    fs::remove_file(fixture.folder.path().join(artifact)).expect("it was there");
    let (reason, message) = refusal(fixture.prepare(0).await);
    assert_eq!(reason, ReasonCode::PrepareFailed);
    assert!(message.contains("artifact-"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_had_is_its_own_reason() {
    let fixture = Fixture::new(&[script(SLEEPER).with_secret("GONE", false)]).await;
    let (reason, message) = refusal(fixture.prepare(0).await);
    assert_eq!(reason, ReasonCode::SecretUnavailable);
    assert!(message.contains("GONE") && message.contains("the vault is closed"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_bundle() {
    for bad in ["../unit", "/etc/unit", "a/b", "..", ""] {
        let fixture =
            Fixture::new(&[script(SLEEPER).with(|bundle| bad.clone_into(&mut bundle.artifact.name))]).await;
        let (reason, message) = refusal(fixture.prepare(0).await);
        assert_eq!(reason, ReasonCode::PrepareFailed, "{bad}");
        assert!(message.contains("cannot be a file name"), "{message}");
    }
}
