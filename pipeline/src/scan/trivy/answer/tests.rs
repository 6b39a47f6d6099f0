//! What is made of Trivy's answers. The samples are of version 0.59.1, cut down to one of each.

use super::*;
use crate::scan::{bill, finding};

const IMAGE: &str = include_str!("../../testdata/image.json");
const CONFIGURATION: &str = include_str!("../../testdata/configuration.json");

fn image(text: &str) -> Result<Vec<Finding>, ScanError> {
    parse(text.as_bytes(), "container_image", &Argv::new("trivy").arg("image"))
}

fn refused(text: &str) -> String {
    image(text).unwrap_err().to_string()
}

#[test]
fn an_image_has_packages_secrets_and_an_end() {
    assert_eq!(
        finding::table(&image(IMAGE).unwrap()),
        [
            "critical  aws-access-key-id  AWS Access Key ID                        /opt/cred.txt:1",
            "critical  github-pat         GitHub Personal Access Token             /opt/gh.env:1",
            "high      CVE-2023-42363     busybox 1.36.1-r15, fixed in 1.36.1-r17  alpine 3.19.1",
            "high      private-key        Asymmetric Private Key                   /home/.ssh/id_rsa:1",
            "high      end-of-life        alpine 3.19.1 gets no more fixes         alpine 3.19.1",
            "medium    CVE-2024-0727      openssl 3.1.4-r4, no fix yet             alpine 3.19.1",
        ]
    );
}

#[test]
fn what_stands_beside_a_secret_is_left_behind() {
    assert!(IMAGE.contains("wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab"), "the scanner shows it");
    let kept = serde_json::to_string(&image(IMAGE).unwrap()).unwrap();
    assert!(!kept.contains("wJalr") && !kept.contains("****"), "{kept}");
    let handed_over = String::from_utf8(bill::without_secrets(IMAGE.as_bytes())).unwrap();
    assert!(!handed_over.contains("wJalr") && handed_over.contains("busybox"), "{handed_over}");
}

#[test]
fn of_the_configuration_what_failed_counts() {
    let answer = parse(CONFIGURATION.as_bytes(), "filesystem", &Argv::new("trivy")).unwrap();
    assert_eq!(
        finding::table(&answer),
        [
            "high    DS002   Image user should not be 'root'  Dockerfile",
            "high    KSV017  Privileged                       k8s/api.yaml:10",
            "medium  KSV012  Runs as root user                k8s/api.yaml:10",
        ]
    );
    assert!(answer.iter().any(|finding| finding.is_of("AVD-KSV-0017")));
}

#[test]
fn an_image_of_which_nothing_is_known_has_no_findings() {
    let text = r#"{"SchemaVersion":2,"ArtifactType":"container_image","Results":null}"#;
    assert_eq!(image(text).unwrap(), []);
    assert_eq!(image(r#"{"SchemaVersion":2,"ArtifactType":"container_image"}"#).unwrap(), []);
}

#[test]
fn what_is_no_answer_is_never_taken_for_one_without_findings() {
    for (text, says) in [
        ("", "EOF while parsing"),
        ("panic: runtime error", "begins with `panic: runtime error`"),
        ("{}", "missing field `SchemaVersion`"),
        ("[]", "did not write what it should"),
        (r#"{"SchemaVersion":2}"#, "missing field `ArtifactType`"),
        (r#"{"SchemaVersion":"2"}"#, "invalid type"),
        (r#"{"SchemaVersion":3,"ArtifactType":"container_image"}"#, "version 3 of its format"),
        (r#"{"SchemaVersion":2,"ArtifactType":"filesystem"}"#, "about a filesystem, not a container_image"),
        (r#"{"SchemaVersion":2,"ArtifactType":"container_image","Results":{}}"#, "expected a sequence"),
        (r#"{"SchemaVersion":2,"ArtifactType":"container_image","Results":[{"Class":"secret"}]}"#, "Target"),
        (&IMAGE[..IMAGE.len() / 2], "EOF while parsing"),
    ] {
        assert!(refused(text).contains(says), "{text:.60}: {}", refused(text));
    }
    // What is severe in a way that is not known is not taken for harmless.
    let text = IMAGE.replace("\"CRITICAL\"", "\"CATASTROPHIC\"");
    assert!(image(&text).unwrap().iter().any(|one| one.severity == Severity::Unknown));
}

#[test]
fn the_version_comes_with_that_of_the_database() {
    let Versions { version, database } = versions(br#"{"Version":"0.59.1"}"#).unwrap();
    assert!(version == "0.59.1" && database.is_none());
    let text = br#"{"Version":"0.59.1","VulnerabilityDB":{"Version":2,"NextUpdate":"2076-11-29T13:00:00Z",
        "UpdatedAt":"2026-11-28T12:00:00.5Z","DownloadedAt":"2026-11-29T13:00:00Z"}}"#;
    let database = versions(text).unwrap().database.unwrap();
    assert_eq!(database.updated_at.to_string(), "2026-11-28T12:00:00.5Z");
    for garbage in
        ["", "{}", r#"{"Version":" "}"#, r#"{"Version":"1","VulnerabilityDB":{"UpdatedAt":"yesterday"}}"#]
    {
        assert!(versions(garbage.as_bytes()).is_err(), "{garbage}");
    }
}
