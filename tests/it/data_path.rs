//! What the router must carry: kept connections, chunked bodies as they come, WebSockets, and large uploads.

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{body::Frame, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    time::{Duration, Instant},
};
use tests::{Project, Shape};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_tungstenite::{client_async, tungstenite::Message};

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a conversation with the stable port of a deployed API.
fn converse<F: Future<Output = ()>>(conversation: impl FnOnce(u16) -> F) {
    let project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        timeout(DEADLINE, conversation(project.port("api"))).await.expect("the conversation ends in time");
    });
}

#[test]
fn a_websocket_is_upgraded_and_carries_messages_both_ways() {
    converse(|port| async move {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let url = format!("ws://127.0.0.1:{port}/api/v1/echo");
        let (mut socket, _) = client_async(url, stream).await.expect("an upgrade");
        for text in ["first", "second"] {
            socket.send(Message::text(text)).await.expect("sent");
            let answer = socket.next().await.expect("an answer").expect("a whole one");
            assert_eq!(answer, Message::text(text));
        }
    });
}

#[test]
fn a_chunked_answer_comes_as_it_is_made_over_a_kept_connection() {
    converse(|port| async move {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        for _ in 0..3 {
            sender.ready().await.expect("the connection is kept");
            let request = http::Request::get("/api/v1/stream?chunks=3&ms=300")
                .header("host", "localhost")
                .body(Empty::<Bytes>::new())
                .expect("a request");
            let begun = Instant::now();
            let mut body = sender.send_request(request).await.expect("an answer").into_body();
            let first = body.frame().await.expect("a chunk").expect("a whole one").into_data().expect("data");
            assert_eq!(first, "chunk 1 of 3\n");
            assert!(begun.elapsed() < Duration::from_millis(600), "it was held back: {:?}", begun.elapsed());
            let rest = body.collect().await.expect("the rest").to_bytes();
            assert_eq!(rest, "chunk 2 of 3\nchunk 3 of 3\n");
        }
    });
}

#[test]
fn a_large_upload_arrives_whole() {
    const PIECE: usize = 256 * 1024;
    const PIECES: usize = 200;
    converse(|port| async move {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        let pieces = (0..PIECES).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; PIECE]))));
        let request = http::Request::post("/api/v1/upload")
            .header("host", "localhost")
            .body(StreamBody::new(stream::iter(pieces)))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["bytes"], PIECE * PIECES);
    });
}
