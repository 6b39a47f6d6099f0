//! Routers that are processes of their own, as they are in earnest.

use super::{
    super::{Options, RouterClient, serve},
    support::*,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::{Child, Command};

const CONTROL: &str = "FAIRLEAD_TEST_ROUTER";

/// Not a test by itself: what the processes below run.
#[tokio::test(flavor = "multi_thread")]
async fn the_router_process() {
    if let Some(control) = std::env::var_os(CONTROL) {
        serve(Options::new(Path::new(&control), "1")).await.unwrap();
    }
}

async fn start(control: PathBuf) -> (Child, RouterClient) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "adapter::router::tests::process::the_router_process"])
        .env(CONTROL, &control)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (client, hello) = RouterClient::connect(&control, Duration::from_secs(20)).await.unwrap();
    assert_eq!(Some(hello.pid), child.id());
    (child, client)
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_ignores_the_terminal_and_hands_its_sockets_to_the_next_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let unit = Unit::named("a").await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (mut old, client) = start(folder.path().join("1.sock")).await;
    client.set(table(&[(&unit, 1)])).await.unwrap();
    client.add_listener(&api(), socket).await.unwrap();

    let load = Load::start(address, 20);
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        send(&old, signal);
    }
    let (_new, next) = start(folder.path().join("2.sock")).await;
    next.set(table(&[(&unit, 1)])).await.unwrap();
    for (service, socket) in client.take_listeners().await.unwrap() {
        next.add_listener(&service, socket).await.unwrap();
    }
    send(&old, Signal::SIGTERM);
    assert!(within(old.wait()).await.unwrap().success());
    let counted = async || next.stats().await.unwrap()[&unit.name].traffic.requests;
    until(async || counted().await > 200).await;
    let (sent, failures) = load.end().await;
    assert_eq!(failures, Vec::<String>::new(), "of {sent}");
}
