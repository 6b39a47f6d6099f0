//! The schema of a file: derived from its type, the single source of what is allowed where.
//!
//! Editors get it as JSON, and [`Schema::read`] checks a tree against it, so the two never disagree.

use super::{problem::Problem, scalar::Form, tree::Node, walk::Walk};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

/// A JSON Schema.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Json,
}

/// What a place of a schema allows.
pub(super) enum Shape<'s> {
    /// Anything.
    Any,
    /// A text, of a form if there is one.
    Text(Option<&'static Form>),
    /// One of these texts.
    Choice(Vec<&'s str>),
    /// This integer alone.
    Exactly(i64),
    /// An integer within bounds.
    Integer(Option<i64>, Option<i64>),
    /// A number within bounds.
    Number(Option<f64>, Option<f64>),
    /// `true` or `false`.
    Boolean,
    /// A list of at least so many items.
    List(&'s Json, u64),
    /// A table with known keys.
    Struct(&'s Map<String, Json>),
    /// A table with keys of the user's, all of one form if there is one, and what is below each.
    Map(Option<&'static Form>, &'s Json),
    /// A table with exactly one of these keys.
    OneOf(Vec<(&'s str, &'s Json)>),
}

impl Schema {
    /// The schema of a type.
    pub fn of<T: JsonSchema>() -> Self {
        // Serialized, a schema has its keys in the order that people expect.
        let mut root = serde_json::to_value(schemars::schema_for!(T)).expect("a schema is JSON");
        strip_null(&mut root);
        Self { root }
    }

    /// As a JSON document for editors.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.root)
    }

    /// The schema of the whole document.
    pub(super) fn root(&self) -> &Json {
        &self.root
    }

    /// Reads a tree as a `T` whose schema this is. What is wrong is told and taken out of the tree; if what is left is
    /// still a `T`, that is returned, so that its meaning can be checked in the same run.
    pub fn read<T: DeserializeOwned>(&self, tree: &mut Node, problems: &mut Vec<Problem>) -> Option<T> {
        let before = problems.len();
        if !Walk::new(self, problems).root(tree) {
            return None;
        }
        match serde_json::from_value(tree.to_json()) {
            Ok(value) => Some(value),
            Err(error) => {
                if problems.len() == before {
                    // The schema allowed what the type does not: a gap of ours, told rather than hidden.
                    problems.push(Problem::new(format!("cannot be read: {error}")).at(tree.place.clone()));
                }
                None
            }
        }
    }

    /// What a place of the schema allows.
    pub(super) fn shape<'s>(&'s self, place: &'s Json) -> Shape<'s> {
        let place = self.resolve(place);
        if let Some(integer) = place.get("const").and_then(Json::as_i64) {
            return Shape::Exactly(integer);
        }
        if let Some(alternatives) = place.get("oneOf").and_then(Json::as_array) {
            return self.alternatives(alternatives);
        }
        if let Some(texts) = place.get("enum").and_then(Json::as_array) {
            return Shape::Choice(texts.iter().filter_map(Json::as_str).collect());
        }
        match place.get("type").and_then(Json::as_str) {
            Some("string") => Shape::Text(form(place.get("pattern"))),
            Some("integer") => {
                let bound = |name| place.get(name).and_then(Json::as_i64);
                Shape::Integer(bound("minimum"), bound("maximum"))
            }
            Some("number") => {
                let bound = |name| place.get(name).and_then(Json::as_f64);
                Shape::Number(bound("minimum"), bound("maximum"))
            }
            Some("boolean") => Shape::Boolean,
            Some("array") => {
                let least = place.get("minItems").and_then(Json::as_u64).unwrap_or(0);
                Shape::List(place.get("items").unwrap_or(&Json::Bool(true)), least)
            }
            Some("object") => table_shape(place),
            _ => Shape::Any,
        }
    }

    fn alternatives<'s>(&'s self, alternatives: &'s [Json]) -> Shape<'s> {
        let texts = alternatives.iter().map(|one| one.get("const").and_then(Json::as_str)).collect();
        let texts: Option<Vec<_>> = texts;
        texts.map(Shape::Choice).unwrap_or_else(|| {
            let keys =
                alternatives.iter().filter_map(|one| one.get("properties")?.as_object()?.iter().next());
            Shape::OneOf(keys.map(|(key, place)| (key.as_str(), place)).collect())
        })
    }

    /// Follows references.
    pub(super) fn resolve<'s>(&'s self, mut place: &'s Json) -> &'s Json {
        while let Some(reference) = place.get("$ref").and_then(Json::as_str) {
            match self.root.pointer(reference.trim_start_matches('#')) {
                Some(target) => place = target,
                None => return &Json::Bool(true),
            }
        }
        place
    }

    /// The first sentence of what the schema says about a place, for a hint.
    pub(super) fn description<'s>(&'s self, place: &'s Json) -> Option<&'s str> {
        let own = place.get("description").or_else(|| self.resolve(place).get("description"));
        let text = own?.as_str()?;
        Some(text.split_inclusive(". ").next().unwrap_or(text).trim())
    }
}

fn form(pattern: Option<&Json>) -> Option<&'static Form> {
    Form::of_pattern(pattern?.as_str()?)
}

fn table_shape(place: &Json) -> Shape<'_> {
    if let Some(properties) = place.get("properties").and_then(Json::as_object) {
        return Shape::Struct(properties);
    }
    if let Some((pattern, below)) =
        place.get("patternProperties").and_then(Json::as_object).and_then(|patterns| patterns.iter().next())
    {
        return Shape::Map(Form::of_pattern(pattern), below);
    }
    Shape::Map(None, place.get("additionalProperties").unwrap_or(&Json::Bool(true)))
}

