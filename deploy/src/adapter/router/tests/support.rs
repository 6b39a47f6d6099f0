//! A router, units behind it and clients before it, all in this process and all on ports chosen by the system.

use super::super::{
    Options, Process, RouterClient, RouterError,
    protocol::{Route, Table, Upstream, UpstreamStats},
    serve,
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use pipeline::name::Name;
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Long enough for a busy machine, short enough to see a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// What must come, comes in time.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it did not come in time")
}

/// Waits until a condition holds that no event announces.
pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    within(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(super) fn api() -> Name {
    "api".parse().unwrap()
}

pub(super) fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(super) fn plain(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(body(text))
}

/// A router of one service, `api`, at `address`.
pub(super) struct Router {
    pub(super) client: RouterClient,
    pub(super) address: SocketAddr,
    pub(super) control: PathBuf,
    pub(super) socket: StdListener,
    pub(super) running: AbortOnDropHandle<Result<(), RouterError>>,
    _folder: TempDir,
}

impl Router {
    pub(super) async fn start() -> Self {
        Self::on(StdListener::bind("127.0.0.1:0").unwrap(), &[]).await
    }

    /// One that begins with this table, on a socket that another router may have too.
    pub(super) async fn on(socket: StdListener, units: &[(&Unit, u16)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { process: Process::Guest, ..Options::new(&folder.path().join("router.sock"), "1") };
        let control = options.control.clone();
        let running = AbortOnDropHandle::new(tokio::spawn(serve(options)));
        let (client, _) = RouterClient::connect(&control, PATIENCE).await.unwrap();
        client.set(table(units)).await.unwrap();
        client.add_listener(&api(), &socket).await.unwrap();
        Self { client, address: socket.local_addr().unwrap(), control, socket, running, _folder: folder }
    }

    pub(super) async fn set(&self, units: &[(&Unit, u16)]) {
        self.client.set(table(units)).await.unwrap();
    }

    pub(super) async fn stats(&self, unit: &Unit) -> UpstreamStats {
        self.client.stats().await.unwrap().remove(&unit.name).unwrap_or_default()
    }
}

pub(super) fn table(units: &[(&Unit, u16)]) -> Table {
    let upstream = |(unit, weight): &(&Unit, u16)| Upstream {
        name: unit.name.clone(),
        address: unit.address,
        weight: *weight,
    };
    Table([(api(), Route { health_path: None, upstreams: units.iter().map(upstream).collect() })].into())
}

/// A unit: a server that this test can kill.
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Connections that it has accepted.
    pub(super) accepted: Arc<AtomicU64>,
    dead: CancellationToken,
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Unit {
    /// Answers by a function.
    pub(super) async fn start<F, R>(name: &str, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_at(name, TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    /// The same at a chosen place.
    pub(super) fn start_at<F, R>(name: &str, listener: TcpListener, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::at(name, listener, move |stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let response = answer(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let _ =
                    server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        })
    }

    /// Answers everything with its name.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::start(name, move |_| async move { plain(name) }).await
    }

    /// Does with each connection what a function says.
    pub(super) async fn raw<F, R>(name: &str, serve: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::at(name, TcpListener::bind("127.0.0.1:0").await.unwrap(), serve)
    }

    /// The same at a chosen place.
    pub(super) fn at<F, R>(name: &str, listener: TcpListener, serve: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (dead, accepted) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let address = listener.local_addr().unwrap();
        let (until, count) = (dead.clone(), accepted.clone());
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = until.run_until_cancelled(listener.accept()).await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(until.clone().run_until_cancelled_owned(serve(stream)));
            }
        });
        Self { name: name.to_owned(), address, accepted, dead }
    }

    /// A unit that is not there: its port refuses.
    pub(super) fn absent(name: &str) -> Self {
        let free = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self {
            name: name.to_owned(),
            address: free,
            accepted: Arc::new(AtomicU64::new(0)),
            dead: CancellationToken::new(),
        }
    }

    /// Closes everything at once.
    pub(super) fn kill(&self) {
        self.dead.cancel();
    }

    /// Connections accepted so far.
    pub(super) fn connections(&self) -> u64 {
        self.accepted.load(SeqCst)
    }
}

/// A client that keeps its connection.
pub(super) struct Client {
    sender: client::conn::http1::SendRequest<Body>,
    address: SocketAddr,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) =
            client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(driver);
        Ok(Self { sender, address })
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        within(self.sender.send_request(request)).await
    }

    /// The answer to a GET: status and body.
    pub(super) async fn get(&mut self, path: &str) -> (u16, String) {
        let response = self.send(get(path)).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(within(response.collect()).await.unwrap().to_bytes().into()).unwrap())
    }

    /// One request of a load, connecting anew only if the server has asked for that: nothing is ever sent twice.
    async fn load(&mut self, request: Request<Body>) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let response = self.sender.send_request(request).await.map_err(|error| text(&error))?;
        let (status, close) = (response.status(), response.headers().contains_key("connection"));
        response.collect().await.map_err(|error| text(&error))?;
        if close {
            *self = Self::try_connect(self.address).await.map_err(|error| text(&error))?;
        } else {
            self.sender.ready().await.map_err(|error| text(&error))?;
        }
        status.is_success().then_some(()).ok_or_else(|| status.to_string())
    }
}

pub(super) fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "test").body(body("")).unwrap()
}

pub(super) fn post(path: &str, content: Body) -> Request<Body> {
    Request::post(path).header("host", "test").body(content).unwrap()
}

/// Clients that ask without a pause until told to stop.
pub(super) struct Load {
    stop: CancellationToken,
    clients: Vec<tokio::task::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    /// Every third request is a POST, which nobody may send twice; every fourth client connects anew each time.
    pub(super) fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = CancellationToken::new();
        let one = |number: usize, stop: CancellationToken| async move {
            let (mut sent, mut failures) = (0, Vec::new());
            let mut client = Client::connect(address).await;
            while !stop.is_cancelled() {
                let mut request = if sent % 3 == 0 { post("/", body("something")) } else { get("/") };
                if number.is_multiple_of(4) {
                    request.headers_mut().insert("connection", HeaderValue::from_static("close"));
                }
                sent += 1;
                if let Err(why) = client.load(request).await {
                    failures.push(why);
                    client = Client::connect(address).await;
                }
            }
            (sent, failures)
        };
        let clients = (0..clients).map(|number| tokio::spawn(one(number, stop.clone()))).collect();
        Self { stop, clients }
    }

    /// How many requests were sent, and why some failed.
    pub(super) async fn end(self) -> (u64, Vec<String>) {
        self.stop.cancel();
        let (mut sent, mut failures) = (0, Vec::new());
        for client in self.clients {
            let (more, failed) = within(client).await.unwrap();
            sent += more;
            failures.extend(failed);
        }
        (sent, failures)
    }
}

/// A client that says exactly these bytes and reads until the other side closes.
pub(super) async fn say(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until the given text has come; returns everything.
pub(super) async fn hear(stream: &mut TcpStream, end: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(end) {
        let mut part = [0; 4096];
        let length = within(stream.read(&mut part)).await.unwrap();
        assert_ne!(length, 0, "closed after {heard:?}");
        heard.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    heard
}
