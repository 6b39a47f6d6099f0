//! A small HTTP client for the smoke and fault tests: one connection at a time, and a deadline for every answer.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, Uri, header},
};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{error::Error, io, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// Longer than any route of the services is asked to take in a test.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whatever went wrong, for a test that only shows it.
pub type TestError = Box<dyn Error + Send + Sync>;

/// Asks one service.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
}

/// An open connection, kept alive between requests.
#[derive(Debug)]
pub struct Connection {
    host: String,
    sender: SendRequest<Body>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` if it is none, which no test expects.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// A client for `http://host:port`.
    ///
    /// # Errors
    /// If that is not such an address.
    pub fn new(url: &str) -> Result<Self, TestError> {
        let uri: Uri = url.parse()?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => {
                let port = authority.port_u16().unwrap_or(80);
                Ok(Self { address: format!("{}:{port}", authority.host()) })
            }
            _ => Err(format!("`{url}` is not an address such as http://localhost:8000").into()),
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If there is none within the deadline.
    pub async fn connect(&self) -> Result<Connection, TestError> {
        let stream = within(TcpStream::connect(&self.address)).await??;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { host: self.address.clone(), sender })
    }

    /// Asks with GET on a new connection.
    ///
    /// # Errors
    /// If there is no whole answer within the deadline.
    pub async fn get(&self, path: &str) -> Result<Answer, TestError> {
        self.connect().await?.get(path).await
    }

    /// Asks with POST on a new connection.
    ///
    /// # Errors
    /// If there is no whole answer within the deadline.
    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Result<Answer, TestError> {
        self.connect().await?.send("POST", path, body.into()).await
    }
}

impl Connection {
    /// Asks with GET.
    ///
    /// # Errors
    /// If there is no whole answer within the deadline.
    pub async fn get(&mut self, path: &str) -> Result<Answer, TestError> {
        self.send("GET", path, Body::empty()).await
    }

    /// Asks with any method; bodies are said to be JSON.
    ///
    /// # Errors
    /// If there is no whole answer within the deadline.
    pub async fn send(&mut self, method: &str, path: &str, body: Body) -> Result<Answer, TestError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)?;
        within(async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        })
        .await?
    }
}

async fn within<F: Future>(future: F) -> Result<F::Output, TestError> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {} s", DEADLINE.as_secs()));
    timeout(DEADLINE, future).await.map_err(|_| late().into())
}
