//! The double: a server that is GitHub for the program. It passes every request on to what validates it, remembers what was
//! made, and can be told to refuse, to be slow and to be gone.

use crate::{
    checker::Checker,
    world::{REPOSITORY, Request, World},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    StatusCode, body::Incoming, client::conn::http1::handshake, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tests::{Description, wait_for};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};

/// The token that is accepted. It stands nowhere but where the program is given it.
pub(crate) const TOKEN: &str = "ghs_0123456789abcdefNeverToBeSeen";

/// How a request is answered that is not done.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// Whether it is done all the same, and only the answer is another.
    takes_hold: bool,
    /// Whether there is no answer at all.
    is_silent: bool,
}

impl Refusal {
    fn new(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string(),
        });
        Self { status, headers: Vec::new(), body: Some(body), takes_hold: false, is_silent: false }
    }

    pub(crate) fn unauthorised() -> Self {
        Self::new(401, "Bad credentials")
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(403, "Resource not accessible by integration")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "Not Found")
    }

    pub(crate) fn conflict() -> Self {
        Self::new(409, "Conflict merging main into topic")
    }

    pub(crate) fn invalid() -> Self {
        let mut refusal = Self::new(422, "Validation Failed");
        let body = refusal.body.as_mut().expect("it has one");
        body["errors"] = json!([{ "resource": "Deployment", "field": "ref", "code": "missing", "message": "No ref found" }]);
        refusal
    }

    /// The limit for bursts: it says how long it lasts.
    pub(crate) fn limited(seconds: u32) -> Self {
        let refusal = Self::new(403, "You have exceeded a secondary rate limit.");
        Self { headers: vec![("retry-after", seconds.to_string())], ..refusal }
    }

    /// The limit of an hour: it says when it ends.
    pub(crate) fn used_up(seconds: i64) -> Self {
        let end = jiff::Timestamp::now().as_second() + seconds;
        let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", end.to_string())];
        Self { headers, ..Self::new(403, "API rate limit exceeded for installation.") }
    }

    pub(crate) fn bad_gateway() -> Self {
        Self { body: None, ..Self::new(502, "") }
    }

    /// It is done, but who asked does not hear of it.
    pub(crate) fn lost_answer() -> Self {
        Self { takes_hold: true, ..Self::bad_gateway() }
    }

    pub(crate) fn silence() -> Self {
        Self { is_silent: true, ..Self::new(504, "") }
    }
}

#[derive(Default)]
struct State {
    world: World,
    next: VecDeque<Refusal>,
    always: Option<Refusal>,
    /// What the token does not allow: `POST /code-scanning/sarifs`.
    forbidden: Option<String>,
    requests: Vec<String>,
    wrong: Vec<String>,
}

/// The double.
pub(crate) struct Double {
    runtime: Runtime,
    port: u16,
    state: Arc<Mutex<State>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Double {
    /// One that works and has nothing.
    pub(crate) fn start() -> Self {
        // Before the first request, whose answer is not to wait for it.
        Checker::shared();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::default();
        let double = Self { runtime, port, state, server: Mutex::default() };
        double.serve(listener);
        double
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was made.
    pub(crate) fn world<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.lock().world)
    }

    /// Everything that was asked, in order: `POST /deployments`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// The next requests are answered so.
    pub(crate) fn refuses(&self, refusals: &[Refusal]) {
        self.lock().next.extend(refusals.iter().cloned());
    }

    /// All requests are answered so, until it works again.
    pub(crate) fn always(&self, refusal: Refusal) {
        self.lock().always = Some(refusal);
    }

    /// The token does not allow this.
    pub(crate) fn forbids(&self, request: &str) {
        self.lock().forbidden = Some(request.to_owned());
    }

    pub(crate) fn works(&self) {
        let mut state = self.lock();
        state.always = None;
        state.next.clear();
    }

    /// Nobody listens, and connections are gone.
    pub(crate) fn goes_down(&self) {
        if let Some(server) = self.server.lock().expect("no panic").take() {
            server.abort();
            while !server.is_finished() {
                std::thread::yield_now();
            }
        }
    }

    pub(crate) fn comes_back(&self) {
        let address = ("127.0.0.1", self.port);
        let listener = wait_for("the port to be free", Duration::from_secs(10), || {
            self.runtime.block_on(TcpListener::bind(address)).ok()
        });
        self.serve(listener);
    }

    /// Each status of each deployment, in the order in which it came: `DEPLOYMENT STATE: DESCRIPTION`, where deployments are
    /// counted from 1.
    pub(crate) fn statuses(&self) -> Vec<String> {
        self.world(|world| {
            let place =
                |id: u64| world.deployments.iter().position(|one| one["id"] == id).map_or(0, |at| at + 1);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let line = |(id, status): &(u64, Value)| {
                format!("{} {}: {}", place(*id), text(&status["state"]), text(&status["description"]))
            };
            world.statuses.iter().map(line).collect()
        })
    }

