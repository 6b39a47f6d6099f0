//! What a router does unasked, once a second: looks whether units live, and closes connections that nobody uses.

use super::{listen::Shared, upstream::Upstream};
use http::{
    HeaderValue, Request,
    header::{CONNECTION, HOST, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{Either, Empty};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often: three failed checks leave a unit out, so it is out three seconds after it has fallen silent.
const EVERY: Duration = Duration::from_secs(1);

/// How long a unit may take to answer a check; twice the interval, so that a slow unit is not taken for a dead one.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Goes on for as long as it is polled.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.routes.upstreams().iter().for_each(|upstream| upstream.pool.sweep());
        for (upstream, path) in shared.routes.to_check() {
            // One at a time for each unit.
            if !upstream.checking.swap(true, SeqCst) {
                tokio::spawn(check(upstream, path));
            }
        }
    }
}

async fn check(upstream: Arc<Upstream>, path: PathAndQuery) {
    let passed = timeout(CHECK_TIMEOUT, lives(&upstream, path)).await.unwrap_or(false);
    upstream.checked(passed);
    upstream.checking.store(false, SeqCst);
}

/// Asks over a connection of its own: that the unit still accepts some is part of the question.
async fn lives(upstream: &Upstream, path: PathAndQuery) -> bool {
    let address = upstream.address.to_string();
    let Ok(host) = HeaderValue::from_str(&address) else { return false };
    let request = Request::get(path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("fairlead-router"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Either::Right(Empty::new()));
    let (Ok(request), Ok(mut connection)) = (request, upstream.probe().await) else { return false };
    connection.send(request).await.is_ok_and(|response| response.status().is_success())
}
