//! Problems: what is wrong with a configuration, told for people and for machines.

use super::source::{Place, SourceKind};
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer};
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, with the wrong value, in one line.
    pub message: String,
    /// Where, if there is a text to point at.
    pub place: Option<Place>,
    /// Other places that it is about, each with what it has to do with it.
    pub also: Vec<(Place, String)>,
    /// The key, as `services.api.port`.
    pub key: Option<String>,
    /// What to do, one hint an entry.
    pub help: Vec<String>,
}

impl Problem {
    /// A problem of which only the message is known.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, also: Vec::new(), key: None, help: Vec::new() }
    }

    /// … that is there.
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.place = place.into();
        self
    }

    /// … that is also about what stands there.
    pub fn also_at(mut self, place: Option<Place>, label: impl Into<String>) -> Self {
        self.also.extend(place.map(|place| (place, label.into())));
        self
    }

    /// … with this key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// … with this hint.
    pub fn help(mut self, hint: impl Into<String>) -> Self {
        self.help.push(hint.into());
        self
    }

    /// Renders it with the source line and a caret below what is wrong.
    fn render(&self, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(self.message.as_str()));
        if let Some(place) = &self.place {
            group = group.element(snippet(place, None, AnnotationKind::Primary));
        }
        for (place, label) in &self.also {
            group = group.element(snippet(place, Some(label), AnnotationKind::Context));
        }
        for hint in &self.help {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

/// What [`Problem`] is for machines.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            message: &'a str,
            file: Option<&'a str>,
            line: Option<usize>,
            column: Option<usize>,
            origin: Option<String>,
            key: Option<&'a str>,
            help: &'a [String],
        }
        let in_file = self.place.as_ref().filter(|place| place.source.kind == SourceKind::File);
        let position = in_file
            .filter(|place| !place.source.text.is_empty())
            .map(|place| place.source.position(place.span.start));
        Wire {
            message: &self.message,
            file: in_file.map(|place| place.source.name.as_str()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            origin: self.place.as_ref().map(Place::describe),
            key: self.key.as_deref(),
            help: &self.help,
        }
        .serialize(serializer)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// How many problems are rendered for people; whoever has more mends these first.
    pub const RENDERED_MAX: usize = 50;

    /// The problems, in the order of the sources; `None` if there are none.
    pub fn from_vec(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| {
            let place = problem.place.as_ref();
            let place =
                place.map(|place| (place.source.kind as u8, place.source.name.clone(), place.span.start));
            (place, problem.message.clone())
        });
        problems.dedup();
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// All of them, in the order of the sources.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// For people: each with its source line, one after the other, and how many there are.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let shown = self.0.iter().take(Self::RENDERED_MAX);
        let mut parts: Vec<String> = shown.map(|problem| problem.render(&renderer)).collect();
        if self.0.len() > Self::RENDERED_MAX {
            parts.push(format!("… and {} more", self.0.len() - Self::RENDERED_MAX));
        }
        parts.join("\n\n")
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// A text of the user's for a message: without control characters, and not longer than about 60 characters.
pub fn shorten(text: &str) -> String {
    const MAX: usize = 60;
    let mut short: String = text.chars().take(MAX).flat_map(printable).collect();
    if text.chars().nth(MAX).is_some() {
        short.push('…');
    }
    short
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = if c.is_control() { Some(c.escape_default()) } else { None };
    let plain = if escaped.is_some() { None } else { Some(c) };
    escaped.into_iter().flatten().chain(plain)
}

/// The candidate that was probably meant: close enough to be a slip of the fingers.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const COMPARED_MAX: usize = 100; // The comparison is quadratic, and no key is that long.
    if text.len() > COMPARED_MAX {
        return None;
    }
    let distance = |candidate: &str| strsim::osa_distance(&text.to_lowercase(), &candidate.to_lowercase());
    let scored = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    let allowed = (text.chars().count().max(candidate.chars().count()) / 3).max(1);
    (distance <= allowed && text != candidate).then_some(candidate)
}

