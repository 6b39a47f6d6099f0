//! The judge: remembers what it was shown and told, and says what was broken.

use super::{Breach, Happened, Law, Looked, Moment, UnitNow, watch::Watch, wave::Waves};
use crate::{
    check::Check,
    model::{Action, Millis, UnitId},
    plan::{Plan, Side},
    reason::ReasonCode,
    state::{Command, Outcome},
};
use pipeline::name::Name;
use std::collections::BTreeSet;

/// Intervals after which an answer says nothing of now any more: one may be lost, two in a row are a gap.
const STALE_INTERVALS: Millis = 3;

/// Judges one rollout, from its first moment to its last.
#[derive(Debug)]
pub struct Judge<'a> {
    pub(super) plan: &'a Plan,
    pub(super) limit: Millis,
    pub(super) began: Option<Millis>,
    pub(super) now: Moment,
    pub(super) settled: Option<(Moment, bool)>,
    /// The moment at which it ended.
    pub(super) finished: Moment,
    pub(super) generation: u64,
    pub(super) fenced: BTreeSet<u64>,
    /// Units that are being taken out of traffic, so that nobody may count on them.
    pub(super) leaving: BTreeSet<UnitId>,
    /// Units that failed since they were last started.
    pub(super) failed: BTreeSet<UnitId>,
    pub(super) failures: u32,
    pub(super) deaths: u32,
    /// Units that ended while something was under way on them: their executor knows it when it has heard how that ended.
    pub(super) unheard: BTreeSet<UnitId>,
    pub(super) turned: bool,
    pub(super) cancelled: bool,
    pub(super) back: Option<ReasonCode>,
    pub(super) collected: bool,
    pub(super) touched: bool,
    /// Whether anything was begun on a unit, on either way.
    pub(super) acted: bool,
    /// Services whose migration was run to its end.
    pub(super) migrated: BTreeSet<Name>,
    pub(super) waves: Waves,
    pub(super) watch: Watch,
    pub(super) outcome: Option<Outcome>,
    pub(super) breaches: Vec<Breach>,
}

impl<'a> Judge<'a> {
    /// A judge of a rollout that may take `limit` milliseconds.
    pub fn new(plan: &'a Plan, limit: Millis) -> Self {
        Self {
            plan,
            limit,
            began: None,
            now: Moment::default(),
            settled: None,
            finished: Moment::default(),
            generation: 0,
            fenced: BTreeSet::new(),
            leaving: BTreeSet::new(),
            failed: BTreeSet::new(),
            failures: 0,
            deaths: 0,
            unheard: BTreeSet::new(),
            turned: false,
            cancelled: false,
            back: None,
            collected: false,
            touched: false,
            acted: false,
            migrated: BTreeSet::new(),
            waves: Waves::default(),
            watch: Watch::default(),
            outcome: None,
            breaches: Vec::new(),
        }
    }

    /// Shows what stands now. What is told afterwards happens at this moment.
    pub fn see(&mut self, moment: Moment) {
        self.began.get_or_insert(moment.at);
        self.count_deaths(&moment);
        self.watch(&moment);
        self.waves.see(self.plan, &moment);
        self.now = moment;
        for service in &self.plan.services {
            let units = self.now.units.iter().filter(|(unit, _)| unit.service == service.service);
            let running = units.filter(|(_, now)| now.running && !now.told_to_stop).count() as u32;
            let max = service.running_max();
            if running > max {
                self.broken(Law::Bounds, &service.service, format!("{running} run, at most {max} may"));
            }
        }
    }

    /// Tells something that happened at the moment that was shown last.
    pub fn hear(&mut self, happened: Happened) {
        match happened {
            Happened::TookOver { generation } => {
                self.generation = self.generation.max(generation);
                self.leaving.clear();
                self.watch.takes_over();
                self.deaths += std::mem::take(&mut self.unheard).len() as u32;
            }
            Happened::Began { generation, action } => self.action_began(generation, &action),
            Happened::TookHold { generation, action } => {
                if generation < self.generation {
                    let newest = self.generation;
                    let text = format!("{} took hold for generation {generation} of {newest}", action.verb());
                    self.broken(Law::Stale, "rollout", text);
                }
                if let Action::Migrate { service, .. } = action {
                    self.migrated.insert(service);
                }
            }
            Happened::Ended { action } => {
                self.watch.ends(&action);
                if action.unit().is_some_and(|unit| self.unheard.remove(unit)) {
                    self.deaths += 1;
                }
                if let Action::Drain { unit, .. } = &action {
                    self.leaving.remove(unit);
                }
            }
            Happened::Fenced { generation } => {
                self.fenced.insert(generation);
            }
            Happened::Commanded(command) => {
                self.cancelled |= command == Command::Cancel && !(self.plan.irreversible && self.touched);
                if command == Command::Promote {
                    self.waves.promote();
                }
            }
            Happened::WaveBegan { index } => self.wave_began(index),
            Happened::Failed { unit, reason } => self.failure(unit, reason),
            Happened::Turned { reason, unit } => self.turn(reason, unit.as_ref()),
            Happened::WentForward => {
                self.watch.goes_forward();
                if self.back.is_some() {
                    self.broken(Law::NeverTwice, "rollout", "it went forward after it had turned back");
                }
            }
            Happened::WentBack { reason } => self.went_back(reason),
            Happened::Settled { back } => self.settle(back),
            Happened::Reopened => self.reopen(),
            Happened::Finished(outcome) => {
                self.outcome = Some(outcome);
                self.finished = self.now.clone();
            }
        }
    }

    /// Tells that a target was asked for nonsense.
    pub fn nonsense(&mut self, what: impl Into<String>) {
        self.broken(Law::Sense, "rollout", what);
    }

