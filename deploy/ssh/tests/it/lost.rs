//! A connection that ends is known to have ended, and nothing of it stays.

use crate::kit::{LONG, connect, connector};
use ssh::{Connector, Failure, Options};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tests::{Host, Process, all_pids, wait_for};

/// Three questions without an answer, at one a second, and some.
const NOTICED: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_cut_network_is_noticed_and_ends_what_is_under_way() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let path = machine.homes().join("root/file");
    // Known by its number: the processes of the host are seen from here.
    let seconds = format!("{}.25", std::process::id());
    let words = [seconds.as_str()];
    let running = host.run("sleep", &words, &[], Duration::from_secs(3600));
    let begun = Instant::now();
    let (ran, ()) = tokio::join!(running, async {
        await_until("the command to run", {
            let seconds = seconds.clone();
            move || !with(&seconds).is_empty()
        })
        .await;
        machine.cut();
        tokio::time::timeout(NOTICED, host.lost()).await.expect("it is noticed");
    });
    assert!(begun.elapsed() < NOTICED);
    let error = ran.expect_err("it did not end");
    assert!(matches!(error.failure, Failure::Lost) && error.failure.is_retryable(), "{error}");
    for error in [
        host.run("true", &[], &[], LONG).await.expect_err("it is lost"),
        host.get(&path).await.expect_err("it is lost"),
        host.put(&path, b"x", ssh::Mode::Shared, LONG).await.expect_err("it is lost"),
        host.forward(Path::new("/x")).await.expect_err("it is lost"),
    ] {
        assert!(matches!(error.failure, Failure::Lost), "{error}");
    }
    machine.mend();
    let again = connect(&machine).await;
    assert!(again.run("true", &[], &[], LONG).await.expect("an answer").is_success());
}

#[tokio::test]
async fn a_connection_that_the_host_ends_is_noticed_at_once() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let ending = host.run("pkill", &["-KILL", "-f", "sshd: root"], &[], LONG);
    let (ended, lost) = tokio::join!(ending, tokio::time::timeout(NOTICED, host.lost()));
    assert!(ended.is_err() && lost.is_ok(), "{ended:?}");
    assert!(host.is_lost());
}

/// The processes of this machine whose command line has this in it.
fn with(word: &str) -> Vec<i32> {
    let has = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(word)
            && Process::of(*pid).is_some_and(|process| process.state != 'Z')
    };
    all_pids().into_iter().filter(has).collect()
}

#[tokio::test]
async fn nothing_stays_of_a_connection_that_was_let_go() {
    let machine = Host::start();
    let config = machine.config();
    let config = config.to_str().expect("text");
    let connector = connector(&machine);
    let host = connector.connect(&"host".parse().expect("a name")).await.expect("it lets us in");
    let socket = host.forward(Path::new("/nowhere")).await.expect("it can be forwarded");
    assert_eq!(with(config).len(), 1, "one program speaks to it");
    drop(host);
    let config = config.to_owned();
    await_until("the end of the connection", move || with(&config).is_empty() && !socket.exists()).await;
}

/// Whoever connects and then waits to be killed, in a process of its own: see below.
#[tokio::test]
#[ignore = "it is killed by the test below"]
async fn one_that_is_killed() {
    let config = std::env::var_os(CONFIG).expect("the host's configuration");
    let options = Options { config: Some(config.into()), ..Options::default() };
    let connector = Connector::new(options).expect("a folder");
    let host = connector.connect(&"host".parse().expect("a name")).await.expect("it lets us in");
    host.lost().await;
}

/// The name of the variable by which the process that is killed knows its host.
const CONFIG: &str = "FAIRLEAD_TESTS_SSH_CONFIG";

#[tokio::test]
async fn a_connection_ends_soon_after_the_one_that_held_it_was_killed() {
    let machine = Host::start();
    let program = std::env::current_exe().expect("this program");
    let mut holder = std::process::Command::new(program)
        .args(["--ignored", "--exact", "lost::one_that_is_killed"])
        .env(CONFIG, machine.config())
        .spawn()
        .expect("this program again");
    let config = machine.config().to_str().expect("text").to_owned();
    let log = machine.folder().join("sshd.log");
    // That of the program which keeps it open.
    let begun =
        move || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("Starting session: command"));
    await_until("the connection", begun).await;
    holder.kill().expect("it runs");
    holder.wait().expect("its end");
    assert_eq!(with(&config).len(), 1, "it outlives the process that held it, for a while");
    await_until("the end of the connection", move || with(&config).is_empty()).await;
}

async fn await_until(what: &'static str, is_so: impl Fn() -> bool + Send + 'static) {
    let waiting = tokio::task::spawn_blocking(move || wait_for(what, LONG, || is_so().then_some(())));
    waiting.await.expect("no panic");
}
