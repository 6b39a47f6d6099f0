//! Making a plan: what is wanted is held against what stands, and the difference is frozen. Pure.

use super::{
    Change, Migration, Override, Plan, PlanKind, Policy, Precondition, ServicePlan, Side, Wave, fleet,
};
use crate::{
    bundle::{Bundle, BundleHash, BundleSource},
    check::{Check, SyntheticGate},
    ledger::Entry,
    lint,
    model::{Millis, UnitFacts, UnitId, UnitPhase},
    port::TargetSeen,
    strategy::Strategy,
};
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names journal, dossier and history entry.
    pub run: String,
    /// The project.
    pub project: Name,
    /// The environment.
    pub environment: Name,
    /// Whether it brings something new or returns to what stood before.
    pub kind: PlanKind,
    /// The release that is to stand.
    pub release: String,
    /// The version of Fairlead.
    pub tool_version: String,
    /// Now.
    pub created_at: jiff::Timestamp,
    /// What is wanted, service by service.
    pub wanted: BTreeMap<Name, Wanted>,
    /// What stands, target by target.
    pub standing: BTreeMap<Name, TargetSeen>,
    /// Every bundle that the ledgers name, as far as it could be read.
    pub known: BTreeMap<BundleHash, Bundle>,
    /// What applies to the whole rollout.
    pub policy: Policy,
    /// Groups of targets, one after the other.
    pub waves: Vec<Wave>,
    /// Whether there is no way back from it.
    pub irreversible: bool,
    /// Configuration values that do not come from the files.
    pub overrides: Vec<Override>,
    /// Services that are left as they are, whatever is wanted (`--only` names the others).
    pub left_out: BTreeSet<Name>,
}

/// What is wanted of one service.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The bundle, or `None` if the service is to be taken away.
    pub bundle: Option<Bundle>,
    /// Where its parts come from; `None` if it is on the targets already.
    pub source: Option<BundleSource>,
    /// The release that brings it.
    pub release: String,
    /// Units on each target.
    pub replicas: u16,
    /// How its units are checked.
    pub check: Check,
    /// The address on which the stable port is held.
    pub host: IpAddr,
    /// The stable port.
    pub port: u16,
    /// Services that must be done first.
    pub depends_on: Vec<Name>,
    /// How its units are replaced.
    pub strategy: Strategy,
    /// What is run once before its units are replaced, if it was not run for this release yet.
    pub migration: Option<WantedMigration>,
    /// Synthetic requests to each new unit before it gets traffic.
    pub synthetic: Option<SyntheticGate>,
    /// Milliseconds under watch after each batch.
    pub bake: Millis,
    /// Milliseconds to drain a unit.
    pub drain: Millis,
    /// Milliseconds from SIGTERM to SIGKILL.
    pub stop_grace: Millis,
}

/// What is wanted to be run once for each release of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedMigration {
    /// What is run.
    pub step: Migration,
    /// Whether what stood before still works after it; if not, a plan that runs it is irreversible.
    pub reversible: bool,
}

/// How long a plan may be carried out after it was made, in hours: a working day, so that one made in the evening is
/// not approved by chance the next week.
const EXPIRES_AFTER_HOURS: i64 = 12;

