//! Checks: what is asked of a unit, what it answered, and the evidence that adds up from the answers. Pure.

use crate::model::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One look at a unit: what is asked, and what counts as a good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// An HTTP GET.
    Http(HttpProbe),
    /// A TCP connection that is accepted.
    Tcp,
    /// A command (program and arguments, no shell) that exits 0. It gets `FAIRLEAD_UNIT_ADDRESS`.
    Command(Vec<String>),
}

/// What an HTTP probe asks and expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HttpProbe {
    /// Path and query, from the root.
    pub path: String,
    /// Whether to speak TLS.
    pub tls: Option<TlsProbe>,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// Accepted status codes, first and last of a range.
    pub status: (u16, u16),
    /// A text that the body must contain.
    pub body_contains: Option<String>,
    /// JSON pointer (RFC 6901) → the value it must point at.
    pub json: BTreeMap<String, serde_json::Value>,
    /// Response header → a text that its value must contain.
    pub expect_headers: BTreeMap<String, String>,
    /// The longest time to the complete answer, in milliseconds, that still counts as good.
    pub latency_max_ms: Option<Millis>,
}

/// How an HTTP probe speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TlsProbe {
    /// The name that the certificate must bear.
    pub server_name: String,
    /// A file with the authority that signs it, in PEM; `None` = the machine's own authorities.
    pub ca_file: Option<std::path::PathBuf>,
    /// The least number of days that the certificate must still be valid.
    pub min_days_left: Option<u32>,
}

/// Where a unit says which release it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Path of an HTTP GET that answers JSON.
    pub path: String,
    /// JSON pointer to the text that must equal `FAIRLEAD_RELEASE`.
    pub release_pointer: String,
    /// JSON pointer to the text that must equal `FAIRLEAD_BUNDLE`, if it reports one.
    pub bundle_pointer: Option<String>,
}

/// All that is asked of a unit of one service, and how long it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// The probe.
    pub probe: Probe,
    /// How the unit identifies itself; `None` = by its handle (process, container, pod).
    pub identity: Option<Identity>,
    /// Milliseconds from one probe to the next.
    pub interval: Millis,
    /// Milliseconds that one probe may take.
    pub timeout: Millis,
    /// Passes in a row that make a unit healthy …
    pub healthy_passes: u32,
    /// … over at least this many milliseconds.
    pub healthy_for: Millis,
    /// Milliseconds from its start within which a unit must have become healthy.
    pub healthy_deadline: Millis,
    /// Failures in a row that make a healthy unit unhealthy.
    pub unhealthy_failures: u32,
    /// Errors in a row of the probe itself (not of the service) that make the evidence inconclusive.
    pub provider_error_limit: u32,
}

/// Synthetic requests: GETs to one unit, over new connections, going round the paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SyntheticGate {
    /// Paths and queries, from the root.
    pub paths: Vec<String>,
    /// How many requests in all.
    pub requests: u32,
    /// How many at the same time.
    pub concurrency: u32,
    /// Milliseconds that one may take before it counts as failed.
    pub timeout_ms: Millis,
    /// Milliseconds above which one counts as slow.
    pub slow_above_ms: Millis,
}

impl SyntheticGate {
    /// Few enough not to be a load test, enough to meet a lock that is held too long.
    pub const CONCURRENCY: u32 = 4;

    /// Milliseconds: a request of a person who waits this long has failed.
    pub const TIMEOUT_MS: Millis = 10_000;
}

/// Smoke tests: a command that exits 0 when the deployed services do what they should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SmokeGate {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Milliseconds after which it is killed and counts as failed.
    pub timeout: Millis,
    /// What it gets in its environment, besides what Fairlead itself has.
    pub env: BTreeMap<String, String>,
}

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// As expected, from the unit that was asked.
    Pass,
    /// The connection was refused.
    Refused,
    /// No complete answer within the timeout.
    TimedOut,
    /// The connection broke, or what came was not the protocol.
    Broken(String),
    /// Another status than expected.
    Status(u16),
    /// The answer lacked something: which expectation, and what was there instead.
    Unexpected(String),
    /// It took longer than allowed: milliseconds.
    Slow(Millis),
    /// The certificate is not acceptable: why.
    Certificate(String),
    /// The command exited with this code.
    CommandFailed(i32),
    /// Another release or bundle answered: what it said that it is.
    WrongRelease(String),
    /// The probe itself could not be made (command missing, no file descriptors, …): why. Says nothing of the unit.
    ProviderError(String),
}

/// A probe's answer with its circumstances, as dossier and journal keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Look {
    /// When it was complete.
    pub at: Millis,
    /// How long it took, in milliseconds.
    pub took: Millis,
    /// What it came to.
    pub answer: Answer,
    /// The first bytes of the body or of the command's output (at most 512), secrets masked.
    pub excerpt: String,
}

/// Evidence of one unit's health: a fold over the answers of its probes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// Answers that say something of the unit (all but provider errors).
    pub observed: u32,
    /// Passes in a row up to now.
    pub passes: u32,
    /// When the first of these passes was.
    pub passing_since: Option<Millis>,
    /// Failures in a row up to now.
    pub failures: u32,
    /// Answers of a wrong release in a row up to now.
    pub wrong_release: u32,
    /// Provider errors in a row up to now.
    pub provider_errors: u32,
    /// How often a pass was followed by a failure.
    pub flips: u32,
    /// Whether it ever passed.
    pub ever_passed: bool,
    /// When the last answer was complete.
    pub last_at: Option<Millis>,
    /// The last answer.
    pub last: Option<Answer>,
}

impl Health {
    /// The evidence with one more answer.
    pub fn with(mut self, at: Millis, answer: Answer) -> Self {
        match &answer {
            Answer::ProviderError(_) => {
                self.provider_errors += 1;
                self.last = Some(answer);
                return self;
            }
            Answer::Pass => {
                self.passing_since = self.passing_since.or(Some(at));
                self.passes += 1;
                self.failures = 0;
                self.wrong_release = 0;
                self.ever_passed = true;
            }
            _ => {
                self.flips += u32::from(self.passes > 0);
                self.passes = 0;
                self.passing_since = None;
                self.failures += 1;
                let wrong = matches!(answer, Answer::WrongRelease(_));
                self.wrong_release = if wrong { self.wrong_release + 1 } else { 0 };
            }
        }
        self.provider_errors = 0;
        self.observed += 1;
        self.last_at = Some(at);
        self.last = Some(answer);
        self
    }
}
