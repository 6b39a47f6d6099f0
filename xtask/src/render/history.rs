//! Past rollouts for people, newest first.

use super::{
    table::{Cell, Table},
    time::Now,
};
use crate::paint::{Paint, Tone};
use deploy::{plan::PlanKind, status::HistoryEntry, verdict::seconds};

/// The history as text.
pub(crate) fn history(entries: &[HistoryEntry], now: &Now, paint: Paint) -> String {
    if entries.is_empty() {
        return "no rollout has ended here yet\n".to_owned();
    }
    let mut table =
        Table::new(&["WHEN", "AT", "WHAT", "RELEASE", "SERVICES", "OUTCOME", "TOOK", "BY", "REASON"]);
    for entry in entries {
        let services: Vec<&str> = entry.services.iter().map(pipeline::name::Name::as_str).collect();
        let what = match entry.kind {
            PlanKind::Deploy => "deploy",
            PlanKind::Rollback => "rollback",
        };
        let reason = match (&entry.reason, &entry.message) {
            (Some(reason), Some(message)) => format!("{reason}: {message}"),
            (Some(reason), None) => reason.to_string(),
            (None, message) => message.clone().unwrap_or_default(),
        };
        table.row([
            now.relative(entry.started_at).into(),
            Cell::toned(now.absolute(entry.started_at), Tone::Dim),
            what.into(),
            entry.release.clone().into(),
            services.join(", ").into(),
            Cell::toned(entry.outcome.clone(), outcome_tone(&entry.outcome)),
            seconds(entry.took).into(),
            entry.actor.clone().into(),
            reason.into(),
        ]);
    }
    table.render(paint)
}

fn outcome_tone(outcome: &str) -> Tone {
    match outcome {
        "succeeded" => Tone::Good,
        "held" => Tone::Warn,
        _ => Tone::Bad,
    }
}