/// TOML has no null: what is optional is left out. So the schema need not speak of it.
fn strip_null(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(strip_null),
        Json::Object(map) => {
            map.values_mut().for_each(strip_null);
            map.retain(|key, value| key != "default" || !value.is_null());
            if let Some(Json::Object(defaults)) = map.get_mut("default") {
                defaults.retain(|_, value| !value.is_null());
            }
            if let Some(Json::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_mut_slice() {
                    let only = only.take();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Json::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Json::Object(only)] = choices.as_mut_slice() {
                    let only = std::mem::take(only);
                    map.retain(|key, _| key != "anyOf");
                    map.extend(only);
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

impl Shape<'_> {
    /// What is expected, with an article.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Text(None) => "a text".to_owned(),
            Self::Text(Some(form)) => form.what.to_owned(),
            Self::Choice(allowed) => {
                let all: Vec<_> = allowed.iter().map(|one| format!("\"{one}\"")).collect();
                format!("one of {}", all.join(", "))
            }
            Self::Exactly(only) => only.to_string(),
            Self::Integer(Some(least), Some(most)) => format!("an integer from {least} to {most}"),
            Self::Integer(..) => "an integer".to_owned(),
            Self::Number(Some(least), Some(most)) => format!("a number from {least} to {most}"),
            Self::Number(..) => "a number".to_owned(),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::List(..) => "a list".to_owned(),
            Self::Struct(_) | Self::Map(..) => "a table".to_owned(),
            Self::OneOf(keys) => {
                let all: Vec<_> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
                format!("a table with one of {}", all.join(", "))
            }
        }
    }
}

/// Every pattern of a schema that has no [`Form`]: such a text would be checked by its type alone, without a place.
#[doc(hidden)]
pub fn patterns_without_form(schema: &Schema) -> Vec<String> {
    fn walk(json: &Json, found: &mut Vec<String>) {
        match json {
            Json::Array(items) => items.iter().for_each(|item| walk(item, found)),
            Json::Object(map) => {
                found.extend(map.get("pattern").and_then(Json::as_str).map(str::to_owned));
                if let Some(Json::Object(patterns)) = map.get("patternProperties") {
                    found.extend(patterns.keys().cloned());
                }
                map.values().for_each(|value| walk(value, found));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(&schema.root, &mut found);
    found.retain(|pattern| Form::of_pattern(pattern).is_none());
    found
}
