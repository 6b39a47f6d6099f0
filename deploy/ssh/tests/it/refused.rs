//! Why nobody is let in, and what to do about it.

use crate::kit::{LONG, connect, connector};
use ssh::{Connector, Failure, HostAddress, HostError, Options};
use std::{
    io::Write,
    net::TcpListener,
    time::{Duration, Instant},
};
use tests::{Host, wait_for};

async fn refusal(machine: &Host, address: &str) -> HostError {
    let address: HostAddress = address.parse().expect("an address");
    connector(machine).connect(&address).await.expect_err("nobody is let in")
}

#[tokio::test]
async fn a_key_that_is_not_known_is_refused_and_not_learnt() {
    let machine = Host::start();
    let known = machine.folder().join("known_hosts");
    std::fs::write(&known, "").expect("room");
    let error = refusal(&machine, "host").await;
    assert!(matches!(error.failure, Failure::UnknownKey { .. }), "{error}");
    assert!(!error.failure.is_retryable());
    assert_eq!(
        error.to_string(),
        "connecting on `host` failed: its host key is not known here; hold `ssh-keyscan host | ssh-keygen -lf -` against \
         what the host itself says (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then add the key to the known hosts"
    );
    assert_eq!(std::fs::read_to_string(&known).expect("the file"), "");
    assert_eq!(machine.let_in(), 0);
}

#[tokio::test]
async fn a_key_that_has_changed_is_refused() {
    let machine = Host::start();
    drop(connect(&machine).await);
    machine.rekey();
    let error = refusal(&machine, "host").await;
    assert!(matches!(error.failure, Failure::ChangedKey { .. }), "{error}");
    assert!(error.to_string().contains("`ssh-keygen -R host`"), "{error}");
    assert_eq!(machine.let_in(), 1);
}

#[tokio::test]
async fn a_user_that_the_host_does_not_know_is_told() {
    let machine = Host::start();
    let error = refusal(&machine, "nobody-such@host").await;
    assert!(matches!(error.failure, Failure::Denied { .. }), "{error}");
    assert!(error.to_string().contains("try `ssh nobody-such@host true`"), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told() {
    let machine = Host::start();
    let error = refusal(&machine, "no-such-host.invalid").await;
    assert!(matches!(error.failure, Failure::Unresolved { .. }), "{error}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_is_told_and_so_is_one_that_speaks_something_else() {
    let machine = Host::start();
    let error = refusal(&machine, "host:2").await;
    assert!(matches!(error.failure, Failure::Unreachable { .. }), "{error}");
    assert!(error.failure.is_retryable() && error.to_string().contains("Connection refused"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    let error = refusal(&machine, &format!("127.0.0.1:{port}")).await;
    assert!(matches!(error.failure, Failure::Crowded { .. }), "{error}");
    assert!(error.to_string().ends_with("or nothing there speaks SSH"), "{error}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_waited_for_no_longer_than_was_said() {
    let machine = Host::start();
    machine.cut();
    let options =
        Options { config: Some(machine.config()), connect: Duration::from_secs(1), ..Options::default() };
    let begun = Instant::now();
    let connector = Connector::new(options).expect("a folder");
    let error = connector.connect(&"host".parse().expect("a name")).await.expect_err("nobody answers");
    assert!(matches!(error.failure, Failure::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_has_too_many_is_asked_again() {
    let machine = Host::start();
    let config = machine.folder().join("sshd_config");
    let text = std::fs::read_to_string(&config).expect("its configuration");
    std::fs::write(&config, format!("{text}MaxStartups 1:100:1\n")).expect("room");
    machine.rekey();
    let key = std::fs::read_to_string(machine.folder().join("host_key.pub")).expect("its key");
    let known = format!("{} {key}", machine.address());
    std::fs::write(machine.folder().join("known_hosts"), known).expect("room");
    // One that never says who it is takes the only place, until somebody was refused.
    let place = std::net::TcpStream::connect((machine.address(), 22)).expect("a connection");
    let log = machine.folder().join("sshd.log");
    let refused = std::thread::spawn(move || {
        let is_told = || std::fs::read_to_string(&log).ok()?.contains("MaxStartups").then_some(());
        wait_for("a refusal", LONG, is_told);
        drop(place);
    });
    drop(connect(&machine).await);
    refused.join().expect("somebody was refused");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_told() {
    let machine = Host::start();
    std::fs::write(machine.config(), "NoSuchWord yes\n").expect("room");
    let error = refusal(&machine, "host").await;
    assert!(matches!(error.failure, Failure::Client { .. }), "{error}");
    assert!(error.to_string().contains("bad configuration options"), "{error}");
}
