//! Reason codes: why a unit, a gate or a rollout failed, in one word that never changes its meaning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $next:literal;)+) => {
        /// Why something failed. Each code is documented in `docs/reasons.md`, which is rendered from here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ReasonCode {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $variant,)+
        }

        impl ReasonCode {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it is written.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What to do next.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $next,)+ }
            }
        }
    };
}

reasons! {
    /// The bundle could not be brought to the target.
    PrepareFailed = "prepare-failed", "mend what the message names, then deploy again";
    /// A secret's reference could not be resolved, or its value is no longer the planned one.
    SecretUnavailable = "secret-unavailable", "check the reference in the configuration, then plan again";
    /// The service's stable port is held by something else.
    PortTaken = "port-taken", "end what holds the port, or give the service another";
    /// The executable could not be started.
    CannotStart = "cannot-start", "run the executable by hand; check its format and permissions";
    /// The process exited before it was ever healthy.
    ExitedAtStart = "exited-at-start", "read the unit's last log lines";
    /// The process exited after it had been healthy.
    Crashed = "crashed", "read the unit's last log lines";
    /// The process was ended by a signal that Fairlead did not send.
    Killed = "killed", "find who sent the signal: the kernel's log, another operator";
    /// The unit used more memory than its limit.
    OutOfMemory = "out-of-memory", "look for a leak, or raise `memory-max`";
    /// Nothing listens on the unit's port.
    NotListening = "not-listening", "check that the service reads its port variable";
    /// The unit listens, but on another port than the one it was given.
    WrongPort = "wrong-port", "check that the service reads its port variable";
    /// The unit accepts connections but does not answer in time.
    Unresponsive = "unresponsive", "look for a deadlock or a blocked event loop";
    /// The unit answers that it is not ready.
    NeverReady = "never-ready", "ask its readiness endpoint what it waits for";
    /// The unit's answer is not the expected one.
    UnexpectedAnswer = "unexpected-answer", "compare the probe's expectation with the answer";
    /// The unit answers, but slower than the probe allows.
    TooSlow = "too-slow", "look for what the unit waits on, or raise `latency-max`";
    /// The unit's certificate is not acceptable.
    BadCertificate = "bad-certificate", "renew the certificate";
    /// The unit's health keeps changing.
    Flapping = "flapping", "look for a dependency that comes and goes";
    /// The unit was healthy and is no longer.
    BecameUnhealthy = "became-unhealthy", "read the unit's last log lines";
    /// Another release than the deployed one answers.
    WrongRelease = "wrong-release", "check how the artifact was built and what answers on that port";
    /// Too many requests fail.
    ErrorRate = "error-rate", "read the unit's last log lines";
    /// Too many requests are slow.
    SlowRate = "slow-rate", "look for what the unit waits on";
    /// A hook failed, or took longer than it may.
    HookFailed = "hook-failed", "read the hook's output; mend it, then deploy again";
    /// A migration failed, or took longer than it may.
    MigrationFailed = "migration-failed", "read the migration's output; see what it has already changed";
    /// The smoke tests against the deployed services failed.
    SmokeFailed = "smoke-failed", "read the smoke tests' output";
    /// There is not enough evidence to judge.
    NoEvidence = "no-evidence", "find out why there were no answers, or lower the minimum sample";
    /// The probe itself does not work; that says nothing of the service.
    ProbeBroken = "probe-broken", "mend the probe, then resume";
    /// An action on the target failed.
    ActionFailed = "action-failed", "read the message; check the target";
    /// No progress within the progress deadline.
    NoProgress = "no-progress", "look at what the last line was waiting for";
    /// The operator ended the rollout.
    Cancelled = "cancelled", "deploy again when you are ready";
    /// The rollout failed after the point from which there is no way back.
    Irreversible = "irreversible", "mend what failed and deploy forward";
    /// Going back would have taken away the only healthy units.
    OnlyHealthyCopy = "only-healthy-copy", "decide by hand which release is to stand";
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// All codes as a page for people: `docs/reasons.md`.
pub fn to_markdown() -> String {
    let mut page = String::from(PAGE_HEAD);
    for reason in ReasonCode::ALL {
        let (code, meaning, advice) = (reason.code(), reason.meaning(), reason.advice());
        page.push_str(&format!("| `{code}` | {meaning} | {advice} |\n"));
    }
    page
}

const PAGE_HEAD: &str = "\
# Reason codes

<!-- Rendered from `deploy/engine/src/reason.rs`; `UPDATE_DOCS=1 cargo test -p deploy --test docs` renders it anew. -->

A rollout that does not succeed names its reason in one word: on the terminal, in the journal, in `history` and first of
all in the dossier. A code never changes its meaning, so scripts may rely on it. Which fault leads to which code is in
[faults.md](faults.md).

| code | what it means | what to do next |
|---|---|---|
";
