//! Collecting the evidence of a failure, before anything is undone.

use super::{Evidence, Rollout};
use crate::{
    check::Look,
    dossier::{Dossier, UnitEvidence},
    model::{UnitFacts, UnitId},
    plan::ServicePlan,
    port::Target,
    state::{Failure, Phase, State},
};
use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Log lines kept of a unit: a page of a terminal.
const LOG_LINES: usize = 40;

impl Rollout {
    /// The evidence as it is known now, and what the targets add to it.
    pub(super) fn collect(
        &self,
        state: &State,
        facts: &BTreeMap<UnitId, UnitFacts>,
        evidence: &Evidence,
        gate_excerpt: Vec<String>,
    ) -> impl Future<Output = Dossier> + Send + 'static {
        let cause = cause_of(state);
        let service = cause.service.as_ref().and_then(|name| self.plan.service(name));
        let failed = self.sample(cause.unit.as_ref().and_then(|unit| facts.get(unit)), evidence);
        let previous =
            service.zip(cause.unit.as_ref()).and_then(|(service, unit)| previous_of(service, unit, facts));
        let previous = self.sample(previous, evidence);
        let changes = match service {
            Some(service) => service.changes.clone(),
            None => self.plan.services.iter().flat_map(|service| service.changes.clone()).collect(),
        };
        let mut dossier = Dossier {
            version: Dossier::FORMAT,
            run: self.plan.run.clone(),
            environment: self.plan.environment.clone(),
            release: self.plan.release.clone(),
            at: jiff::Timestamp::from_millisecond(self.clock.now() as i64).unwrap_or_default(),
            next: next_commands(&self.program, &cause, &self.plan.environment),
            failures: state.failures.clone(),
            cause,
            unit: None,
            previous_unit: None,
            gate_excerpt,
            changes,
            several_targets: self.targets.len() > 1,
        };
        let mask = self.mask.clone();
        async move {
            dossier.unit = take(failed, &mask).await;
            dossier.previous_unit = take(previous, &mask).await;
            dossier
        }
    }

    fn sample(&self, facts: Option<&UnitFacts>, evidence: &Evidence) -> Option<Sample> {
        let facts = facts?;
        let target = self.targets.get(&facts.unit.target)?.clone();
        Some(Sample { facts: facts.clone(), looks: evidence.looks(&facts.unit), target })
    }
}

/// Writes a dossier beside the others, as JSON and as text; the JSON's path, if it could be written.
pub(super) fn write(folder: &Path, dossier: &Dossier) -> Option<PathBuf> {
    std::fs::create_dir_all(folder).ok()?;
    let path = folder.join(format!("{}.json", dossier.run));
    let json = serde_json::to_vec_pretty(dossier).ok()?;
    pipeline::store::write_atomic(&path, &json, 0o600).ok()?;
    let text = folder.join(format!("{}.txt", dossier.run));
    pipeline::store::write_atomic(&text, dossier.to_text().as_bytes(), 0o600).ok()?;
    Some(path)
}

struct Sample {
    facts: UnitFacts,
    looks: Vec<Look>,
    target: Arc<dyn Target>,
}

async fn take(
    sample: Option<Sample>,
    mask: &Arc<dyn Fn(&str) -> String + Send + Sync>,
) -> Option<UnitEvidence> {
    let Sample { facts, looks, target } = sample?;
    let log_tail = match target.log_tail(&facts.unit, LOG_LINES).await {
        Ok(lines) => lines.iter().map(|line| mask(line)).collect(),
        Err(error) => vec![format!("(the log could not be read: {error})")],
    };
    let resources = target.resources(&facts.unit).await;
    Some(UnitEvidence {
        unit: facts.unit,
        handle: facts.handle,
        phase: facts.phase,
        looks,
        log_tail,
        resources,
    })
}

fn cause_of(state: &State) -> Failure {
    match &state.phase {
        Phase::Collecting { cause, .. } => cause.clone(),
        _ => state.failures.last().cloned().unwrap_or(Failure {
            reason: crate::reason::ReasonCode::ActionFailed,
            unit: None,
            service: None,
            message: "unknown".to_owned(),
            at: 0,
        }),
    }
}

/// The unit of the previous bundle in the same place, or in any other.
fn previous_of<'a>(
    service: &ServicePlan,
    unit: &UnitId,
    facts: &'a BTreeMap<UnitId, UnitFacts>,
) -> Option<&'a UnitFacts> {
    let from = service.from.as_ref().filter(|from| from.bundle != unit.bundle)?;
    let old = || {
        facts.values().filter(|facts| facts.unit.service == unit.service && facts.unit.bundle == from.bundle)
    };
    old().find(|facts| facts.unit.slot == unit.slot).or_else(|| old().next())
}

fn next_commands(program: &str, cause: &Failure, environment: &pipeline::name::Name) -> Vec<String> {
    let mut next = Vec::new();
    if let Some(service) = &cause.service {
        next.push(format!("{program} logs {environment} {service}"));
    }
    next.push(format!("{program} status {environment}"));
    next
}
