//! A socket of the host, from here.

use crate::kit::connect;
use std::{
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
    time::Duration,
};
use tests::Host;

#[tokio::test]
async fn whoever_connects_here_is_connected_there() {
    let machine = Host::start();
    let host = connect(&machine).await;
    let there = machine.homes().join("root/a socket");
    let listener = UnixListener::bind(&there).expect("a socket");
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut text = String::new();
                drop(stream.read_to_string(&mut text));
                drop(stream.write_all(text.to_uppercase().as_bytes()));
            });
        }
    });
    let here = host.forward(&there).await.expect("it can be forwarded");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let all = here.ancestors().nth(2).expect("a folder");
    assert_eq!((mode(&here), mode(all)), (0o600, 0o700));
    let talk = move |said: String| {
        let mut stream = UnixStream::connect(&here).expect("it is there");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
        stream.write_all(said.as_bytes()).expect("it takes it");
        stream.shutdown(std::net::Shutdown::Write).expect("the end");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let talks = thread::scope(|scope| {
        let talks: Vec<_> = (0..20)
            .map(|n| {
                scope.spawn({
                    let talk = &talk;
                    move || talk(format!("hello {n}"))
                })
            })
            .collect();
        talks.into_iter().map(|talk| talk.join().expect("no panic")).collect::<Vec<_>>()
    });
    let expected: Vec<String> = (0..20).map(|n| format!("HELLO {n}")).collect();
    assert_eq!(talks, expected);
    assert_eq!(machine.let_in(), 1);

    // Nobody listens there: whoever connects is let go, and the connection stays.
    let nowhere = host.forward(&machine.homes().join("root/nobody")).await.expect("it can be forwarded");
    let mut stream = UnixStream::connect(nowhere).expect("it is there");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
    assert!(!host.is_lost());
}