/// Makes a plan.
pub fn build(request: Request) -> Plan {
    let mut services = Vec::new();
    let mut unchanged = Vec::new();
    let mut bundles = BTreeMap::new();
    let mut sources = BTreeMap::new();
    let mut irreversible = request.irreversible;
    for name in in_order(&request.wanted) {
        let wanted = &request.wanted[&name];
        if request.left_out.contains(&name) {
            unchanged.push(name);
            continue;
        }
        let Some(plan) = plan_service(&request, &name, wanted) else {
            unchanged.push(name);
            continue;
        };
        for side in [&plan.from, &plan.to].into_iter().flatten() {
            if let Some(bundle) = request.known.get(&side.bundle) {
                bundles.insert(side.bundle, bundle.clone());
            }
        }
        let runs_one_way = |one: &WantedMigration| plan.migration.is_some() && !one.reversible;
        irreversible |= wanted.migration.as_ref().is_some_and(runs_one_way);
        if let Some(bundle) = &wanted.bundle {
            let hash = bundle.hash();
            bundles.insert(hash, bundle.clone());
            sources.extend(wanted.source.clone().map(|source| (hash, source)));
        }
        services.push(plan);
    }
    // What does not change is done already, so nobody waits for it.
    let changing: BTreeSet<Name> = services.iter().map(|service| service.service.clone()).collect();
    for service in &mut services {
        service.depends_on.retain(|name| changing.contains(name));
    }
    let preconditions = preconditions(&request.standing);
    let mut plan = Plan {
        version: Plan::FORMAT,
        run: request.run,
        project: request.project,
        environment: request.environment,
        kind: request.kind,
        release: request.release,
        tool_version: request.tool_version,
        created_at: request.created_at,
        expires_at: request.created_at + jiff::SignedDuration::from_hours(EXPIRES_AFTER_HOURS),
        overrides: request.overrides,
        risks: Vec::new(),
        services,
        waves: request.waves,
        irreversible,
        unchanged,
        policy: request.policy,
        preconditions,
        bundles,
        sources,
    };
    plan.risks = lint::risks(&plan);
    plan
}

/// What must still hold when a plan is carried out, as it is now.
pub fn preconditions(standing: &BTreeMap<Name, TargetSeen>) -> Vec<Precondition> {
    let mut preconditions = Vec::new();
    let mut add = |field: String, value: String| preconditions.push(Precondition { field, value });
    for (target, seen) in standing {
        for (service, standing) in &seen.ledger.services {
            let current = &standing.current;
            add(format!("target {target}: service {service}: current bundle"), current.bundle.to_string());
            add(format!("target {target}: service {service}: replicas"), current.replicas.to_string());
        }
        for facts in &seen.units {
            let unit = facts.unit.label();
            add(format!("target {target}: unit {unit}: process"), facts.handle.clone());
            add(format!("target {target}: unit {unit}: phase"), phase_word(facts).to_owned());
            add(format!("target {target}: unit {unit}: weight"), facts.weight.to_string());
        }
    }
    preconditions
}

/// The fields in which what stands differs from what a plan rests on: field, then, now.
pub fn changed_since(plan: &Plan, standing: &BTreeMap<Name, TargetSeen>) -> Vec<(String, String, String)> {
    let index = |list: &[Precondition]| -> BTreeMap<String, String> {
        list.iter().map(|condition| (condition.field.clone(), condition.value.clone())).collect()
    };
    let (then, now) = (index(&plan.preconditions), index(&preconditions(standing)));
    let fields: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let shown = |side: &BTreeMap<String, String>, field: &String| {
        side.get(field).cloned().unwrap_or_else(|| "nothing".to_owned())
    };
    let differs = |field: &&&String| then.get(**field) != now.get(**field);
    fields
        .iter()
        .filter(differs)
        .map(|field| ((*field).clone(), shown(&then, field), shown(&now, field)))
        .collect()
}

fn phase_word(facts: &UnitFacts) -> &'static str {
    match facts.phase {
        UnitPhase::Running => "running",
        UnitPhase::Stopping => "stopping",
        UnitPhase::Exited(_) => "exited",
    }
}

/// Services in the order of their dependencies, by name where there is none.
fn in_order(wanted: &BTreeMap<Name, Wanted>) -> Vec<Name> {
    let mut ordered = Vec::new();
    let mut left: Vec<&Name> = wanted.keys().collect();
    while !left.is_empty() {
        let ready = |name: &&&Name| {
            wanted[**name]
                .depends_on
                .iter()
                .all(|needed| ordered.contains(needed) || !wanted.contains_key(needed))
        };
        // The configuration has no cycles; should one come in by another way, it is broken at the first name.
        let next = left.iter().position(|name| ready(&name)).unwrap_or(0);
        ordered.push(left.remove(next).clone());
    }
    ordered
}

