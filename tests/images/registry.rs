//! What lies in the registry afterwards: what images say of themselves, and what goes when nothing needs it.

use crate::ground::{ENVIRONMENT, Ground};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};
use tests::{Generation, static_service};

/// What an artifact is called that is the manifest of a release.
const MANIFEST_TYPE: &str = "application/vnd.fairlead.release-manifest+json";

impl Ground {
    /// What the registry answers to `/v2/team/api/PATH`, asked by curl: its status and its body.
    #[track_caller]
    fn ask(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}/v2/team/api/{path}", self.registry.address());
        let accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, */*";
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--location", "--max-time", "30", "--noproxy", "*", "--header", accept]);
        curl.args(["--write-out", "\n%{http_code}", "--config", "-", &url]);
        let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl");
        let login = format!("{}:{}", self.registry.user(), self.registry.password());
        let login = login.replace('\\', "\\\\").replace('"', "\\\"");
        writeln!(curl.stdin.take().expect("a pipe"), "user = \"{login}\"").expect("it is read");
        let output = curl.wait_with_output().expect("an end");
        let text = String::from_utf8(output.stdout).expect("text");
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    #[track_caller]
    fn document(&self, path: &str) -> Value {
        let (status, body) = self.ask(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("a document")
    }

    /// What is attached to a manifest, as the specification says that it is found.
    fn attached(&self, digest: &str) -> Vec<Value> {
        let index = match self.ask(&format!("referrers/{digest}")) {
            (200, body) => serde_json::from_str(&body).expect("a document"),
            // A registry that does not know the question.
            (404, _) => self.document(&format!("manifests/{}", digest.replace(':', "-"))),
            other => panic!("{other:?}"),
        };
        index["manifests"].as_array().expect("a list").clone()
    }

    fn has(&self, digest: &str) -> bool {
        self.ask(&format!("manifests/{digest}")).0 == 200
    }

    /// The digest of the API's image in the release that was made last.
    fn digest(&self) -> String {
        self.manifest()["images"]["api"]["digest"].as_str().expect("a digest").to_owned()
    }

    /// What can be removed and what stays, by the digests.
    #[track_caller]
    fn prunable(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let shown = self.run(&["prune", "--registry", ENVIRONMENT, "--format", "json"]).expect(0).json();
        let repositories = shown["repositories"].as_array().expect("a list");
        let repository = repositories.iter().find(|one| one["repository"].to_string().contains("/team/api"));
        let digests = |key: &str| {
            let images = repository.expect("that of the API")[key].as_array().expect("a list");
            images.iter().map(|image| image["digest"].as_str().expect("a digest").to_owned()).collect()
        };
        (digests("goes"), digests("stays"))
    }

    /// A commit with another executable, and so another image.
    fn change(&self, what: &str) {
        let mut service = fs::read(static_service("api")).expect("an executable");
        service.extend_from_slice(what.as_bytes()); // Behind its end, where nobody reads.
        self.project.replace_artifact("api", &service);
        self.project.commit();
    }
}

#[test]
fn whoever_has_an_image_finds_out_what_it_was_made_with() {
    for generation in Generation::ALL {
        let ground = Ground::new(generation);
        ground.project.git(&["remote", "add", "origin", "https://me:hunter2@example.org/team/noogh.git"]);
        let dockerfile = "FROM scratch\nCOPY bin/noogh-api /service\nENTRYPOINT [\"/service\"]\n";
        for of_dockerfile in [false, true] {
            if of_dockerfile {
                ground.project.write("Dockerfile", dockerfile);
                ground.project.edit("fairlead.toml", |text| {
                    text.replace(
                        "[services.api]\n",
                        "[services.api]\nimage = { dockerfile = \"Dockerfile\" }\n",
                    )
                });
                ground.project.commit();
            }
            ground.run(&["publish", ENVIRONMENT]).expect(0);
            let (release, digest) = (ground.project.release(), ground.digest());

            // The manifest of the release, from the digest of the image alone.
            let attached = ground.attached(&digest);
            let [one] = &attached[..] else { panic!("{attached:?}") };
            assert_eq!(one["artifactType"], MANIFEST_TYPE);
            let artifact =
                ground.document(&format!("manifests/{}", one["digest"].as_str().expect("a digest")));
            assert_eq!(artifact["subject"]["digest"], digest);
            let layer = artifact["layers"][0]["digest"].as_str().expect("a digest");
            let text = fs::read_to_string(ground.project.state().join("release-manifest.json"));
            let (_, blob) = ground.ask(&format!("blobs/{layer}"));
            assert_eq!(blob.trim_end(), text.expect("a manifest").trim_end(), "{generation:?}");

            // What the image says of itself to the real client.
            let image = format!("{}/team/api@{digest}", ground.registry.address());
            ground.docker(&["pull", &image]);
            let labels = ground.inspect(&image)["Config"]["Labels"].clone();
            let created = ground.project.git(&["show", "--no-patch", "--format=%ct", "HEAD"]);
            let created: i64 = created.trim().parse().expect("seconds");
            let expected = json!({
                "fairlead.release": release,
                "org.opencontainers.image.revision": ground.project.git(&["rev-parse", "HEAD"]).trim(),
                "org.opencontainers.image.source": "https://example.org/team/noogh.git",
                "org.opencontainers.image.version": release,
                "org.opencontainers.image.created": rfc3339(created),
            });
            assert_eq!(labels, expected, "{generation:?}, of a Dockerfile: {of_dockerfile}");
        }
    }
}

/// As `date` writes it.
fn rfc3339(seconds: i64) -> String {
    let output =
        Command::new("date").args(["--utc", &format!("--date=@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(output.expect("date").stdout).expect("text").trim().to_owned()
}

#[test]
fn only_images_that_nothing_needs_go_from_the_registry() {
    let ground = Ground::new(Generation::Docker28);
    ground.deploy(0);
    let (first, first_release) = (ground.digest(), ground.project.release());
    ground.change("of which nothing was deployed");
    ground.run(&["publish", ENVIRONMENT]).expect(0);
    let (unused, unused_release) = (ground.digest(), ground.project.release());
    let attached = ground.attached(&unused)[0]["digest"].as_str().expect("a digest").to_owned();
    ground.change("the newest");
    ground.deploy(0);
    let newest = ground.digest();
    let all: BTreeSet<String> = [&first, &unused, &newest].map(ToString::to_string).into();

    // All are of releases that are kept here.
    assert_eq!(ground.prunable(), (BTreeSet::new(), all.clone()));
    ground.run(&["prune", "--registry", ENVIRONMENT, "--yes"]).expect(0).says("nothing to do");
    // Without them, what runs and what a rollback returns to is known from the target alone.
    for release in [&first_release, &unused_release] {
        fs::remove_file(ground.project.state().join(format!("releases/{release}.json"))).expect("a manifest");
    }
    let stays: BTreeSet<String> = [first.clone(), newest.clone()].into();
    assert_eq!(ground.prunable(), (BTreeSet::from([unused.clone()]), stays.clone()));
    for look in
        [&["prune", "--registry", ENVIRONMENT][..], &["prune", "--registry", ENVIRONMENT, "--dry-run"]]
    {
        let shown = ground.run(look).expect(0).says("nothing was removed").says("--yes");
        assert!(
            shown.stdout.contains(&unused_release) && shown.stdout.contains("api stands at"),
            "{shown:?}"
        );
        assert!(shown.stdout.contains(&format!("returns to {first_release}")), "{shown:?}");
    }

    // As long as one target cannot be asked, nobody knows what it needs.
    let other = ground.project.path().join("deploy/environments/other.toml");
    let text = fs::read_to_string(other.with_file_name(format!("{ENVIRONMENT}.toml"))).expect("a file");
    let socket = format!("unix://{}", ground.engine.socket().display());
    fs::write(&other, text.replace(&socket, "unix:///nonexistent/docker.sock")).expect("a file");
    let refused = ground.run(&["prune", "--registry", ENVIRONMENT, "--yes"]).expect(3);
    refused.says("nothing was removed").says("`other`").says("target here cannot be reached");
    assert!(all.iter().all(|digest| ground.has(digest)));
    fs::remove_file(other).expect("our own file");

    let done = ground.run(&["prune", "--registry", ENVIRONMENT, "--yes"]).expect(0);
    done.says("1 image(s), 3 manifest(s), were removed");
    assert!(!ground.has(&unused) && !ground.has(&attached));
    assert!(stays.iter().all(|digest| ground.has(digest) && ground.attached(digest).len() == 1));
    assert_eq!(ground.prunable(), (BTreeSet::new(), stays));
    // What stays can be had, and a rollback goes where it would have gone.
    ground.docker(&["pull", &format!("{}/team/api@{first}", ground.registry.address())]);
    ground.run(&["rollback", ENVIRONMENT, "--yes"]).expect(0);
    assert_eq!(tests::http::health(ground.project.port("api"))["release"], first_release);
}
