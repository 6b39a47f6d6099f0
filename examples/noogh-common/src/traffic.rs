//! What goes through a service: requests are counted, and in flight until the last byte of their answer is taken.

use crate::{
    lifecycle::InFlight,
    log::Level,
    metrics::{Counter, Gauge},
    service::Service,
};
use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header::CONNECTION},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http_body_util::BodyExt;
use serde_json::json;
use std::{sync::Arc, time::Instant};

/// The routes, with everything that goes through them counted.
pub(crate) fn watched(router: Router, service: &Arc<Service>) -> Router {
    let traffic = Traffic {
        requests: service.metrics.counter(
            "noogh_http_requests_total",
            "Requests answered, by method, route and status.",
            &["method", "route", "status"],
        ),
        active: service.metrics.gauge("noogh_active_requests", "Requests being answered.", &[]),
        service: Arc::clone(service),
    };
    // The series is there before the first request: a number that is missing looks like a service that is.
    traffic.active.add(&[], 0);
    router.layer(from_fn_with_state(traffic, watch))
}

#[derive(Clone)]
struct Traffic {
    requests: Counter,
    active: Gauge,
    service: Arc<Service>,
}

/// One request in flight.
struct Active {
    gauge: Gauge,
    _in_flight: InFlight,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.gauge.add(&[], -1);
    }
}

impl Traffic {
    fn enter(&self) -> Active {
        self.active.add(&[], 1);
        Active { gauge: self.active.clone(), _in_flight: self.service.lifecycle.enter() }
    }

    fn answered(&self, method: &Method, route: &str, status: StatusCode, since: Instant) {
        self.requests.increment(&[method_label(method), route, status.as_str()]);
        let log = &self.service.log;
        if log.writes(Level::Debug) {
            let ms = json!(since.elapsed().as_millis() as u64);
            let fields = [("method", json!(method.as_str())), ("route", json!(route)), ("ms", ms)];
            log.write(
                Level::Debug,
                "answered",
                &[&fields[..], &[("status", json!(status.as_u16()))]].concat(),
            );
        }
    }
}

async fn watch(State(traffic): State<Traffic>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let active = traffic.enter();
    let method = request.method().clone();
    // The route's pattern, not the path: the number of series stays small whatever is asked for.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    traffic.answered(&method, route.as_ref().map_or("none", MatchedPath::as_str), response.status(), since);
    if traffic.service.lifecycle.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // The body holds it, because the answer is in flight until its body is gone.
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            let _held = &active;
            error
        }))
    })
}

/// Methods that nobody defined come from whoever asks, so they share one series.
fn method_label(method: &Method) -> &str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if KNOWN.contains(method) { method.as_str() } else { "other" }
}
