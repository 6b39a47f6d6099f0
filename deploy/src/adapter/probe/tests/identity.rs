//! A unit is identified before its health counts.

use super::*;

fn identity(path: &str) -> Identity {
    Identity {
        path: path.to_owned(),
        release_pointer: "/release".to_owned(),
        bundle_pointer: Some("/bundle".to_owned()),
    }
}

fn names(release: &str, bundle: &str) -> String {
    format!(r#"{{"release":"{release}","bundle":"{bundle}"}}"#)
}

fn own_names() -> String {
    names("r-new", &Digest::of_bytes("bundle").to_string())
}

async fn identified(probe: Probe, path: &str, served: &[(&str, String)]) -> Answer {
    let mut check = check(probe);
    check.identity = Some(identity(path));
    look(routes(served).await, &check).await.answer
}

#[tokio::test]
async fn the_right_unit_passes_by_one_request_or_two() {
    let served = [("/health", reply(200, &own_names())), ("/version", reply(200, &own_names()))];
    assert_eq!(identified(Probe::Http(http("/health")), "/health", &served).await, Answer::Pass);
    assert_eq!(identified(Probe::Http(http("/health")), "/version", &served).await, Answer::Pass);
    assert_eq!(identified(Probe::Tcp, "/version", &served).await, Answer::Pass);
}

#[tokio::test]
async fn one_request_serves_both_when_the_paths_are_the_same() {
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let address = serve(move |mut stream| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            read_head(&mut stream).await;
            let _written = stream.write_all(reply(200, &own_names()).as_bytes()).await;
        }
    })
    .await;
    let mut check = check(Probe::Http(http("/health")));
    check.identity = Some(identity("/health"));
    assert_eq!(look(address, &check).await.answer, Answer::Pass);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_release_or_bundle_is_named_even_when_it_is_unhealthy() {
    let old = names("r-old", &Digest::of_bytes("bundle").to_string());
    let other = names("r-new", "sha256:0000");
    for (said, body) in [("r-old", &old), ("sha256:0000", &other)] {
        for status in [200, 503] {
            for path in ["/health", "/version"] {
                let served = [("/health", reply(status, body)), ("/version", reply(200, body))];
                let answer = identified(Probe::Http(http("/health")), path, &served).await;
                assert!(
                    matches!(&answer, Answer::WrongRelease(text) if text.contains(said)),
                    "{path} {status}: {answer:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_healthy_answer_without_a_name_does_not_pass() {
    for body in ["{}", "ok", r#"{"release":null}"#, r#"{"release":"r-new"}"#, "[]"] {
        for path in ["/health", "/version"] {
            let served = [("/health", reply(200, body)), ("/version", reply(200, body))];
            let answer = identified(Probe::Http(http("/health")), path, &served).await;
            assert!(matches!(answer, Answer::WrongRelease(_)), "{body} {path}: {answer:?}");
        }
    }
    let served = [("/health", reply(200, "ok"))];
    let answer = identified(Probe::Http(http("/health")), "/version", &served).await;
    assert!(matches!(&answer, Answer::WrongRelease(text) if text.contains("404")), "{answer:?}");
}

#[tokio::test]
async fn a_unit_that_is_still_starting_is_not_another_release() {
    let served = [("/health", reply(503, "starting")), ("/version", reply(500, ""))];
    assert_eq!(identified(Probe::Http(http("/health")), "/health", &served).await, Answer::Status(503));
    assert_eq!(identified(Probe::Http(http("/health")), "/version", &served).await, Answer::Status(503));
}

#[tokio::test]
async fn an_identity_that_cannot_be_asked_is_the_answer_of_a_passing_probe() {
    let broken = ("/version", "nonsense\r\n\r\n".to_owned());
    let answer =
        identified(Probe::Http(http("/health")), "/version", &[("/health", reply(200, "ok")), broken]).await;
    assert!(matches!(answer, Answer::Broken(_)), "{answer:?}");

    let error = ("/version", reply(500, "no"));
    let answer =
        identified(Probe::Http(http("/health")), "/version", &[("/health", reply(200, "ok")), error]).await;
    assert_eq!(answer, Answer::Status(500));

    let mut hanging = check(Probe::Http(http("/health")));
    (hanging.identity, hanging.timeout) = (Some(identity("/version")), 300);
    let address = serve(|mut stream| async move {
        if read_head(&mut stream).await.starts_with("GET /health ") {
            let _written = stream.write_all(reply(200, "ok").as_bytes()).await;
        } else {
            std::future::pending::<()>().await;
        }
    })
    .await;
    assert_eq!(look(address, &hanging).await.answer, Answer::TimedOut);
    // A probe that needs no server passes; then the refusal of the identity's request is the answer.
    let mut refused = check(Probe::Command(vec!["true".to_owned()]));
    refused.identity = Some(identity("/version"));
    assert_eq!(look(nobody().await, &refused).await.answer, Answer::Refused);
}
