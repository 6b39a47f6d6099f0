//! What a supervisor tells. Nothing here changes anything.

use super::{
    Shared,
    ops::failed,
    state::{Life, Unit},
    units::HOST,
};
use crate::{
    adapter::process::{
        ledger_file, listeners, procfs,
        protocol::{FailedKind, Hello, PROTOCOL, Reply, Seen},
    },
    model::{Millis, Traffic, UnitFacts, UnitId, UnitPhase},
};
use std::{cell::LazyCell, net::SocketAddr, time::Duration};

/// The longest [`crate::adapter::process::protocol::Op::Watch`].
const WATCH_MAX: Duration = Duration::from_secs(30);

/// Who listens on this machine, looked up when somebody wants to know.
type Listeners = LazyCell<Vec<listeners::Listener>>;

impl Shared {
    /// Who this is.
    pub(super) async fn hello(&self) -> Reply {
        let store = self.store.lock().await;
        let router = store.state.router.as_ref();
        Reply::Hello(Hello {
            protocol: PROTOCOL,
            version: self.options.version.clone(),
            pid: std::process::id(),
            router_pid: router.and_then(|r| r.process).filter(|p| p.is_alive()).map(|p| p.pid),
            router_version: router.map(|r| r.version.clone()),
        })
    }

    /// What stands. The counts of the router are as new as it can tell within a second.
    pub(super) async fn seen(&self) -> Reply {
        self.routes.refresh().await;
        let seq = *self.changed.borrow();
        let store = self.store.lock().await;
        let ledger = match ledger_file::read(&self.folders, &self.options.environment, &self.options.target) {
            Ok(ledger) => ledger,
            Err(error) => return Reply::Failed(failed(FailedKind::State, &error)),
        };
        let state = &store.state;
        let listeners: Listeners = LazyCell::new(listeners::listeners);
        Reply::Seen(Box::new(Seen {
            seq,
            generation: state.generation.max(ledger.generation),
            ledger,
            units: state.units.iter().map(|(id, unit)| self.facts(id, unit, &listeners)).collect(),
            ports: state.listening.iter().map(|(service, l)| (service.clone(), l.port)).collect(),
        }))
    }

    fn facts(&self, id: &UnitId, unit: &Unit, listeners: &Listeners) -> UnitFacts {
        let (weight, stats) = self.routes.of(id);
        let facts = plain_facts(id, unit);
        // Only a unit that is not yet in traffic is looked at: once it answers, it has found its port.
        let other_ports = if weight == 0 { other_ports(&facts, unit, listeners) } else { Vec::new() };
        UnitFacts { weight, in_flight: stats.in_flight, traffic: stats.traffic, other_ports, ..facts }
    }

    /// What stands, as soon as something has changed.
    pub(super) async fn watch(&self, after: u64, timeout: Millis) -> Reply {
        let mut changes = self.changed.subscribe();
        let timeout = Duration::from_millis(timeout).min(WATCH_MAX);
        // At the deadline the answer is the same as at a change.
        let _ = tokio::time::timeout(timeout, changes.wait_for(|seq| *seq != after)).await;
        drop(changes);
        self.seen().await
    }
}

/// The ports that a unit listens on although it does not listen on its own.
fn other_ports(facts: &UnitFacts, unit: &Unit, listeners: &Listeners) -> Vec<u16> {
    let (UnitPhase::Running, Some(process)) = (&facts.phase, unit.process()) else { return Vec::new() };
    let members = procfs::group_members(process.pid).into_iter();
    let ports: Vec<u16> = members.flat_map(|pid| procfs::listening_ports(pid, listeners)).collect();
    if ports.contains(&unit.port) { Vec::new() } else { ports }
}

/// What can be said of a unit without a router.
pub(crate) fn plain_facts(id: &UnitId, unit: &Unit) -> UnitFacts {
    let (phase, address) = match &unit.life {
        Life::Starting | Life::Running(_) => (UnitPhase::Running, Some(SocketAddr::from((HOST, unit.port)))),
        Life::Stopping { .. } => (UnitPhase::Stopping, Some(SocketAddr::from((HOST, unit.port)))),
        Life::Exited(exit) => (UnitPhase::Exited(exit.clone()), None),
    };
    UnitFacts {
        unit: id.clone(),
        phase,
        address,
        other_ports: Vec::new(),
        handle: unit.process().map_or_else(|| unit.ended.clone(), |process| process.to_string()),
        release: unit.release.clone(),
        weight: unit.weight,
        in_flight: 0,
        traffic: Traffic::default(),
        started_at: unit.started_at,
    }
}
