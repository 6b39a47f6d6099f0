//! What an effect does when it arrives at the simulated fleet: each action takes hold as it would on a real target.

use super::{Behaviour, EffectFault, Pending, Rule, STOPS_IN, World, WorldUnit};
use crate::{
    check::Health,
    model::{Action, Millis, UnitId},
    port::{EffectError, GateResult},
    reason::ReasonCode,
    state::Effect,
};

impl World {
    pub(super) fn land(&mut self, pending: &Pending) -> Result<Effect, EffectError> {
        let passing = || EffectError::Passing { message: "simulated fault".to_owned() };
        match pending.fault {
            Some(EffectFault::FailsBefore) => Err(passing()),
            Some(EffectFault::FailsForGood) => Err(EffectError::Terminal {
                reason: reason_for_good(&pending.intent.action),
                message: "simulated fault".to_owned(),
            }),
            Some(EffectFault::FailsAfter) => {
                self.reach(pending)?;
                Err(passing())
            }
            None => self.reach(pending),
        }
    }

    /// When an effect that has ended is told: the end of a stop not before its unit is gone.
    pub(super) fn told_at(&self, pending: &Pending, result: &Result<Effect, EffectError>) -> Millis {
        let stopped = match &pending.intent.action {
            Action::Stop { unit, .. } if result.is_ok() => self.units.get(unit),
            _ => None,
        };
        stopped.and_then(|unit| unit.ends_at).unwrap_or(self.now)
    }

    /// An effect arrives at its target, which takes nothing from a stale executor.
    pub(super) fn reach(&mut self, pending: &Pending) -> Result<Effect, EffectError> {
        let action = &pending.intent.action;
        let target = match action {
            Action::Prepare { target, .. }
            | Action::Migrate { target, .. }
            | Action::Commit { target, .. } => Some(target),
            _ => action.unit().map(|unit| &unit.target),
        };
        if target.is_some_and(|target| self.unreachable().contains(target)) {
            return Err(EffectError::Passing { message: "the target cannot be reached".to_owned() });
        }
        if pending.generation < self.generation && target.is_some() {
            return Err(EffectError::Fenced { generation: self.generation });
        }
        if target.is_some() {
            self.took_hold.push((pending.generation, action.clone()));
        }
        self.take_hold(action)
    }

    pub(super) fn take_hold(&mut self, action: &Action) -> Result<Effect, EffectError> {
        match action {
            Action::Prepare { target, bundle, .. } => {
                self.prepared.insert((target.clone(), *bundle));
            }
            Action::Start { unit } => self.start(unit),
            Action::Judge { unit } => return Ok(Effect::Gate(self.judge(unit))),
            Action::Admit { unit, weight } => self.admit(unit, *weight),
            Action::Drain { unit, .. } => {
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.weight = 0;
                }
            }
            Action::Stop { unit, .. } => self.stop(unit),
            Action::Verify { .. } => {
                let errors = u64::from(!self.verify_passes);
                return Ok(Effect::Gate(GateResult { samples: 9, errors, slow: 0, excerpt: Vec::new() }));
            }
            Action::Hook { moment, .. } if self.failing_hooks.contains(moment) => {
                return Err(failed(ReasonCode::HookFailed));
            }
            Action::Migrate { .. } if self.migrations_fail => {
                return Err(failed(ReasonCode::MigrationFailed));
            }
            Action::Migrate { target, service, bundle } => {
                if !self.prepared.contains(&(target.clone(), *bundle)) {
                    self.violations.push(format!("migration of {service}, whose bundle is not there"));
                }
                self.migrated.push((target.clone(), service.clone()));
            }
            Action::Hook { .. } | Action::Collect => {}
            Action::Commit { target, services } => {
                self.ledgers.entry(target.clone()).or_default().extend(services.clone());
            }
        }
        Ok(Effect::Done)
    }

    fn start(&mut self, unit: &UnitId) {
        if !self.prepared.contains(&(unit.target.clone(), unit.bundle)) {
            self.violations.push(format!("start of {unit:?}, whose bundle is not there"));
        }
        if !self.units.get(unit).is_some_and(|unit| !unit.has_exited(self.now) && unit.ends_at.is_none()) {
            self.place(unit, 0);
        }
    }

    pub(super) fn place(&mut self, id: &UnitId, weight: u16) {
        let starts = self.starts.entry(id.clone()).or_default();
        let fits = |rule: &&Rule| {
            rule.bundle.is_none_or(|bundle| bundle == id.bundle)
                && rule.slot.is_none_or(|slot| slot == id.slot)
                && rule.starts_below.is_none_or(|limit| *starts < limit)
        };
        let behaviour = self.rules.iter().find(fits).map_or(Behaviour::Good(100), |rule| rule.behaviour);
        *starts += 1;
        let unit = WorldUnit {
            behaviour,
            started_at: self.now,
            weight,
            ends_at: None,
            health: Health::default(),
            witness: Health::default(),
            next_probe: self.now,
            requests: 0,
            errors: 0,
        };
        self.units.insert(id.clone(), unit);
    }

    fn judge(&self, unit: &UnitId) -> GateResult {
        let share = match self.units.get(unit).map(|unit| unit.behaviour) {
            Some(Behaviour::FailsRequests(percent)) => percent,
            Some(_) => 0,
            None => 100,
        };
        GateResult { samples: 100, errors: share, slow: 0, excerpt: Vec::new() }
    }

    fn admit(&mut self, id: &UnitId, weight: u16) {
        let now = self.now;
        match self.units.get_mut(id) {
            Some(unit) => {
                if weight > unit.weight && !unit.health.ever_passed && !unit.has_exited(now) {
                    self.violations.push(format!("{id:?} got traffic before it was ever healthy"));
                }
                unit.weight = weight;
            }
            None => self.violations.push(format!("{id:?} got traffic and is not there")),
        }
    }

    fn stop(&mut self, id: &UnitId) {
        let now = self.now;
        if let Some(unit) = self.units.get_mut(id) {
            let exited = unit.has_exited(now);
            if unit.weight > 0 && !exited {
                self.violations.push(format!("{id:?} was stopped while in traffic"));
            }
            unit.ends_at = Some(if exited { now } else { now + STOPS_IN });
        }
    }
}

fn failed(reason: ReasonCode) -> EffectError {
    EffectError::Terminal { reason, message: "simulated fault".to_owned() }
}

/// Why a target gives an action up, as the process target says it.
fn reason_for_good(action: &Action) -> ReasonCode {
    match action {
        Action::Prepare { .. } => ReasonCode::PrepareFailed,
        Action::Start { .. } => ReasonCode::CannotStart,
        Action::Hook { .. } => ReasonCode::HookFailed,
        Action::Migrate { .. } => ReasonCode::MigrationFailed,
        Action::Judge { .. } | Action::Verify { .. } => ReasonCode::ProbeBroken,
        Action::Admit { .. }
        | Action::Drain { .. }
        | Action::Stop { .. }
        | Action::Collect
        | Action::Commit { .. } => ReasonCode::ActionFailed,
    }
}
