//! Which unit a request goes to, and what happens when that one is not there.

use super::{
    super::protocol::{Route, Table},
    support::*,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_are_shared_exactly_as_the_weights_say() {
    let router = Router::start().await;
    let (a, b, c) = (Unit::named("a").await, Unit::named("b").await, Unit::named("c").await);
    router.set(&[(&a, 70), (&b, 25), (&c, 5)]).await;
    let mut client = Client::connect(router.address).await;
    let mut shares = BTreeMap::new();
    for _ in 0..100 {
        *shares.entry(client.get("/").await.1).or_insert(0) += 1;
    }
    assert_eq!(shares, BTreeMap::from([("a".into(), 70), ("b".into(), 25), ("c".into(), 5)]));
    let counted = router.stats(&b).await.traffic;
    assert_eq!((counted.requests, counted.errors, counted.latency_ms.values().sum::<u64>()), (25, 0, 25));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_unit_the_answer_is_503_and_says_when_to_try_again() {
    let (router, unit) = (Router::start().await, Unit::named("a").await);
    let mut client = Client::connect(router.address).await;
    for units in [&[][..], &[(&unit, 0)]] {
        router.set(units).await;
        let response = client.send(get("/")).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        let content = http_body_util::BodyExt::collect(response).await.unwrap().to_bytes();
        let word: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert_eq!((&word["error"], &word["service"]), (&"no-unit".into(), &"api".into()));
    }
    router.set(&[(&unit, 1)]).await;
    assert_eq!(client.get("/").await.0, 200, "the connection did not survive the switch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_refuses_costs_no_request_and_is_left_out() {
    let router = Router::start().await;
    let (there, absent) = (Unit::named("there").await, Unit::absent("absent"));
    router.set(&[(&absent, 1), (&there, 1)]).await;
    let mut client = Client::connect(router.address).await;
    for _ in 0..10 {
        assert_eq!(client.send(post("/", body("x"))).await.unwrap().status(), 200);
    }
    let counted = router.stats(&absent).await;
    assert!(counted.ejected);
    assert_eq!((counted.traffic.requests, counted.traffic.errors), (0, 0));
    router.set(&[(&absent, 1)]).await;
    assert_eq!(client.get("/").await.0, 502, "with nobody else, those left out are tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_was_left_out_comes_back() {
    let router = Router::start().await;
    let there = Unit::named("there").await;
    let absent = Unit::absent("late");
    router.set(&[(&absent, 1), (&there, 1)]).await;
    let mut client = Client::connect(router.address).await;
    client.get("/").await;
    client.get("/").await;
    assert!(router.stats(&absent).await.ejected);
    let listener = TcpListener::bind(absent.address).await.unwrap();
    let _late = Unit::at("late", listener, |mut stream| async move {
        hear(&mut stream, "\r\n\r\n").await;
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlate").await;
    });
    until(async || client.get("/").await == (200, "late".to_owned())).await;
    assert!(!router.stats(&absent).await.ejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_fails_its_checks_is_left_out_until_it_passes_one() {
    let router = Router::start().await;
    let sick = Arc::new(AtomicBool::new(true));
    let looked = sick.clone();
    let unit = Unit::start("sick", move |request| {
        let ill = request.uri() == "/health?deep" && looked.load(SeqCst);
        async move {
            let mut response = plain("sick");
            *response.status_mut() = if ill { 500 } else { 200 }.try_into().unwrap();
            response
        }
    })
    .await;
    let well = Unit::named("well").await;
    let mut checked = table(&[(&unit, 1), (&well, 1)]);
    checked.0.get_mut(&api()).unwrap().health_path = Some("/health?deep".to_owned());
    router.client.set(checked).await.unwrap();
    // The unit that is well answers the check too: with its name and 200.
    until(async || router.stats(&unit).await.ejected).await;
    let mut client = Client::connect(router.address).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.1, "well");
    }
    assert_eq!(router.stats(&unit).await.traffic.requests, 0, "a check is no request");
    sick.store(false, SeqCst);
    until(async || client.get("/").await.1 == "sick").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_between_requests_costs_no_request() {
    let router = Router::start().await;
    let unit = Unit::raw("closing", |mut stream: TcpStream| async move {
        hear(&mut stream, "\r\n\r\n").await;
        // It says that the connection stays, and closes it.
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let mut client = Client::connect(router.address).await;
    for _ in 0..200 {
        assert_eq!(client.get("/").await, (200, "ok".to_owned()));
    }
}

/// A unit that answers once on each connection, and breaks off under the next request on it.
async fn treacherous(name: &str) -> Unit {
    Unit::raw(name, |mut stream: TcpStream| async move {
        hear(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        hear(&mut stream, "\r\n\r\n").await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_is_broken_off_is_sent_again_and_counts_against_the_unit() {
    let (router, unit) = (Router::start().await, treacherous("t").await);
    router.set(&[(&unit, 1)]).await;
    let mut client = Client::connect(router.address).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await, (200, "ok".to_owned()));
    }
    let counted = router.stats(&unit).await.traffic;
    assert!(counted.errors >= 4 && counted.requests == 10 + counted.errors, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_may_have_arrived_is_never_sent_again() {
    let (router, unit) = (Router::start().await, treacherous("t").await);
    let other = Unit::named("other").await;
    router.set(&[(&unit, 1)]).await;
    let mut client = Client::connect(router.address).await;
    assert_eq!(client.get("/").await.0, 200);
    router.set(&[(&unit, 1000), (&other, 1)]).await;
    assert_eq!(client.send(post("/", body("pay"))).await.unwrap().status(), 502);
    assert_eq!((router.stats(&unit).await.traffic.errors, other.connections()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_goes_on_no_connection_that_the_unit_may_be_closing_for_idleness() {
    let (router, unit) = (Router::start().await, treacherous("t").await);
    router.set(&[(&unit, 1)]).await;
    let mut client = Client::connect(router.address).await;
    assert_eq!(client.get("/").await.0, 200);
    tokio::time::sleep(super::super::pool::FRESH + Duration::from_millis(50)).await;
    assert_eq!(client.send(post("/", body("pay"))).await.unwrap().status(), 200);
    assert_eq!(router.stats(&unit).await.traffic.errors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_dies_costs_no_get() {
    let router = Router::start().await;
    let (a, b) = (Unit::named("a").await, Unit::named("b").await);
    router.set(&[(&a, 1), (&b, 1)]).await;
    let mut client = Client::connect(router.address).await;
    for request in 0..100 {
        if request == 50 {
            a.kill();
        }
        assert_eq!(client.get("/").await.0, 200, "request {request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_breaks_off_at_the_client_and_is_one_error() {
    let router = Router::start().await;
    let unit = Unit::raw("half", |mut stream: TcpStream| async move {
        hear(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let mut client = Client::connect(router.address).await;
    let response = client.send(get("/")).await.unwrap();
    assert!(within(http_body_util::BodyExt::collect(response)).await.is_err());
    until(async || router.stats(&unit).await.traffic.errors == 1).await;
    assert_eq!(router.stats(&unit).await.traffic.requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_makes_no_sense_is_refused_and_the_old_one_stays() {
    let (router, unit) = (Router::start().await, Unit::named("a").await);
    router.set(&[(&unit, 1)]).await;
    let twice = table(&[(&unit, 1), (&unit, 1)]);
    assert!(router.client.set(twice).await.unwrap_err().to_string().contains("twice"));
    let relative = Route { health_path: Some("health".to_owned()), upstreams: Vec::new() };
    let error = router.client.set(Table([(api(), relative)].into())).await.unwrap_err();
    assert!(error.to_string().contains("`health`"), "{error}");
    assert_eq!(Client::connect(router.address).await.get("/").await.0, 200);
}
