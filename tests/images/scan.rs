//! The gate that keeps bad images out, with the real scanner.

use crate::ground::{ENVIRONMENT, Ground};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use std::fs;
use tests::{
    Advisory, Generation, Output, TRIVY_VERSION, Trivy, assert_cyclonedx, assert_junit, assert_sarif,
};

const MANIFEST: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api}\nspec:\n  selector: {matchLabels: {app: api}}\n  \
     template:\n    metadata: {labels: {app: api}}\n    spec:\n      containers:\n        - name: api\n          \
     image: ghcr.io/team/api:1\n          securityContext:\n            readOnlyRootFilesystem: true\n            \
     runAsNonRoot: true\n";

/// What a distribution says of itself and of its packages: enough for a scanner.
const RELEASE: &str = "ID=alpine\nVERSION_ID=3.19.1\nNAME=\"Alpine Linux\"\n";
const INSTALLED: &str = "P:busybox\nV:1.36.1-r15\nA:x86_64\no:busybox\n\n";

const BUSYBOX: Advisory = Advisory {
    distribution: "alpine 3.19",
    package: "busybox",
    id: "CVE-2023-42363",
    fixed: "1.36.1-r17",
    severity: "HIGH",
};

/// A project whose API is made by a Dockerfile and scanned.
fn scanned(generation: Generation, trivy: &Trivy) -> Ground {
    let mut ground = Ground::new(generation);
    trivy.install_for(&mut ground.project);
    let dockerfile = "FROM scratch\nCOPY rootfs/ /\nCOPY bin/noogh-api /noogh-api\nUSER 1000:1000\n\
                      ENTRYPOINT [\"/noogh-api\"]\n";
    ground.project.write("Dockerfile", dockerfile);
    ground.project.write("rootfs/etc/motd", "nothing to see\n");
    ground.project.write("deploy/kubernetes/api.yaml", MANIFEST);
    ground.project.write("waivers.toml", "version = 1\n");
    ground.project.edit("fairlead.toml", |text| {
        let image = "[services.api]\nimage = { dockerfile = \"Dockerfile\" }\n";
        format!(
            "{}\n[stages.scan]\nversion = {TRIVY_VERSION:?}\nconfiguration = [\"deploy/kubernetes\", \"Dockerfile\"]\n\
             waivers = [\"waivers.toml\"]\ndatabase-repositories = [\"127.0.0.1:1/trivy-db:2\"]\n",
            text.replace("[services.api]\n", image)
        )
    });
    ground.project.commit();
    ground
}

/// Deploys, which a finding stops: nothing is published, nothing stands.
#[track_caller]
fn stopped(ground: &Ground) -> Output {
    let output = ground.run(&["deploy", ENVIRONMENT]).expect(1);
    assert_eq!(ground.containers(), [""; 0]);
    output
}

/// Waives these rules for so many days.
fn waive(ground: &Ground, rules: &[&str], days: i64) {
    let day = Timestamp::now().to_zoned(TimeZone::UTC).date().checked_add(days.days()).expect("a day");
    let waiver = |rule: &&str| format!("[waivers.{rule}]\nreason = \"a test of it\"\nexpires = \"{day}\"\n");
    let text: String = rules.iter().map(waiver).collect();
    let text = format!("version = 1\n{text}");
    ground.project.write("waivers.toml", text);
    ground.project.commit();
}

