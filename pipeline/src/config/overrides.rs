//! Overrides: `--set KEY=VALUE` and environment variables, put into the trees before these are checked, so that a
//! wrong one is told like a wrong line of a file.

use super::{
    problem::{Problem, hints, shorten},
    scalar::Form,
    schema::{Schema, Shape},
    source::{Place, Source, SourceKind},
    tree::{Entry, Node, Table, Value, show_path},
};
use crate::failpoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{collections::BTreeMap, sync::Arc};

/// Variables that begin with `FAIRLEAD_` and are no overrides: those that units, migrations and hooks are given,
/// those that the command line reads itself, and the login of the registry.
pub const RESERVED: &[&str] = &[
    "FAIRLEAD_RELEASE",
    "FAIRLEAD_BUNDLE",
    "FAIRLEAD_UNIT",
    "FAIRLEAD_UNIT_ADDRESS",
    "FAIRLEAD_UNIT_HOST",
    "FAIRLEAD_UNIT_PORT",
    "FAIRLEAD_MIGRATION",
    "FAIRLEAD_HOOK",
    "FAIRLEAD_RUN",
    "FAIRLEAD_PREVIOUS_RELEASE",
    "FAIRLEAD_REASON",
    "FAIRLEAD_FAILED_UNIT",
    "FAIRLEAD_SERVICE",
    "FAIRLEAD_ENVIRONMENT",
    "FAIRLEAD_CONFIG",
    "FAIRLEAD_FORMAT",
    "FAIRLEAD_LOG",
    "FAIRLEAD_STATE_DIR",
    "FAIRLEAD_YES",
    "FAIRLEAD_REGISTRY_USERNAME",
    "FAIRLEAD_REGISTRY_PASSWORD",
    "FAIRLEAD_WITHOUT_GITHUB",
];

/// The prefix of variables that tell hooks and smoke tests where the services answer; no override either.
const URL_PREFIX: &str = "FAIRLEAD_URL_";

/// The prefix of variables that override a key: `FAIRLEAD_STRATEGY__MAX_SURGE=2` is `strategy.max-surge`.
const PREFIX: &str = "FAIRLEAD_";

/// An override that took effect: what `plan` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Override {
    /// The key, as `services.api.port`.
    pub key: String,
    /// Its value, as given.
    pub value: String,
    /// Where it came from: `--set services.api.port=9000`, `the variable API_PORT`.
    pub origin: String,
}

/// A value that is to be put at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    segments: Vec<String>,
    value: String,
    place: Place,
    spelling: Spelling,
}

/// How the segments of an assignment's key are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As in the files.
    Exact,
    /// In capitals, with `_` for `-`.
    Variable,
}

/// A file's tree with its schema: where assignments can go.
pub struct Layer<'a> {
    /// What the file allows.
    pub schema: &'a Schema,
    /// What it says.
    pub tree: &'a mut Node,
    /// Top-level keys that are the file's alone to say.
    pub fixed: &'a [&'a str],
}

impl Assignment {
    /// Reads the text of a `--set`.
    pub fn from_set(text: &str) -> Result<Self, Problem> {
        let source = Source::new(SourceKind::Set, "--set", text);
        let whole = Place { source: Arc::clone(&source), span: 0..text.len() };
        let refuse = |message: &str| {
            let problem = Problem::new(format!("--set {}: {message}", shorten(text))).at(whole.clone());
            problem.help("write --set KEY=VALUE, e.g. --set services.api.replicas=3")
        };
        let (segments, value_at) = split_key(text).map_err(refuse)?;
        let place = Place { source, span: value_at..text.len() };
        Ok(Self { segments, value: text[value_at..].to_owned(), place, spelling: Spelling::Exact })
    }

    /// Reads a `FAIRLEAD_…` variable; `None` if it is none of ours to read.
    pub fn from_variable(name: &str, value: &str) -> Option<Self> {
        let is_told = RESERVED.contains(&name) || name.starts_with(URL_PREFIX);
        let is_ours = !is_told && !failpoint::is_variable(name);
        let key = name.strip_prefix(PREFIX).filter(|_| is_ours)?;
        let segments = key.split("__").map(str::to_owned).collect();
        Some(Self { spelling: Spelling::Variable, ..Self::of_variable(segments, name, value) })
    }

    /// The value of a variable, at a key that is spelled as in the files.
    pub fn of_variable(segments: Vec<String>, name: &str, value: &str) -> Self {
        let text = format!("{name}={value}");
        let span = name.len() + 1..text.len();
        let place = Place { source: Source::new(SourceKind::Variable, name, text), span };
        Self { segments, value: value.to_owned(), place, spelling: Spelling::Exact }
    }

