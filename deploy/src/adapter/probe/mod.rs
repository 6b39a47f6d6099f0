//! The prober: asks units over HTTP, TCP and commands, and performs the gates that act by themselves.
//!
//! **Invariants.** A look never takes longer than its check's timeout and never fails: whatever goes wrong is an
//! [`Answer`]. What goes wrong on our side is a [`Answer::ProviderError`] and says nothing of the unit. No text leaves
//! this module unmasked.

mod command;
mod expect;
mod gate;
mod http;
mod show;
mod tls;

pub use gate::Gates;
pub use show::Mask;

use crate::{
    check::{Answer, Check, HttpProbe, Identity, Look, Probe},
    model::{Action, UnitFacts},
    port::{Clock, EffectError, GateResult, Prober},
    reason::ReasonCode,
};
use async_trait::async_trait;
use pipeline::name::Name;
use show::Show;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tls::Trust;

/// Asks real units.
pub struct RealProber {
    clock: Arc<dyn Clock>,
    show: Show,
    trust: Trust,
    gates: BTreeMap<Name, Gates>,
}

impl RealProber {
    /// A prober without gates. `clock` stamps the looks; `mask` is applied to every text that comes from outside.
    pub fn new(clock: Arc<dyn Clock>, mask: Mask) -> Self {
        Self { clock, show: Show::new(mask), trust: Trust::default(), gates: BTreeMap::new() }
    }

    /// The same prober with the gates of one service.
    #[must_use]
    pub fn with_gates(mut self, service: Name, gates: Gates) -> Self {
        self.gates.insert(service, gates);
        self
    }

    /// The answer to a look, without a deadline. What was read is left in `seen`, also when this is cut off.
    async fn ask(&self, unit: &UnitFacts, check: &Check, seen: &mut Vec<u8>) -> Answer {
        let Some(address) = unit.address else {
            return Answer::Broken("the unit has no address, so it does not run".to_owned());
        };
        let answer = match &check.probe {
            Probe::Http(probe) => {
                let identity = check.identity.as_ref().filter(|i| i.path == probe.path);
                self.ask_http(unit, address, probe, identity, seen).await
            }
            Probe::Tcp => http::connect(address).await.map_or_else(|failure| failure, |_| Answer::Pass),
            Probe::Command(argv) => command::probe(argv, unit, address, seen).await,
        };
        match &check.identity {
            Some(identity) if needs_own_request(identity, check) && may_be_identified(&answer) => {
                self.identify(unit, address, identity, check, answer, seen).await
            }
            _ => answer,
        }
    }

    /// Asks by HTTP. When `identity` is given, the same answer identifies the unit.
    async fn ask_http(
        &self,
        unit: &UnitFacts,
        address: SocketAddr,
        probe: &HttpProbe,
        identity: Option<&Identity>,
        seen: &mut Vec<u8>,
    ) -> Answer {
        let request =
            http::Request { address, path: &probe.path, headers: &probe.headers, tls: probe.tls.as_ref() };
        let started = Instant::now();
        let head = match http::get(&request, &self.trust, seen).await {
            Ok(head) => head,
            Err(failure) => return failure,
        };
        let health = expect::response(probe, &head, seen, millis(started.elapsed()));
        match identity.map(|identity| expect::identity(identity, unit, &head, seen)) {
            // A unit that is still starting answers an error without a name. That is a failure, not another release.
            Some(expect::Identified::Unnamed(_)) if health != Answer::Pass => health,
            Some(expect::Identified::Unnamed(said) | expect::Identified::Wrong(said)) => {
                Answer::WrongRelease(said)
            }
            Some(expect::Identified::Right) | None => health,
        }
    }

    /// Identifies a unit by a request of its own, after its probe came to `health`.
    async fn identify(
        &self,
        unit: &UnitFacts,
        address: SocketAddr,
        identity: &Identity,
        check: &Check,
        health: Answer,
        seen: &mut Vec<u8>,
    ) -> Answer {
        let none = BTreeMap::new();
        let (headers, tls) = match &check.probe {
            Probe::Http(probe) => (&probe.headers, probe.tls.as_ref()),
            Probe::Tcp | Probe::Command(_) => (&none, None),
        };
        let request = http::Request { address, path: &identity.path, headers, tls };
        let mut body = Vec::new();
        let found = match http::get(&request, &self.trust, &mut body).await {
            Ok(head) if head.status >= 500 => Err(Answer::Status(head.status)),
            Ok(head) => Ok(expect::identity(identity, unit, &head, &body)),
            Err(failure) => Err(failure),
        };
        let answer = match found {
            Ok(expect::Identified::Right) => return health,
            Ok(expect::Identified::Wrong(said)) => Answer::WrongRelease(said),
            Ok(expect::Identified::Unnamed(_)) | Err(_) if health != Answer::Pass => return health,
            Ok(expect::Identified::Unnamed(said)) => Answer::WrongRelease(said),
            Err(failure) => failure,
        };
        *seen = body;
        answer
    }
}

#[async_trait]
impl Prober for RealProber {
    async fn look(&self, unit: &UnitFacts, check: &Check) -> Look {
        let started = Instant::now();
        let mut seen = Vec::new();
        let limit = Duration::from_millis(check.timeout);
        let answer = tokio::time::timeout(limit, self.ask(unit, check, &mut seen)).await;
        Look {
            at: self.clock.now(),
            took: millis(started.elapsed()),
            answer: self.show.answer(answer.unwrap_or(Answer::TimedOut)),
            excerpt: self.show.excerpt(&seen),
        }
    }

    async fn gate(&self, action: &Action, unit: Option<&UnitFacts>) -> Result<GateResult, EffectError> {
        let missing = |what: &str, service: &Name| {
            terminal(ReasonCode::ProbeBroken, format!("no {what} are configured for service `{service}`"))
        };
        match action {
            Action::Judge { unit: id } => {
                let gate = self.gates.get(&id.service).and_then(|g| g.synthetic.as_ref());
                let gate = gate.ok_or_else(|| missing("synthetic requests", &id.service))?;
                let address = unit.and_then(|facts| facts.address).ok_or_else(|| EffectError::Passing {
                    message: format!("cannot judge {}: it does not run", id.label()),
                })?;
                gate::judge(gate, address, &self.trust, &self.show).await
            }
            Action::Verify { service } => {
                let gate = self.gates.get(service).and_then(|g| g.smoke.as_ref());
                let gate = gate.ok_or_else(|| missing("smoke tests", service))?;
                gate::verify(gate, service, &self.show).await
            }
            other => Err(terminal(ReasonCode::ActionFailed, format!("`{}` is not a gate", other.verb()))),
        }
    }
}

/// Whether the unit must be asked once more to say which release it is.
fn needs_own_request(identity: &Identity, check: &Check) -> bool {
    !matches!(&check.probe, Probe::Http(probe) if probe.path == identity.path)
}

/// Whether it makes sense to ask for the identity after this answer. An answer of another release that fails its
/// probe is first of all of another release.
fn may_be_identified(answer: &Answer) -> bool {
    !matches!(answer, Answer::Refused | Answer::TimedOut | Answer::ProviderError(_))
}

fn terminal(reason: ReasonCode, message: String) -> EffectError {
    EffectError::Terminal { reason, message }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
