//! A plan for people: what changes, how, within which bounds, and what to know before.

use super::table::{Cell, Table};
use crate::paint::{Paint, Tone};
use deploy::{
    plan::{Plan, PlanKind, ServicePlan, Side},
    strategy::Strategy,
    verdict::seconds,
};
use std::fmt::Write as _;

/// The plan as text.
pub(crate) fn plan(plan: &Plan, paint: Paint) -> String {
    let mut text = String::new();
    let title = match plan.kind {
        PlanKind::Deploy => format!("Plan: release {} to {}", plan.release, plan.environment),
        PlanKind::Rollback => format!("Plan: return {} to release {}", plan.environment, plan.release),
    };
    add(&mut text, &paint.tone(Tone::Title, &title));
    if plan.is_empty() {
        add(&mut text, "nothing to do: everything stands as it should");
    } else {
        text.push('\n');
        text.push_str(&services(plan).render(paint));
    }
    if !plan.waves.is_empty() && !plan.is_empty() {
        text.push('\n');
        text.push_str(&waves(plan).render(paint));
    }
    for service in &plan.services {
        text.push('\n');
        details(&mut text, service, paint);
    }
    hooks(&mut text, plan, paint);
    if !plan.unchanged.is_empty() && !plan.is_empty() {
        let names: Vec<&str> = plan.unchanged.iter().map(pipeline::name::Name::as_str).collect();
        add(&mut text, &format!("\nunchanged: {}", names.join(", ")));
    }
    overrides(&mut text, plan, paint);
    risks(&mut text, plan, paint);
    text
}

fn services(plan: &Plan) -> Table {
    let mut table = Table::new(&["SERVICE", "FROM", "TO", "UNITS", "STRATEGY"]);
    for service in &plan.services {
        table.row([
            Cell::toned(service.service.as_str(), Tone::Title),
            side(service.from.as_ref()).into(),
            side(service.to.as_ref()).into(),
            units(service).into(),
            strategy(service).into(),
        ]);
    }
    table
}

/// The waves in their order: where each goes, and what must hold before the next.
fn waves(plan: &Plan) -> Table {
    let mut table = Table::new(&["WAVE", "TARGETS", "SOAK", "TOLERATED FAILURES", "THEN"]);
    let count = plan.waves.len();
    for (index, wave) in plan.waves.iter().enumerate() {
        let targets: Vec<&str> = wave.targets.iter().map(pipeline::name::Name::as_str).collect();
        let budget = match wave.failure_limit {
            Some(limit) => limit.min(plan.policy.failure_limit),
            None => plan.policy.failure_limit,
        };
        let then = match wave.pause {
            _ if index + 1 == count => "done",
            true => "paused until promoted",
            false => "the next wave",
        };
        table.row([
            Cell::toned(format!("{} of {count}: {}", index + 1, wave.name), Tone::Title),
            targets.join(", ").into(),
            seconds(wave.soak).into(),
            budget.to_string().into(),
            then.into(),
        ]);
    }
    table
}

fn side(side: Option<&Side>) -> String {
    side.map_or_else(|| "nothing".to_owned(), |side| format!("{} ({})", side.release, side.bundle.short()))
}

fn units(service: &ServicePlan) -> String {
    let (from, to) = (service.count_of(service.from.as_ref()), service.count_of(service.to.as_ref()));
    if from == to { to.to_string() } else { format!("{from} -> {to}") }
}

fn strategy(service: &ServicePlan) -> String {
    let before = service.count_of(service.from.as_ref());
    let batches = service.batches();
    match &service.strategy {
        Strategy::Recreate => "recreate, all at once".to_owned(),
        Strategy::Rolling(rolling) => {
            let first = if rolling.max_surge > 0 { "start-first" } else { "stop-first" };
            let plural = if batches == 1 { "" } else { "es" };
            format!("rolling, {batches} batch{plural}, {first}")
        }
        Strategy::Canary(_) if before == 0 => "canary: all at once, nothing stands yet".to_owned(),
        Strategy::Canary(canary) => {
            let steps: Vec<String> = canary.steps.iter().map(|step| format!("{step} %")).collect();
            let plural = if canary.units == 1 { "unit" } else { "units" };
            format!("canary, {} {plural} with {}, then the rest", canary.units, steps.join(", "))
        }
        Strategy::BlueGreen => "blue-green, one switch, old side kept for the bake".to_owned(),
    }
}

fn details(text: &mut String, service: &ServicePlan, paint: Paint) {
    add(text, &paint.tone(Tone::Title, service.service.as_str()));
    match (&service.from, &service.to) {
        (None, _) => add(text, "  new: nothing stands yet"),
        (Some(_), None) => add(text, "  is taken away"),
        (Some(_), Some(_)) => changes(text, service),
    }
    add(
        text,
        &format!(
            "  at least {} available, at most {} running; watched for {} after each batch",
            service.available_min(),
            service.running_max(),
            seconds(service.bake),
        ),
    );
    if let Some(migration) = &service.migration {
        let (args, timeout) = (migration.args.join(" "), seconds(migration.timeout));
        add(text, &format!("  first runs its migration, once for this release: `{args}`, at most {timeout}"));
    }
    if !service.depends_on.is_empty() {
        let names: Vec<&str> = service.depends_on.iter().map(pipeline::name::Name::as_str).collect();
        add(text, &format!("  after {}", names.join(", ")));
    }
}

fn changes(text: &mut String, service: &ServicePlan) {
    let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
    for change in &service.changes {
        add(text, &format!("  {}: {} -> {}", change.field, shown(&change.from), shown(&change.to)));
    }
}

fn hooks(text: &mut String, plan: &Plan, paint: Paint) {
    if plan.is_empty() || plan.policy.hooks.is_empty() {
        return;
    }
    add(text, &format!("\n{}", paint.tone(Tone::Title, "Hooks")));
    for (moment, hooks) in &plan.policy.hooks {
        for hook in hooks {
            let (command, timeout) = (hook.command.join(" "), seconds(hook.timeout));
            add(text, &format!("  {}: `{command}`, at most {timeout}", moment.word()));
        }
    }
}

fn overrides(text: &mut String, plan: &Plan, paint: Paint) {
    if plan.overrides.is_empty() {
        return;
    }
    add(text, &format!("\n{}", paint.tone(Tone::Title, "Not as in the files")));
    for each in &plan.overrides {
        add(text, &format!("  {} = {}  (from {})", each.key, each.value, each.origin));
    }
}

fn risks(text: &mut String, plan: &Plan, paint: Paint) {
    if !plan.risks.is_empty() {
        text.push('\n');
    }
    for risk in &plan.risks {
        let service = risk.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
        add(text, &format!("{}: {service}{}", paint.tone(Tone::Warn, "warning"), risk.message));
    }
}

fn add(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}