    /// Puts the value into the first layer that has such a key.
    pub fn apply(&self, layers: &mut [Layer<'_>]) -> Result<Override, Problem> {
        let mut farthest: Option<Unknown> = None;
        for index in 0..layers.len() {
            let trees: Vec<&Node> = layers.iter().map(|layer| &*layer.tree).collect();
            match self.find(layers[index].schema, &trees) {
                Ok(found) => return self.put(found, &mut layers[index]),
                Err(unknown) => {
                    if farthest.as_ref().is_none_or(|known| unknown.depth > known.depth) {
                        farthest = Some(unknown);
                    } else if let Some(known) = farthest.as_mut().filter(|known| known.depth == unknown.depth)
                    {
                        known.allowed.extend(unknown.allowed);
                    }
                }
            }
        }
        Err(self.unknown(farthest.unwrap_or_default()))
    }

    fn put(&self, found: Found, layer: &mut Layer<'_>) -> Result<Override, Problem> {
        let key = show_path(&found.path);
        if found.path.first().is_some_and(|first| layer.fixed.contains(&first.as_str())) {
            let problem = Problem::new(format!("`{key}` cannot be overridden")).at(self.place.clone());
            return Err(problem.key(key).help("only the file itself says it"));
        }
        insert(layer.tree, &found, &self.place);
        Ok(Override { key, value: self.value.clone(), origin: self.place.describe() })
    }

    /// Finds the key's path and value by the schema. Keys of the user's (services, targets, …) that lead on must be
    /// known from one of the files: an override changes what is there, it does not invent a service.
    fn find(&self, schema: &Schema, trees: &[&Node]) -> Result<Found, Unknown> {
        let mut path: Vec<String> = Vec::new();
        let mut at = schema.root();
        let mut alone = false;
        let mut depth = 0;
        while depth < self.segments.len() {
            let segment = &self.segments[depth];
            let is_last = depth + 1 == self.segments.len();
            let unknown = |allowed: Vec<String>| Unknown { depth, allowed };
            alone = false;
            match schema.shape(at) {
                Shape::Struct(properties) => {
                    let known = properties.iter().find(|(key, _)| self.is(segment, key));
                    let (key, below) = known.ok_or_else(|| unknown(properties.keys().cloned().collect()))?;
                    path.push(key.clone());
                    at = below;
                }
                Shape::OneOf(keys) => {
                    let known = keys.iter().find(|(key, _)| self.is(segment, key));
                    let all = || keys.iter().map(|(key, _)| (*key).to_owned()).collect();
                    let (key, below) = known.ok_or_else(|| unknown(all()))?;
                    path.push((*key).to_owned());
                    at = below;
                    alone = true;
                }
                Shape::Map(form, below) => {
                    let existing = keys_at(trees, &path);
                    let key = match existing.iter().find(|key| self.is(segment, key)) {
                        Some(key) => key.clone(),
                        None if is_last || is_scalar(schema, below) => {
                            // A variable's name may hold the separator itself: all that is left is the key.
                            let rest = self.segments[depth..].join("__");
                            depth = self.segments.len() - 1;
                            self.new_key(rest, form)
                        }
                        None => return Err(unknown(existing)),
                    };
                    path.push(key);
                    at = below;
                }
                _ => return Err(unknown(Vec::new())),
            }
            depth += 1;
        }
        Ok(Found { path, alone, value: value(&schema.shape(at), &self.value, &self.place) })
    }

    /// Whether a segment means a key.
    fn is(&self, segment: &str, key: &str) -> bool {
        match self.spelling {
            Spelling::Exact => segment == key,
            Spelling::Variable => segment == key || segment == key.to_uppercase().replace(['-', '.'], "_"),
        }
    }

    /// A key that is not there yet.
    fn new_key(&self, segment: String, form: Option<&Form>) -> String {
        let is_lower =
            self.spelling == Spelling::Variable && form.is_some_and(|form| !(form.accepts)(&segment));
        if is_lower { segment.to_lowercase().replace('_', "-") } else { segment }
    }

    fn unknown(&self, unknown: Unknown) -> Problem {
        let spelled = |key: &str| match self.spelling {
            Spelling::Exact => key.to_owned(),
            Spelling::Variable => key.to_uppercase().replace('-', "_"),
        };
        let segment = self.segments.get(unknown.depth).map_or("", String::as_str);
        let inside = match &self.segments[..unknown.depth.min(self.segments.len())] {
            [] => String::new(),
            parents => format!(" in `{}`", show_path(parents)),
        };
        let message = match self.spelling {
            Spelling::Exact => format!("--set: unknown key `{}`{inside}", shorten(segment)),
            Spelling::Variable => {
                let name = shorten(&self.place.source.name);
                format!("the variable {name} overrides nothing: unknown key `{}`{inside}", shorten(segment))
            }
        };
        let mut allowed: Vec<String> = unknown.allowed.iter().map(|key| spelled(key)).collect();
        allowed.sort();
        allowed.dedup();
        let mut problem = Problem::new(message).at(self.place.clone()).key(show_path(&self.segments));
        problem.help = hints(segment, allowed.iter().map(String::as_str));
        problem
    }
}

/// Where an assignment goes.
struct Found {
    path: Vec<String>,
    /// Whether the last key excludes its neighbours.
    alone: bool,
    value: Node,
}

/// How far an assignment's key could be followed, and what would have been allowed there.
#[derive(Default)]
struct Unknown {
    depth: usize,
    allowed: Vec<String>,
}

/// Splits `a."b.c".d=value` into the keys and where the value begins.
fn split_key(text: &str) -> Result<(Vec<String>, usize), &'static str> {
    let mut segments = vec![String::new()];
    let mut in_quotes = false;
    for (at, c) in text.char_indices() {
        let current = segments.last_mut().expect("it begins with one and only grows");
        match c {
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => segments.push(String::new()),
            '=' if !in_quotes => {
                let complete = segments.iter().all(|segment| !segment.trim().is_empty());
                let segments = segments.iter().map(|segment| segment.trim().to_owned()).collect();
                return if complete { Ok((segments, at + 1)) } else { Err("a part of the key is empty") };
            }
            _ => current.push(c),
        }
    }
    Err("there is no `=`")
}

