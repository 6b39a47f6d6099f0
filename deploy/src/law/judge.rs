//! The judge: remembers what it was shown and told, and says what was broken.

use super::{Breach, Happened, Law, Looked, Moment, UnitNow};
use crate::{
    check::Check,
    model::{Action, Millis, UnitId},
    plan::{Plan, Side},
    reason::ReasonCode,
    state::{Command, Outcome},
};
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
    generation: u64,
    fenced: BTreeSet<u64>,
    /// Units that are being taken out of traffic, so that nobody may count on them.
    leaving: BTreeSet<UnitId>,
    /// Units that failed since they were last started.
    failed: BTreeSet<UnitId>,
    failures: u32,
    deaths: u32,
    turned: bool,
    cancelled: bool,
    back: Option<ReasonCode>,
    collected: bool,
    pub(super) touched: bool,
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
            generation: 0,
            fenced: BTreeSet::new(),
            leaving: BTreeSet::new(),
            failed: BTreeSet::new(),
            failures: 0,
            deaths: 0,
            turned: false,
            cancelled: false,
            back: None,
            collected: false,
            touched: false,
            outcome: None,
            breaches: Vec::new(),
        }
    }

    /// Shows what stands now. What is told afterwards happens at this moment.
    pub fn see(&mut self, moment: Moment) {
        self.began.get_or_insert(moment.at);
        self.count_deaths(&moment);
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
            }
            Happened::Began { generation, action } => self.action_began(generation, &action),
            Happened::TookHold { generation, action } => {
                if generation < self.generation {
                    let newest = self.generation;
                    let text = format!("{} took hold for generation {generation} of {newest}", action.verb());
                    self.broken(Law::Stale, "rollout", text);
                }
            }
            Happened::Ended { action } => {
                if let Action::Drain { unit, .. } = &action {
                    self.leaving.remove(unit);
                }
            }
            Happened::Fenced { generation } => {
                self.fenced.insert(generation);
            }
            Happened::Commanded(command) => self.cancelled |= command == Command::Cancel,
            Happened::Failed { unit, reason } => self.failure(unit, reason),
            Happened::Turned { reason, unit } => self.turn(reason, unit.as_ref()),
            Happened::WentForward => {
                if self.back.is_some() {
                    self.broken(Law::NeverTwice, "rollout", "it went forward after it had turned back");
                }
            }
            Happened::WentBack { reason } => self.went_back(reason),
            Happened::Settled { back } => self.settle(back),
            Happened::Reopened => self.reopen(),
            Happened::Finished(outcome) => self.outcome = Some(outcome),
        }
    }

    /// Tells that a target was asked for nonsense.
    pub fn nonsense(&mut self, what: impl Into<String>) {
        self.broken(Law::Sense, "rollout", what);
    }

    fn action_began(&mut self, generation: u64, action: &Action) {
        if self.fenced.contains(&generation) {
            let text = format!("generation {generation} was refused, and began to {}", action.verb());
            self.broken(Law::Stale, "rollout", text);
        }
        if generation < self.generation {
            return; // What it begins is for the target to refuse.
        }
        self.collected |= *action == Action::Collect;
        let Some(unit) = action.unit() else { return };
        if self.back.is_none() && !matches!(action, Action::Judge { .. }) {
            self.touched = true;
        }
        if self.back.is_some_and(|reason| reason != ReasonCode::Cancelled) && !self.collected {
            self.broken(
                Law::EvidenceFirst,
                unit.label(),
                format!("{} before there is a dossier", action.verb()),
            );
        }
        match action {
            Action::Start { unit } => self.start_began(unit),
            Action::Admit { unit, .. } => self.admit_began(unit),
            Action::Drain { unit, .. } | Action::Stop { unit, .. } => {
                self.loses(unit);
                self.leaving.insert(unit.clone());
            }
            _ => {}
        }
    }

    fn start_began(&mut self, unit: &UnitId) {
        self.failed.remove(unit);
        self.leaving.remove(unit);
        self.keeps_direction(unit, "start");
        self.keeps_budget(unit, "start");
    }

    fn admit_began(&mut self, unit: &UnitId) {
        self.leaving.remove(unit);
        self.keeps_direction(unit, "admit");
        self.keeps_budget(unit, "admit");
        let Some(check) = self.check_of(unit) else { return };
        let Some(now) = self.now.units.get(unit).copied() else {
            return self.broken(Law::Evidence, unit.label(), "admitted, and it is not there");
        };
        if let (Some(looked), false) = (now.looked, self.now.unreachable.contains(&unit.target))
            && let Some(lack) = lacks(&looked, check)
        {
            self.broken(Law::Evidence, unit.label(), format!("admitted with {lack}"));
        }
    }

    /// Law 3: nothing is begun that is being taken back, and nothing that was not planned.
    fn keeps_direction(&mut self, unit: &UnitId, verb: &str) {
        let Some(service) = self.plan.service(&unit.service) else { return };
        let back = self.back.is_some() || self.cancelled;
        let side = if back { &service.from } else { &service.to };
        if !wants(side.as_ref(), unit) {
            let way = if back { "back" } else { "forward" };
            self.broken(
                Law::NeverTwice,
                unit.label(),
                format!("{verb} on the way {way}, which does not want it"),
            );
        }
    }

    /// Law 6: once the budget is exceeded nothing more is begun on the way forward.
    fn keeps_budget(&mut self, unit: &UnitId, verb: &str) {
        let limit = self.plan.policy.failure_limit;
        let failures = self.failures.max(self.deaths);
        if self.back.is_none() && failures > limit {
            self.broken(
                Law::Budget,
                unit.label(),
                format!("{verb} after {failures} failures, {limit} allowed"),
            );
        }
    }

    /// Law 4: no action takes away what is available below the bound.
    fn loses(&mut self, unit: &UnitId) {
        let Some(service) = self.plan.service(&unit.service) else { return };
        if !self.is_available(unit) || self.failed.contains(unit) {
            return;
        }
        let mine = self.now.units.keys().filter(|other| other.service == service.service);
        let left = mine.filter(|other| *other != unit && self.is_available(other)).count() as u32;
        let min = service.available_min();
        if left < min {
            let text = format!("taken away, {left} stay available, at least {min} must");
            self.broken(Law::Bounds, unit.label(), text);
        }
    }

    fn is_available(&self, unit: &UnitId) -> bool {
        let Some(now) = self.now.units.get(unit) else { return false };
        let unhealthy = self.check_of(unit).map_or(1, |check| check.unhealthy_failures.max(1));
        let healthy = now.looked.is_none_or(|looked| looked.ever_passed && looked.failures < unhealthy);
        stands(now) && now.weight > 0 && healthy && !self.leaving.contains(unit)
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
            let is_goal =
                self.plan.service(&unit.service).is_some_and(|service| wants(service.to.as_ref(), unit));
            let ended = next.units.get(unit).is_none_or(|next| !next.running);
            let served = stands(now) && now.weight > 0 && !self.leaving.contains(unit);
            let hidden =
                next.unreachable.contains(&unit.target) || self.now.unreachable.contains(&unit.target);
            if is_goal && ended && served && !hidden && !self.failed.contains(unit) {
                self.deaths += 1;
            }
        }
    }

    fn check_of(&self, unit: &UnitId) -> Option<&'a Check> {
        self.plan.service(&unit.service)?.check_of(unit)
    }

    pub(super) fn broken(&mut self, law: Law, subject: impl ToString, seen: impl Into<String>) {
        self.breaches.push(Breach { law, at: self.now.at, subject: subject.to_string(), seen: seen.into() });
    }
}

fn wants(side: Option<&Side>, unit: &UnitId) -> bool {
    side.is_some_and(|side| side.bundle == unit.bundle && unit.slot < side.replicas)
}

pub(super) fn stands(now: &UnitNow) -> bool {
    now.running && !now.told_to_stop
}

fn is_stale(looked: &Looked, check: &Check) -> bool {
    looked.age.is_none_or(|age| age > STALE_INTERVALS * (check.interval + check.timeout))
}

/// What the evidence of a unit lacks to be admitted.
fn lacks(looked: &Looked, check: &Check) -> Option<String> {
    let passes = check.healthy_passes.max(1);
    if looked.wrong_release > 0 {
        return Some("another release answering".to_owned());
    }
    if looked.failures > 0 {
        return Some(format!("{} bad answers in a row", looked.failures));
    }
    if looked.passes < passes || looked.held_for < check.healthy_for {
        return Some(format!("{} of {passes} passes over {} ms", looked.passes, looked.held_for));
    }
    is_stale(looked, check).then(|| format!("an answer {:?} ms old", looked.age))
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
