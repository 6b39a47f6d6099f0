//! A WebSocket that says back what it is told.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, Method, StatusCode,
        header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
    response::{IntoResponse, Response},
};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use noogh_common::{
    answer::Failure,
    lifecycle::{InFlight, Lifecycle},
};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// How long the other side may take to answer our goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// `GET /api/v1/echo`
pub(crate) async fn echo(
    State(lifecycle): State<Lifecycle>,
    mut request: Request,
) -> Result<Response, Failure> {
    let accept = accept_key(request.method(), request.headers()).map_err(|problem| {
        Failure::new(StatusCode::UPGRADE_REQUIRED, format!("this is a WebSocket (version 13): {problem}"))
    })?;
    let upgrade = hyper::upgrade::on(&mut request);
    let in_flight = lifecycle.enter();
    tokio::spawn(talk(upgrade, lifecycle, in_flight));
    let headers = [
        (CONNECTION, "upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// The value of `Sec-WebSocket-Accept`, if the request is one for a WebSocket.
fn accept_key(method: &Method, headers: &HeaderMap) -> Result<String, &'static str> {
    let has = |name: HeaderName, token: &str| {
        let values = headers.get_all(name);
        values
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|v| v.trim().eq_ignore_ascii_case(token))
    };
    if method != Method::GET {
        return Err("ask with GET");
    }
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Err("ask for an upgrade to it");
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err("ask for that version");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or("send a Sec-WebSocket-Key")?;
    Ok(derive_accept_key(key.as_bytes()))
}

async fn talk(upgrade: OnUpgrade, lifecycle: Lifecycle, _in_flight: InFlight) {
    // A client that has gone meanwhile needs no answer.
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    tokio::select! {
        _ = say_back(&mut socket) => {}
        () = lifecycle.draining() => {
            let _ = timeout(GOODBYE, say_goodbye(&mut socket)).await;
        }
    }
}

async fn say_back(socket: &mut Socket) -> Result<(), Error> {
    // Pings and the closing handshake are answered by the socket itself, as long as somebody reads.
    while let Some(message) = socket.next().await {
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// A WebSocket has no end of its own; so a drain ends it, and tells the client to come again elsewhere.
async fn say_goodbye(socket: &mut Socket) -> Result<(), Error> {
    let frame = CloseFrame { code: CloseCode::Away, reason: "draining".into() };
    socket.close(Some(frame)).await?;
    while let Some(message) = socket.next().await {
        message?;
    }
    Ok(())
}
