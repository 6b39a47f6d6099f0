//! Effects: what was decided is performed, each in a task of its own with a deadline, and comes back as an observation.

use super::Rollout;
use crate::{
    dossier::Dossier,
    event::{ActionResult, Event},
    model::{Action, HookMoment, Intent, IntentId, Millis, UnitFacts, UnitId},
    plan::Plan,
    port::{EffectError, EffectOutput, GateResult},
    reason::ReasonCode,
    state::{Effect, Failure},
};
use pipeline::crossing;
use std::{collections::BTreeMap, future::Future, time::Duration};
use tokio::task::JoinSet;

/// An effect that ended.
pub(super) type Ended = (IntentId, Result<Effect, EffectError>);

/// What is under way.
#[derive(Default)]
pub(super) struct Effects {
    tasks: JoinSet<Report>,
    /// What the last gate that failed showed, for the dossier.
    pub(super) gate_excerpt: Vec<String>,
}

struct Report {
    intent: Intent,
    took: Millis,
    result: Result<Output, EffectError>,
}

enum Output {
    Done(EffectOutput),
    Gate(GateResult),
    Dossier(Box<Dossier>),
}

impl Effects {
    /// Begins an intent.
    pub(super) fn begin<F>(
        &mut self,
        rollout: &Rollout,
        intent: &Intent,
        facts: &BTreeMap<UnitId, UnitFacts>,
        cause: Option<Failure>,
        collect: impl FnOnce() -> F,
    ) where
        F: Future<Output = Dossier> + Send + 'static,
    {
        (rollout.events)(Event::ActionBegan { intent: intent.clone() });
        let began = rollout.clock.now();
        let clock = rollout.clock.clone();
        let work = perform(rollout, intent, facts, cause, collect);
        let (intent, limit) = (intent.clone(), deadline(&rollout.plan, &intent.action));
        self.tasks.spawn(async move {
            crossing!("effect.{}.before", intent.action.verb());
            let result = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let message = format!("{}: no answer within {} s", intent.action.verb(), limit.as_secs());
                Err(EffectError::Passing { message })
            });
            crossing!("effect.{}.after", intent.action.verb());
            Report { intent, took: clock.now().saturating_sub(began), result }
        });
    }

    /// The next effect that ends; `None` while nothing is under way.
    pub(super) async fn next(&mut self, rollout: &Rollout) -> Option<Ended> {
        loop {
            if let Ok(report) = self.tasks.join_next().await? {
                return Some(self.take(rollout, report));
            }
        }
    }

    /// An effect that has already ended.
    pub(super) fn try_next(&mut self, rollout: &Rollout) -> Option<Ended> {
        loop {
            if let Ok(report) = self.tasks.try_join_next()? {
                return Some(self.take(rollout, report));
            }
        }
    }

    /// Waits for everything that is under way, and no longer than this.
    pub(super) async fn finish(&mut self, limit: Duration) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // At the deadline the rest is given up: whoever takes the rollout up again observes what came of it.
        let _gave_up = tokio::time::timeout(limit, all).await;
    }

    fn take(&mut self, rollout: &Rollout, report: Report) -> Ended {
        let Report { intent, took, result } = report;
        let (told, effect) = match result {
            Ok(Output::Done(output)) => (ActionResult::Done { note: output.note }, Ok(Effect::Done)),
            Ok(Output::Gate(gate)) => {
                if gate.errors > 0 || gate.slow > 0 {
                    self.gate_excerpt.clone_from(&gate.excerpt);
                }
                (ActionResult::Gate(gate.clone()), Ok(Effect::Gate(gate)))
            }
            Ok(Output::Dossier(dossier)) => {
                let path = super::collect::write(&rollout.dossiers, &dossier);
                (rollout.events)(Event::EvidenceCollected { dossier, path });
                (ActionResult::Done { note: String::new() }, Ok(Effect::Done))
            }
            Err(error) => {
                let may_pass = matches!(error, EffectError::Passing { .. });
                (ActionResult::Failed { message: error.to_string(), may_pass }, Err(error))
            }
        };
        let id = intent.id;
        (rollout.events)(Event::ActionEnded { intent, took, result: told });
        (id, effect)
    }
}