/// What changes for one service; `None`: nothing.
fn plan_service(request: &Request, name: &Name, wanted: &Wanted) -> Option<ServicePlan> {
    let targets = targets(request, name);
    let from = request.standing.values().find_map(|seen| seen.ledger.services.get(name)).map(|standing| {
        let Entry { bundle, release, replicas, check, port, .. } = standing.current.clone();
        let host = request.known.get(&bundle).map_or(wanted.host, |known| known.host);
        let absent = fleet::absent(name, &targets, &request.standing);
        Side { bundle, release, replicas, check, host, port, absent }
    });
    let to = wanted.bundle.as_ref().map(|bundle| Side {
        bundle: bundle.hash(),
        release: wanted.release.clone(),
        replicas: wanted.replicas,
        check: wanted.check.clone(),
        host: wanted.host,
        port: wanted.port,
        absent: BTreeSet::new(),
    });
    // What brings no new bundle brings no new release either.
    let to = match (to, &from) {
        (Some(to), Some(from)) if to.bundle == from.bundle => {
            Some(Side { release: from.release.clone(), ..to })
        }
        (to, _) => to,
    };
    let mut service = ServicePlan {
        service: name.clone(),
        depends_on: wanted.depends_on.clone(),
        targets,
        strategy: wanted.strategy.clone(),
        changes: Vec::new(),
        migration: migration(request, name, wanted, from.as_ref(), to.as_ref()),
        synthetic: wanted.synthetic.clone(),
        bake: wanted.bake,
        drain: wanted.drain,
        stop_grace: wanted.stop_grace,
        from,
        to,
    };
    let old = service.from.as_ref().and_then(|from| request.known.get(&from.bundle));
    service.changes = changes(&service, old, wanted.bundle.as_ref());
    service.changes.extend(repairs(&service, &request.standing));
    (!service.changes.is_empty()).then_some(service)
}

/// What is to be run before the units of a service are replaced: its migration, if this brings a release for which it
/// was not run yet. The targets of a service share what it migrates, so that once on one of them is enough.
fn migration(
    request: &Request,
    name: &Name,
    wanted: &Wanted,
    from: Option<&Side>,
    to: Option<&Side>,
) -> Option<Migration> {
    let wanted = wanted.migration.as_ref().filter(|_| request.kind == PlanKind::Deploy)?;
    let to = to.filter(|to| from.is_none_or(|from| from.bundle != to.bundle))?;
    let mut ledgers = request.standing.values().map(|seen| &seen.ledger);
    let was_run = ledgers.any(|ledger| ledger.has_migrated(name, &to.release));
    (!was_run).then(|| wanted.step.clone())
}

/// The targets on which a service is changed, wave by wave. What is returned to is returned to where the service stands.
fn targets(request: &Request, service: &Name) -> Vec<Name> {
    let in_waves = request.waves.iter().flat_map(|wave| &wave.targets);
    let mut targets: Vec<Name> =
        in_waves.filter(|target| request.standing.contains_key(*target)).cloned().collect();
    let others: Vec<Name> =
        request.standing.keys().filter(|target| !targets.contains(target)).cloned().collect();
    targets.extend(others);
    let stands = |target: &Name| fleet::stands(service, target, &request.standing);
    if request.kind == PlanKind::Rollback && targets.iter().any(stands) {
        targets.retain(stands);
    }
    targets
}