/// "did you mean" and the allowed ones, as hints.
pub fn hints<'a>(text: &str, allowed: impl IntoIterator<Item = &'a str> + Clone) -> Vec<String> {
    const LISTED_MAX: usize = 30;
    let meant = nearest(text, allowed.clone()).map(|meant| format!("did you mean `{meant}`?"));
    let listed: Vec<String> = allowed.into_iter().take(LISTED_MAX).map(|one| format!("`{one}`")).collect();
    let list = (!listed.is_empty()).then(|| format!("allowed here: {}", listed.join(", ")));
    meant.into_iter().chain(list).collect()
}

/// What shows a place: file, line and column above the line with a caret, or the override as it was given.
fn snippet<'a>(place: &Place, label: Option<&'a str>, kind: AnnotationKind) -> Element<'a> {
    /// The renderer counts columns in what it is given and cuts it to the terminal, so a line is given from its start
    /// up to here; what stands further right is only named.
    const LINE_MAX_BYTES: usize = 4096;
    let source = &place.source;
    if source.kind != SourceKind::File || source.text.is_empty() {
        return Origin::path(place.describe()).into();
    }
    let (line, column) = source.position(place.span.start);
    let (text, span) = shown_line(place);
    if span.start > LINE_MAX_BYTES {
        return Origin::path(source.name.clone()).line(line).char_column(column).into();
    }
    let annotation = kind.span(span).label(label);
    Snippet::source(text).path(source.name.clone()).line_start(line).annotation(annotation).into()
}

/// The line that a place begins on, cut soon after the place if it is long, and the place's range in it.
fn shown_line(place: &Place) -> (String, std::ops::Range<usize>) {
    const AFTER: usize = 80;
    let text = &place.source.text;
    let start = place.source.boundary(place.span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[line_start..line_end].trim_end_matches('\r');
    let at = (start - line_start).min(line.len());
    let end = place.source.boundary(place.span.end).max(start) - line_start;

    let to = line.floor_char_boundary((at + AFTER).min(line.len()));
    let suffix = if to < line.len() { "…" } else { "" };
    (format!("{}{suffix}", &line[..to]), at..end.min(to).max(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use proptest::prelude::*;

    fn file(text: &str, span: std::ops::Range<usize>) -> Place {
        Place { source: Source::new(SourceKind::File, "f.toml", text), span }
    }

    #[test]
    fn shows_the_line_with_a_caret_and_the_hint() {
        let problem = Problem::new("unknown key `prot`").at(file("a = 1\nprot = 2\n", 6..10));
        let problems = Problems::from(problem.help("did you mean `port`?"));
        insta::assert_snapshot!(problems.to_string());
    }

    #[test]
    fn shows_both_places_of_an_inconsistency() {
        let text = "\n[timings]\nttl = \"10s\"\n\nheartbeat = \"9s\"\n";
        let problem = Problem::new("`heartbeat` is too long for `ttl`")
            .at(file(text, 36..40))
            .also_at(Some(file(text, 17..22)), "the lease ends after this");
        insta::assert_snapshot!(Problems::from(problem).to_string());
    }

    #[test]
    fn a_problem_in_a_very_long_line_stays_short() {
        let text = format!("{} = 1", "k".repeat(900_000));
        let problem = Problem::new(format!("unknown key `{}`", shorten(&text))).at(file(&text, 0..900_000));
        let rendered = Problems::from(problem).to_string();
        assert!(rendered.len() < 1000, "{} bytes", rendered.len());
    }

    #[test]
    fn suggests_only_what_is_close() {
        assert_eq!(nearest("prot", ["port", "host"]), Some("port"));
        assert_eq!(nearest("max_surge", ["max-surge", "batches"]), Some("max-surge"));
        assert_eq!(nearest("colour", ["port", "host"]), None);
    }

    #[test]
    fn no_control_character_reaches_a_message() {
        assert_eq!(shorten("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
    }

    proptest! {
        #[test]
        fn any_place_in_any_text_can_be_shown(text in "\\PC*|[a-z\\n\\t\\rü=\"…]{0,400}", a in 0..500usize, b in 0..500usize) {
            let problem = Problem::new("m").at(file(&text, a..b)).also_at(Some(file(&text, b..a)), "l");
            let _ = Problems::from(problem.clone()).render(true);
            let _ = serde_json::to_string(&Problems::from(problem)).unwrap();
        }
    }
}