    /// Whether a unit is to stand when the rollout has succeeded.
    pub(super) fn wants_forward(&self, unit: &UnitId) -> bool {
        self.plan.service(&unit.service).is_some_and(|service| wants(service.to.as_ref(), unit))
    }

    pub(super) fn is_previous(&self, unit: &UnitId) -> bool {
        self.plan.service(&unit.service).is_some_and(|service| wants(service.from.as_ref(), unit))
    }

    fn failure(&mut self, unit: Option<UnitId>, reason: ReasonCode) {
        let Some(unit) = unit else { return };
        if reason_is_of_answers(reason) {
            let looked = self.now.units.get(&unit).and_then(|now| now.looked);
            if looked.is_some_and(|looked| looked.answers == 0) {
                self.broken(
                    Law::ProbeErrors,
                    unit.label(),
                    format!("{reason}, and it never answered anything"),
                );
            }
        }
        if !self.turned {
            self.failures += 1;
            self.waves.count_failure(self.plan, &unit);
        }
        self.failed.insert(unit);
    }

    fn turn(&mut self, reason: ReasonCode, unit: Option<&UnitId>) {
        let limit = self.plan.policy.failure_limit;
        let uncounted = matches!(
            reason,
            ReasonCode::NoEvidence
                | ReasonCode::ProbeBroken
                | ReasonCode::ActionFailed
                | ReasonCode::Cancelled
        );
        if let (Some(unit), false) = (unit, uncounted)
            && self.failures <= limit
            && self.waves.exceeded(self.plan).is_none()
        {
            let text = format!("turned for {reason} at {} failures, {limit} allowed", self.failures);
            self.broken(Law::Budget, unit.label(), text);
        }
        self.turned = true;
    }

    fn went_back(&mut self, reason: ReasonCode) {
        if self.back.is_some() {
            self.broken(Law::NeverTwice, "rollout", "it turned back twice");
        }
        if self.plan.irreversible && self.touched {
            self.broken(Law::NeverTwice, "rollout", "an irreversible release was rolled back");
        }
        let is_inconclusive = matches!(reason, ReasonCode::ProbeBroken | ReasonCode::NoEvidence);
        if is_inconclusive && !self.cancelled {
            self.broken(Law::ProbeErrors, "rollout", format!("rolled back for {reason}"));
        }
        self.back = Some(reason);
    }

    fn settle(&mut self, back: bool) {
        self.settled = Some((self.now.clone(), back));
        let units = self.plan.services.iter().flat_map(|service| {
            service.units_of(if back { service.from.as_ref() } else { service.to.as_ref() })
        });
        for unit in units.collect::<Vec<_>>() {
            let looked = self.now.units.get(&unit).and_then(|now| now.looked);
            let seen = !self.now.unreachable.contains(&unit.target);
            if let (Some(looked), Some(check), true, false) = (looked, self.check_of(&unit), seen, back) {
                let is_bad = looked.failures >= check.unhealthy_failures.max(1) || !looked.ever_passed;
                if is_bad || is_stale(&looked, check) {
                    self.broken(Law::Evidence, unit.label(), format!("taken for good with {looked:?}"));
                }
            }
        }
    }

    fn reopen(&mut self) {
        self.outcome = None;
        self.settled = None;
        self.failures = 0;
        self.deaths = 0;
        self.unheard.clear();
        self.waves.forget_failures();
        self.collected &= self.back.is_some();
        self.turned = self.back.is_some();
        self.cancelled = false;
    }

    /// Law 6, from outside: units that ended in traffic, on the way forward, without being told to.
    fn count_deaths(&mut self, next: &Moment) {
        if self.turned {
            return;
        }
        for (unit, now) in &self.now.units {
            let is_goal = self.wants_forward(unit) && !self.waves.is_ahead(self.plan, unit);
            let ended = next.units.get(unit).is_none_or(|next| !next.running);
            let served = stands(now) && now.weight > 0 && !self.leaving.contains(unit);
            let hidden =
                next.unreachable.contains(&unit.target) || self.now.unreachable.contains(&unit.target);
            if is_goal && ended && served && !hidden && !self.failed.contains(unit) {
                if self.watch.is_busy(unit) {
                    self.unheard.insert(unit.clone());
                } else {
                    self.deaths += 1;
                }
            }
        }
    }

    pub(super) fn check_of(&self, unit: &UnitId) -> Option<&'a Check> {
        self.plan.service(&unit.service)?.check_of(unit)
    }

    pub(super) fn broken(&mut self, law: Law, subject: impl ToString, seen: impl Into<String>) {
        self.breaches.push(Breach { law, at: self.now.at, subject: subject.to_string(), seen: seen.into() });
    }
}

pub(super) fn wants(side: Option<&Side>, unit: &UnitId) -> bool {
    side.is_some_and(|side| side.bundle == unit.bundle && unit.slot < side.replicas)
}

pub(super) fn stands(now: &UnitNow) -> bool {
    now.running && !now.told_to_stop
}

pub(super) fn is_stale(looked: &Looked, check: &Check) -> bool {
    looked.age.is_none_or(|age| age > STALE_INTERVALS * (check.interval + check.timeout))
}

/// Whether a failure was found by asking the unit, so that it must have answered something.
fn reason_is_of_answers(reason: ReasonCode) -> bool {
    use ReasonCode::*;
    matches!(
        reason,
        NotListening
            | WrongPort
            | Unresponsive
            | NeverReady
            | UnexpectedAnswer
            | TooSlow
            | BadCertificate
            | Flapping
            | BecameUnhealthy
            | WrongRelease
    )
}
