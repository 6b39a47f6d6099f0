//! What a service says of itself: `/health`, `/ready` and `/metrics`.

use crate::{fault::Faults, service::Service};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Paths that faults of single requests spare, so that only real traffic shows them.
pub(crate) const SPARED: [&str; 3] = ["/health", "/ready", "/metrics"];

/// The routes that every service has.
pub(crate) fn routes(service: Arc<Service>) -> Router {
    let info = service.metrics.gauge(
        "noogh_build_info",
        "Always 1; says what runs.",
        &["service", "release", "bundle"],
    );
    info.add(&[service.spec.name, &service.settings.release, &service.settings.bundle], 1);
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(service)
}

/// Answers 200 as long as the process can answer at all; `status` and `checks` say how well it is.
async fn health(State(service): State<Arc<Service>>) -> Json<Value> {
    let Service { spec, settings, files, lifecycle, started, .. } = &*service;
    let traffic = trouble(lifecycle.is_draining(), &settings.faults, started.elapsed());
    let named = |name: &str| match settings.faults.wrong_release {
        true => format!("not-{name}"),
        false => name.to_owned(),
    };
    let file = |there: bool| if there { "ok" } else { "not configured" };
    Json(json!({
        "service": spec.name,
        "release": named(&settings.release),
        "bundle": named(&settings.bundle),
        "status": if traffic.is_some() { "degraded" } else { "ok" },
        "checks": {
            "config": file(files.config.is_some()),
            "token": file(files.token.is_some()),
            "traffic": traffic.unwrap_or("ok"),
        },
    }))
}

/// Answers 200 if the service wants traffic, else 503 with the reason.
async fn ready(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let faults = &service.settings.faults;
    let trouble = trouble(service.lifecycle.is_draining(), faults, service.started.elapsed());
    match trouble.or(faults.never_ready.then_some("never ready, as NOOGH_FAULT asks")) {
        None => (StatusCode::OK, Json(json!({ "ready": true }))),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason }))),
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], service.metrics.render())
}

/// Why the service wants no traffic just now, `up` after its start.
fn trouble(draining: bool, faults: &Faults, up: Duration) -> Option<&'static str> {
    match (draining, faults.flapped(up)) {
        (true, _) => Some("draining"),
        (false, true) => Some("flapping, as NOOGH_FAULT asks"),
        (false, false) => None,
    }
}
