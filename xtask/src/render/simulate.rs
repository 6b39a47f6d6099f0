//! A simulation for people: the story of one rollout, or two rollouts side by side.

use super::table::{Cell, Table};
use crate::{
    commands::{Run, Simulation},
    paint::{Paint, Tone},
};
use deploy::{
    model::{Millis, UnitId},
    simulate::{Availability, Blast, Broken, Mark, Report},
    verdict::seconds,
};
use pipeline::name::Name;
use std::{collections::BTreeSet, fmt::Write as _};

/// The simulation as text.
pub(crate) fn simulation(simulation: &Simulation, paint: Paint) -> String {
    let mut text = String::new();
    let Simulation { release, environment, .. } = simulation;
    let title = format!("Simulation: release {release} to {environment}, nothing was changed");
    add(&mut text, &paint.tone(Tone::Title, &title));
    assumed(&mut text, simulation);
    if let [run] = simulation.runs.as_slice() {
        text.push('\n');
        text.push_str(&timeline(&run.report).render(paint));
    }
    text.push('\n');
    text.push_str(&measures(&simulation.runs).render(paint));
    for run in &simulation.runs {
        for unmet in &run.report.unmet {
            add(&mut text, &format!("{}: {}: {unmet}", paint.tone(Tone::Warn, "warning"), run.strategy));
        }
        for Broken { law, at, subject, seen } in &run.report.breaches {
            let at = clock(*at);
            let bug = paint.tone(Tone::Bad, "bug in Fairlead");
            add(&mut text, &format!("{bug}: {}: {law} at {at}, {subject}: {seen}", run.strategy));
        }
    }
    text
}

fn assumed(text: &mut String, simulation: &Simulation) {
    let assumed = &simulation.assumed;
    let spread = assumed.seed.map(|seed| format!(", more or less (seed {seed})")).unwrap_or_default();
    add(
        text,
        &format!(
            "  units are ready {} after their start{spread}; each effect takes {}",
            seconds(assumed.ready_after),
            seconds(assumed.effects_take)
        ),
    );
    if let Some(at) = assumed.cancel_at {
        add(text, &format!("  the operator cancels after {}", seconds(at)));
    }
    if !assumed.faults.is_empty() {
        add(text, &format!("  faults: {}", assumed.faults.join(", ")));
    }
}

fn timeline(report: &Report) -> Table {
    let mut table = Table::new(&["AT", "SUBJECT", "WHAT", "WHY"]);
    for entry in &report.timeline {
        let tone = match entry.mark {
            Mark::Step => Tone::Plain,
            Mark::Good => Tone::Good,
            Mark::Warn => Tone::Warn,
            Mark::Bad => Tone::Bad,
        };
        table.row([
            Cell::toned(clock(entry.at), Tone::Dim),
            entry.subject.as_str().into(),
            Cell::toned(entry.what.as_str(), tone),
            entry.why.as_str().into(),
        ]);
    }
    table
}

/// What is measured, a column for each rollout.
fn measures(runs: &[Run]) -> Table {
    let titles: Vec<&str> = std::iter::once("").chain(runs.iter().map(|run| run.strategy.as_str())).collect();
    let mut table = Table::new(&titles);
    let mut row = |title: &str, cell: &dyn Fn(&Run) -> Cell| {
        let title = Cell::toned(title, Tone::Title);
        table.row(std::iter::once(title).chain(runs.iter().map(cell)));
    };
    row("outcome", &outcome);
    row("exit code", &|run| run.exit_code.map_or("none".to_owned(), |code| code.to_string()).into());
    let services = runs.first().map(|run| run.report.services.as_slice()).unwrap_or_default();
    for (index, service) in services.iter().enumerate() {
        let of = |run: &Run| run.report.services[index].clone();
        row(&format!("{} available", service.service), &|run| lowest(&of(run)));
        row(&format!("{} without any", service.service), &|run| outage(&of(run)));
    }
    let detection = |run: &Run, text: &dyn Fn(&deploy::simulate::Detection) -> String| -> Cell {
        run.report.detection.as_ref().map_or_else(|| "-".to_owned(), text).into()
    };
    row("first failure", &|run| {
        let units = run.report.timeline.iter().flat_map(|entry| &entry.units);
        let targets: BTreeSet<&Name> = units.map(|unit| &unit.target).collect();
        detection(run, &|seen| {
            let label = |unit: &UnitId| format!(" of {}", unit.label_for(targets.len() > 1));
            let unit = seen.unit.as_ref().map(label).unwrap_or_default();
            format!("{}{unit} at {}", seen.reason, clock(seen.at))
        })
    });
    row("blast radius", &|run| {
        detection(run, &|seen| {
            let Blast { units, of, percent } = seen.blast;
            format!("{units} of {of} units in traffic, {percent} % of the capacity")
        })
    });
    row("time to detect", &|run| detection(run, &|seen| seen.took.map_or_else(|| "-".to_owned(), seconds)));
    row("time to roll back", &|run| run.report.back_after.map_or_else(|| "-".to_owned(), seconds).into());
    row("takes", &|run| seconds(run.report.took).into());
    table
}

fn outcome(run: &Run) -> Cell {
    let outcome = &run.report.outcome;
    let reason = outcome.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let tone = if run.exit_code == Some(0) { Tone::Good } else { Tone::Bad };
    Cell::toned(format!("{}{reason}", outcome.word), tone)
}

fn lowest(service: &Availability) -> Cell {
    let Availability { before, wanted, promised, lowest, lowest_at, .. } = service;
    if *before == 0 {
        return format!("none stood before, {wanted} wanted").into();
    }
    let text = match lowest < before {
        true => format!("at least {lowest} of {before} (at {}), {promised} promised", clock(*lowest_at)),
        false => format!("at least {lowest} of {before}, {promised} promised"),
    };
    Cell::toned(text, if lowest < promised { Tone::Warn } else { Tone::Plain })
}

fn outage(service: &Availability) -> Cell {
    match service.outage {
        0 => "never".into(),
        outage => Cell::toned(seconds(outage), Tone::Warn),
    }
}

/// A moment on the virtual clock: `0:04.2`, minutes, seconds and tenths, as fine as the simulation is.
fn clock(at: Millis) -> String {
    format!("{}:{:02}.{}", at / 60_000, at / 1_000 % 60, at / 100 % 10)
}

fn add(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}
