//! Patience: when a reporter without live lines says again what is waited for. Pure.

use super::words::Names;
use deploy::{decide::Waiting, verdict::seconds};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A wait is told after so long without a word of its subject, and again after as long: seldom enough for a log, often
/// enough for someone who wonders whether it hangs.
const SILENCE: SignedDuration = SignedDuration::from_secs(15);

/// What is waited for, and since when nothing was said of it.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waits: BTreeMap<String, Wait>,
}

#[derive(Debug)]
struct Wait {
    for_what: String,
    until: Option<Timestamp>,
    said_at: Timestamp,
    /// Stages are there until they end, whatever the rollout waits for.
    is_stage: bool,
}

impl Patience {
    /// What is waited for has changed.
    pub(super) fn set(&mut self, waiting: &[Waiting], names: Names, at: Timestamp) {
        let mut old = std::mem::take(&mut self.waits);
        self.waits.extend(waiting.iter().map(|waiting| {
            let subject = names.subject(&waiting.subject);
            let said_at = old.remove(&subject).map_or(at, |wait| wait.said_at);
            let until =
                waiting.until.and_then(|until| Timestamp::from_millisecond(i64::try_from(until).ok()?).ok());
            (subject, Wait { for_what: waiting.for_what.clone(), until, said_at, is_stage: false })
        }));
        self.waits.extend(old.into_iter().filter(|(_, wait)| wait.is_stage));
    }

    /// A stage began to run.
    pub(super) fn stage_began(&mut self, stage: &str, at: Timestamp) {
        let wait = Wait { for_what: "its command".to_owned(), until: None, said_at: at, is_stage: true };
        self.waits.insert(stage.to_owned(), wait);
    }

    /// A stage ended.
    pub(super) fn stage_ended(&mut self, stage: &str) {
        self.waits.remove(stage);
    }

    /// Something was said of a subject.
    pub(super) fn said(&mut self, subject: &str, at: Timestamp) {
        if let Some(wait) = self.waits.get_mut(subject) {
            wait.said_at = at;
        }
    }

    /// What is to be said now: subject and text.
    pub(super) fn due(&mut self, at: Timestamp) -> Vec<(String, String)> {
        let mut due = Vec::new();
        for (subject, wait) in &mut self.waits {
            if at.duration_since(wait.said_at) < SILENCE {
                continue;
            }
            wait.said_at = at;
            due.push((
                subject.clone(),
                format!("still waiting for {}{}", wait.for_what, left(wait.until, at)),
            ));
        }
        due
    }
}

/// The time that is left, in words; empty without a deadline.
fn left(until: Option<Timestamp>, at: Timestamp) -> String {
    let Some(until) = until else { return String::new() };
    let left = u64::try_from(until.duration_since(at).as_secs()).unwrap_or(0);
    format!(", at most {} more", seconds(left * 1_000))
}
