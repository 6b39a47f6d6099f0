//! One request: to a unit, to another if that one is not there, and its response back.

use super::{
    answer::{Answer, Lease, Refusal, refuse},
    headers,
    listen::{Activity, Shared},
    pool::{Connection, FRESH, KEEP_IDLE, Outgoing},
    tunnel,
    upstream::{InFlight, Upstream},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONNECTION, request::Parts};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use nix::errno::Errno;
use pipeline::name::Name;
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a request that may be repeated is sent again after a unit broke it off: once for a connection that was
/// closed under it, once for a unit that died.
const MOST_REPEATS: u8 = 2;

/// The client's side of one connection.
pub(super) struct Frontend {
    pub(super) shared: Arc<Shared>,
    pub(super) service: Name,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) activity: Arc<Activity>,
}

impl Frontend {
    /// Answers one request; whatever goes wrong is an answer too.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Infallible> {
        let busy = self.activity.begin();
        let mut response = match self.forward(request).await {
            Ok(response) => response,
            Err(refusal) => refuse(&self.service, refusal),
        };
        // A client that is told so opens its next connection, which the next router accepts; nothing is cut off.
        if self.shared.is_retiring() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| body.keeping(busy)))
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        if request.method() == Method::CONNECT || headers::has_strange_coding(request.headers()) {
            return Err(Refusal::NotSupported);
        }
        let upgrade = headers::wanted_upgrade(request.version(), request.headers())
            .map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
        let mut errand = Errand::new(self.outgoing(request));
        let (mut response, lease) = self.send(&mut errand).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // A unit that changes the protocol unasked has broken the request off.
            let (asked, client) = upgrade.ok_or(Refusal::BrokenOff)?;
            let unit = hyper::upgrade::on(&mut response);
            tunnel::join(&self.shared, client, unit, lease);
            return Ok(switching(response, asked));
        }
        let (mut head, body) = response.into_parts();
        headers::to_client(&mut head);
        Ok(Response::from_parts(head, Answer::unit(body, lease)))
    }

    fn outgoing(&self, request: Request<Incoming>) -> Request<Outgoing> {
        let (mut head, body) = request.into_parts();
        let sized = body.size_hint().exact().is_some();
        headers::to_unit(&mut head, self.client, self.local, !body.is_end_stream(), sized);
        Request::from_parts(head, Either::Left(body))
    }

    /// Sends the errand to one unit after another until one has answered.
    async fn send(&self, errand: &mut Errand) -> Result<(Response<Incoming>, Lease), Refusal> {
        let mut tried: Vec<Arc<Upstream>> = Vec::new();
        let mut refusal = Refusal::NoUnit;
        while let Some(ticket) = self.shared.routes.choose(&self.service, &tried) {
            let upstream = ticket.upstream().clone();
            match attempt(ticket, errand).await {
                Ok(answered) => return Ok(answered),
                Err(Failed::NotSent(why)) => refusal = why,
                Err(Failed::Broken) if errand.restore() => refusal = Refusal::BrokenOff,
                Err(Failed::Broken) => return Err(Refusal::BrokenOff),
                Err(Failed::ByClient) => return Err(Refusal::ClientGone),
            }
            tried.push(upstream);
        }
        Err(refusal)
    }
}

/// The response that tells the client to change the protocol too.
fn switching(response: Response<Incoming>, asked: HeaderValue) -> Response<Answer> {
    let (mut head, _) = response.into_parts();
    let chosen = head.headers.get(http::header::UPGRADE).cloned().unwrap_or(asked);
    headers::to_client(&mut head);
    headers::keep_upgrade(&mut head.headers, chosen);
    Response::from_parts(head, Answer::own(bytes::Bytes::new()))
}

/// A request on its way: what is left of it, and what it takes to send it again.
struct Errand {
    request: Option<Request<Outgoing>>,
    copy: Option<Parts>,
    repeats: u8,
}

