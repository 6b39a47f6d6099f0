//! The client of the load: connections that are kept and new ones, and answers that are checked to the last byte.

use super::{
    LoadConfig,
    report::{FailureClass, Tally},
};
use crate::http::text;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    error::Error,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Sender = SendRequest<Body>;

/// Pieces of an upload, the size of each, and the pause before each.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(60);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A short GET.
    Short,
    /// A short POST: nobody may send it twice.
    Post,
    /// A chunked answer.
    Stream,
    /// A GET that is answered after 2 s.
    Slow,
    /// A chunked upload.
    Upload,
}

impl Kind {
    /// Of ten arrivals, seven are short, two are posts and one is a stream.
    pub(super) fn of_arrival(number: u64) -> Self {
        match number % 10 {
            3 | 7 => Self::Post,
            9 => Self::Stream,
            _ => Self::Short,
        }
    }

    fn target(self) -> (Method, &'static str) {
        match self {
            Self::Short => (Method::GET, "/api/v1/ministers"),
            Self::Post => (Method::POST, "/api/v1/query"),
            Self::Stream => (Method::GET, "/api/v1/stream?chunks=3&ms=5"),
            Self::Slow => (Method::GET, "/api/v1/slow?ms=2000"),
            Self::Upload => (Method::POST, "/api/v1/upload"),
        }
    }

    fn body(self) -> Body {
        match self {
            Self::Short | Self::Stream | Self::Slow => Empty::new().boxed_unsync(),
            Self::Post => Full::from(r#"{"question":"Who will teach at the school?"}"#).boxed_unsync(),
            Self::Upload => {
                let pieces = stream::iter(0..PIECES).then(|_| async {
                    sleep(PAUSE).await;
                    Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE_BYTES])))
                });
                StreamBody::new(pieces).boxed_unsync()
            }
        }
    }

    /// Whether an answer is the whole of what was asked for.
    fn is_whole(self, body: &[u8]) -> bool {
        let json = || serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
        match self {
            Self::Short => json()["ministers"].is_array(),
            Self::Post => json()["intent"].is_string(),
            Self::Stream => body == b"chunk 1 of 3\nchunk 2 of 3\nchunk 3 of 3\n",
            Self::Slow => json()["slept_ms"] == 2000,
            Self::Upload => json()["bytes"] == PIECES * PIECE_BYTES,
        }
    }
}

struct Failure {
    class: FailureClass,
    detail: String,
}

impl Failure {
    fn of(stage: &str, fallback: FailureClass, error: impl Error + 'static) -> Self {
        let class = class_of(&error).unwrap_or(fallback);
        Self { class, detail: format!("{stage}: {}", text(error)) }
    }
}

fn class_of(error: &(dyn Error + 'static)) -> Option<FailureClass> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return Some(FailureClass::Refused),
            Some(
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted,
            ) => {
                return Some(FailureClass::Reset);
            }
            _ => cause = error.source(),
        }
    }
    None
}

/// Sends requests and counts what came of them.
pub(super) struct Client {
    config: LoadConfig,
    tally: Arc<Tally>,
    kept: Mutex<Vec<Sender>>,
}

impl Client {
    pub(super) fn new(config: LoadConfig, tally: Arc<Tally>) -> Self {
        Self { config, tally, kept: Mutex::default() }
    }

    /// One request with all that belongs to it; whether it went well.
    pub(super) async fn request(&self, kind: Kind, fresh: bool) -> bool {
        if !matches!(kind, Kind::Slow | Kind::Upload) {
            self.tally.counts().arrivals += 1;
        }
        let sent = Instant::now();
        let late =
            |_| Failure { class: FailureClass::TimedOut, detail: "no whole answer in time".to_owned() };
        let result =
            timeout(self.config.timeout, self.exchange(kind, fresh)).await.unwrap_or_else(|e| Err(late(e)));
        match result {
            Ok(()) => {
                let mut counts = self.tally.counts();
                counts.ok += 1;
                counts.slow_ok += u64::from(kind == Kind::Slow);
                counts.uploads_ok += u64::from(kind == Kind::Upload);
                true
            }
            Err(Failure { class, detail }) => {
                let connection = if fresh { "new connection" } else { "kept connection" };
                self.tally.failed(sent, class, format!("{kind:?} over a {connection}: {detail}"));
                false
            }
        }
    }

    async fn exchange(&self, kind: Kind, fresh: bool) -> Result<(), Failure> {
        let mut sender = match fresh {
            true => None,
            false => self.take_kept().await,
        };
        let mut request = self.compose(kind, fresh)?;
        let response = loop {
            let mut taken = match sender.take() {
                Some(kept) => kept,
                None => self.connect().await?,
            };
            match taken.try_send_request(request).await {
                Ok(response) => {
                    sender = Some(taken);
                    break response;
                }
                Err(mut error) => match error.take_message() {
                    // Not a byte of it was sent: the connection was closed while it was idle.
                    Some(unsent) => {
                        self.tally.counts().moved += 1;
                        request = unsent;
                    }
                    None => {
                        return Err(Failure::of(
                            "before the answer",
                            FailureClass::Reset,
                            error.into_error(),
                        ));
                    }
                },
            }
        };
        let checked = check(kind, response).await;
        // A broken connection is found closed when it is taken again.
        if let Some(sender) = sender.filter(|_| !fresh) {
            self.keep(sender);
        }
        checked
    }

    fn compose(&self, kind: Kind, fresh: bool) -> Result<Request<Body>, Failure> {
        let (method, path) = kind.target();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("127.0.0.1:{}", self.config.port))
            .header("content-type", "application/json");
        if fresh {
            request = request.header("connection", "close");
        }
        request.body(kind.body()).map_err(|error| Failure::of("compose", FailureClass::Other, error))
    }

    async fn connect(&self) -> Result<Sender, Failure> {
        let failed = |error: io::Error| Failure::of("connect", FailureClass::Other, error);
        let stream = TcpStream::connect(("127.0.0.1", self.config.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::of("handshake", FailureClass::Other, error))?;
        // What goes wrong on it is told to the request.
        tokio::spawn(connection);
        self.tally.counts().connections += 1;
        Ok(sender)
    }

    async fn take_kept(&self) -> Option<Sender> {
        loop {
            let mut sender = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()?;
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: Sender) {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(sender);
    }
}

async fn check(kind: Kind, response: http::Response<Incoming>) -> Result<(), Failure> {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| Failure::of("in the answer", FailureClass::Truncated, error))?
        .to_bytes();
    let shown = || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    if !parts.status.is_success() {
        let detail = format!("status {}: {}", parts.status, shown());
        return Err(Failure { class: FailureClass::NotSuccess, detail });
    }
    if !kind.is_whole(&body) {
        return Err(Failure {
            class: FailureClass::Truncated,
            detail: format!("not the whole answer: {}", shown()),
        });
    }
    Ok(())
}
