//! Whether an answer is one that GitHub could give, by its own description.

use jsonschema::Validator;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};
use tests::Description;

/// The description, as JSON Schema understands it.
pub(crate) struct Checker {
    paths: Value,
    components: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Checker {
    /// The one of this process: to read it takes a second.
    pub(crate) fn shared() -> &'static Self {
        static CHECKER: OnceLock<Checker> = OnceLock::new();
        CHECKER.get_or_init(|| {
            let mut document = Description::shared().document();
            let mut components = document["components"].take();
            let keep = json!({ "schemas": components["schemas"].take(), "responses": components["responses"].take() });
            components = keep;
            let mut paths = document["paths"].take();
            as_json_schema(&mut components);
            as_json_schema(&mut paths);
            Self { paths, components, validators: Mutex::default() }
        })
    }

    /// What is wrong with an answer to an operation; of a status that the description does not have for it, by the schema
    /// that it has for such answers in general.
    pub(crate) fn complain(&self, template: &str, method: &str, status: u16, body: &Value) -> Option<String> {
        let operation = &self.paths[template][method.to_lowercase()];
        if !operation.is_object() {
            return Some(format!("the description has no {method} {template}"));
        }
        let found = self.resolved(&operation["responses"][status.to_string()]);
        let schema = match &found["content"]["application/json"]["schema"] {
            Value::Null if status == 204 => return (!body.is_null()).then(|| "a body with 204".to_owned()),
            Value::Null if status >= 500 => return None,
            Value::Null if status >= 400 => json!({ "$ref": "#/components/schemas/basic-error" }),
            Value::Null => return Some(format!("{method} {template} has no answer {status}")),
            schema => schema.clone(),
        };
        let validator = self.validator(format!("{method} {template} {status}"), schema);
        let mut errors =
            validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path()));
        errors.next().map(|error| format!("the answer {status} to {method} {template}: {error}"))
    }

    fn resolved<'a>(&'a self, response: &'a Value) -> &'a Value {
        let name = response["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/responses/"));
        name.map_or(response, |name| &self.components["responses"][name])
    }

    fn validator(&self, key: String, schema: Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let make = || {
            let whole = json!({ "allOf": [schema], "components": self.components });
            Arc::new(jsonschema::validator_for(&whole).expect("the description has schemas"))
        };
        validators.entry(key).or_insert_with(make).clone()
    }
}

/// What OpenAPI 3.0 calls `nullable` is no word of JSON Schema.
fn as_json_schema(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(as_json_schema),
        Value::Object(object) => {
            object.values_mut().for_each(as_json_schema);
            if object.remove("nullable") == Some(Value::Bool(true)) {
                let inner = std::mem::take(object);
                object.insert("anyOf".to_owned(), json!([Value::Object(inner), { "type": "null" }]));
            }
        }
        _ => {}
    }
}
