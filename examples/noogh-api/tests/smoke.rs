//! Six of the nine smoke tests, which are also a gate: with `NOOGH_API_URL` they ask the service deployed there, which
//! may be several units behind one address; without it each starts its own.

use noogh_common::{client::TestError, fingerprint::Fingerprint, testing::Subject};
use serde_json::json;

async fn api() -> Result<Subject, TestError> {
    Subject::find("NOOGH_API_URL", env!("CARGO_BIN_EXE_noogh-api"), "API").await
}

#[tokio::test]
async fn health_names_the_service_and_its_release() -> Result<(), TestError> {
    let api = api().await?;
    let answer = api.client.get("/health").await?;
    let health = answer.json();
    assert_eq!(
        (answer.status, &health["service"], &health["status"]),
        (200, &json!("noogh-api"), &json!("ok"))
    );
    let release = health["release"].as_str().unwrap_or_default();
    assert!(!release.is_empty(), "{health}");
    assert_eq!(release, api.release.as_deref().unwrap_or(release), "{health}");
    Ok(())
}

#[tokio::test]
async fn is_ready() -> Result<(), TestError> {
    let answer = api().await?.client.get("/ready").await?;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ready": true })));
    Ok(())
}

#[tokio::test]
async fn shows_metrics() -> Result<(), TestError> {
    let answer = api().await?.client.get("/metrics").await?;
    assert_eq!(answer.status, 200);
    for family in ["# TYPE noogh_http_requests_total counter", "# TYPE noogh_active_requests gauge"] {
        assert!(answer.text().contains(family), "{}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn a_task_is_accepted_and_found_again() -> Result<(), TestError> {
    let api = api().await?;
    let ministers = api.client.get("/api/v1/ministers").await?.json();
    let task = json!({ "minister": ministers["ministers"][0]["name"], "text": "open a school" });
    let accepted = api.client.post("/api/v1/tasks", task.to_string()).await?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let id = accepted.json()["id"].as_str().unwrap_or_default().to_owned();
    let found = api.client.get(&format!("/api/v1/tasks/{id}")).await?;
    assert_eq!((found.status, &found.json()["text"]), (200, &task["text"]));
    Ok(())
}

#[tokio::test]
async fn a_question_is_answered_by_a_minister() -> Result<(), TestError> {
    let question = json!({ "question": "Who will teach at the school?" });
    let answer = api().await?.client.post("/api/v1/query", question.to_string()).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["intent"], "education");
    Ok(())
}

#[tokio::test]
async fn an_upload_arrives_whole() -> Result<(), TestError> {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let fingerprint = Fingerprint::default().update(&bytes).hex();
    let answer = api().await?.client.post("/api/v1/upload", bytes).await?;
    assert_eq!((answer.status, answer.json()), (200, json!({ "bytes": 3_000_000, "fnv1a": fingerprint })));
    Ok(())
}
