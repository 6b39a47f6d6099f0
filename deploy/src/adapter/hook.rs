//! Hooks: commands that are run on this machine at certain moments of a rollout.
//!
//! A hook is a process group of its own in the project's root, without input, and ends with the executor: as a group
//! when the executor ends or gives it up, its first process also when the executor is killed. Whoever takes the rollout
//! up again then cannot know how far it came, and runs it again: a hook is run at least once.

use crate::{
    model::HookMoment,
    plan::{Hook, Plan},
    port::{EffectError, EffectOutput, Hooks},
    reason::ReasonCode,
    state::Failure,
};
use async_trait::async_trait;
use pipeline::causes::in_one_line;
use pipeline::{
    process::{Argv, Runner},
    secret::Redactor,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

/// Runs hooks as child processes.
#[derive(Debug, Clone)]
pub struct CommandHooks {
    runner: Runner,
    root: PathBuf,
    variables: BTreeMap<String, String>,
}

impl CommandHooks {
    /// Runs the hooks of a plan in `root`, the project's root, with variables that say where its services answer. What
    /// they print is masked by `redactor`.
    pub fn new(root: PathBuf, redactor: Redactor, plan: &Plan, addresses: BTreeMap<String, String>) -> Self {
        let runner = Runner { redactor, ..Runner::default() };
        Self { runner, root, variables: variables(plan, addresses) }
    }

    fn argv(&self, moment: HookMoment, hook: &Hook, cause: Option<&Failure>) -> Option<Argv> {
        let mut argv = Argv::from_list(&hook.command)?.folder(&self.root).ends_with_us();
        // What is not known now is not inherited from a rollout that ran this one, either.
        for name in ["FAIRLEAD_PREVIOUS_RELEASE", "FAIRLEAD_REASON", "FAIRLEAD_FAILED_UNIT"] {
            argv = argv.env_remove(name);
        }
        for (name, value) in hook.env.iter().chain(&self.variables) {
            argv = argv.env(name, value);
        }
        argv = argv.env("FAIRLEAD_HOOK", moment.word());
        if let Some(cause) = cause {
            argv = argv.env("FAIRLEAD_REASON", cause.reason.to_string());
            if let Some(unit) = &cause.unit {
                argv = argv.env("FAIRLEAD_FAILED_UNIT", unit.to_string());
            }
        }
        Some(argv)
    }
}

#[async_trait]
impl Hooks for CommandHooks {
    async fn run(
        &self,
        moment: HookMoment,
        hook: &Hook,
        cause: Option<&Failure>,
    ) -> Result<EffectOutput, EffectError> {
        let Some(argv) = self.argv(moment, hook, cause) else {
            return Err(failed(moment, "it has no program"));
        };
        let limit = Duration::from_millis(hook.timeout);
        let ended = self.runner.run(&argv, limit, &mut |_, _| {}).await;
        match ended.and_then(|finished| finished.check(&argv)) {
            Ok(_) => {
                Ok(EffectOutput { note: self.runner.redactor.mask(&format!("`{argv}` is done")).into() })
            }
            Err(error) => Err(failed(moment, &self.runner.redactor.mask(&in_one_line(&error)))),
        }
    }
}

/// What tells every hook of the rollout that it belongs to.
fn variables(plan: &Plan, mut variables: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut add = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    add("FAIRLEAD_ENVIRONMENT", plan.environment.as_str());
    add("FAIRLEAD_RUN", &plan.run);
    add("FAIRLEAD_RELEASE", &plan.release);
    let before: BTreeSet<&str> =
        plan.services.iter().filter_map(|service| Some(service.from.as_ref()?.release.as_str())).collect();
    if !before.is_empty() {
        add("FAIRLEAD_PREVIOUS_RELEASE", &before.into_iter().collect::<Vec<_>>().join(","));
    }
    variables
}

fn failed(moment: HookMoment, why: &str) -> EffectError {
    EffectError::Terminal {
        reason: ReasonCode::HookFailed,
        message: format!("hook {}: {why}", moment.word()),
    }
}

#[cfg(test)]
mod tests;
