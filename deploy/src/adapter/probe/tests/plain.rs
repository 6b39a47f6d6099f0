//! HTTP without TLS, and TCP.

use super::*;
use serde_json::json;
use std::io;

#[tokio::test]
async fn a_good_answer_passes_and_is_told_with_its_circumstances() {
    let address = routes(&[("/health?deep=1", reply(200, "all is well"))]).await;
    let before = WallClock.now();
    let look = look(address, &check(Probe::Http(http("/health?deep=1")))).await;
    assert_eq!(look.answer, Answer::Pass);
    assert_eq!(look.excerpt, "all is well");
    assert!(look.at >= before && look.took < 10_000);
}

#[tokio::test]
async fn each_expectation_is_checked_and_named() {
    let body = r#"{"status":"ok","checks":[{"name":"db","up":true}]}"#;
    let address = routes(&[("/", reply(200, body)), ("/text", reply(200, "plain"))]).await;
    let with = |change: &dyn Fn(&mut HttpProbe)| {
        let mut probe = http("/");
        change(&mut probe);
        probe
    };
    let pass = with(&|p| {
        p.body_contains = Some("\"db\"".to_owned());
        p.json =
            BTreeMap::from([("/checks/0/up".to_owned(), json!(true)), ("/status".to_owned(), json!("ok"))]);
        p.expect_headers = BTreeMap::from([("X-Kind".to_owned(), "plain".to_owned())]);
        p.latency_max_ms = Some(9_000);
    });
    assert_eq!(ask(address, pass).await, Answer::Pass);

    assert_eq!(ask(address, with(&|p| p.status = (201, 204))).await, Answer::Status(200));
    for (change, named) in [
        (&|p: &mut HttpProbe| p.body_contains = Some("mail".to_owned())) as &dyn Fn(&mut HttpProbe),
        &|p| p.json = BTreeMap::from([("/status".to_owned(), json!("fine"))]),
        &|p| p.json = BTreeMap::from([("/uptime".to_owned(), json!(1))]),
        &|p| p.expect_headers = BTreeMap::from([("x-kind".to_owned(), "html".to_owned())]),
        &|p| p.expect_headers = BTreeMap::from([("x-none".to_owned(), "a".to_owned())]),
        &|p| {
            p.path = "/text".to_owned();
            p.json = BTreeMap::from([("/status".to_owned(), json!("ok"))]);
        },
    ]
    .into_iter()
    .zip(["`mail`", "\"ok\"", "`/uptime` is missing", "`plain text`", "`x-none` is missing", "not JSON"])
    {
        let answer = ask(address, with(change)).await;
        assert!(matches!(&answer, Answer::Unexpected(text) if text.contains(named)), "{named}: {answer:?}");
    }
}

#[tokio::test]
async fn the_configured_headers_are_sent_and_may_replace_the_host() {
    let address = serve(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let _written = stream.write_all(reply(200, &head).as_bytes()).await;
    })
    .await;
    let mut probe = http("/");
    probe.headers = BTreeMap::from([("Host".to_owned(), "api.test".to_owned())]);
    probe.body_contains = Some("host: api.test".to_owned());
    assert_eq!(ask(address, probe.clone()).await, Answer::Pass);
    probe.headers = BTreeMap::from([("x-token".to_owned(), "hunter2\n".to_owned())]);
    let answer = ask(address, probe).await;
    assert!(matches!(&answer, Answer::ProviderError(text) if !text.contains("hunter2")), "{answer:?}");
}

#[tokio::test]
async fn a_slow_answer_is_told_apart_from_none() {
    let address = serve(|mut stream| async move {
        read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        let _written = stream.write_all(reply(200, "late").as_bytes()).await;
    })
    .await;
    let mut probe = http("/");
    probe.latency_max_ms = Some(20);
    let answer = ask(address, probe).await;
    assert!(matches!(answer, Answer::Slow(took) if took >= 60), "{answer:?}");
}

