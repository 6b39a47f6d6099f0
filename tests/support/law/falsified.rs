//! That the judge sees: a rollout that breaks no law, falsified.

use super::Case;
use engine::{
    law::{Happened, Law},
    model::Action,
    state::Outcome,
};

impl Case {
    /// Asserts that it breaks a law when it is falsified so.
    #[track_caller]
    pub fn breaks(&self, law: Law, falsify: impl FnOnce(&mut Self)) {
        let mut case = self.clone();
        falsify(&mut case);
        let broken = case.breaches();
        assert!(broken.iter().any(|breach| breach.law == law), "{law} should be broken: {broken:#?}");
    }

    /// Asserts of a success in which two units were replaced by two, start-first, that each of its falsifications breaks the
    /// law that it must.
    #[track_caller]
    pub fn assert_falsified_successes_are_found_out(&self) {
        let began = |is: fn(&Action) -> bool| move |(_, happened): &(u64, Happened)| matches!(happened, Happened::Began { action, .. } if is(action));
        // One more ran than a plan without surge allows.
        self.breaks(Law::Bounds, |case| {
            case.plan.services[0].strategy = engine::simulate::parse_strategy("recreate").expect("words");
        });
        // The first that is drained is drained before any new one has traffic.
        self.breaks(Law::Bounds, |case| {
            let drain = case.told.iter().position(began(|action| matches!(action, Action::Drain { .. })));
            let (_, drain) = case.told.remove(drain.expect("a drain"));
            let start = case.told.iter().position(began(|action| matches!(action, Action::Start { .. })));
            let start = start.expect("a start");
            let at = case.told[start].0;
            case.told.insert(start, (at, drain));
        });
        self.breaks(Law::Agreement, |case| {
            let old = case.moments[0].ledgers.clone();
            case.moments.iter_mut().for_each(|moment| moment.ledgers.clone_from(&old));
        });
        self.breaks(Law::EmptyPlan, |case| {
            let unit =
                case.moments.last().and_then(|moment| moment.units.keys().next().cloned()).expect("a unit");
            case.moments.iter_mut().for_each(|moment| moment.units.retain(|other, _| *other != unit));
        });
        // It was refused before it did anything, and went on.
        self.breaks(Law::Stale, |case| {
            let took_over = case.told.iter().find_map(|(at, happened)| match happened {
                Happened::TookOver { generation } => Some((*at, *generation)),
                _ => None,
            });
            let (at, generation) = took_over.expect("a lease");
            case.told.insert(1, (at, Happened::Fenced { generation }));
        });
        // A success that the journal tells of as a return.
        self.breaks(Law::SameBundle, |case| {
            for (_, happened) in &mut case.told {
                match happened {
                    Happened::Settled { back } => *back = true,
                    Happened::Finished(outcome) => {
                        let cause = engine::state::Failure {
                            reason: engine::reason::ReasonCode::Crashed,
                            unit: None,
                            service: None,
                            message: String::new(),
                            at: 0,
                        };
                        *outcome = Outcome::RolledBack { cause };
                    }
                    _ => {}
                }
            }
        });
    }
}
