//! Names of images, as the Docker client reads them.

use super::*;
use proptest::prelude::*;

const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn names_are_read_as_the_docker_client_reads_them() {
    for (text, whole) in [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("team/api", "docker.io/team/api"),
        ("docker.io/nginx", "docker.io/library/nginx"),
        ("index.docker.io/nginx", "docker.io/library/nginx"),
        ("localhost/api", "localhost/api"),
        ("localhost:5000/api:1", "localhost:5000/api:1"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
        ("[::1]:5000/api", "[::1]:5000/api"),
        ("ghcr.io/team/a__b-c.d---e:x_Y-z", "ghcr.io/team/a__b-c.d---e:x_Y-z"),
        ("GHCR.io/team/api", "ghcr.io/team/api"),
    ] {
        assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(whole.to_owned()), "{text}");
    }
    let both: Reference = format!("ghcr.io/team/api:1@{DIGEST}").parse().expect("a name");
    assert_eq!(both.which().to_string(), DIGEST);
    let neither: Reference = "ghcr.io/team/api".parse().expect("a name");
    assert_eq!(neither.which().to_string(), "latest");
}

#[test]
fn errors_say_what_is_wrong() {
    let long = format!("ghcr.io/{}", "a".repeat(250));
    for (text, told) in [
        ("", "is empty"),
        ("https://ghcr.io/team/api", "leave out `https://`"),
        ("ghcr.io/Team/Api", "write `team/api`"),
        ("ghcr.io/team//api", "in `` are only"),
        ("ghcr.io/team/a..b", "in `a..b`"),
        ("ghcr.io/team/-a", "in `-a`"),
        ("ghcr.io/team/api:", "`` is no tag"),
        ("ghcr.io/team/api:-1", "`-1` is no tag"),
        ("ghcr.io/team/api@sha256:12", "is none"),
        ("ghcr.io:99999/api", "`ghcr.io:99999` is no registry"),
        ("-a.io/api", "`-a.io` is no registry"),
        ("ghcr.io/team/api extra", "in `api extra`"),
        (&long, "registries take 255"),
    ] {
        let error = text.parse::<Reference>().expect_err(text);
        assert!(error.to_string().contains(told), "{text}: {error}");
    }
}

#[test]
fn only_this_machine_is_loopback() {
    for (text, loopback) in [
        ("localhost", true),
        ("localhost:5000", true),
        ("127.9.9.9:5000", true),
        ("[::1]:5000", true),
        ("[::1]", true),
        ("127.0.0.1.example.com", false),
        ("localhost.example.com", false),
        ("10.0.0.1:5000", false),
        ("ghcr.io", false),
    ] {
        assert_eq!(text.parse::<Host>().map(|host| host.is_loopback()), Ok(loopback), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in r"[a-zA-Z0-9._:/@\[\] é-]{0,60}") {
        if let Ok(reference) = text.parse::<Reference>() {
            let again = reference.to_string().parse::<Reference>();
            prop_assert_eq!(again, Ok(reference));
        }
    }
}
