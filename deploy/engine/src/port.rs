//! Ports: the few things that the loop needs from outside, in our own words.

use crate::{
    bundle::{Bundle, BundleHash},
    check::{Check, Look},
    ledger::Ledger,
    model::{Action, HookMoment, Intent, UnitFacts, UnitId},
    plan::Hook,
    reason::ReasonCode,
    state::{Command, Failure},
};
use async_trait::async_trait;
use pipeline::name::Name;
use serde::{Deserialize, Serialize};

/// What one target shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSeen {
    /// The highest generation that acted here.
    pub generation: u64,
    /// What is recorded to stand here.
    pub ledger: Ledger,
    /// Every unit that runs, stops, or ended without being told to.
    pub units: Vec<UnitFacts>,
}

/// Why an effect did not take hold, or is not known to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum EffectError {
    /// It failed for good: trying again would fail the same way.
    #[error("{message}")]
    Terminal {
        /// Why.
        reason: ReasonCode,
        /// What failed and why, for people; secrets masked.
        message: String,
    },
    /// It failed in a way that may pass (busy, timed out, connection lost); whether it took hold is to be observed.
    #[error("{message}")]
    Passing {
        /// What failed and why, for people; secrets masked.
        message: String,
    },
    /// A rollout with a higher generation has taken over: this one must end.
    #[error("a newer rollout (generation {generation}) has taken over this target")]
    Fenced {
        /// The highest generation seen there.
        generation: u64,
    },
}

/// What an effect brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectOutput {
    /// A line for people (e.g. "2 requests broken off at the drain deadline"); empty if there is nothing to say.
    pub note: String,
}

/// A place where units stand: this machine, a host, a namespace.
///
/// **Laws.** `perform` is idempotent: performing an action that has taken hold is `Ok`. It is refused as
/// [`EffectError::Fenced`] when a higher generation has acted there. `observe` changes nothing. An `Ok` of `perform`
/// means that a following `observe` shows it.
#[async_trait]
pub trait Target: Send + Sync {
    /// Its name.
    fn name(&self) -> &Name;

    /// What stands now.
    async fn observe(&self) -> Result<TargetSeen, EffectError>;

    /// Returns when something may have changed since the last [`Target::observe`], or after about a second.
    async fn changed(&self);

    /// Raises the generation: everything older is refused from now on.
    async fn fence(&self, generation: u64) -> Result<(), EffectError>;

    /// Performs one of `Prepare`, `Migrate`, `Start`, `Admit`, `Drain`, `Stop`, `Commit`.
    async fn perform(&self, generation: u64, intent: &Intent) -> Result<EffectOutput, EffectError>;

    /// A bundle that stands or is kept there.
    async fn bundle(&self, hash: &BundleHash) -> Result<Bundle, EffectError>;

    /// The last lines that a unit logged, oldest first; works for units that have ended.
    async fn log_tail(&self, unit: &UnitId, lines: usize) -> Result<Vec<String>, EffectError>;

    /// What the unit uses: pairs for people (resident memory, threads, open files, ports it listens on).
    async fn resources(&self, unit: &UnitId) -> Vec<(String, String)>;
}

/// Asks units.
#[async_trait]
pub trait Prober: Send + Sync {
    /// One look at a unit; never longer than the check's timeout. Failures are answers, not errors.
    async fn look(&self, unit: &UnitFacts, check: &Check) -> Look;

    /// Performs one of the gates that act by themselves: `Judge` (synthetic requests to one unit) or `Verify`.
    async fn gate(&self, action: &Action, unit: Option<&UnitFacts>) -> Result<GateResult, EffectError>;
}

/// Runs the environment's hooks.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Runs one hook to its end, at most as long as its timeout; `cause` is why the rollout failed, if it has. It may be
    /// run again when its outcome was not heard of. Not being able to run it, and an exit code that is not 0, are
    /// [`EffectError::Terminal`] with [`ReasonCode::HookFailed`].
    async fn run(
        &self,
        moment: HookMoment,
        hook: &Hook,
        cause: Option<&Failure>,
    ) -> Result<EffectOutput, EffectError>;
}

/// What a gate that acts by itself came to: evidence, not a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    /// Requests made or tests run.
    pub samples: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that took longer than the gate's threshold.
    pub slow: u64,
    /// What to show: the first failures, the last lines of the smoke tests' output; secrets masked.
    pub excerpt: Vec<String>,
}

/// Time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; never falls.
    fn now(&self) -> crate::model::Millis;

    /// Returns at `at`.
    async fn sleep_until(&self, at: crate::model::Millis);
}

/// Why a state could not be written down. Nothing may be done then.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Another executor has taken over.
    #[error("a newer executor (generation {generation}) has taken over this rollout")]
    Lost {
        /// Its generation.
        generation: u64,
    },
    /// The record could not be written.
    #[error("could not write the rollout record")]
    Write(#[source] std::io::Error),
}

/// What an operator asks, from another process, of the executor that carries out one rollout. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Format version; see [`Request::FORMAT`].
    pub version: u32,
    /// Names it; sorts by the time at which it was left.
    pub id: String,
    /// The run that is meant …
    pub run: String,
    /// … and the executor of it: another generation has not been asked.
    pub generation: u64,
    /// What is asked for.
    pub command: Command,
    /// Who asks: user and host.
    pub actor: String,
}

impl Request {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;
}

/// Where requests are left for the executor that holds the lease: beside the rollout record, at its home.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Leaves a request: it is seen as a whole or not at all.
    async fn leave(&self, request: &Request) -> std::io::Result<()>;

    /// Whether a request still lies there.
    async fn is_left(&self, id: &str) -> std::io::Result<bool>;

    /// Removes a request; says whether it was still there.
    async fn remove(&self, id: &str) -> std::io::Result<bool>;

    /// Every request that lies there, oldest first: its id, and the request unless it cannot be read.
    async fn all(&self) -> std::io::Result<Vec<(String, Option<Request>)>>;
}

/// Where the state of a rollout is written down before anything is done.
#[async_trait]
pub trait RolloutRecord: Send + Sync {
    /// Writes the state, if this executor still is the one that acts.
    async fn swap(&self, state: &crate::state::State) -> Result<(), SwapError>;
}
