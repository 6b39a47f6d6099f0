//! The walk of a tree along its schema, which finds everything that is not allowed.

use super::{
    problem::{Problem, hints, nearest, shorten},
    scalar::Form,
    schema::{Schema, Shape},
    source::Place,
    tree::{Entry, Node, Table, Value, show_path},
};
use serde_json::{Map, Value as Json};

/// A walk through a tree along a schema.
pub(super) struct Walk<'a> {
    schema: &'a Schema,
    path: Vec<String>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Walk<'a> {
    /// A walk that adds what it finds to `problems`.
    pub(super) fn new(schema: &'a Schema, problems: &'a mut Vec<Problem>) -> Self {
        Self { schema, path: Vec::new(), problems }
    }

    /// Checks a whole document; what is wrong is taken out of it. Returns whether anything is left.
    pub(super) fn root(&mut self, tree: &mut Node) -> bool {
        let place = tree.place.clone();
        self.node(self.schema.root(), tree, &place)
    }

    /// Checks a node; `key` is where its key stands. Returns whether it can stay.
    fn node(&mut self, schema: &Json, node: &mut Node, key: &Place) -> bool {
        if !self.representable(node) {
            return false;
        }
        let shape = self.schema.shape(schema);
        match (&shape, &mut node.value) {
            (Shape::Any, _) | (Shape::Text(None), Value::String(_)) | (Shape::Boolean, Value::Boolean(_)) => {
                true
            }
            (Shape::Text(Some(form)), Value::String(text)) => self.text(form, text, &node.place),
            (Shape::Choice(allowed), Value::String(text)) => self.choice(allowed, text, &node.place),
            (Shape::Exactly(only), Value::Integer(number)) if only == number => true,
            (Shape::Integer(least, most), Value::Integer(number)) => {
                self.bounds(*number, *least, *most, &node.place)
            }
            (Shape::Number(least, most), Value::Float(number)) => {
                self.bounds(*number, *least, *most, &node.place)
            }
            (Shape::Number(least, most), Value::Integer(number)) => {
                self.bounds(*number as f64, *least, *most, &node.place)
            }
            (Shape::List(items, least), Value::Array(nodes)) => self.list(items, *least, nodes, &node.place),
            (Shape::Struct(properties), Value::Table(table)) => {
                self.required(schema, properties, table, key);
                self.fields(properties, table)
            }
            (Shape::Map(form, below), Value::Table(table)) => self.map(*form, below, table),
            (Shape::OneOf(keys), Value::Table(table)) => self.one_of(keys, table, key),
            (_, value) => {
                let about = self.schema.description(schema).filter(|_| matches!(shape, Shape::Exactly(_)));
                let problem = self.wrong_type(&shape, value, &node.place);
                self.report(match about {
                    Some(about) => problem.help(about),
                    None => problem,
                })
            }
        }
    }

    fn report(&mut self, problem: Problem) -> bool {
        let key = show_path(&self.path);
        self.problems.push(if key.is_empty() { problem } else { problem.key(key) });
        false
    }

    /// What no configuration value may be, whatever the schema says.
    fn representable(&mut self, node: &Node) -> bool {
        let why = match &node.value {
            Value::String(text) if text.contains('\0') => {
                "contains a NUL character, which no argument or variable can"
            }
            Value::Float(number) if !number.is_finite() => "is not a finite number",
            _ => return true,
        };
        let message = format!("`{}` {why}", show_path(&self.path));
        self.report(Problem::new(message).at(node.place.clone()))
    }

    fn text(&mut self, form: &Form, text: &str, place: &Place) -> bool {
        if (form.accepts)(text) {
            return true;
        }
        let message = format!("`{}`: \"{}\" is not {}", show_path(&self.path), shorten(text), form.what);
        self.report(Problem::new(message).at(place.clone()).help(format!("write {}", form.expected)))
    }

    fn choice(&mut self, allowed: &[&str], text: &str, place: &Place) -> bool {
        if allowed.contains(&text) {
            return true;
        }
        let message = format!("`{}` cannot be \"{}\"", show_path(&self.path), shorten(text));
        let mut problem = Problem::new(message).at(place.clone());
        problem.help = hints(text, allowed.iter().copied());
        self.report(problem)
    }

    fn bounds<N: PartialOrd + std::fmt::Display>(
        &mut self,
        number: N,
        least: Option<N>,
        most: Option<N>,
        place: &Place,
    ) -> bool {
        let limit = match (least, most) {
            (Some(least), _) if number < least => format!("the least is {least}"),
            (_, Some(most)) if number > most => format!("the most is {most}"),
            _ => return true,
        };
        let message = format!("`{}` is {number}; {limit}", show_path(&self.path));
        self.report(Problem::new(message).at(place.clone()))
    }

    fn list(&mut self, items: &Json, least: u64, nodes: &mut [Node], place: &Place) -> bool {
        if (nodes.len() as u64) < least {
            let message = format!("`{}` must not be empty", show_path(&self.path));
            return self.report(Problem::new(message).at(place.clone()));
        }
        // All are checked: no short cut after the first that is wrong.
        nodes.iter_mut().fold(true, |good, node| {
            let place = node.place.clone();
            self.node(items, node, &place) && good
        })
    }

    fn required(&mut self, schema: &Json, properties: &Map<String, Json>, table: &Table, key: &Place) {
        let required = self.schema.resolve(schema).get("required").and_then(Json::as_array);
        let missing =
            required.into_iter().flatten().filter_map(Json::as_str).filter(|one| !table.contains_key(*one));
        for name in missing {
            // A misspelled key is told once, as such.
            if table.keys().any(|key| !properties.contains_key(key) && nearest(key, [name]).is_some()) {
                continue;
            }
            let inside =
                if self.path.is_empty() { String::new() } else { format!(" in `{}`", show_path(&self.path)) };
            let problem = Problem::new(format!("missing key `{name}`{inside}")).at(key.clone());
            let about = properties.get(name).and_then(|property| self.schema.description(property));
            self.report(match about {
                Some(about) => problem.help(format!("`{name}`: {about}")),
                None => problem,
            });
        }
    }

    fn fields(&mut self, properties: &Map<String, Json>, table: &mut Table) -> bool {
        table.retain(|key, entry| match properties.get(key) {
            Some(below) => self.below(key, below, entry),
            None => {
                let free = properties.keys().map(String::as_str);
                self.unknown_key(key, &entry.key, free)
            }
        });
        true
    }

    fn map(&mut self, form: Option<&Form>, below: &Json, table: &mut Table) -> bool {
        table.retain(|key, entry| {
            let wrong = form.filter(|form| !(form.accepts)(key));
            match wrong {
                Some(form) => {
                    let message = format!("the key `{}` is not {}", shorten(key), form.what);
                    let hint = format!("write {}", form.expected);
                    self.report(Problem::new(message).at(entry.key.clone()).help(hint))
                }
                None => self.below(key, below, entry),
            }
        });
        true
    }

    fn one_of(&mut self, keys: &[(&str, &Json)], table: &mut Table, key: &Place) -> bool {
        let names = || keys.iter().map(|(name, _)| *name);
        let mut good = true;
        for (name, entry) in table.iter_mut() {
            good &= match keys.iter().find(|(known, _)| known == name) {
                Some((_, below)) => self.below(name, below, entry),
                None => self.unknown_key(name, &entry.key, names()),
            };
        }
        if good && table.len() != 1 {
            let all: Vec<_> = names().map(|name| format!("`{name}`")).collect();
            let message =
                format!("`{}` must have exactly one key: {}", show_path(&self.path), all.join(", "));
            return self.report(Problem::new(message).at(key.clone()));
        }
        good
    }

    fn below(&mut self, key: &str, schema: &Json, entry: &mut Entry) -> bool {
        self.path.push(key.to_owned());
        let good = self.node(schema, &mut entry.node, &entry.key);
        self.path.pop();
        good
    }

    fn unknown_key<'k>(
        &mut self,
        key: &str,
        place: &Place,
        allowed: impl IntoIterator<Item = &'k str> + Clone,
    ) -> bool {
        let inside =
            if self.path.is_empty() { String::new() } else { format!(" in `{}`", show_path(&self.path)) };
        let mut problem = Problem::new(format!("unknown key `{}`{inside}", shorten(key))).at(place.clone());
        problem.help = hints(key, allowed);
        self.path.push(key.to_owned());
        self.report(problem);
        self.path.pop();
        false
    }

    fn wrong_type(&self, shape: &Shape<'_>, value: &Value, place: &Place) -> Problem {
        let found = value.describe();
        let subject =
            if self.path.is_empty() { "the file".to_owned() } else { format!("`{}`", show_path(&self.path)) };
        let problem =
            Problem::new(format!("{subject} must be {}, not {found}", shape.describe())).at(place.clone());
        match (shape, value) {
            (
                Shape::Text(None) | Shape::Choice(_),
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_),
            ) => problem.help(format!("write it in quotes: \"{}\"", shorten(place.text()))),
            (Shape::Text(Some(form)), _) if (form.accepts)(place.text()) => {
                problem.help(format!("write it in quotes: \"{}\"", place.text()))
            }
            (Shape::Text(Some(form)), _) => problem.help(format!("write {}", form.expected)),
            (Shape::Integer(..), Value::String(text)) if text.parse::<i64>().is_ok() => {
                problem.help(format!("write it without quotes: {text}"))
            }
            (Shape::Number(..), Value::String(text)) if text.parse::<f64>().is_ok() => {
                problem.help(format!("write it without quotes: {}", shorten(text)))
            }
            (Shape::Boolean, Value::String(text)) if text == "true" || text == "false" => {
                problem.help(format!("write it without quotes: {text}"))
            }
            (Shape::List(..), Value::String(text)) => {
                problem.help(format!("write a list, one entry an argument: [\"{}\"]", shorten(text)))
            }
            _ => problem,
        }
    }
}
