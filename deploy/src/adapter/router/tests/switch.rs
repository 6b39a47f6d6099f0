//! Switching, draining, breaking off, and handing over to another router: all under traffic.

use super::support::*;
use http_body_util::BodyExt;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Notify,
};

/// A unit that answers `/slow` only when told to.
async fn patient(name: &'static str) -> (Unit, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = go.clone();
    let unit = Unit::start(name, move |request| {
        let told = told.clone();
        async move {
            if request.uri().path() == "/slow" {
                told.notified().await;
            }
            plain(name)
        }
    })
    .await;
    (unit, go)
}

/// Sends a request that the unit does not answer yet; returns when it is in flight.
async fn slow(router: &Router, unit: &Unit) -> tokio::task::JoinHandle<Result<String, String>> {
    let mut client = Client::connect(router.address).await;
    let before = router.stats(unit).await.in_flight;
    let answer = tokio::spawn(async move {
        let response = client.send(post("/slow", body("x"))).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let content = response.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let text = String::from_utf8(content.into()).unwrap();
        if status.is_success() { Ok(text) } else { Err(status.to_string()) }
    });
    until(async || router.stats(unit).await.in_flight > before).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_unit_answers_what_it_was_asked_and_is_asked_nothing_more() {
    let router = Router::start().await;
    let ((old, go), new) = (patient("old").await, Unit::named("new").await);
    router.set(&[(&old, 1)]).await;
    let answer = slow(&router, &old).await;
    router.set(&[(&old, 0), (&new, 1)]).await;
    let mut client = Client::connect(router.address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.1, "new");
    }
    assert_eq!(router.client.idle(&old.name, Duration::from_millis(50)).await.unwrap(), 1);
    let (waiter, name) = (router.client.clone(), old.name.clone());
    let idle = tokio::spawn(async move { waiter.idle(&name, Duration::from_secs(20)).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!idle.is_finished());
    go.notify_one();
    assert_eq!(within(answer).await.unwrap(), Ok("old".to_owned()));
    assert_eq!(within(idle).await.unwrap(), 0);
    assert_eq!(router.client.idle("nobody", Duration::ZERO).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_taken_out_of_the_table_still_answers_what_is_in_flight() {
    let router = Router::start().await;
    let ((old, go), new) = (patient("old").await, Unit::named("new").await);
    router.set(&[(&old, 1)]).await;
    let answer = slow(&router, &old).await;
    router.set(&[(&new, 1)]).await;
    assert_eq!(router.client.idle(&old.name, Duration::from_millis(10)).await.unwrap(), 1);
    go.notify_one();
    assert_eq!(within(answer).await.unwrap(), Ok("old".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn severing_breaks_off_what_is_in_flight_and_nothing_else() {
    let router = Router::start().await;
    let ((old, _), (new, go)) = (patient("old").await, patient("new").await);
    router.set(&[(&old, 1)]).await;
    let broken = slow(&router, &old).await;
    let mut tunnel = TcpStream::connect(router.address).await.unwrap();
    router.set(&[(&old, 0), (&new, 1)]).await;
    let kept = slow(&router, &new).await;
    router.client.sever(&old.name).await.unwrap();
    assert_eq!(router.client.idle(&old.name, Duration::from_secs(20)).await.unwrap(), 0);
    assert_eq!(within(broken).await.unwrap(), Err("502 Bad Gateway".to_owned()));
    assert_eq!(
        router.stats(&old).await.traffic.errors,
        0,
        "what was broken off on purpose is no error of the unit"
    );
    go.notify_one();
    assert_eq!(within(kept).await.unwrap(), Ok("new".to_owned()));
    router.set(&[(&old, 1)]).await;
    tunnel.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    assert!(hear(&mut tunnel, "old").await.starts_with("HTTP/1.1 200"), "a severed unit can come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn severing_closes_a_tunnel() {
    let router = Router::start().await;
    let unit = Unit::raw("tunnel", |mut stream| async move {
        hear(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: mine\r\n\r\nREADY",
            )
            .await
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let mut stream = TcpStream::connect(router.address).await.unwrap();
    let ask = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: mine\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let head = hear(&mut stream, "READY").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: mine"), "{head}");
    router.set(&[(&unit, 0)]).await;
    router.client.sever(&unit.name).await.unwrap();
    assert_eq!(within(stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
    assert_eq!(router.client.idle(&unit.name, Duration::from_secs(20)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_switches_each_drained_and_the_unit_killed_cost_no_request() {
    let router = Router::start().await;
    let mut current = Unit::named("0").await;
    router.set(&[(&current, 1)]).await;
    let load = Load::start(router.address, 50);
    let began = std::time::Instant::now();
    for round in 1..=50 {
        let next = Unit::named(["even", "odd"][round % 2]).await;
        router.set(&[(&current, 1), (&next, 1)]).await;
        until(async || router.stats(&next).await.traffic.requests > 20).await;
        router.set(&[(&current, 0), (&next, 1)]).await;
        assert_eq!(router.client.idle(&current.name, Duration::from_secs(20)).await.unwrap(), 0);
        // Gone at once: a request that the drain did not see would fail now.
        drop(std::mem::replace(&mut current, next));
    }
    let (sent, failures) = load.end().await;
    println!("{sent} requests, {:.0} a second", sent as f64 / began.elapsed().as_secs_f64());
    assert_eq!(failures, Vec::<String>::new(), "of {sent}");
    assert!(sent > 2_000, "only {sent}: no load");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_unit_first_does_lose_requests() {
    let router = Router::start().await;
    let (old, new) = (Unit::named("old").await, Unit::named("new").await);
    router.set(&[(&old, 1)]).await;
    let load = Load::start(router.address, 20);
    until(async || router.stats(&old).await.traffic.requests > 100).await;
    router.set(&[]).await;
    drop(old);
    router.set(&[(&new, 1)]).await;
    until(async || router.stats(&new).await.traffic.requests > 100).await;
    let (_, failures) = load.end().await;
    assert!(!failures.is_empty(), "the load does not notice an outage: the other tests prove nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_replace_each_other_under_load_without_losing_a_request() {
    let (unit, mut router) = (Unit::named("a").await, Router::start().await);
    router.set(&[(&unit, 1)]).await;
    let load = Load::start(router.address, 50);
    let mut idler = Client::connect(router.address).await;
    idler.get("/").await;
    for _ in 0..5 {
        let sockets = router.client.take_listeners().await.unwrap();
        let next = Router::on(sockets.into_values().next().unwrap(), &[(&unit, 1)]).await;
        until(async || next.stats(&unit).await.traffic.requests > 20).await;
        let old = std::mem::replace(&mut router, next);
        old.client.retire(Duration::from_secs(20)).await.unwrap();
        // A connection that was idle when its router retired is answered once more, and then told to close.
        let response = idler.send(get("/")).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["connection"]),
            (200, &"close".parse().unwrap())
        );
        response.collect().await.unwrap();
        idler = Client::connect(router.address).await;
        idler.get("/").await;
        old.client.ended(Duration::from_secs(20)).await.unwrap();
        within(old.running).await.unwrap().unwrap();
    }
    let (sent, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new(), "of {sent}");
    assert!(sent > 500, "only {sent}: no load");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retiring_router_obeys_a_new_table_and_ends_when_the_last_answer_is_given() {
    let router = Router::start().await;
    let ((old, go), new) = (patient("old").await, Unit::named("new").await);
    router.set(&[(&old, 1)]).await;
    let mut client = Client::connect(router.address).await;
    client.get("/").await;
    let answer = slow(&router, &old).await;
    router.client.retire(Duration::from_secs(20)).await.unwrap();
    router.set(&[(&new, 1)]).await;
    assert_eq!(client.get("/").await.1, "new");
    assert!(router.client.add_listener(&api(), &router.socket).await.is_err());
    go.notify_one();
    assert_eq!(within(answer).await.unwrap(), Ok("old".to_owned()));
    router.client.ended(Duration::from_secs(4)).await.unwrap();
    within(router.running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_at_its_deadline_still_says_what_it_was_asked() {
    for _ in 0..10 {
        let router = Router::start().await;
        let (unit, _go) = patient("a").await;
        router.set(&[(&unit, 1)]).await;
        let answer = slow(&router, &unit).await;
        let mut idle = UnixStream::connect(&router.control).await.unwrap();
        idle.write_all(b"{\"idle\":{\"upstream\":\"a\",\"deadline\":20000}}\n").await.unwrap();
        // Asked later and answered: the router has begun to listen to the question before.
        router.stats(&unit).await;
        router.client.retire(Duration::from_millis(100)).await.unwrap();
        let mut said = String::new();
        within(idle.read_to_string(&mut said)).await.unwrap();
        assert_eq!(said, "\"done\"\n");
        assert!(within(answer).await.unwrap().is_err());
        within(router.running).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retiring_router_closes_idle_connections_after_a_while_and_all_at_its_deadline() {
    let router = Router::start().await;
    let (unit, _go) = patient("a").await;
    router.set(&[(&unit, 1)]).await;
    let mut idle = TcpStream::connect(router.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    hear(&mut idle, "a").await;
    let stuck = slow(&router, &unit).await;
    router.client.retire(Duration::from_secs(8)).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(within(idle.read(&mut [0; 8])).await.unwrap(), 0);
    assert!(began.elapsed() > Duration::from_millis(4_500), "closed after {:?}", began.elapsed());
    assert!(!stuck.is_finished());
    assert!(within(stuck).await.unwrap().is_err());
    within(router.running).await.unwrap().unwrap();
    assert!(began.elapsed() > Duration::from_millis(7_900) && began.elapsed() < Duration::from_secs(12));
}
