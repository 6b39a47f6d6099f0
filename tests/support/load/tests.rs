//! The generator against services that behave, and against some that do not: what it cannot see, no test of it can.

use super::*;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Requests without slow ones and uploads, for servers that know neither.
fn config(port: u16) -> LoadConfig {
    LoadConfig { rate: 200, slow: 0, uploads: 0, timeout: Duration::from_secs(1), ..LoadConfig::new(port) }
}

/// Starts a server that does this with each of its connections.
fn serve<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> (Runtime, u16)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    (runtime, port)
}

/// Answers every request of a connection with this, as often as it is asked.
async fn answer(mut stream: TcpStream, answer: &'static str, then_close: bool) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {
        stream.write_all(answer.as_bytes()).await?;
        if then_close {
            return Ok(());
        }
    }
    Ok(())
}

fn load_for(millis: u64, config: LoadConfig) -> Report {
    let load = Load::start(config);
    crate::pause(Duration::from_millis(millis));
    load.stop()
}

#[test]
fn keeps_its_rate_and_reuses_connections() {
    // Only the short requests are answered as they should be; seven of ten.
    let (_server, port) = serve(|stream| {
        answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"ministers\":[]}", false)
    });
    let report = load_for(1_000, config(port));
    assert!((report.rate() - 200.0).abs() < 20.0, "{report:#?}");
    assert!((report.ok as f64) > report.arrivals as f64 * 0.6, "{report:#?}");
    assert!(report.connections < report.arrivals / 3, "{report:#?}");
    assert_eq!(report.failed(), report.failures[&FailureClass::Truncated], "{report:#?}");
}

#[test]
fn sees_every_class_of_failure() {
    let (_server, errors) =
        serve(|stream| answer(stream, "HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n", false));
    let (_server, cut) =
        serve(|stream| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", true));
    let (_server, resets) = serve(|mut stream| async move {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.map(drop) // What it did not read makes its end a reset.
    });
    let (_server, silent) = serve(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
        Ok(())
    });
    let refused = crate::ports::Port::new();
    for (port, class) in [
        (errors, FailureClass::NotSuccess),
        (cut, FailureClass::Truncated),
        (resets, FailureClass::Reset),
        (silent, FailureClass::TimedOut),
        (refused.number(), FailureClass::Refused),
    ] {
        let report = load_for(300, config(port));
        assert!(
            report.arrivals > 20 && report.failures.get(&class) == Some(&report.arrivals),
            "{class:?}: {report:#?}"
        );
        assert_eq!((report.ok, report.first.len()), (0, 20), "{report:#?}");
    }
}

#[test]
#[should_panic(expected = "invalid")]
fn a_generator_that_fell_behind_has_shown_nothing() {
    let report = Report { arrivals: 89, took: Duration::from_secs(1), ..empty() };
    report.assert_nothing_lost();
}

#[test]
#[should_panic(expected = "no upload")]
fn a_load_without_uploads_has_shown_nothing_of_them() {
    let report = Report { arrivals: 100, slow_ok: 1, took: Duration::from_secs(1), ..empty() };
    report.assert_nothing_lost();
}

fn empty() -> Report {
    Tally::new().report(&LoadConfig { rate: 100, ..LoadConfig::new(1) }, Duration::ZERO)
}
