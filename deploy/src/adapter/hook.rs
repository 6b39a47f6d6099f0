//! Hooks: commands that are run on this machine at certain moments of a rollout.

use crate::{
    model::HookMoment,
    plan::Hook,
    port::{EffectError, EffectOutput, Hooks},
    reason::ReasonCode,
    state::Failure,
};
use async_trait::async_trait;

/// Runs hooks as child processes.
#[derive(Debug, Default)]
pub struct CommandHooks;

#[async_trait]
impl Hooks for CommandHooks {
    async fn run(
        &self,
        moment: HookMoment,
        _hook: &Hook,
        _cause: Option<&Failure>,
    ) -> Result<EffectOutput, EffectError> {
        let message = format!("hook {}: hooks cannot be run yet", moment.word());
        Err(EffectError::Terminal { reason: ReasonCode::HookFailed, message })
    }
}
