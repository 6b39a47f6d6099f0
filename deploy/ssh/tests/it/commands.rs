//! What is said on one side arrives on the other.

use crate::kit::{LONG, connect, connector, hostile};
use ssh::{Failure, OUTPUT_MAX};
use std::{path::Path, time::Duration};
use tests::Host;

#[tokio::test]
async fn words_arrive_byte_for_byte_and_nothing_reads_them() {
    let (machine, words) = (Host::start(), hostile());
    let host = connect(&machine).await;
    let mut all: Vec<&str> = vec!["%s\\0"];
    all.extend(words.iter().map(String::as_str));
    let answer = host.run("printf", &all, &[], LONG).await.expect("an answer");
    let mut expected: Vec<u8> = Vec::new();
    for word in &words {
        expected.extend_from_slice(word.as_bytes());
        expected.push(0);
    }
    assert_eq!(String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&expected));
    assert!(!Path::new("/tmp/executed").exists());
    let refused = host.run("printf", &["a\0b"], &[], LONG).await.expect_err("no command can have it");
    assert!(matches!(refused.failure, Failure::ZeroByte), "{refused}");
}

#[tokio::test]
async fn codes_and_both_outputs_come_back_and_input_goes_there() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let script = "cat; echo complaint >&2; exit 7";
    let answer = host.run("sh", &["-c", script], b"a secret\n", LONG).await.expect("an answer");
    assert_eq!(
        (answer.code, &answer.stdout[..], &answer.stderr[..]),
        (7, &b"a secret\n"[..], &b"complaint\n"[..])
    );
    assert!(!answer.is_success());
    // More than any pipe holds, to a program that reads none of it.
    let answer = host.run("true", &[], &vec![b'x'; 4 << 20], LONG).await.expect("an answer");
    assert!(answer.is_success(), "{answer:?}");
    let answer = host.run("head", &["-c", "3000000", "/dev/zero"], &[], LONG).await.expect("an answer");
    assert_eq!((answer.code, answer.stdout.len()), (0, OUTPUT_MAX));
    // Codes that mean something else to what watches over it.
    for (script, code) in [("exit 124", 124), ("kill -KILL $$", 137), ("exit 126", 126), ("exit 255", 255)] {
        let answer = host.run("sh", &["-c", script], &[], LONG).await.expect("an answer");
        assert_eq!(answer.code, code, "{script}");
    }
    let error = host.run("no-such-program", &[], &[], LONG).await.expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "`no-such-program` on `host` failed: there is no program `no-such-program` on the host"
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_on_the_host() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let error =
        host.run("sleep", &["3600"], &[], Duration::from_millis(300)).await.expect_err("it is too long");
    assert!(matches!(error.failure, Failure::Deadline { .. }), "{error}");
    assert!(error.failure.is_retryable());
    let answer = host.run("pgrep", &["-x", "sleep"], &[], LONG).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "", "it still runs");
}

#[tokio::test]
async fn all_goes_through_one_connection_also_more_than_a_server_lets_through_at_once() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let numbers: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    let runs = numbers.iter().map(|number| {
        let words = ["-c", "sleep 0.1; echo $0", number];
        let host = &host;
        async move { host.run("sh", &words, &[], LONG).await.map(|answer| answer.stdout) }
    });
    for (number, said) in numbers.iter().zip(join(runs).await) {
        assert_eq!(String::from_utf8_lossy(&said.expect("an answer")).trim(), number);
    }
    host.get(Path::new("/etc/passwd")).await.expect("a file").expect("there is one");
    assert_eq!(machine.let_in(), 1, "{}", machine.log());
}

/// All at the same time.
async fn join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_jump_host_is_gone_through() {
    let machine = Host::start();
    let config = std::fs::read_to_string(machine.config()).expect("its configuration");
    // From outside, nobody but the jump host has this address.
    let inner = format!(
        "Host inner\n  HostName 127.0.0.1\n  HostKeyAlias {}\n  ProxyJump host\n{config}",
        machine.address()
    );
    std::fs::write(machine.config(), inner).expect("room");
    let host = connector(&machine).connect(&"inner".parse().expect("a name")).await.expect("it lets us in");
    let answer = host.run("printenv", &["SSH_CLIENT"], &[], LONG).await.expect("an answer");
    assert!(answer.stdout.starts_with(b"127.0.0.1 "), "{answer:?}");
    assert_eq!(machine.let_in(), 2, "once as the jump host, and once behind it");
}
