//! What stands: containers held against what the state means with them. Nothing here changes anything.

use crate::{
    container::published,
    engine::{is_running, label_of},
    place::Kind,
    routes::{Route, Table},
    state::{Life, State},
    target::DockerTarget,
};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use deploy::{
    adapter::router::protocol::UpstreamStats,
    model::{Exit, Millis, Traffic, UnitFacts, UnitId, UnitPhase},
    port::{EffectError, TargetSeen},
    reason::ReasonCode,
};
use futures::future::try_join_all;
use std::collections::BTreeMap;

/// An exit code above this is, by the convention of shells and of container engines alike, a signal's number above it …
const SIGNALS_ABOVE: i64 = 128;

/// … up to the highest signal of Linux.
const SIGNALS: i64 = 64;

/// The containers of a target's units.
pub(crate) type Containers = BTreeMap<UnitId, ContainerInspectResponse>;

impl DockerTarget {
    /// Every container of a unit, whatever its state.
    pub(crate) async fn containers(&self) -> Result<Containers, EffectError> {
        let refused = |error: crate::error::EngineError| error.effect(ReasonCode::ActionFailed);
        let list = self.engine.containers(&self.place, Kind::Unit).await.map_err(refused)?;
        let looks = list.into_iter().filter_map(|one| {
            let unit = label_of(one.labels.as_ref(), "unit")?.to_owned();
            Some((UnitId::try_from(unit).ok()?, one.id?))
        });
        let looks = looks.map(|(unit, id)| async move {
            // One that is gone since is no more.
            Ok::<_, crate::error::EngineError>(self.engine.container(&id).await?.map(|found| (unit, found)))
        });
        Ok(try_join_all(looks).await.map_err(refused)?.into_iter().flatten().collect())
    }

    /// What stands.
    pub(crate) async fn look(&self) -> Result<TargetSeen, EffectError> {
        // In this order a unit that is started or removed meanwhile is seen as it was or as it is, and never as gone.
        let containers = self.containers().await?;
        let (state, counts) = tokio::join!(self.store.read(), self.routes.counts());
        let state = state?;
        let mut units = BTreeMap::new();
        for (unit, container) in &containers {
            if let Some(facts) = facts(unit, container, &state, counts.as_ref()) {
                units.insert(unit.clone(), facts);
            }
        }
        for (unit, meant) in &state.units {
            let Life::Running { container, started_at } = &meant.life else { continue };
            if containers.contains_key(unit) {
                continue;
            }
            // It may have been started after the containers were listed.
            let name = self.place.unit(unit);
            let again = self.engine.container(&name).await;
            match again.map_err(|error| error.effect(ReasonCode::ActionFailed))? {
                Some(found) => {
                    units.extend(facts(unit, &found, &state, counts.as_ref()).map(|it| (unit.clone(), it)))
                }
                None => drop(units.insert(unit.clone(), gone(unit, container, &meant.release, *started_at))),
            }
        }
        let generation = state.generation.max(state.ledger.generation);
        Ok(TargetSeen { generation, ledger: state.ledger, units: units.into_values().collect() })
    }

    /// What is to be routed, as the state has it and as far as units run.
    pub(crate) fn table(&self, state: &State, containers: &Containers) -> Table {
        let routes = state.listening.iter().map(|(service, listening)| {
            let own = containers
                .iter()
                .filter(|(unit, container)| unit.service == *service && is_running(container));
            let units = own.filter_map(|(unit, container)| {
                let meant = state.units.get(unit)?;
                let weight = if matches!(meant.life, Life::Running { .. }) { meant.weight } else { 0 };
                Some((unit.clone(), (published(container)?, weight)))
            });
            let (address, health_path) = (listening.address(), listening.health_path.clone());
            (service.clone(), Route { address, health_path, units: units.collect() })
        });
        routes.collect()
    }
}

