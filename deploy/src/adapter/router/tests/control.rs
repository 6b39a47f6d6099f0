//! The control socket and its client.

use super::{
    super::{Options, Process, RouterClient, RouterClientError, RouterError, protocol::PROTOCOL, serve},
    support::*,
};
use std::{net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

fn guest(folder: &tempfile::TempDir) -> Options {
    Options { process: Process::Guest, ..Options::new(&folder.path().join("router.sock"), "7") }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_come_and_go_and_their_sockets_can_be_had_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = guest(&folder);
    let control = options.control.clone();
    let running = tokio::spawn(serve(options));
    let (client, hello) = RouterClient::connect(&control, Duration::from_secs(20)).await.unwrap();
    assert_eq!((hello.protocol, hello.version.as_str(), hello.pid), (PROTOCOL, "7", std::process::id()));
    assert_eq!(std::fs::metadata(&control).unwrap().permissions().mode() & 0o777, 0o600);

    let unit = Unit::named("a").await;
    client.set(table(&[(&unit, 1)])).await.unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    client.add_listener(&api(), &socket).await.unwrap();
    drop(socket);
    assert_eq!(Client::connect(address).await.get("/").await, (200, "a".to_owned()));

    let mcp = "mcp".parse().unwrap();
    client.add_listener(&mcp, TcpListener::bind("127.0.0.1:0").unwrap()).await.unwrap();
    let mut sockets = client.take_listeners().await.unwrap();
    assert_eq!(sockets.keys().collect::<Vec<_>>(), [&api(), &mcp]);
    assert_eq!(sockets[&api()].local_addr().unwrap(), address);

    let other = sockets[&mcp].local_addr().unwrap();
    assert_eq!(Client::connect(other).await.get("/").await.0, 503, "a service without a route");
    sockets.remove(&mcp);
    client.remove_listener(&mcp).await.unwrap();
    until(async || TcpStream::connect(other).await.is_err()).await;
    client.remove_listener(&mcp).await.unwrap();
    assert_eq!(Client::connect(address).await.get("/").await.0, 200);

    client.retire(Duration::from_secs(20)).await.unwrap();
    client.ended(Duration::from_secs(20)).await.unwrap();
    within(running).await.unwrap().unwrap();
    assert!(!control.exists());
    assert!(matches!(client.stats().await, Err(RouterClientError::Connect { .. })));
    client.ended(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_where_a_router_answers_is_not_taken_and_one_that_a_dead_router_left_is() {
    let folder = tempfile::tempdir().unwrap();
    // A socket file that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(guest(&folder).control).unwrap());
    let running = tokio::spawn(serve(guest(&folder)));
    let (client, _) = RouterClient::connect(&guest(&folder).control, Duration::from_secs(20)).await.unwrap();
    assert!(matches!(serve(guest(&folder)).await, Err(RouterError::Taken { .. })));
    client.hello().await.unwrap();
    client.retire(Duration::from_secs(20)).await.unwrap();
    within(running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_said_and_the_conversation_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = guest(&folder);
    let control = options.control.clone();
    let _running = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serve(options)));
    let (client, _) = RouterClient::connect(&control, Duration::from_secs(20)).await.unwrap();
    let mut stream = BufReader::new(UnixStream::connect(&control).await.unwrap());
    let mut line = String::new();
    for nonsense in ["{}\n", "\n", "\"fly\"\n", "{\"set\":{\"A B\":{}}}\n"] {
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        line.clear();
        within(stream.read_line(&mut line)).await.unwrap();
        assert!(line.contains("not understood"), "{line}");
    }
    stream.write_all(b"\"hello\"\n").await.unwrap();
    line.clear();
    within(stream.read_line(&mut line)).await.unwrap();
    assert!(line.contains("\"hello\""), "{line}");

    let error =
        client.add_listener(&api(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("does not listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_not_there_is_waited_for_and_then_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.sock");
    let error = RouterClient::connect(&missing, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, RouterClientError::Connect { .. }), "{error}");
    // Somebody who listens and never answers.
    let _silent = std::os::unix::net::UnixListener::bind(&missing).unwrap();
    let error = RouterClient::connect(&missing, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, RouterClientError::TimedOut { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_goes_over_the_wire_whole() {
    let (router, unit) = (Router::start().await, Unit::named("a").await);
    let absent: Vec<_> = (0..3_000).map(|n| Unit::absent(&format!("{n}-{}", "x".repeat(90)))).collect();
    let mut units: Vec<_> = absent.iter().map(|unit| (unit, 0)).collect();
    units.push((&unit, 1));
    router.set(&units).await;
    assert_eq!(router.client.stats().await.unwrap().len(), 3_001);
    assert_eq!(Client::connect(router.address).await.get("/").await.0, 200);
}