fn perform<F>(
    rollout: &Rollout,
    intent: &Intent,
    facts: &BTreeMap<UnitId, UnitFacts>,
    cause: Option<Failure>,
    collect: impl FnOnce() -> F,
) -> futures::future::BoxFuture<'static, Result<Output, EffectError>>
where
    F: Future<Output = Dossier> + Send + 'static,
{
    let action = intent.action.clone();
    let target = match &action {
        Action::Collect => {
            let collect = collect();
            return Box::pin(async move { Ok(Output::Dossier(Box::new(collect.await))) });
        }
        Action::Judge { .. } | Action::Verify { .. } => {
            let prober = rollout.prober.clone();
            let unit = action.unit().and_then(|unit| facts.get(unit)).cloned();
            return Box::pin(async move { prober.gate(&action, unit.as_ref()).await.map(Output::Gate) });
        }
        Action::Hook { moment, index } => return run_hook(rollout, *moment, *index, cause),
        Action::Prepare { target, .. } | Action::Migrate { target, .. } | Action::Commit { target, .. } => {
            target
        }
        Action::Start { unit }
        | Action::Admit { unit, .. }
        | Action::Drain { unit, .. }
        | Action::Stop { unit, .. } => &unit.target,
    };
    let Some(target) = rollout.targets.get(target).cloned() else {
        let message = format!("there is no target `{target}`");
        let reason = ReasonCode::ActionFailed;
        return Box::pin(async move { Err(EffectError::Terminal { reason, message }) });
    };
    let (generation, intent) = (rollout.generation, intent.clone());
    Box::pin(async move { target.perform(generation, &intent).await.map(Output::Done) })
}

fn run_hook(
    rollout: &Rollout,
    moment: HookMoment,
    index: u16,
    cause: Option<Failure>,
) -> futures::future::BoxFuture<'static, Result<Output, EffectError>> {
    let (hooks, plan) = (rollout.hooks.clone(), rollout.plan.clone());
    Box::pin(async move {
        let hook = plan.policy.hooks.get(&moment).and_then(|hooks| hooks.get(usize::from(index)));
        let Some(hook) = hook else {
            let message = format!("the plan has no hook {} {index}", moment.word());
            return Err(EffectError::Terminal { reason: ReasonCode::HookFailed, message });
        };
        hooks.run(moment, hook, cause.as_ref()).await.map(Output::Done)
    })
}

/// How long an effect may take before its outcome counts as unknown: its own deadline and a margin for the way there
/// and back, so that the target's answer comes first.
fn deadline(plan: &Plan, action: &Action) -> Duration {
    const MARGIN: Duration = Duration::from_secs(10);
    match action {
        Action::Hook { moment, index } => {
            let hook = plan.policy.hooks.get(moment).and_then(|hooks| hooks.get(usize::from(*index)));
            Duration::from_millis(hook.map_or(0, |hook| hook.timeout)) + MARGIN
        }
        Action::Migrate { service, .. } => {
            let migration = plan.service(service).and_then(|service| service.migration.as_ref());
            Duration::from_millis(migration.map_or(0, |migration| migration.timeout)) + MARGIN
        }
        // Bringing an artifact over a slow line.
        Action::Prepare { .. } => Duration::from_secs(600),
        Action::Start { .. } | Action::Commit { .. } => Duration::from_secs(30),
        Action::Admit { .. } => Duration::from_secs(15),
        Action::Drain { deadline, .. } => Duration::from_millis(*deadline) + MARGIN,
        Action::Stop { grace, .. } => Duration::from_millis(*grace) + MARGIN,
        // Gates have their own deadlines, which are in the configuration.
        Action::Judge { .. } | Action::Verify { .. } => Duration::from_secs(3_600),
        // Evidence must not stand in the way of the rollback.
        Action::Collect => Duration::from_secs(15),
    }
}
