//! Whether a complete answer is the expected one, and whose it is. Pure.

use super::http::{BODY_MAX_BYTES, Head};
use crate::{
    check::{Answer, HttpProbe, Identity},
    model::{Millis, UnitFacts},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Who answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identified {
    /// The unit that was asked.
    Right,
    /// Another one: what it said that it is.
    Wrong(String),
    /// It did not say: what it said instead.
    Unnamed(String),
}

/// What a complete answer comes to, that took `took` milliseconds.
pub(super) fn response(probe: &HttpProbe, head: &Head, body: &[u8], took: Millis) -> Answer {
    let (first, last) = probe.status;
    if !(first..=last).contains(&head.status) {
        return Answer::Status(head.status);
    }
    let lacking = lacking_header(&probe.expect_headers, head)
        .or_else(|| lacking_text(probe.body_contains.as_deref(), head, body))
        .or_else(|| lacking_value(&probe.json, head, body));
    match (lacking, probe.latency_max_ms) {
        (Some(lacking), _) => Answer::Unexpected(lacking),
        (None, Some(max)) if took > max => Answer::Slow(took),
        (None, _) => Answer::Pass,
    }
}

/// Who gave an answer that is not a server error.
pub(super) fn identity(identity: &Identity, unit: &UnitFacts, head: &Head, body: &[u8]) -> Identified {
    let document = match document(head, body) {
        Ok(document) => document,
        Err(why) => {
            return Identified::Unnamed(format!(
                "nothing: GET {} answered {}, {why}",
                identity.path, head.status
            ));
        }
    };
    let bundle = unit.unit.bundle.to_string();
    let claims = [
        ("release", Some(&identity.release_pointer), unit.release.as_str()),
        ("bundle", identity.bundle_pointer.as_ref(), bundle.as_str()),
    ];
    for (what, pointer, expected) in claims {
        let Some(pointer) = pointer else { continue };
        match document.pointer(pointer) {
            Some(Value::String(said)) if said == expected => {}
            Some(Value::String(said)) => return Identified::Wrong(format!("{what} {said}")),
            Some(Value::Null) | None => {
                return Identified::Unnamed(format!("no {what} at `{pointer}` of GET {}", identity.path));
            }
            Some(other) => return Identified::Wrong(format!("{what} {other}")),
        }
    }
    Identified::Right
}

fn lacking_header(expected: &BTreeMap<String, String>, head: &Head) -> Option<String> {
    expected.iter().find_map(|(name, text)| {
        let values: Vec<_> =
            head.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        if values.iter().any(|value| value.contains(text)) {
            return None;
        }
        let found =
            if values.is_empty() { "is missing".to_owned() } else { format!("is `{}`", values.join(", ")) };
        Some(format!("the header `{name}` {found}, expected `{text}` in it"))
    })
}

fn lacking_text(expected: Option<&str>, head: &Head, body: &[u8]) -> Option<String> {
    let expected = expected?;
    if String::from_utf8_lossy(body).contains(expected) {
        return None;
    }
    let where_ = if head.whole { "the body".to_owned() } else { format!("the first {BODY_MAX_BYTES} bytes") };
    Some(format!("`{expected}` is not in {where_}"))
}

fn lacking_value(expected: &BTreeMap<String, Value>, head: &Head, body: &[u8]) -> Option<String> {
    if expected.is_empty() {
        return None;
    }
    let document = match document(head, body) {
        Ok(document) => document,
        Err(why) => return Some(format!("the answer came {why}")),
    };
    expected.iter().find_map(|(pointer, value)| match document.pointer(pointer) {
        Some(found) if found == value => None,
        Some(found) => Some(format!("`{pointer}` is {found}, expected {value}")),
        None => Some(format!("`{pointer}` is missing, expected {value}")),
    })
}

fn document(head: &Head, body: &[u8]) -> Result<Value, String> {
    if !head.whole {
        return Err(format!("with more than {BODY_MAX_BYTES} bytes, too many to read as JSON"));
    }
    serde_json::from_slice(body).map_err(|error| format!("with a body that is not JSON ({error})"))
}
