//! The tree: a TOML document in which every key and value knows where it came from.

use super::{
    problem::{Problem, shorten},
    source::{Place, Source},
};
use std::{collections::BTreeMap, sync::Arc};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// A value of a TOML document.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A number with a fraction, infinite or not a number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, as written.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
}

/// Key → where the key stands, and its value.
pub type Table = BTreeMap<String, Entry>;

/// A key's place and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key: Place,
    /// Its value.
    pub node: Node,
}

/// The deepest nesting that is read: twice what any of our files needs.
const DEPTH_MAX: usize = 24;

/// The most syntax errors of one file that are told; the later ones mostly follow from the earlier.
const SYNTAX_PROBLEMS_MAX: usize = 10;

impl Node {
    /// Reads a TOML document: what could be understood of it, and the syntax errors.
    pub fn parse(source: &Arc<Source>) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let mut reader = Reader { source, problems: syntax_problems(source, &errors) };
        let span = table.span();
        let table = reader.table(table.into_inner(), 0);
        (Self { value: Value::Table(table), place: reader.place(span) }, reader.problems)
    }

    /// Reads a single TOML value that stands at `place`; `None` if it is not one.
    pub fn parse_value(text: &str, place: &Place) -> Option<Self> {
        let value = DeValue::parse(text).ok()?;
        let mut reader = Reader { source: &place.source, problems: Vec::new() };
        let mut node = reader.node(Spanned::new(0..0, value.into_inner()), 0);
        node.put_at(place);
        reader.problems.is_empty().then_some(node)
    }

    /// An empty table that stands at `place`.
    pub fn empty_table(place: Place) -> Self {
        Self { value: Value::Table(Table::new()), place }
    }

    /// The table that this is, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value { Some(table) } else { None }
    }

    /// The text that this is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    /// The entry at a path of keys; where the path leads through an array, its key is a number from 0.
    pub fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (last, parents) = path.split_last()?;
        self.get(parents)?.as_table()?.get(*last)
    }

    /// The value at a path of keys; within a list a key is the item's place in it, from 0.
    pub fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| match &node.value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => Some(&node.as_table()?.get(*key)?.node),
        })
    }

    /// Where what is at a path of keys, as in [`Node::get`], is told: the value, or the key if the value is a table.
    pub fn place_of(&self, path: &[&str]) -> Option<Place> {
        let (last, parents) = path.split_last()?;
        let (parent, node) = (self.get(parents)?, self.get(path)?);
        let key = parent.as_table().and_then(|table| table.get(*last)).map(|entry| &entry.key);
        match key {
            Some(key) if node.as_table().is_some() => Some(key.clone()),
            _ => Some(node.place.clone()),
        }
    }

    /// The same value as JSON. Numbers that JSON does not have become `null`.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::String(text) | Value::Datetime(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(yes) => (*yes).into(),
            Value::Array(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Table(table) => {
                let pairs = table.iter().map(|(key, entry)| (key.clone(), entry.node.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }

    /// Puts this and all within it at one place.
    fn put_at(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::Array(nodes) => nodes.iter_mut().for_each(|node| node.put_at(place)),
            Value::Table(table) => {
                for entry in table.values_mut() {
                    entry.key = place.clone();
                    entry.node.put_at(place);
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}

impl Value {
    /// What it is, for people: "the string `x`", "an array".
    pub fn describe(&self) -> String {
        match self {
            Self::String(text) => format!("the string \"{}\"", shorten(text)),
            Self::Integer(number) => format!("the integer {number}"),
            Self::Float(number) => format!("the number {number}"),
            Self::Boolean(yes) => format!("`{yes}`"),
            Self::Datetime(text) => format!("the date or time {text}"),
            Self::Array(_) => "an array".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// A path of keys as it is written: `services.api.files."api.conf"`.
pub fn show_path<S: AsRef<str>>(path: &[S]) -> String {
    let is_bare =
        |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let show = |key: &S| {
        let key = shorten(key.as_ref());
        if is_bare(&key) { key } else { format!("\"{key}\"") }
    };
    path.iter().map(show).collect::<Vec<_>>().join(".")
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), span }
    }

    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let entry = |(key, value): (Spanned<_>, _)| {
            let place = self.place(key.span());
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            (key.into_owned(), Entry { key: place, node: self.node(value, depth + 1) })
        };
        table.into_iter().map(entry).collect()
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, depth: usize) -> Node {
        let place = self.place(value.span());
        if depth > DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} levels deep");
            self.problems.push(Problem::new(message).at(place.clone()));
            return Node { value: Value::Boolean(false), place };
        }
        let value = match value.into_inner() {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => self.no_number("an integer between -2^63 and 2^63 - 1", digits.as_str(), &place),
            },
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => self.no_number("a number", digits.as_str(), &place),
            },
            DeValue::Boolean(yes) => Value::Boolean(yes),
            DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
            DeValue::Array(values) => {
                Value::Array(values.into_iter().map(|value| self.node(value, depth + 1)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        };
        Node { value, place }
    }

    fn no_number(&mut self, what: &str, digits: &str, place: &Place) -> Value {
        self.problems.push(Problem::new(format!("`{}` is not {what}", shorten(digits))).at(place.clone()));
        Value::Integer(0)
    }
}

/// The parser's errors as problems: the first of each line, because the later ones follow from it.
fn syntax_problems(source: &Arc<Source>, errors: &[toml::de::Error]) -> Vec<Problem> {
    // A place that the parser does not know is the end: that is where it missed something.
    let end = source.text.len();
    let mut errors: Vec<_> =
        errors.iter().map(|error| (error.span().unwrap_or(end..end), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    errors.dedup_by_key(|(span, _)| source.position(span.start).0);
    errors.truncate(SYNTAX_PROBLEMS_MAX);
    errors.into_iter().map(|(span, message)| syntax_problem(source, span, message)).collect()
}

fn syntax_problem(source: &Arc<Source>, span: std::ops::Range<usize>, message: &str) -> Problem {
    let rest = &source.text[source.boundary(span.start)..];
    let line_ends = rest.lines().next().is_none_or(|line| line.trim().is_empty());
    let place = Place { source: Arc::clone(source), span };
    let message = match message {
        missing if missing.starts_with("string values must be quoted") && line_ends => {
            "a value is missing".to_owned()
        }
        unquoted if unquoted.starts_with("string values must be quoted") => {
            "a text must be in quotes".to_owned()
        }
        "duplicate key" => format!("the key `{}` is there twice", shorten(place.text())),
        other => shorten_message(other),
    };
    let problem = Problem::new(format!("not valid TOML: {message}")).at(place);
    if rest.trim().is_empty() { problem.help("the file ends here; is it complete?") } else { problem }
}

/// The parser's messages are its own words, but may quote a key.
fn shorten_message(message: &str) -> String {
    let line: String = message.lines().next().unwrap_or_default().chars().take(200).collect();
    line.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::SourceKind;
    use proptest::prelude::*;

    fn parse(text: &str) -> (Node, Vec<Problem>) {
        Node::parse(&Source::new(SourceKind::File, "f.toml", text))
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        let (tree, problems) = parse("[services.api]\nport = 8000\n");
        assert_eq!(problems, []);
        assert_eq!(tree.place_of(&["services", "api", "port"]).unwrap().text(), "8000");
        assert_eq!(tree.place_of(&["services", "api"]).unwrap().describe(), "f.toml:1:11");
        assert_eq!(tree.place_of(&["services", "mcp"]), None);
        let (tree, _) = parse("[[waves]]\nname = \"a\"\n[[waves]]\nname = \"b\"\n");
        assert_eq!(tree.place_of(&["waves", "1", "name"]).unwrap().describe(), "f.toml:4:8");
        assert_eq!(tree.place_of(&["waves", "1"]).unwrap().describe(), "f.toml:3:1");
        assert_eq!(tree.place_of(&["waves", "2"]), None);
    }

    #[test]
    fn several_syntax_errors_are_told_at_once() {
        let (_, problems) = parse("a = \nb = 1\nb = 2\nc = [1,\n");
        let lines: Vec<_> = problems.iter().map(|p| p.place.clone().unwrap().describe()).collect();
        assert_eq!(lines.len(), 3, "{problems:#?}");
        assert!(problems.last().unwrap().help[0].contains("complete"), "{problems:#?}");
    }

    #[test]
    fn deep_nesting_and_huge_numbers_are_problems() {
        let deep = format!("a = {}1{}", "{b.b.b.b.b.b.b.b = ".repeat(70), "}".repeat(70));
        assert!(!parse(&deep).1.is_empty());
        assert!(!parse(&format!("{}a = 1", "a.".repeat(100_000))).1.is_empty());
        assert!(parse("a = 99999999999999999999").1[0].message.contains("is not an integer"));
    }

    #[test]
    fn paths_quote_what_is_not_a_bare_key() {
        assert_eq!(show_path(&["files", "api.conf", "mode"]), "files.\"api.conf\".mode");
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*|[a-c\\.=\\[\\]{}\",'\\n #0-9:T-]{0,200}") {
            let (tree, problems) = parse(&text);
            let _ = tree.to_json();
            let _ = super::super::problem::Problems::from_vec(problems).map(|p| p.to_string());
        }
    }
}