    /// What was wrong up to now, which then does not count against the test.
    fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().wrong)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn serve(&self, listener: TcpListener) {
        let state = self.state.clone();
        let server = self.runtime.spawn(async move {
            // Dropped with the server, and its connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                connections.spawn(async move {
                    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        *self.server.lock().expect("no panic") = Some(server);
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let wrong = self.lock().wrong.clone();
        if !std::thread::panicking() {
            assert!(wrong.is_empty(), "against GitHub's description:\n{}", wrong.join("\n"));
        } else if !wrong.is_empty() {
            // The harness shows what a failed test has written.
            drop(std::io::Write::write_all(&mut std::io::stderr(), wrong.join("\n").as_bytes()));
        }
    }
}

type Response = hyper::Response<Full<Bytes>>;

async fn answer(state: Arc<Mutex<State>>, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let validated = validate(&parts, body.clone()).await;
    let refusal = {
        let mut state = state.lock().expect("no panic");
        state.next.pop_front().or_else(|| state.always.clone())
    };
    if refusal.as_ref().is_some_and(|refusal| refusal.is_silent) {
        std::future::pending::<()>().await;
    }
    let mut state = state.lock().expect("no panic");
    let path = parts.uri.path().strip_prefix(&format!("/repos/{REPOSITORY}")).unwrap_or("?").to_owned();
    state.requests.push(format!("{} {path}", parts.method));
    let base = match validated {
        Ok(base) => base,
        Err(wrong) => {
            state.wrong.push(format!("{} {}: {wrong}", parts.method, parts.uri));
            return Ok(respond(422, &[], Some(&json!({ "message": wrong }))));
        }
    };
    let expected = format!("Bearer {TOKEN}");
    let refusal = match parts.headers.get("authorization") {
        Some(given) if given.as_bytes() == expected.as_bytes() => refusal,
        _ => Some(Refusal::unauthorised()),
    };
    let is_forbidden = state.forbidden.is_some() && state.forbidden.as_ref() == state.requests.last();
    let refusal = if is_forbidden { Some(Refusal::forbidden()) } else { refusal };
    let query = parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let asked = Request {
        method: parts.method.to_string(),
        path,
        query,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        size: body.len(),
    };
    let does = refusal.as_ref().is_none_or(|refusal| refusal.takes_hold);
    let mut scratch = World::default();
    let world = if does { &mut state.world } else { &mut scratch };
    let answered = world.answer(&asked, base);
    let (status, headers, body) = match &refusal {
        Some(Refusal { status, headers, body, .. }) => (*status, headers.as_slice(), body.clone()),
        None => (answered.status, &[][..], Some(answered.body)),
    };
    if let Some(body) = &body
        && let Some(wrong) = Checker::shared().complain(&answered.template, &asked.method, status, body)
    {
        state.wrong.push(wrong);
    }
    Ok(respond(status, headers, body.as_ref()))
}

fn respond(status: u16, headers: &[(&'static str, String)], body: Option<&Value>) -> Response {
    let mut response = Response::new(match body {
        Some(Value::Null) => Full::default(),
        Some(body) => Full::from(body.to_string()),
        // As a machine in between says it.
        None => Full::from("<html><h1>502 Bad Gateway</h1></html>"),
    });
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    response
}

/// The example of success that the description has for a request, or what is wrong with the request by it.
async fn validate(parts: &http::request::Parts, body: Bytes) -> Result<Value, String> {
    let ask = async {
        let stream = TcpStream::connect(Description::shared().address()).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(&parts.method).uri(&parts.uri);
        // The description knows GitHub's own name of JSON by its common name alone.
        for (name, value) in
            parts.headers.iter().filter(|(name, _)| *name != "authorization" && *name != "accept")
        {
            request = request.header(name, value);
        }
        let response = sender.send_request(request.body(Full::<Bytes>::from(body))?).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((parts, body))
    };
    let (answer, body) = ask.await.map_err(|error| format!("it cannot be validated: {error}"))?;
    if let Some(violations) = answer.headers.get("sl-violations") {
        return Err(String::from_utf8_lossy(violations.as_bytes()).into_owned());
    }
    if !answer.status.is_success() {
        return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&body)));
    }
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// The control of all other tests here: requests and answers that GitHub's description does not allow are found.
#[test]
fn what_the_description_does_not_allow_is_found() {
    let double = Double::start();
    let ask = |path: &str| {
        let answer = tests::http::get(double.port, &format!("/repos/{REPOSITORY}{path}"));
        answer.unwrap_or_else(|error| panic!("{error}")).status
    };
    assert_eq!(ask("/deployments?per_page=100"), 401, "it has no token");
    assert_eq!(double.take_wrong(), [""; 0]);
    assert_eq!(ask("/deployments?per_page=many"), 422);
    assert_eq!(double.take_wrong().len(), 1);
    assert_eq!(ask("/no-such-thing"), 422);
    assert_eq!(double.take_wrong().len(), 1);

    let template = "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses";
    let complain = |status, body: Value| Checker::shared().complain(template, "GET", status, &body);
    assert_eq!(complain(200, json!([])), None);
    assert!(complain(200, json!([{ "state": "success" }])).is_some(), "most of it is missing");
    assert!(complain(200, json!({})).is_some(), "it is no list");
    assert!(complain(202, json!([])).is_some(), "there is no such answer");
}
