//! The methods of the tool server, and its two tools. Pure.

use crate::rpc::RpcError;
use noogh_common::cabinet::Cabinet;
use serde_json::{Value, json};

/// The revisions of the Model Context Protocol that are spoken, newest first.
const PROTOCOL_VERSIONS: [&str; 2] = ["2025-06-18", "2025-03-26"];

/// What the methods know of the server.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Its name.
    pub(crate) server: &'a str,
    /// Its release.
    pub(crate) release: &'a str,
    /// What clients are told to do with it, from the config file.
    pub(crate) instructions: Option<&'a str>,
}

/// Performs a method.
///
/// # Errors
/// An unknown method, or parameters that do not fit.
pub(crate) fn dispatch(context: &Context, method: &str, params: &Value) -> Result<Value, RpcError> {
    match method {
        "initialize" => Ok(initialize(context, params)),
        "ping" | "notifications/initialized" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": list() })),
        "tools/call" => call(params),
        _ => Err(RpcError::method_not_found(method)),
    }
}

/// Answers in the revision that the client asks for, or in our newest, which it may then decline.
fn initialize(context: &Context, params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str();
    let version = PROTOCOL_VERSIONS.into_iter().find(|version| Some(*version) == asked);
    let mut result = json!({
        "protocolVersion": version.unwrap_or(PROTOCOL_VERSIONS[0]),
        "capabilities": { "tools": {} },
        "serverInfo": { "name": context.server, "version": context.release },
    });
    if let Some(instructions) = context.instructions {
        result["instructions"] = json!(instructions);
    }
    result
}

fn list() -> Value {
    let tool = |name: &str, description: &str, argument: &str| {
        json!({
            "name": name,
            "description": description,
            "inputSchema": {
                "type": "object",
                "properties": { argument: { "type": "string" } },
                "required": [argument],
                "additionalProperties": false,
            },
        })
    };
    json!([
        tool("count_words", "Counts the words of a text.", "text"),
        tool("choose_minister", "Names the minister who is responsible for a question.", "question"),
    ])
}

fn call(params: &Value) -> Result<Value, RpcError> {
    let name = params["name"].as_str().ok_or_else(|| RpcError::invalid_params("`name` must be a string"))?;
    let text = match name {
        "count_words" => argument(params, "text")?.split_whitespace().count().to_string(),
        "choose_minister" => {
            let minister = Cabinet::default().responsible(argument(params, "question")?);
            minister.map_or("none", |minister| minister.name).to_owned()
        }
        _ => return Err(RpcError::invalid_params(format!("there is no tool `{name}`"))),
    };
    Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": false }))
}

/// The one argument that a tool takes.
fn argument<'a>(params: &'a Value, name: &str) -> Result<&'a str, RpcError> {
    let fail =
        || RpcError::invalid_params(format!("`arguments` must be an object with the string `{name}` alone"));
    let arguments =
        params["arguments"].as_object().filter(|arguments| arguments.len() == 1).ok_or_else(fail)?;
    arguments.get(name).and_then(Value::as_str).ok_or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, params: Value) -> Result<Value, RpcError> {
        let context = Context { server: "noogh-mcp", release: "r1", instructions: Some("be kind") };
        dispatch(&context, name, &params)
    }

    #[test]
    fn initialize_speaks_the_clients_revision_or_the_newest() {
        for (asked, spoken) in [("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-06-18")] {
            let result = method("initialize", json!({ "protocolVersion": asked })).unwrap();
            assert_eq!(result["protocolVersion"], spoken);
            assert_eq!(result["instructions"], "be kind");
        }
    }

    #[test]
    fn every_listed_tool_can_be_called_with_its_own_schema() {
        let tools = method("tools/list", Value::Null).unwrap()["tools"].clone();
        for tool in tools.as_array().unwrap() {
            let argument = tool["inputSchema"]["required"][0].as_str().unwrap();
            let params = json!({ "name": tool["name"], "arguments": { argument: "two taxes" } });
            let result = method("tools/call", params).unwrap();
            assert_ne!(result["content"][0]["text"], "", "{tool}");
        }
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        for params in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "name": "magic", "arguments": { "text": "a" } }),
            json!({ "name": "count_words" }),
            json!({ "name": "count_words", "arguments": { "text": 7 } }),
            json!({ "name": "count_words", "arguments": { "text": "a", "more": "b" } }),
        ] {
            assert!(method("tools/call", params.clone()).is_err(), "{params}");
        }
    }
}
