//! The Noogh tool server: two toy tools behind `POST /mcp`, in the words of the Model Context Protocol. Everything else
//! is in [`noogh_common`].

mod rpc;
mod tools;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use noogh_common::{Service, Spec, StartError};
use std::{process::ExitCode, sync::Arc};

static SPEC: Spec = Spec {
    name: "noogh-mcp",
    host_variable: "MCP_HOST",
    port_variable: "MCP_PORT",
    default_port: 8001,
    config_variable: "MCP_CONFIG",
    config_keys: &["instructions"],
};

fn main() -> ExitCode {
    noogh_common::run(&SPEC, routes)
}

fn routes(service: Arc<Service>) -> Result<Router, StartError> {
    Ok(Router::new().route("/mcp", post(mcp)).with_state(service))
}

/// `POST /mcp`: a message that is no request at all is answered with 400, a notification with 202 and nothing, and
/// everything else with 200, whether the call went well or not.
async fn mcp(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    let context = tools::Context {
        server: SPEC.name,
        release: &service.settings.release,
        instructions: service.files.value("instructions"),
    };
    match rpc::answer(&body, |method, params| tools::dispatch(&context, method, params)) {
        rpc::Reply::Malformed(answer) => (StatusCode::BAD_REQUEST, Json(answer)).into_response(),
        rpc::Reply::Answer(answer) => Json(answer).into_response(),
        rpc::Reply::Nothing => StatusCode::ACCEPTED.into_response(),
    }
}
