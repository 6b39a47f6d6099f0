//! What is carried, and how.

use super::support::*;
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot},
};
use tokio_tungstenite::tungstenite::Message;

/// A body made of what comes through a channel.
fn streamed(capacity: usize) -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(capacity);
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (Ok::<_, hyper::Error>(Frame::data(chunk)), receiver))
    });
    (sender, StreamBody::new(chunks).boxed_unsync())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_on_both_sides() {
    let (router, unit) = (Router::start().await, Unit::named("a").await);
    router.set(&[(&unit, 1)]).await;
    let mut client = Client::connect(router.address).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await, (200, "a".to_owned()));
    }
    assert_eq!(unit.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_chunk_by_chunk() {
    let router = Router::start().await;
    let echo = |request: Request<hyper::body::Incoming>| async move {
        Response::new(request.into_body().boxed_unsync())
    };
    let unit = Unit::start("echo", echo).await;
    router.set(&[(&unit, 1)]).await;
    for method in ["POST", "GET"] {
        let (sender, content) = streamed(1);
        let request = Request::builder().method(method).uri("/").header("host", "t");
        let request = request.header("transfer-encoding", "chunked").body(content).unwrap();
        let mut client = Client::connect(router.address).await;
        let mut response = client.send(request).await.unwrap().into_body();
        for chunk in ["one", "two", "three"] {
            sender.send(chunk.into()).await.unwrap();
            let back = within(response.frame()).await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(back, chunk, "{method}");
        }
        drop(sender);
        assert!(within(response.frame()).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_never_held_in_memory() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: u64 = (100 << 20) / CHUNK as u64;
    let router = Router::start().await;
    let (go, mut gate) = tokio::sync::watch::channel(false);
    gate.mark_unchanged();
    // The kernel may hold tens of MB for each socket unless it is told how much; only the router is to be seen here.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    setsockopt(&listener, RcvBuf, &CHUNK).unwrap();
    setsockopt(&router.socket, RcvBuf, &CHUNK).unwrap();
    let unit = Unit::start_at("slow", listener, move |request: Request<hyper::body::Incoming>| {
        let mut gate = gate.clone();
        async move {
            let mut content = request.into_body();
            let mut length = content.frame().await.unwrap().unwrap().into_data().unwrap().len();
            gate.wait_for(|open| *open).await.unwrap();
            while let Some(frame) = content.frame().await {
                length += frame.unwrap().into_data().unwrap().len();
            }
            plain(length.to_string())
        }
    });
    router.set(&[(&unit, 1)]).await;
    let (sender, content) = streamed(1);
    let mut client = Client::connect(router.address).await;
    let answer = tokio::spawn(async move { client.send(post("/", content)).await });
    let taken = Arc::new(AtomicU64::new(0));
    let count = taken.clone();
    let upload = tokio::spawn(async move {
        for _ in 0..CHUNKS {
            sender.send(Bytes::from(vec![7; CHUNK])).await.unwrap();
            count.fetch_add(1, SeqCst);
        }
    });
    // The unit reads nothing more: what goes on being taken is held by somebody. It must come to a rest early.
    let mut before = 0;
    until(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::mem::replace(&mut before, taken.load(SeqCst)) == taken.load(SeqCst) && before > 0
    })
    .await;
    assert!(
        before < CHUNKS / 5,
        "{before} of {CHUNKS} chunks are held between the client and a unit that reads none"
    );
    go.send(true).unwrap();
    within(upload).await.unwrap();
    let response = within(answer).await.unwrap().unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), (100 << 20).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_and_counts_as_in_flight_until_it_closes() {
    let router = Router::start().await;
    let unit = Unit::raw("ws", |stream| async move {
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let stream = TcpStream::connect(router.address).await.unwrap();
    let (mut socket, _) = within(tokio_tungstenite::client_async("ws://test/", stream)).await.unwrap();
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap(), Message::text(text));
    }
    router.set(&[(&unit, 0)]).await;
    assert_eq!(router.client.idle(&unit.name, Duration::from_millis(50)).await.unwrap(), 1);
    socket.send(Message::text("still")).await.unwrap();
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), Message::text("still"));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within(socket.next()).await {}
    drop(socket);
    assert_eq!(router.client.idle(&unit.name, Duration::from_secs(20)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_told_to_go_on_with_a_large_body_and_the_unit_never_sees_the_question() {
    let router = Router::start().await;
    let unit = Unit::start("a", |request: Request<hyper::body::Incoming>| async move {
        let asked = request.headers().contains_key("expect");
        let content = request.collect().await.unwrap().to_bytes();
        plain(format!("{asked} {}", content.len()))
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let mut stream = TcpStream::connect(router.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    hear(&mut stream, "100 Continue\r\n\r\n").await;
    stream.write_all(b"data").await.unwrap();
    assert!(hear(&mut stream, "false 4").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_keep_their_heads() {
    let router = Router::start().await;
    let unit = Unit::start("a", |request: Request<hyper::body::Incoming>| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        let response = Response::builder().status(status).header("etag", "x");
        if status == 200 { response.body(body("12345")) } else { response.body(body("")) }.unwrap()
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let head = say(router.address, "HEAD /200 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for status in [204, 304] {
        let ask = format!("GET /{status} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        let head = say(router.address, &ask).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("etag: x\r\n") && !head.contains("transfer-encoding"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_gets_a_body_that_it_understands() {
    let router = Router::start().await;
    let unit = Unit::raw("chunks", |mut stream| async move {
        let request = hear(&mut stream, "\r\n\r\n").await;
        assert!(
            request.starts_with("GET / HTTP/1.1\r\n") && request.contains("host: 127.0.0.1:"),
            "{request}"
        );
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let answer = say(router.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("\r\n\r\none"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_fields_end_here_and_trailers_go_on() {
    let router = Router::start().await;
    let (sender, seen) = oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let unit = Unit::raw("raw", move |mut stream| {
        let sender = sender.lock().unwrap().take();
        async move {
            let _ = sender.unwrap().send(hear(&mut stream, "\r\n\r\n").await);
            let head = "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\ntrailer: x-sum\r\n";
            let rest = "transfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\nx-sum: 42\r\n\r\n";
            stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let ask = "GET /p?q HTTP/1.1\r\nhost: shop\r\nconnection: te, x-mine, close\r\nte: trailers\r\nx-mine: 1\r\n\r\n";
    let answer = say(router.address, ask).await;
    let asked = within(seen).await.unwrap();
    assert!(asked.starts_with("GET /p?q HTTP/1.1\r\n") && asked.contains("host: shop\r\n"), "{asked}");
    assert!(!asked.contains("x-mine") && !asked.contains("close"), "{asked}");
    assert!(asked.contains("x-forwarded-for: 127.0.0.1\r\n"), "{asked}");
    assert!(!answer.contains("x-hop") && !answer.contains("timeout=5"), "{answer}");
    assert!(answer.contains("x-sum: 42\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_request_at_the_unit() {
    struct Told(Option<oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let router = Router::start().await;
    let (sender, dropped) = oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(Told(Some(sender)))));
    let came = Arc::new(Notify::new());
    let coming = came.clone();
    let unit = Unit::start("a", move |_| {
        let told = told.lock().unwrap().take();
        coming.notify_one();
        async move {
            let _told = told;
            std::future::pending::<()>().await;
            unreachable!()
        }
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let mut stream = TcpStream::connect(router.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    within(came.notified()).await;
    drop(stream);
    within(dropped).await.unwrap();
    assert_eq!(router.client.idle(&unit.name, Duration::from_secs(20)).await.unwrap(), 0);
    let counted = router.stats(&unit).await.traffic;
    assert_eq!(
        (counted.requests, counted.errors),
        (0, 0),
        "what a client breaks off is no error of the unit"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_client_breaks_off_is_no_error_of_the_unit() {
    let router = Router::start().await;
    let unit = Unit::start("a", |request: Request<hyper::body::Incoming>| async move {
        plain(if request.collect().await.is_ok() { "whole" } else { "broken" })
    })
    .await;
    router.set(&[(&unit, 1)]).await;
    let mut stream = TcpStream::connect(router.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\nsome").await.unwrap();
    until(async || router.stats(&unit).await.in_flight == 1 && unit.connections() == 1).await;
    drop(stream);
    assert_eq!(router.client.idle(&unit.name, Duration::from_secs(20)).await.unwrap(), 0);
    let counted = router.stats(&unit).await.traffic;
    assert_eq!((counted.requests, counted.errors), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_router_must_not_do_is_refused() {
    let (router, unit) = (Router::start().await, Unit::named("a").await);
    router.set(&[(&unit, 1)]).await;
    let connect =
        say(router.address, "CONNECT example.org:443 HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n").await;
    assert!(connect.starts_with("HTTP/1.1 501"), "{connect}");
    let coded = "POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert!(say(router.address, coded).await.starts_with("HTTP/1.1 501"));
    assert_eq!(unit.connections(), 0);
}