/// The keys of the tables that stand at a path in any of the trees.
fn keys_at(trees: &[&Node], path: &[String]) -> Vec<String> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let tables = trees.iter().filter_map(|tree| tree.get(&path)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

fn is_scalar(schema: &Schema, place: &Json) -> bool {
    !matches!(schema.shape(place), Shape::Struct(_) | Shape::Map(..) | Shape::OneOf(_))
}

/// The text as what is wanted, if it can be read as that; else as a text, which the check will tell apart.
fn value(shape: &Shape<'_>, text: &str, place: &Place) -> Node {
    let parsed = Node::parse_value(text, place);
    let fits = parsed.filter(|node| match shape {
        Shape::Text(_) | Shape::Choice(_) => matches!(node.value, Value::String(_)),
        _ => true,
    });
    fits.unwrap_or_else(|| Node { value: Value::String(text.to_owned()), place: place.clone() })
}

/// Puts a value at a path, making the tables on the way. Where something else than a table is in the way, nothing is
/// put: the check tells what is wrong there.
fn insert(tree: &mut Node, found: &Found, place: &Place) {
    let Some((last, parents)) = found.path.split_last() else { return };
    let mut table = match &mut tree.value {
        Value::Table(table) => table,
        _ => return,
    };
    for key in parents {
        let entry = table
            .entry(key.clone())
            .or_insert_with(|| Entry { key: place.clone(), node: Node::empty_table(place.clone()) });
        table = match &mut entry.node.value {
            Value::Table(table) => table,
            _ => return,
        };
    }
    if found.alone {
        *table = Table::new();
    }
    table.insert(last.clone(), Entry { key: place.clone(), node: found.value.clone() });
}

/// What the deploying process' environment says by the variables that services name themselves: `port-env` and
/// `host-env` (the stable address), and `inherit` (variables handed on to units).
pub fn service_variables(project: &Node, variables: &BTreeMap<String, String>) -> Vec<Assignment> {
    let services = project.get(&["services"]).and_then(Node::as_table);
    let mut found = Vec::new();
    for (service, entry) in services.into_iter().flatten() {
        let mut take = |key: &[&str], variable: &str| {
            let path = ["services", service].iter().chain(key).map(|key| (*key).to_owned()).collect();
            let value = variables.get(variable).filter(|value| !value.is_empty());
            found.extend(value.map(|value| Assignment::of_variable(path, variable, value)));
        };
        for (names, key) in [("port-env", "port"), ("host-env", "host")] {
            if let Some(variable) = entry.node.get(&[names]).and_then(Node::as_str) {
                take(&[key], variable);
            }
        }
        if let Some(Value::Array(inherited)) = entry.node.get(&["inherit"]).map(|node| &node.value) {
            for variable in inherited.iter().filter_map(Node::as_str) {
                take(&["env", variable], variable);
            }
        }
    }
    found
}
