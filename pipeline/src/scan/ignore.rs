//! Lines as in `.trivyignore`, as waivers: the comment right above an entry is its reason, and `exp:` its last day. Both are
//! needed here, and nothing else is known.
//!
//! ```text
//! # No path of ours reaches the decoder; the base image is renewed in March.
//! CVE-2024-0727 exp:2027-03-31
//! ```

use super::waiver::Waiver;
use crate::config::{
    problem::{Problem, shorten},
    scalar::{Day, RuleId},
    source::{Place, Source},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Reads all entries; what is wrong is added to the problems.
pub(super) fn parse(source: &Arc<Source>, problems: &mut Vec<Problem>) -> Vec<Waiver> {
    let mut reader = Reader { source, problems, seen: BTreeMap::new() };
    let (mut waivers, mut reason, mut offset) = (Vec::new(), Vec::new(), 0);
    for line in source.text.split_inclusive('\n') {
        let text = line.trim();
        let start = offset + (line.len() - line.trim_start().len());
        offset += line.len();
        if let Some(comment) = text.strip_prefix('#') {
            reason.push(comment.trim());
        } else if text.is_empty() {
            reason.clear();
        } else {
            let place = Place { source: source.clone(), span: start..start + text.len() };
            // A reason counts for all entries right below it.
            waivers.extend(reader.entry(text, &place, reason.join(" ").trim()));
        }
    }
    waivers
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    problems: &'a mut Vec<Problem>,
    /// Where each rule stands.
    seen: BTreeMap<String, Place>,
}

impl Reader<'_> {
    fn entry(&mut self, text: &str, place: &Place, reason: &str) -> Option<Waiver> {
        let mut words = text.split_whitespace();
        let word = words.next()?;
        let mut good = true;
        let rule = match word.parse::<RuleId>() {
            Ok(rule) => rule,
            Err(error) => {
                let message = format!("`{}` is no vulnerability and no rule", shorten(word));
                return self.refuse(Problem::new(message).help(format!("write {error}")), place);
            }
        };
        let mut expires = None;
        for word in words {
            // Trivy takes the rest of the line for a comment; whoever wrote a second rule there waived nothing.
            let problem = match word.strip_prefix("exp:").map(str::parse::<Day>) {
                Some(Ok(day)) if expires.is_none() => {
                    expires = Some(day);
                    continue;
                }
                Some(Ok(_)) => Problem::new(format!("{rule} has two last days")).help("keep one"),
                Some(Err(error)) => Problem::new(format!("`{}` is no day", shorten(word)))
                    .help(format!("write `exp:` and {error}")),
                None if word.starts_with('#') => break,
                None => Problem::new(format!("`{}` behind {rule} means nothing", shorten(word)))
                    .help("each rule has a line of its own; behind it stands `exp:YEAR-MONTH-DAY` alone"),
            };
            self.refuse(problem, place);
            good = false;
        }
        if expires.is_none() && good {
            let problem = Problem::new(format!("the waiver of {rule} does not expire"));
            self.refuse(problem.help("write its last day behind it, such as `exp:2027-03-31`"), place);
        }
        if reason.is_empty() {
            let problem = Problem::new(format!("the waiver of {rule} has no reason"));
            self.refuse(problem.help("write it as a comment right above: `# why it may stay`"), place);
        }
        if let Some(first) = self.seen.insert(rule.to_string(), place.clone()) {
            let problem = Problem::new(format!("{rule} is waived twice")).also_at(Some(first), "the first");
            return self.refuse(problem.help("keep one of them"), place);
        }
        let expires = expires.filter(|_| good && !reason.is_empty())?;
        Some(Waiver {
            rule: rule.to_string(),
            reason: reason.to_owned(),
            expires: expires.date(),
            services: BTreeSet::new(),
            packages: BTreeSet::new(),
            paths: Vec::new(),
            origin: format!("{}:{}", self.source.name, place.line()),
        })
    }

    fn refuse(&mut self, problem: Problem, place: &Place) -> Option<Waiver> {
        self.problems.push(problem.at(place.clone()));
        None
    }
}
