//! What stands, for people.

use super::{
    table::{Cell, Table},
    time::Now,
};
use crate::paint::{Paint, Tone};
use deploy::{
    check::Answer,
    model::UnitPhase,
    status::{FreezeStatus, LeaseStatus, OpenRollout, ServiceStatus, Standing, Status, UnitStatus},
    verdict::describe,
};
use std::fmt::Write as _;

/// The status as text.
pub(crate) fn status(status: &Status, now: &Now, paint: Paint) -> String {
    let mut text = String::new();
    let (word, tone) = standing(status.health);
    let title = format!("{} on {}", status.project, status.environment);
    add(&mut text, &format!("{}: {}", paint.tone(Tone::Title, &title), paint.tone(tone, word)));
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&services(&status.services, now).render(paint));
    }
    if status.services.iter().any(|service| !service.units.is_empty()) {
        text.push('\n');
        text.push_str(&units(&status.services, now).render(paint));
    }
    if let Some(open) = &status.rollout {
        text.push('\n');
        rollout(&mut text, open, now, paint);
    }
    if let Some(lease) = &status.lease {
        text.push('\n');
        add(&mut text, &held(lease, now, paint));
    }
    if let Some(freeze) = &status.freeze {
        text.push('\n');
        add(&mut text, &frozen(freeze, now, paint));
    }
    if !status.next.is_empty() {
        text.push('\n');
    }
    for command in &status.next {
        add(&mut text, &format!("next: {command}"));
    }
    text
}

/// Who holds the lease, in a line.
pub(super) fn held(lease: &LeaseStatus, now: &Now, paint: Paint) -> String {
    let LeaseStatus { holder, command, since, renewed_at, expires_at, verdict } = lease;
    format!(
        "{}: held by {holder} ({verdict}) for `{command}` since {}, renewed {}, expires {}",
        paint.tone(Tone::Title, "lease"),
        now.relative(*since),
        now.relative(*renewed_at),
        now.relative(*expires_at),
    )
}

/// Why nothing is deployed, in a line.
pub(super) fn frozen(freeze: &FreezeStatus, now: &Now, paint: Paint) -> String {
    let FreezeStatus { since, actor, why, release } = freeze;
    let (title, since) = (paint.tone(Tone::Warn, "frozen"), now.relative(*since));
    format!(
        "{title}: {why} by {actor} {since}, release {release} was taken back; no deploy until it is lifted"
    )
}

fn services(services: &[ServiceStatus], now: &Now) -> Table {
    let mut table =
        Table::new(&["SERVICE", "HEALTH", "UNITS", "RELEASE", "BUNDLE", "SINCE", "PORT", "PREVIOUS"]);
    for service in services {
        let (word, tone) = standing(service.health);
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let current = service.units.iter().filter(|unit| unit.current && is_good(unit)).count();
        table.row([
            Cell::toned(service.service.as_str(), Tone::Title),
            Cell::toned(word, tone),
            format!("{current}/{}", service.wanted).into(),
            dash(service.release.clone()).into(),
            dash(service.bundle.clone()).into(),
            dash(service.since.map(|since| now.relative(since))).into(),
            dash(service.port.map(|port| port.to_string())).into(),
            dash(service.previous_release.clone()).into(),
        ]);
    }
    table
}

fn units(services: &[ServiceStatus], now: &Now) -> Table {
    let mut table = Table::new(&["UNIT", "STATE", "PROBE", "WEIGHT", "ADDRESS", "STARTED", "HANDLE"]);
    for unit in services.iter().flat_map(|service| &service.units) {
        let (phase, phase_tone) = match &unit.phase {
            UnitPhase::Running if unit.current => ("running".to_owned(), Tone::Plain),
            UnitPhase::Running => ("running, of another bundle".to_owned(), Tone::Warn),
            UnitPhase::Stopping => ("stopping".to_owned(), Tone::Warn),
            UnitPhase::Exited(exit) => (exit.to_string(), Tone::Bad),
        };
        let (answer, answer_tone) = match &unit.answer {
            None => ("-".to_owned(), Tone::Dim),
            Some(Answer::Pass) => (describe(&Answer::Pass), Tone::Good),
            Some(answer) => (describe(answer), Tone::Bad),
        };
        table.row([
            unit.unit.clone().into(),
            Cell::toned(phase, phase_tone),
            Cell::toned(answer, answer_tone),
            unit.weight.to_string().into(),
            unit.address.clone().unwrap_or_else(|| "-".to_owned()).into(),
            now.relative(unit.started_at).into(),
            unit.handle.clone().into(),
        ]);
    }
    table
}

/// Whether a unit answers as it should. One that was not asked counts by its process.
fn is_good(unit: &UnitStatus) -> bool {
    unit.phase == UnitPhase::Running && unit.answer.as_ref().is_none_or(|answer| *answer == Answer::Pass)
}

fn rollout(text: &mut String, open: &OpenRollout, now: &Now, paint: Paint) {
    let OpenRollout { run, release, phase, held, started_at } = open;
    let title = paint.tone(Tone::Warn, "open rollout");
    let began = now.relative(*started_at);
    add(text, &format!("{title}: release {release}, {phase}, began {began} (run {run})"));
    if let Some(why) = held {
        add(text, &format!("  held: {why}"));
    }
}

fn standing(standing: Standing) -> (&'static str, Tone) {
    match standing {
        Standing::Absent => ("nothing deployed", Tone::Dim),
        Standing::Healthy => ("healthy", Tone::Good),
        Standing::Degraded => ("degraded", Tone::Warn),
        Standing::Down => ("down", Tone::Bad),
    }
}

fn add(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}
