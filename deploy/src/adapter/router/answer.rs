//! What goes back to a client: a unit's response as it streams through, or the router's own word.

use super::{listen::Busy, pool::Connection, upstream::InFlight};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use pipeline::name::Name;
use serde::Serialize;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Why the router answers in a unit's stead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No unit is admitted.
    NoUnit,
    /// No admitted unit could be connected to.
    Unreachable,
    /// The unit broke off before the head of its response.
    BrokenOff,
    /// The client broke off its own request; nobody reads this.
    ClientGone,
    /// The router itself has no descriptors, memory or ports left to connect with.
    Exhausted,
    /// A method or coding that is not for a router.
    NotSupported,
}

impl Refusal {
    /// Status, word for programs, words for people.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoUnit => {
                (StatusCode::SERVICE_UNAVAILABLE, "no-unit", "no unit of this service has traffic")
            }
            Self::Exhausted => {
                (StatusCode::SERVICE_UNAVAILABLE, "exhausted", "the router is out of resources")
            }
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "unreachable", "no unit could be connected to"),
            Self::BrokenOff => {
                (StatusCode::BAD_GATEWAY, "broken-off", "the unit broke off without an answer")
            }
            Self::ClientGone => (StatusCode::BAD_REQUEST, "client-gone", "the request was broken off"),
            Self::NotSupported => {
                (StatusCode::NOT_IMPLEMENTED, "not-supported", "the router does not do this")
            }
        }
    }
}

#[derive(Serialize)]
struct Word<'a> {
    error: &'static str,
    service: &'a str,
    message: &'static str,
}

/// The router's own answer. It is JSON, and marks itself as the router's (`server: fairlead-router`).
pub(super) fn refuse(service: &Name, refusal: Refusal) -> Response<Answer> {
    let (status, error, message) = refusal.parts();
    let word = Word { error, service: service.as_str(), message };
    let text = serde_json::to_vec(&word).expect("three texts are always JSON");
    let mut response = Response::new(Answer::own(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::SERVER, HeaderValue::from_static("fairlead-router"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The body of a response to a client.
pub(super) struct Answer {
    source: Source,
    busy: Option<Busy>,
}

enum Source {
    Own(Full<Bytes>),
    Unit { body: Incoming, lease: Option<Lease> },
}

/// What a response holds while it streams: the connection, and its place among those in flight.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) ticket: InFlight,
    /// Whether it is already counted as an error.
    pub(super) failed: bool,
}

impl Lease {
    /// The response is complete: the connection may carry the next request.
    fn complete(self) {
        self.ticket.upstream().give_back(self.connection);
    }

    /// The response broke off.
    fn broken(self) {
        if !self.failed && !self.connection.is_severed() {
            self.ticket.broken_within();
        }
    }
}

impl Answer {
    /// A body that the router made.
    pub(super) fn own(bytes: Bytes) -> Self {
        Self { source: Source::Own(Full::new(bytes)), busy: None }
    }

    /// A unit's body as it comes.
    pub(super) fn unit(body: Incoming, lease: Lease) -> Self {
        let mut source = Source::Unit { body, lease: Some(lease) };
        source.settle();
        Self { source, busy: None }
    }

    /// Keeps the client's connection from counting as idle until this body has been sent.
    pub(super) fn keeping(self, busy: Busy) -> Self {
        Self { busy: Some(busy), ..self }
    }
}

impl Source {
    /// Gives the connection back as soon as the last byte is through, not when the client has taken it: the unit has
    /// done its part.
    fn settle(&mut self) {
        if let Self::Unit { body, lease } = self
            && body.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.complete();
        }
    }

    fn lease(&mut self) -> Option<Lease> {
        match self {
            Self::Own(_) => None,
            Self::Unit { lease, .. } => lease.take(),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Own(full) => ready!(Pin::new(full).poll_frame(context)).map(never_fails),
            Source::Unit { body, .. } => ready!(Pin::new(body).poll_frame(context)),
        };
        match &frame {
            Some(Ok(_)) => this.source.settle(),
            Some(Err(_)) => this.source.lease().into_iter().for_each(Lease::broken),
            None => {
                this.source.lease().into_iter().for_each(Lease::complete);
                this.busy = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(full) => full.is_end_stream(),
            Source::Unit { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(full) => full.size_hint(),
            Source::Unit { body, .. } => body.size_hint(),
        }
    }
}

fn never_fails(frame: Result<Frame<Bytes>, Infallible>) -> Result<Frame<Bytes>, hyper::Error> {
    frame.map_err(|never| match never {})
}
