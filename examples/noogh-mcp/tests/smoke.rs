//! Three of the nine smoke tests, which are also a gate: with `NOOGH_MCP_URL` they ask the service deployed there;
//! without it each starts its own.

use noogh_common::{client::TestError, testing::Subject};
use serde_json::{Value, json};

async fn mcp() -> Result<Subject, TestError> {
    Subject::find("NOOGH_MCP_URL", env!("CARGO_BIN_EXE_noogh-mcp"), "MCP").await
}

async fn call(mcp: &Subject, method: &str, params: Value) -> Result<Value, TestError> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = mcp.client.post("/mcp", request.to_string()).await?;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(1)), "{}", answer.text());
    Ok(answer.json()["result"].clone())
}

#[tokio::test]
async fn health_names_the_service_and_its_release() -> Result<(), TestError> {
    let mcp = mcp().await?;
    let answer = mcp.client.get("/health").await?;
    let health = answer.json();
    assert_eq!(
        (answer.status, &health["service"], &health["status"]),
        (200, &json!("noogh-mcp"), &json!("ok"))
    );
    let release = health["release"].as_str().unwrap_or_default();
    assert!(!release.is_empty(), "{health}");
    assert_eq!(release, mcp.release.as_deref().unwrap_or(release), "{health}");
    Ok(())
}

#[tokio::test]
async fn a_client_is_greeted_and_told_the_tools() -> Result<(), TestError> {
    let mcp = mcp().await?;
    let greeting = call(&mcp, "initialize", json!({ "protocolVersion": "2025-06-18" })).await?;
    assert_eq!(greeting["serverInfo"]["name"], "noogh-mcp");
    let tools = call(&mcp, "tools/list", json!({})).await?;
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(2), "{tools}");
    Ok(())
}

#[tokio::test]
async fn a_tool_does_its_work() -> Result<(), TestError> {
    let params = json!({ "name": "count_words", "arguments": { "text": "one commit, one release" } });
    let result = call(&mcp().await?, "tools/call", params).await?;
    assert_eq!(result["content"][0]["text"], "4");
    Ok(())
}