#[tokio::test]
async fn the_timeout_covers_a_hanging_server_and_a_body_that_trickles() {
    let silent = serve(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let trickle = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _head =
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhunter2 so far").await;
        while stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for (address, excerpt) in [(silent, ""), (trickle, "*** so far.")] {
        let mut check = check(Probe::Http(http("/")));
        check.timeout = 300;
        let look = look(address, &check).await;
        assert_eq!(look.answer, Answer::TimedOut);
        assert!(look.excerpt.starts_with(excerpt), "what came before is shown: {}", look.excerpt);
        assert!((300..3_000).contains(&look.took), "{}", look.took);
    }
}

#[tokio::test]
async fn refused_broken_and_garbage_are_three_things() {
    assert_eq!(ask(nobody().await, http("/")).await, Answer::Refused);
    assert_eq!(look(nobody().await, &check(Probe::Tcp)).await.answer, Answer::Refused);

    let garbage = serve(|mut stream| async move {
        let _written = stream.write_all(b"220 mail.test ESMTP ready\r\n\r\n").await;
        read_head(&mut stream).await;
    })
    .await;
    let answer = ask(garbage, http("/")).await;
    assert!(matches!(&answer, Answer::Broken(text) if text.contains("not HTTP")), "{answer:?}");
    assert_eq!(look(garbage, &check(Probe::Tcp)).await.answer, Answer::Pass);

    let closing = serve(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let answer = ask(closing, http("/")).await;
    assert!(matches!(&answer, Answer::Broken(text) if text.contains("closed")), "{answer:?}");

    let cut = routes(&[("/", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf".to_owned())]).await;
    let look = look(cut, &check(Probe::Http(http("/")))).await;
    assert!(matches!(look.answer, Answer::Broken(_)), "{:?}", look.answer);
    assert_eq!(look.excerpt, "half");
}

#[tokio::test]
async fn only_the_beginning_of_a_large_body_is_read() {
    let body = "x".repeat(10 * 1024 * 1024);
    let address = routes(&[("/", reply(200, &body))]).await;
    let found = look(address, &check(Probe::Http(http("/")))).await;
    assert_eq!(found.answer, Answer::Pass);
    assert_eq!(found.excerpt.len(), 512);

    let mut probe = http("/");
    probe.json = BTreeMap::from([(String::new(), json!("x"))]);
    let answer = ask(address, probe).await;
    assert!(matches!(&answer, Answer::Unexpected(text) if text.contains("65536")), "{answer:?}");
}

#[tokio::test]
async fn secrets_in_an_answer_are_masked_everywhere() {
    let address = routes(&[("/", reply(200, r#"{"password":"hunter2"}"#))]).await;
    let mut probe = http("/");
    probe.json = BTreeMap::from([("/password".to_owned(), json!("x"))]);
    let look = look(address, &check(Probe::Http(probe))).await;
    assert!(!format!("{look:?}").contains("hunter2") && look.excerpt.contains("***"), "{look:?}");
}

#[tokio::test]
async fn a_unit_without_an_address_is_a_failure_of_the_unit() {
    let mut gone = unit(nobody().await);
    gone.address = None;
    for probe in [Probe::Tcp, Probe::Http(http("/")), Probe::Command(vec!["true".to_owned()])] {
        let answer = prober().look(&gone, &check(probe)).await.answer;
        assert!(matches!(answer, Answer::Broken(_)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_our_own_mistake() {
    let answer = ask(routes(&[]).await, http("/a b")).await;
    assert!(matches!(answer, Answer::ProviderError(_)), "{answer:?}");
}

#[test]
fn what_this_machine_lacks_says_nothing_of_the_unit() {
    use nix::errno::Errno;
    for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::EADDRNOTAVAIL, Errno::ENETUNREACH] {
        let answer = super::super::http::answer_of_io(&io::Error::from(errno));
        assert!(matches!(answer, Answer::ProviderError(_)), "{errno}: {answer:?}");
    }
    for errno in [Errno::ECONNRESET, Errno::EHOSTUNREACH, Errno::EPIPE] {
        let answer = super::super::http::answer_of_io(&io::Error::from(errno));
        assert!(matches!(answer, Answer::Broken(_)), "{errno}: {answer:?}");
    }
}