impl Errand {
    fn new(request: Request<Outgoing>) -> Self {
        let (head, body) = request.into_parts();
        let copy = (body.is_end_stream() && headers::may_repeat(&head.method)).then(|| head.clone());
        Self { request: Some(Request::from_parts(head, body)), copy, repeats: 0 }
    }

    /// Whether a break would cost the client its request.
    fn is_precious(&self) -> bool {
        self.copy.is_none()
    }

    fn take(&mut self) -> Request<Outgoing> {
        self.request.take().expect("an errand is sent only after it was made, put back or restored")
    }

    /// Puts back a request that was not sent.
    fn put_back(&mut self, request: Request<Outgoing>) {
        self.request = Some(request);
    }

    /// Makes a request that may have been sent ready to be sent again, if that is allowed.
    fn restore(&mut self) -> bool {
        let Some(copy) = self.copy.as_ref().filter(|_| self.repeats < MOST_REPEATS) else { return false };
        self.repeats += 1;
        self.request = Some(Request::from_parts(copy.clone(), Either::Right(Empty::new())));
        true
    }
}

/// Why one unit has not answered.
enum Failed {
    /// The request did not leave the router; it is back in the errand.
    NotSent(Refusal),
    /// The request may have arrived; the unit broke the connection before the response's head.
    Broken,
    /// The client broke off its own request.
    ByClient,
}

/// Tries one unit: on connections that it has kept open, then on a new one.
async fn attempt(ticket: InFlight, errand: &mut Errand) -> Result<(Response<Incoming>, Lease), Failed> {
    let began = Instant::now();
    let lately = if errand.is_precious() { FRESH } else { KEEP_IDLE };
    while let Some((connection, rested)) = ticket.upstream().pool.take(lately) {
        match exchange(connection, errand, &ticket, rested).await {
            Ok((response, connection)) => return Ok(answered(response, connection, ticket, began)),
            Err(Failed::NotSent(_)) => {}
            Err(Failed::Broken) if errand.restore() => break,
            Err(failed) => return Err(failed),
        }
    }
    let connection = match ticket.upstream().connect().await {
        Ok(connection) => connection,
        Err(error) if is_exhaustion(&error) => return Err(Failed::NotSent(Refusal::Exhausted)),
        Err(_) => {
            ticket.upstream().unreachable();
            return Err(Failed::NotSent(Refusal::Unreachable));
        }
    };
    let (response, connection) = exchange(connection, errand, &ticket, Duration::ZERO).await?;
    Ok(answered(response, connection, ticket, began))
}

/// Sends the request over one connection, idle for `rested` before, and waits for the response's head.
async fn exchange(
    mut connection: Connection,
    errand: &mut Errand,
    ticket: &InFlight,
    rested: Duration,
) -> Result<(Response<Incoming>, Connection), Failed> {
    let mut error = match connection.send(errand.take()).await {
        Ok(response) => return Ok((response, connection)),
        Err(error) => error,
    };
    if let Some(request) = error.take_message() {
        errand.put_back(request);
        return Err(Failed::NotSent(Refusal::Unreachable));
    }
    if connection.is_severed() {
        return Err(Failed::Broken);
    }
    // The body that could not be read is the client's.
    if error.error().is_user() {
        return Err(Failed::ByClient);
    }
    if rested <= FRESH {
        ticket.broken_before_head();
    }
    Err(Failed::Broken)
}

fn answered(
    response: Response<Incoming>,
    connection: Connection,
    ticket: InFlight,
    began: Instant,
) -> (Response<Incoming>, Lease) {
    let failed = response.status().is_server_error();
    ticket.answered(began.elapsed(), failed);
    (response, Lease { connection, ticket, failed })
}

/// Whether it was this process that could not connect, which says nothing about the unit.
fn is_exhaustion(error: &io::Error) -> bool {
    let own = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| own.contains(&Errno::from_raw(code)))
}
