//! The Noogh API: ministers, tasks and questions, and a few routes that show how a deployment treats slow, large,
//! streamed and upgraded requests. Everything else is in [`noogh_common`].

mod cabinet_routes;
mod echo;
mod migrate;
mod task;
mod transfer;

use axum::{
    Router,
    routing::{get, post},
};
use noogh_common::{Service, Spec, StartError, cabinet::Cabinet};
use std::{env, process::ExitCode, sync::Arc};

static SPEC: Spec = Spec {
    name: "noogh-api",
    host_variable: "API_HOST",
    port_variable: "API_PORT",
    default_port: 8000,
    config_variable: "API_CONFIG",
    config_keys: &["ministers"],
};

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|argument| argument == migrate::ARGUMENT) {
        return migrate::run();
    }
    noogh_common::run(&SPEC, routes)
}

fn routes(service: Arc<Service>) -> Result<Router, StartError> {
    let cabinet = match service.files.value("ministers") {
        Some(names) => Cabinet::seat(names)
            .map_err(|problem| StartError::Settings(vec![format!("{}: {problem}", SPEC.config_variable)]))?,
        None => Cabinet::default(),
    };
    let cabinet = Router::new()
        .route("/ministers", get(cabinet_routes::ministers))
        .route("/query", post(cabinet_routes::query))
        .route("/tasks", post(cabinet_routes::accept_task))
        .route("/tasks/{id}", get(cabinet_routes::find_task))
        .with_state(Arc::new(cabinet));
    let transfer = Router::new()
        .route("/upload", post(transfer::upload))
        .route("/slow", get(transfer::slow))
        .route("/stream", get(transfer::stream))
        .route("/echo", get(echo::echo).with_state(service.lifecycle.clone()));
    Ok(Router::new().nest("/api/v1", cabinet.merge(transfer)))
}
