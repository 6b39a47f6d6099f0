//! Faults at work: what [`Faults`](crate::fault::Faults) asks for, done to a running service.

use crate::{answer::Failure, fault::Share, health::SPARED, service::Service};
use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{
    convert::Infallible,
    future::pending,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{interval, sleep};

/// How often memory grows: often enough that a graph of it looks like a slope.
const GROWTH_INTERVAL: Duration = Duration::from_millis(100);

/// Says in the log that the service misbehaves on purpose, if it does.
pub(crate) fn announce(service: &Service) {
    let faults = &service.settings.faults;
    if *faults != Default::default() {
        service.log.warn("misbehaving on purpose", &[("faults", json!(format!("{faults:?}")))]);
    }
}

/// The routes with the faults that show in answers.
pub(crate) fn afflicted(router: Router, service: &Service) -> Router {
    let faults = &service.settings.faults;
    let affliction = Affliction {
        hang: faults.hang,
        errors: faults.error_rate.map(Chosen::new),
        delays: faults.slow_rate.map(|(share, delay)| (Chosen::new(share), delay)),
    };
    router.layer(from_fn_with_state(Arc::new(affliction), afflict))
}

/// Returns when `exit-after` ends the service, with its exit code.
pub(crate) async fn end(service: &Service) -> ExitCode {
    match service.settings.faults.exit_after {
        Some(delay) => sleep(delay).await,
        None => pending().await,
    }
    service.log.error("exiting, as NOOGH_FAULT asks", &[]);
    ExitCode::FAILURE
}

/// Takes memory as `memory-growth` asks.
pub(crate) async fn grow(service: &Service) -> Infallible {
    let Some(bytes_per_second) = service.settings.faults.memory_growth else { return pending().await };
    let bytes = bytes_per_second.saturating_mul(GROWTH_INTERVAL.as_millis() as u64) / 1_000;
    let mut taken = Vec::new();
    let mut ticks = interval(GROWTH_INTERVAL);
    loop {
        ticks.tick().await;
        // Ones, because pages of zeroes are not there until somebody writes to them.
        taken.push(vec![1_u8; usize::try_from(bytes).unwrap_or(usize::MAX)]);
    }
}

struct Affliction {
    hang: bool,
    errors: Option<Chosen>,
    delays: Option<(Chosen, Duration)>,
}

/// Chooses a share of the requests that pass by.
struct Chosen {
    share: Share,
    passed: AtomicU64,
}

impl Chosen {
    fn new(share: Share) -> Self {
        Self { share, passed: AtomicU64::new(0) }
    }

    fn next(&self) -> bool {
        self.share.hits(self.passed.fetch_add(1, Ordering::Relaxed))
    }
}

async fn afflict(State(affliction): State<Arc<Affliction>>, request: Request, next: Next) -> Response {
    if affliction.hang {
        return pending().await;
    }
    if SPARED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    if let Some((chosen, delay)) = &affliction.delays
        && chosen.next()
    {
        sleep(*delay).await;
    }
    if affliction.errors.as_ref().is_some_and(Chosen::next) {
        return Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "failed, as NOOGH_FAULT asks")
            .into_response();
    }
    next.run(request).await
}
