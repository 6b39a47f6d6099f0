//! JSON-RPC 2.0: messages in, messages out. Pure; knows no method.

use serde_json::{Map, Value, json};

/// What to send back for a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// The message was no request: the error that says so.
    Malformed(Value),
    /// The result or the error of a request.
    Answer(Value),
    /// The message was a notification: there is no answer, even if it failed.
    Nothing,
}

/// An error of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcError {
    code: i32,
    message: String,
}

impl RpcError {
    /// The body is not JSON.
    fn parse(message: impl Into<String>) -> Self {
        Self { code: -32700, message: message.into() }
    }

    /// The JSON is not a request.
    fn invalid_request(message: impl Into<String>) -> Self {
        Self { code: -32600, message: message.into() }
    }

    /// There is no such method.
    pub(crate) fn method_not_found(method: &str) -> Self {
        Self { code: -32601, message: format!("there is no method `{method}`") }
    }

    /// The parameters do not fit the method.
    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self { code: -32602, message: message.into() }
    }

    fn answer(&self, id: &Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "error": { "code": self.code, "message": self.message } })
    }
}

/// Answers one message; `dispatch` performs a method with its parameters.
pub(crate) fn answer(body: &[u8], dispatch: impl FnOnce(&str, &Value) -> Result<Value, RpcError>) -> Reply {
    let message = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return malformed(&RpcError::parse(format!("not JSON: {error}")), &Value::Null),
    };
    let Request { id, method, params } = match Request::read(&message) {
        Ok(request) => request,
        Err((error, id)) => return malformed(&error, id),
    };
    match (id, dispatch(method, params)) {
        (None, _) => Reply::Nothing,
        (Some(id), Ok(result)) => Reply::Answer(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        (Some(id), Err(error)) => Reply::Answer(error.answer(id)),
    }
}

fn malformed(error: &RpcError, id: &Value) -> Reply {
    Reply::Malformed(error.answer(id))
}

struct Request<'a> {
    /// `None` in a notification.
    id: Option<&'a Value>,
    method: &'a str,
    params: &'a Value,
}

impl<'a> Request<'a> {
    /// Reads a message; an error comes with the id to answer it under, which is `null` if there is none to be had.
    fn read(message: &'a Value) -> Result<Self, (RpcError, &'a Value)> {
        let fail = |problem: &str, id| Err((RpcError::invalid_request(problem), id));
        let fields: &Map<String, Value> = match message {
            Value::Object(fields) => fields,
            // The Model Context Protocol has had none since its revision of June 2025.
            Value::Array(_) => {
                return fail("batches are not taken; send one message at a time", &Value::Null);
            }
            _ => return fail("a request is an object", &Value::Null),
        };
        let id = match fields.get("id") {
            None => None,
            Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => Some(id),
            Some(_) => return fail("`id` must be a string or a number", &Value::Null),
        };
        let answer_id = id.unwrap_or(&Value::Null);
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return fail("`jsonrpc` must be \"2.0\"", answer_id);
        }
        let Some(method) = fields.get("method").and_then(Value::as_str) else {
            return fail("`method` must be a string", answer_id);
        };
        match fields.get("params").unwrap_or(&Value::Null) {
            params @ (Value::Object(_) | Value::Array(_) | Value::Null) => Ok(Self { id, method, params }),
            _ => fail("`params` must be an object or an array", answer_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Reply {
        answer(body.as_bytes(), |method, params| match method {
            "same" => Ok(params.clone()),
            _ => Err(RpcError::method_not_found(method)),
        })
    }

    #[test]
    fn answers_a_request_under_its_own_id() {
        for id in ["7", "\"seven\"", "null"] {
            let Reply::Answer(answer) =
                reply(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"same","params":[1]}}"#))
            else {
                panic!("no answer under {id}")
            };
            assert_eq!((answer["id"].to_string(), &answer["result"]), (id.to_owned(), &json!([1])));
        }
    }

    #[test]
    fn a_notification_gets_no_answer_even_if_it_fails() {
        assert_eq!(reply(r#"{"jsonrpc":"2.0","method":"same"}"#), Reply::Nothing);
        assert_eq!(reply(r#"{"jsonrpc":"2.0","method":"other"}"#), Reply::Nothing);
    }

    #[test]
    fn an_unknown_method_is_an_answer_with_an_error() {
        let Reply::Answer(answer) = reply(r#"{"jsonrpc":"2.0","id":1,"method":"other"}"#) else {
            panic!("no answer")
        };
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32601)));
    }

    #[test]
    fn what_is_no_request_is_malformed() {
        for (body, code, id) in [
            ("", -32700, json!(null)),
            ("{", -32700, json!(null)),
            ("\u{0}", -32700, json!(null)),
            ("7", -32600, json!(null)),
            ("[]", -32600, json!(null)),
            (r#"{"id":1,"method":"same"}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"1.0","id":1,"method":"same"}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"2.0","id":{},"method":"same"}"#, -32600, json!(null)),
            (r#"{"jsonrpc":"2.0","id":1,"method":"same","params":7}"#, -32600, json!(1)),
        ] {
            let Reply::Malformed(answer) = reply(body) else { panic!("{body} passed") };
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{body}");
        }
    }
}