/// What is reported of a unit with a container; nothing of one that never ran, or has ended as it was told to.
fn facts(
    unit: &UnitId,
    container: &ContainerInspectResponse,
    state: &State,
    counts: Option<&BTreeMap<String, UpstreamStats>>,
) -> Option<UnitFacts> {
    let meant = state.units.get(unit);
    let is_stopping = meant.is_some_and(|meant| meant.life == Life::Stopping);
    let now = container.state.as_ref()?;
    let phase = match now.status? {
        ContainerStateStatusEnum::CREATED => return None,
        _ if is_running(container) && is_stopping => UnitPhase::Stopping,
        _ if is_running(container) => UnitPhase::Running,
        _ if is_stopping => return None,
        _ => UnitPhase::Exited(exit(container)),
    };
    let has_ended = matches!(phase, UnitPhase::Exited(_));
    let stats = counts.and_then(|counts| counts.get(&unit.to_string())).cloned().unwrap_or_default();
    // Nobody routes, so nobody has traffic, whatever was meant.
    let is_routed = counts.is_some() && !has_ended;
    Some(UnitFacts {
        unit: unit.clone(),
        address: if has_ended { None } else { published(container) },
        phase,
        other_ports: Vec::new(),
        handle: container.id.clone().unwrap_or_default(),
        release: release_of(container),
        weight: meant.filter(|_| is_routed).map_or(0, |meant| meant.weight),
        in_flight: stats.in_flight,
        traffic: stats.traffic,
        started_at: now.started_at.as_deref().map_or(0, millis),
    })
}

/// A unit whose container somebody took away.
fn gone(unit: &UnitId, container: &str, release: &str, started_at: Millis) -> UnitFacts {
    let at = Millis::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    UnitFacts {
        unit: unit.clone(),
        phase: UnitPhase::Exited(Exit { code: None, signal: None, out_of_memory: false, at }),
        address: None,
        other_ports: Vec::new(),
        handle: container.to_owned(),
        release: release.to_owned(),
        weight: 0,
        in_flight: 0,
        traffic: Traffic::default(),
        started_at,
    }
}

/// The release that a container was made for.
pub(crate) fn release_of(container: &ContainerInspectResponse) -> String {
    let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
    label_of(labels, "release").unwrap_or_default().to_owned()
}

/// How a container ended. The init process passes on the signal that ended the service as an exit code.
pub(crate) fn exit(container: &ContainerInspectResponse) -> Exit {
    let state = container.state.clone().unwrap_or_default();
    let code = state.exit_code.unwrap_or_default();
    let [started, finished] =
        [&state.started_at, &state.finished_at].map(|at| at.as_deref().map_or(0, millis));
    // Engines may note the start of what ends at once after its end.
    let at = finished.max(started);
    let is_signal = (SIGNALS_ABOVE + 1..=SIGNALS_ABOVE + SIGNALS).contains(&code);
    let signal = is_signal.then(|| i32::try_from(code - SIGNALS_ABOVE).ok()).flatten();
    // A child that was ended for its memory does not make an end in peace another one.
    let out_of_memory = state.oom_killed.unwrap_or(false) && code != 0;
    Exit { code: i32::try_from(code).ok().filter(|_| !is_signal), signal, out_of_memory, at }
}

/// Milliseconds since the Unix epoch; what never happened has the year 1.
pub(crate) fn millis(text: &str) -> Millis {
    let at: Option<jiff::Timestamp> = text.parse().ok();
    at.and_then(|at| Millis::try_from(at.as_millisecond()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ContainerState;

    fn ended(code: i64, oom_killed: bool) -> Exit {
        let state = ContainerState {
            exit_code: Some(code),
            oom_killed: Some(oom_killed),
            finished_at: Some("2026-01-02T03:04:05.678Z".to_owned()),
            ..ContainerState::default()
        };
        exit(&ContainerInspectResponse { state: Some(state), ..ContainerInspectResponse::default() })
    }

    #[test]
    fn an_end_is_told_by_code_signal_or_memory() {
        let at = 1_767_323_045_678;
        let plain = |code, signal| Exit { code, signal, out_of_memory: false, at };
        assert_eq!(ended(0, false), plain(Some(0), None));
        assert_eq!(ended(128, false), plain(Some(128), None), "no signal has the number 0");
        assert_eq!(ended(143, false), plain(None, Some(15)));
        assert_eq!(ended(192, false), plain(None, Some(64)));
        assert_eq!(ended(193, false), plain(Some(193), None), "no signal has the number 65");
        assert_eq!(ended(137, true), Exit { out_of_memory: true, ..plain(None, Some(9)) });
        let late = ContainerState {
            started_at: Some("2026-01-02T03:04:05.679Z".to_owned()),
            finished_at: Some("2026-01-02T03:04:05.678Z".to_owned()),
            ..ContainerState::default()
        };
        let late = ContainerInspectResponse { state: Some(late), ..ContainerInspectResponse::default() };
        assert_eq!(exit(&late).at, at + 1, "no end is before its start");
        assert_eq!(ended(0, true), plain(Some(0), None), "it ended in peace, whatever became of a child");
    }

    #[test]
    fn what_never_happened_has_no_time() {
        assert_eq!((millis("0001-01-01T00:00:00Z"), millis("soon")), (0, 0));
    }
}
