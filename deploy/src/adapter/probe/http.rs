//! One HTTP GET over a fresh connection: what a new client would meet.

use super::tls::Trust;
use crate::check::{Answer, TlsProbe};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use pipeline::causes::in_one_line;
use std::{collections::BTreeMap, convert::Infallible, error::Error, io, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// The most that is read of a body: enough for any health document, too little to hurt.
pub(super) const BODY_MAX_BYTES: usize = 64 * 1024;

/// What is asked, of whom.
pub(super) struct Request<'a> {
    pub(super) address: SocketAddr,
    pub(super) path: &'a str,
    pub(super) headers: &'a BTreeMap<String, String>,
    pub(super) tls: Option<&'a TlsProbe>,
}

/// A complete answer, apart from its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Whether the whole body was read, not only its first [`BODY_MAX_BYTES`].
    pub(super) whole: bool,
}

/// Asks, and leaves in `body` what has come of the body so far, also if this is cut off.
///
/// # Errors
/// Why there is no complete answer, as an answer that is not a pass.
pub(super) async fn get(request: &Request<'_>, trust: &Trust, body: &mut Vec<u8>) -> Result<Head, Answer> {
    let message = message(request)?;
    let stream = connect(request.address).await?;
    match request.tls {
        None => exchange(stream, message, body).await,
        Some(tls) => exchange(trust.connect(stream, tls).await?, message, body).await,
    }
}

/// Opens a connection.
///
/// # Errors
/// Why there is none, as an answer that is not a pass.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Answer> {
    let stream = TcpStream::connect(address).await.map_err(|error| answer_of_io(&error))?;
    // Where nothing listens, a connection from a port of the ephemeral range can meet itself.
    if matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer) {
        return Err(Answer::Refused);
    }
    Ok(stream)
}

/// What an input/output error says of the unit, if it does.
pub(super) fn answer_of_io(error: &io::Error) -> Answer {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EADDRNOTAVAIL
            | Errno::ENETUNREACH
            | Errno::ENETDOWN
            | Errno::EACCES
            | Errno::EPERM,
        ) => Answer::ProviderError(format!("cannot connect from this machine: {error}")),
        _ if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
        _ if error.kind() == io::ErrorKind::TimedOut => Answer::TimedOut,
        _ => Answer::Broken(in_one_line(error)),
    }
}

fn message(request: &Request<'_>) -> Result<http::Request<Empty<Bytes>>, Answer> {
    let wrong = |what: &str, error: &dyn Error| {
        Answer::ProviderError(format!("cannot ask for {}: {what}: {error}", request.path))
    };
    let uri: Uri = request.path.parse().map_err(|e| wrong("not a path", &e))?;
    let mut message = http::Request::new(Empty::new());
    *message.uri_mut() = uri;
    let host = HeaderValue::try_from(request.address.to_string()).map_err(|e| wrong("host", &e))?;
    let headers = message.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("fairlead-probe"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in request.headers {
        let name = HeaderName::try_from(name).map_err(|e| wrong("header name", &e))?;
        // The value may be a secret, so it is not named.
        let value = HeaderValue::try_from(value).map_err(|e| wrong("header value", &e))?;
        headers.insert(name, value);
    }
    Ok(message)
}

async fn exchange<S>(
    stream: S,
    message: http::Request<Empty<Bytes>>,
    body: &mut Vec<u8>,
) -> Result<Head, Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| answer_of_hyper(&e))?;
    let answer = async {
        let response = sender.send_request(message).await.map_err(|e| answer_of_hyper(&e))?;
        let (parts, incoming) = response.into_parts();
        let whole = read_body(incoming, body).await?;
        Ok(Head { status: parts.status.as_u16(), headers: parts.headers, whole })
    };
    // Driven here instead of in a task of its own, so that cutting off the look ends the connection too.
    let drive = async {
        // Its error reaches `answer` as well.
        let _ended = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        head = answer => head,
        never = drive => match never {},
    }
}

/// Whether the whole body was read.
async fn read_body(mut incoming: hyper::body::Incoming, body: &mut Vec<u8>) -> Result<bool, Answer> {
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|e| answer_of_hyper(&e))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = BODY_MAX_BYTES - body.len();
        body.extend_from_slice(&data[..room.min(data.len())]);
        if data.len() > room {
            return Ok(false);
        }
    }
    Ok(true)
}

fn answer_of_hyper(error: &hyper::Error) -> Answer {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return answer_of_io(io);
        }
        cause = inner.source();
    }
    if error.is_parse() {
        return Answer::Broken(format!("the answer is not HTTP: {}", in_one_line(error)));
    }
    if error.is_incomplete_message() {
        return Answer::Broken("the connection was closed before the answer was complete".to_owned());
    }
    Answer::Broken(in_one_line(error))
}