#[test]
fn what_the_scanner_finds_stops_the_release_until_it_is_mended_or_waived() {
    let trivy = Trivy::new();
    trivy.knows(&[BUSYBOX], 1);
    let ground = scanned(Generation::Docker28, &trivy);

    // A container that may do everything, and one that is root.
    for (line, rule) in [("privileged: true", "KSV017"), ("runAsUser: 0", "KSV012")] {
        let manifest = MANIFEST.replace("runAsNonRoot: true", line);
        ground.project.write("deploy/kubernetes/api.yaml", manifest);
        ground.project.commit();
        stopped(&ground)
            .says("scan of the configuration stops the release")
            .says(rule)
            .says("deploy/kubernetes/api.yaml:");
    }
    ground.project.write("deploy/kubernetes/api.yaml", MANIFEST);

    // A key and a token in the image.
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAxGZZsecretsecretsecretsecretsecretsecretsecret12\n\
               -----END RSA PRIVATE KEY-----\n";
    ground.project.write("rootfs/etc/keys/id_rsa", key);
    let token = format!("GITHUB_TOKEN=ghp_{}\n", "a1B2c3D4e5F6".repeat(3));
    ground.project.write("rootfs/etc/token.env", &token);
    ground.project.commit();
    let told = stopped(&ground);
    let told = told.says("private-key").says("etc/keys/id_rsa:1").says("github-pat").says("etc/token.env:1");
    let report = fs::read_to_string(ground.project.state().join("scans/api.json")).expect("a report");
    for text in [&told.stderr, &told.stdout, &report] {
        assert!(!text.contains("a1B2c3D4e5F6") && !text.contains("secretsecret"), "{text}");
    }
    fs::remove_dir_all(ground.project.path().join("rootfs/etc/keys")).expect("our own");
    fs::remove_file(ground.project.path().join("rootfs/etc/token.env")).expect("our own");

    // A package with a weakness that is known.
    ground.project.write("rootfs/etc/os-release", RELEASE);
    ground.project.write("rootfs/etc/alpine-release", "3.19.1\n");
    ground.project.write("rootfs/lib/apk/db/installed", INSTALLED);
    ground.project.commit();
    stopped(&ground)
        .says("CVE-2023-42363")
        .says("busybox 1.36.1-r15, fixed in 1.36.1-r17")
        .says("alpine 3.19.1")
        .says("end-of-life");

    // A waiver that has expired changes nothing but the words; one that counts lets it pass, and is in the manifest.
    waive(&ground, &["CVE-2023-42363", "end-of-life"], -1);
    stopped(&ground).says("CVE-2023-42363").says("expired on");
    waive(&ground, &["CVE-2023-42363", "end-of-life"], 5);
    ground.run(&["deploy", ENVIRONMENT]).expect(0).says("2 waived").says("5 days are left");
    assert_eq!(ground.containers().len(), 1);
    let manifest = ground.manifest();
    let scan = &manifest["scans"]["images"]["api"]["passed"];
    assert_eq!(scan["waived"][0]["rule"], "CVE-2023-42363", "{manifest:#}");
    assert_eq!(scan["waived"][1]["rule"], "end-of-life");
    assert_eq!(scan["waived"][0]["reason"], "a test of it");
    assert_eq!(manifest["stages"]["scan"], "passed");
    let bill = fs::read_to_string(ground.project.state().join("scans/api.cdx.json")).expect("a bill");
    assert!(bill.contains("pkg:apk/alpine/busybox@1.36.1-r15"), "{bill}");
    // Of all that, the report has what others read as they read it.
    let report = ground.project.state().join("reports").join(ground.project.release());
    assert_cyclonedx(&report.join("api.cdx.json"));
    for name in ["api.sarif", "configuration.sarif"] {
        assert_sarif(&report.join(name));
    }
    assert_junit(&report.join("junit.xml"));
    let told = fs::read_to_string(report.join("report.md")).expect("a report");
    assert!(told.contains("### Waived") && told.contains("a test of it"), "{told}");
}

#[test]
fn without_a_database_that_is_young_enough_a_protected_environment_gets_nothing() {
    let trivy = Trivy::new();
    let ground = scanned(Generation::Docker20, &trivy);
    let file = format!("deploy/environments/{ENVIRONMENT}.toml");
    ground.project.edit(&file, |text| text.replacen("protected = false", "protected = true", 1));
    ground.project.commit();
    let publish = |code| ground.run(&["publish", ENVIRONMENT]).expect(code);
    ground.run(&["doctor", ENVIRONMENT]).says("Trivy 0.59.1, which has yet to get its database");

    publish(1)
        .says("has no database of vulnerabilities")
        .says("trivy image --download-db-only")
        .says("127.0.0.1:1");
    trivy.knows(&[BUSYBOX], 49);
    publish(1).says("49 hours ago, and may be 48 hours old").says("trivy image --download-db-only");
    trivy.knows(&[BUSYBOX], 1);
    publish(0).says("was published");
    let release = ground.project.release();
    ground.run(&["deploy", ENVIRONMENT, "--release", &release, "--yes"]).expect(0);
    trivy.knows_nothing();
    publish(1).says("has no database of vulnerabilities");

    // It may not be told to do without.
    ground
        .project
        .edit(&file, |text| text.replacen("version = 1\n", "version = 1\nscan = \"optional\"\n", 1));
    ground.run(&["plan", ENVIRONMENT]).expect(2).says("takes nothing that was not scanned");
    ground.project.edit(&file, |text| text.replacen("scan = \"optional\"\n", "", 1));
}
