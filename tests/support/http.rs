//! A small HTTP client for judges: one request, one connection, one deadline.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::{
    error::Error,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::timeout};

/// Longer than any answer that a judge asks for.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where a target without an address of its own is asked.
const LOCALHOST: &str = "127.0.0.1";

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// Asks `http://127.0.0.1:PORT/PATH`; what went wrong, in words, if there is no whole answer.
///
/// # Errors
/// No connection, no answer, or only a part of one.
pub fn get(port: u16, path: &str) -> Result<Answer, String> {
    get_at(LOCALHOST, port, path)
}

/// Asks `http://HOST:PORT/PATH`.
///
/// # Errors
/// As [`get`].
pub fn get_at(host: &str, port: u16, path: &str) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(async {
        timeout(DEADLINE, ask(host, port, path))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")))
    })
}

/// The answer of `/health`, parsed.
///
/// # Panics
/// If there is none, or it is not 200.
#[track_caller]
pub fn health(port: u16) -> serde_json::Value {
    let answer = get(port, "/health").unwrap_or_else(|error| panic!("port {port} /health: {error}"));
    assert_eq!(answer.status, 200, "port {port} /health: {}", answer.body);
    answer.json()
}

/// Asks in another thread, for a request that is to be in flight while the test goes on.
pub fn get_in_background(
    port: u16,
    path: &str,
) -> std::thread::JoinHandle<(Duration, Result<Answer, String>)> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let begun = Instant::now();
        let answer = get(port, &path);
        (begun.elapsed(), answer)
    })
}

async fn ask(host: &str, port: u16, path: &str) -> Result<Answer, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(text)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path)
        .header("host", format!("{host}:{port}"))
        .body(Empty::<Bytes>::new())
        .map_err(text)?;
    let (parts, body) = sender.send_request(request).await.map_err(text)?.into_parts();
    let body = body.collect().await.map_err(text)?.to_bytes();
    connection.abort();
    Ok(Answer { status: parts.status.as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
}

/// An error with its causes.
pub(crate) fn text(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