/// What is different between the two sides of a service.
fn changes(service: &ServicePlan, old: Option<&Bundle>, new: Option<&Bundle>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |field: String, from: Option<String>, to: Option<String>| {
        if from != to {
            changes.push(Change { field, from, to });
        }
    };
    let (from, to) = (service.from.as_ref(), service.to.as_ref());
    if let (Some(from), Some(to)) = (from, to) {
        add("replicas".to_owned(), Some(from.replicas.to_string()), Some(to.replicas.to_string()));
        let address = |side: &Side| Some(std::net::SocketAddr::from((side.host, side.port)).to_string());
        add("port".to_owned(), address(from), address(to));
        let check = |side: &Side| Some(pipeline::digest::Digest::of_json(&side.check).short());
        add("check".to_owned(), check(from), check(to));
        for target in service.targets.iter().filter(|target| !from.stands_on(target)) {
            add(format!("target {target}"), None, Some(to.bundle.short()));
        }
        if from.bundle == to.bundle {
            return changes;
        }
    }
    let (Some(old), Some(new)) = (old, new) else {
        let short = |side: Option<&Side>| side.map(|side| side.bundle.short());
        add("service".to_owned(), short(from), short(to));
        return changes;
    };
    add("artifact".to_owned(), Some(old.artifact.digest.short()), Some(new.artifact.digest.short()));
    add("arguments".to_owned(), Some(old.args.join(" ")), Some(new.args.join(" ")));
    add("port variable".to_owned(), Some(old.port_env.clone()), Some(new.port_env.clone()));
    add("host variable".to_owned(), old.host_env.clone(), new.host_env.clone());
    let limits = |bundle: &Bundle| serde_json::to_string(&bundle.limits).ok();
    add("limits".to_owned(), limits(old), limits(new));
    maps(&old.env, &new.env, |key, from, to| add(format!("env {key}"), from.cloned(), to.cloned()));
    maps(&old.files, &new.files, |key, from, to| {
        let shown = |file: &crate::bundle::BundleFile| format!("{} {:o}", file.digest.short(), file.mode);
        add(format!("file {key}"), from.map(shown), to.map(shown));
    });
    maps(&old.secrets, &new.secrets, |key, from, to| {
        let shown = |secret: &crate::bundle::BundleSecret| format!("version {}", secret.keyed_digest.short());
        add(format!("secret {key}"), from.map(shown), to.map(shown));
    });
    if changes.is_empty() {
        let short = |side: Option<&Side>| side.map(|side| side.bundle.short());
        changes.push(Change { field: "bundle".to_owned(), from: short(from), to: short(to) });
    }
    changes
}

fn maps<V>(
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
    mut each: impl FnMut(&str, Option<&V>, Option<&V>),
) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        each(key, old.get(key), new.get(key));
    }
}

/// Units that do not stand as the ledger says: they are restored.
fn repairs(service: &ServicePlan, standing: &BTreeMap<Name, TargetSeen>) -> Vec<Change> {
    let mut repairs = Vec::new();
    let (Some(from), Some(to)) = (&service.from, &service.to) else { return repairs };
    if from.bundle != to.bundle || from.replicas != to.replicas {
        return repairs;
    }
    let wanted = service.units_of(Some(to));
    let named = |unit: &UnitId| format!("unit {}", unit.label_for(standing.len() > 1));
    let facts = || {
        standing.values().flat_map(|seen| &seen.units).filter(|facts| facts.unit.service == service.service)
    };
    // What joins was told as a target.
    for unit in wanted.iter().filter(|unit| from.stands_on(&unit.target)) {
        let shown = match facts().find(|facts| facts.unit == *unit) {
            Some(facts) if facts.phase == UnitPhase::Running && facts.weight > 0 => continue,
            Some(facts) if facts.phase == UnitPhase::Running => Some("out of traffic".to_owned()),
            Some(facts) => Some(phase_word(facts).to_owned()),
            None => None,
        };
        repairs.push(Change { field: named(unit), from: shown, to: Some("running".to_owned()) });
    }
    let strangers = facts().filter(|facts| !wanted.contains(&facts.unit));
    repairs.extend(strangers.map(|facts| Change {
        field: named(&facts.unit),
        from: Some(phase_word(facts).to_owned()),
        to: None,
    }));
    repairs
}

#[cfg(test)]
mod tests;
