//! Routes of the cabinet: who sits, and what they are asked to do.

use crate::task::Task;
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use noogh_common::{
    answer::{Body, Failure},
    cabinet::Cabinet,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /api/v1/ministers`
pub(crate) async fn ministers(State(cabinet): State<Arc<Cabinet>>) -> Json<Value> {
    Json(json!({ "ministers": cabinet.ministers() }))
}

/// A question for whoever is responsible.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    question: String,
}

/// `POST /api/v1/query`
pub(crate) async fn query(
    State(cabinet): State<Arc<Cabinet>>,
    Body(Question { question }): Body<Question>,
) -> Result<Json<Value>, Failure> {
    if question.trim().is_empty() {
        return Err(Failure::bad_request("the question is empty"));
    }
    Ok(Json(match cabinet.responsible(&question) {
        Some(minister) => json!({
            "intent": minister.name,
            "answer": format!("The minister of {} answers: {}.", minister.name, minister.portfolio),
        }),
        None => json!({ "intent": "general", "answer": "No minister is responsible; ask in other words." }),
    }))
}

/// `POST /api/v1/tasks`
pub(crate) async fn accept_task(
    State(cabinet): State<Arc<Cabinet>>,
    Body(task): Body<Task>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    task.check().map_err(Failure::bad_request)?;
    if cabinet.find(&task.minister).is_none() {
        let seated: Vec<_> = cabinet.ministers().iter().map(|minister| minister.name).collect();
        let message = format!("there is no minister `{}`; ministers: {}", task.minister, seated.join(", "));
        return Err(Failure::bad_request(message));
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": task.id(), "status": "accepted" }))))
}

/// `GET /api/v1/tasks/{id}`
pub(crate) async fn find_task(Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let task = Task::from_id(&id).ok_or_else(|| Failure::not_found("there is no such task"))?;
    Ok(Json(json!({ "id": id, "minister": task.minister, "text": task.text, "status": "done" })))
}
