//! Routes that take their time or their bytes: what a deployment must carry without breaking it off.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::Request,
};
use futures::{Stream, StreamExt, stream};
use noogh_common::{
    answer::{Failure, Params},
    fingerprint::Fingerprint,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};
use tokio::time::sleep;

/// The longest that `/slow` takes, in milliseconds.
const MAX_SLOW_MS: u64 = 30_000;

/// The most chunks that `/stream` sends, and the longest pause between two, in milliseconds.
const MAX_CHUNKS: u32 = 1_000;
const MAX_PAUSE_MS: u64 = 1_000;

/// `POST /api/v1/upload`: counts the bytes and forgets them.
pub(crate) async fn upload(request: Request) -> Result<Json<Value>, Failure> {
    let mut chunks = request.into_body().into_data_stream();
    let (mut bytes, mut fingerprint) = (0, Fingerprint::default());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::bad_request(format!("the upload broke off: {error}")))?;
        bytes += chunk.len() as u64;
        fingerprint = fingerprint.update(&chunk);
    }
    Ok(Json(json!({ "bytes": bytes, "fnv1a": fingerprint.hex() })))
}

/// How long `/slow` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slow {
    #[serde(default = "two_seconds")]
    ms: u64,
}

fn two_seconds() -> u64 {
    2_000
}

/// `GET /api/v1/slow?ms=2000`
pub(crate) async fn slow(Params(Slow { ms }): Params<Slow>) -> Result<Json<Value>, Failure> {
    if ms > MAX_SLOW_MS {
        return Err(Failure::bad_request(format!("ms={ms} is too long: at most {MAX_SLOW_MS}")));
    }
    sleep(Duration::from_millis(ms)).await;
    Ok(Json(json!({ "slept_ms": ms })))
}

/// What `/stream` sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pace {
    chunks: u32,
    ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { chunks: 10, ms: 20 }
    }
}

/// `GET /api/v1/stream?chunks=10&ms=20`: lines of text, one a chunk, with a pause before each.
pub(crate) async fn stream(Params(Pace { chunks, ms }): Params<Pace>) -> Result<Body, Failure> {
    if chunks > MAX_CHUNKS || ms > MAX_PAUSE_MS {
        let message = format!("too long: at most chunks={MAX_CHUNKS} and ms={MAX_PAUSE_MS}");
        return Err(Failure::bad_request(message));
    }
    Ok(Body::from_stream(lines(chunks, Duration::from_millis(ms))))
}

fn lines(chunks: u32, pause: Duration) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::iter(1..=chunks).then(move |number| async move {
        sleep(pause).await;
        Ok(Bytes::from(format!("chunk {number} of {chunks}\n")))
    })
}
