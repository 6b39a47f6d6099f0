//! Evidence: every running unit of the plan is looked at in its interval, and what it answers adds up to its health.

use crate::{
    check::{Check, Health, Look},
    model::{Millis, UnitFacts, UnitId, UnitPhase},
    plan::Plan,
    port::Prober,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::task::JoinSet;

/// Answers kept of each unit for the dossier.
const KEPT: usize = 12;

/// The evidence of all units.
pub(super) struct Evidence {
    prober: Arc<dyn Prober>,
    units: BTreeMap<UnitId, Watched>,
    looks: JoinSet<(UnitId, String, Look)>,
}

struct Watched {
    /// The process that was asked: another handle is another life of the unit, and its evidence begins anew.
    handle: String,
    check: Check,
    health: Health,
    looks: VecDeque<Look>,
    due: Millis,
    /// Whether it is being asked now.
    asked: bool,
    /// Whether there is anything to ask.
    runs: bool,
}

impl Evidence {
    pub(super) fn new(prober: Arc<dyn Prober>) -> Self {
        Self { prober, units: BTreeMap::new(), looks: JoinSet::new() }
    }

    /// Follows the units that stand now, and asks those whose time has come.
    pub(super) fn follow(&mut self, plan: &Plan, facts: &BTreeMap<UnitId, UnitFacts>, now: Millis) {
        self.units.retain(|unit, _| facts.contains_key(unit));
        for (unit, facts) in facts {
            let Some(check) = plan.service(&unit.service).and_then(|service| service.check_of(unit)) else {
                continue;
            };
            let watched = self.units.entry(unit.clone()).or_insert_with(|| Watched::new(facts, check, now));
            if watched.handle != facts.handle {
                *watched = Watched::new(facts, check, now);
            }
            watched.runs = facts.phase == UnitPhase::Running;
            if watched.runs && !watched.asked && watched.due <= now {
                watched.asked = true;
                watched.due = now + watched.check.interval;
                let (prober, facts, check) = (self.prober.clone(), facts.clone(), watched.check.clone());
                self.looks.spawn(async move {
                    let look = prober.look(&facts, &check).await;
                    (facts.unit, facts.handle, look)
                });
            }
        }
    }

    /// The next answer; `None` while nobody is asked.
    pub(super) async fn next(&mut self) -> Option<(UnitId, Look)> {
        loop {
            let joined = self.looks.join_next().await?;
            if let Some(answer) = self.take(joined.ok()) {
                return Some(answer);
            }
        }
    }

    /// An answer that is already there.
    pub(super) fn try_next(&mut self) -> Option<(UnitId, Look)> {
        loop {
            let joined = self.looks.try_join_next()?;
            if let Some(answer) = self.take(joined.ok()) {
                return Some(answer);
            }
        }
    }

    /// When the next unit is to be asked.
    pub(super) fn next_due(&self) -> Option<Millis> {
        let waits = |watched: &&Watched| watched.runs && !watched.asked;
        self.units.values().filter(waits).map(|watched| watched.due).min()
    }

    /// What is known of a unit's health.
    pub(super) fn health(&self, unit: &UnitId, facts: &UnitFacts) -> Health {
        let known = self.units.get(unit).filter(|watched| watched.handle == facts.handle);
        known.map(|watched| watched.health.clone()).unwrap_or_default()
    }

    /// The last answers of a unit, oldest first.
    pub(super) fn looks(&self, unit: &UnitId) -> Vec<Look> {
        self.units.get(unit).map(|watched| watched.looks.iter().cloned().collect()).unwrap_or_default()
    }

    fn take(&mut self, answer: Option<(UnitId, String, Look)>) -> Option<(UnitId, Look)> {
        let (unit, handle, look) = answer?;
        let watched = self.units.get_mut(&unit).filter(|watched| watched.handle == handle)?;
        watched.asked = false;
        watched.health = std::mem::take(&mut watched.health).with(look.at, look.answer.clone());
        watched.looks.push_back(look.clone());
        while watched.looks.len() > KEPT {
            watched.looks.pop_front();
        }
        Some((unit, look))
    }
}

impl Watched {
    fn new(facts: &UnitFacts, check: &Check, now: Millis) -> Self {
        Self {
            handle: facts.handle.clone(),
            check: check.clone(),
            health: Health::default(),
            looks: VecDeque::new(),
            due: now,
            asked: false,
            runs: facts.phase == UnitPhase::Running,
        }
    }
}
