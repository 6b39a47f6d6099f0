//! The engine's own push, line by line.
//!
//! Not through bollard: it does not hand on which layer a line is about, nor the digest at the end, and writes logins in
//! the base64 of mail, where engines read that of addresses, so that some passwords fail.

use super::{Event, LayerState};
use crate::{
    Address,
    login::{header, json},
};
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use pipeline::digest::Digest;
use registry::{Login, Repository, Tag};
use serde::Deserialize;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

/// The API that is spoken: the oldest that any engine is taken with, in which a push has been the same ever since.
const API: &str = "v1.41";
/// How long an engine may take to take a connection: it is on this machine, or a tunnel away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest line, in bytes.
const LINE_MAX: usize = 1024 * 1024;
/// How much of what an engine says is told.
const SAID_CHARS: usize = 400;

/// Why the engine's push came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The engine says so.
    #[error("{0}")]
    Said(String),
    /// It has gone away.
    #[error("the engine does not answer any more")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It says nothing.
    #[error("the engine has said nothing for {} s", .0.as_secs())]
    Silent(Duration),
}

/// A line of what the engine tells.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    id: Option<String>,
    status: Option<String>,
    #[serde(rename = "progressDetail")]
    progress: Option<Progress>,
    aux: Option<Aux>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    current: Option<u64>,
    total: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Aux {
    #[serde(rename = "Digest")]
    digest: Option<Digest>,
}

#[derive(Debug, Deserialize)]
struct ErrorDetail {
    message: Option<String>,
}

/// The lines as they come.
pub(super) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    silence: Duration,
    /// Carries the connection, and ends with this.
    _connection: JoinSet<()>,
}

impl Lines {
    /// Asks the engine to push. It goes on for as long as this is not dropped.
    pub(super) async fn open(
        address: &Address,
        repository: &Repository,
        tag: &Tag,
        login: &Login,
        silence: Duration,
    ) -> Result<Self, Failure> {
        let connected = timeout(CONNECT_TIMEOUT, async {
            Ok::<Box<dyn Stream>, io::Error>(match address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp(host) => Box::new(TcpStream::connect(host).await?),
            })
        });
        let stream = connected.await.map_err(|_| Failure::Silent(CONNECT_TIMEOUT))?.map_err(lost)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let mut carried = JoinSet::new();
        carried.spawn(async move {
            // Why it ended is told to whoever reads from it.
            let _ = connection.await;
        });
        let request = Request::post(format!("/{API}/images/{repository}/push?tag={tag}"))
            .header(HOST, "engine")
            .header("X-Registry-Auth", header(&json(login, repository.host.as_str())))
            .body(Empty::<Bytes>::new())
            .expect("names of repositories and tags have nothing that an address cannot");
        let sent = timeout(silence, sender.send_request(request)).await;
        let answer = sent.map_err(|_| Failure::Silent(silence))?.map_err(lost)?;
        let status = answer.status();
        let mut lines =
            Self { body: answer.into_body(), buffer: BytesMut::new(), silence, _connection: carried };
        if status == StatusCode::OK { Ok(lines) } else { Err(lines.refusal(status).await) }
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            let text = match self.buffer.iter().position(|b| *b == b'\n') {
                Some(end) => self.buffer.split_to(end + 1),
                None if self.read().await? => continue,
                None if self.buffer.is_empty() => return Ok(None),
                None => self.buffer.split(),
            };
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line: Line = serde_json::from_slice(&text).map_err(lost)?;
            let detail = line.error_detail.as_ref().and_then(|detail| detail.message.clone());
            match detail.or_else(|| line.error.clone()) {
                Some(error) => return Err(Failure::Said(shortened(&error))),
                None => return Ok(Some(line)),
            }
        }
    }

    /// Reads on. `false` at the end.
    async fn read(&mut self) -> Result<bool, Failure> {
        if self.buffer.len() > LINE_MAX {
            return Err(lost(io::Error::other("a line without an end")));
        }
        match timeout(self.silence, self.body.frame()).await {
            Err(_) => Err(Failure::Silent(self.silence)),
            Ok(None) => Ok(false),
            Ok(Some(Err(error))) => Err(lost(error)),
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
                Ok(true)
            }
        }
    }

    async fn refusal(&mut self, status: StatusCode) -> Failure {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        loop {
            match self.read().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => return failure,
            }
        }
        let said = serde_json::from_slice::<Refusal>(&self.buffer).map(|refusal| refusal.message);
        let said = said.unwrap_or_else(|_| String::from_utf8_lossy(&self.buffer).into_owned());
        Failure::Said(shortened(&format!("{status}: {}", said.trim())))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn lost(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Lost(Box::new(error))
}

fn shortened(text: &str) -> String {
    text.chars().take(SAID_CHARS).collect()
}

impl Line {
    /// The digest of what was pushed: in the last line alone.
    pub(super) fn pushed(&self) -> Option<Digest> {
        self.aux.as_ref()?.digest
    }

    /// What it says of a layer, in the words of both generations.
    pub(super) fn event(self) -> Option<Event> {
        let (layer, status) = (self.id?, self.status?);
        let progress = self.progress.unwrap_or_default();
        let state = match status.as_str() {
            "Preparing" | "Waiting" => LayerState::Waiting,
            "Pushing" => LayerState::Pushing { sent: progress.current?, total: progress.total },
            "Pushed" => LayerState::Pushed,
            "Layer already exists" => LayerState::WasThere,
            text if text.starts_with("Mounted from") => LayerState::WasThere,
            text if text.starts_with("Retrying in") => LayerState::Failed { said: status },
            _ => return None,
        };
        Some(Event::Layer { layer, state })
    }
}

impl Failure {
    fn says(&self, words: &[&str]) -> bool {
        let Self::Said(text) = self else { return false };
        let text = text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    /// Whether the registry does not know who pushes.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.says(&[
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "incorrect username",
        ])
    }

    /// Whether the registry does not allow it.
    pub(super) fn is_denied(&self) -> bool {
        self.says(&["denied"])
    }

    /// Whether it may go better next time: what came from the network, or from a registry that fails.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Silent(_) => false,
            Self::Said(_) => self.says(&[
                "connection refused",
                "connection reset",
                "broken pipe",
                "eof",
                "timeout",
                "timed out",
                "unexpected http status: 5",
                "unknown: unknown error",
                "toomanyrequests",
                "blob upload unknown",
                "blob upload invalid",
                "server misbehaving",
                "network is unreachable",
                "no route to host",
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_generations_are_understood() {
        let event = |text: &str| serde_json::from_str::<Line>(text).expect("a line").event();
        let layer = |state| Some(Event::Layer { layer: "3f4a".to_owned(), state });
        let pushing = r#"{"status":"Pushing","progressDetail":{"current":512,"total":2048},"progress":"[=>  ]","id":"3f4a"}"#;
        assert_eq!(event(pushing), layer(LayerState::Pushing { sent: 512, total: Some(2048) }));
        let exists = r#"{"status":"Layer already exists","progressDetail":{},"id":"3f4a"}"#;
        assert_eq!(event(exists), layer(LayerState::WasThere));
        assert_eq!(event(r#"{"status":"The push refers to repository [x]"}"#), None);
        let last = r#"{"progressDetail":{},"aux":{"Tag":"1","Digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","Size":527}}"#;
        let last: Line = serde_json::from_str(last).expect("a line");
        assert!(last.pushed().is_some());
    }
}
