//! Units: started, admitted, drained and stopped.

use crate::{
    container::{Design, Role},
    engine::is_running,
    error::{EngineError, passing, terminal},
    observe::millis,
    routes::RoutesError,
    state::{Life, State, Stored, Unit},
    target::DockerTarget,
};
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum};
use deploy::{
    bundle::{BundleArtifact, BundleHash},
    model::{Millis, UnitId},
    port::{EffectError, EffectOutput},
    reason::ReasonCode,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What ends a container whose image says nothing else.
const TERM: &str = "SIGTERM";

/// How long a container may take to vanish after SIGKILL; longer means that it hangs in the kernel.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long a name may be taken by a container that is being made for somebody who is gone: as long as the making of one.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at it.
const SETTLE_EVERY: Duration = Duration::from_millis(50);

/// What is meant with a unit whose container runs.
fn running(container: ContainerInspectResponse) -> Life {
    let started_at = container.state.and_then(|state| state.started_at).map_or(0, |at| millis(&at));
    Life::Running { container: container.id.unwrap_or_default(), started_at }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function to map errors with")]
fn refused(error: EngineError) -> EffectError {
    error.effect(ReasonCode::ActionFailed)
}

impl DockerTarget {
    /// A bundle that is held here.
    pub(crate) fn stored(state: &State, hash: &BundleHash) -> Result<Stored, EffectError> {
        state.bundles.get(hash).cloned().ok_or_else(|| {
            terminal(
                ReasonCode::PrepareFailed,
                format!("bundle {} is not on the engine (any more)", hash.short()),
            )
        })
    }

    pub(crate) async fn start(&self, generation: u64, unit: &UnitId) -> Result<(), EffectError> {
        let release = self.planned(&unit.bundle)?.entry.release.clone();
        let name = self.place.unit(unit);
        let mark = |state: &mut State| {
            let meant = state.units.get(unit).map(|meant| &meant.life);
            if meant == Some(&Life::Stopping) {
                return Err(passing(format!(
                    "{} is still being stopped: start it again after that",
                    unit.label()
                )));
            }
            Self::stored(state, &unit.bundle)?;
            let fresh = || Unit { release: release.clone(), weight: 0, life: Life::Starting };
            state.units.entry(unit.clone()).or_insert_with(fresh);
            Ok(())
        };
        let state = self.store.update(generation, mark).await?;
        match self.engine.container(&name).await.map_err(refused)? {
            Some(found) if is_running(&found) => return self.started(generation, unit, &release).await,
            Some(found) => {
                let status = found.state.and_then(|state| state.status);
                if status != Some(ContainerStateStatusEnum::CREATED) {
                    // It comes back out of traffic.
                    let afresh = Unit { release: release.clone(), weight: 0, life: Life::Starting };
                    let again = |state: &mut State| {
                        state.units.insert(unit.clone(), afresh.clone());
                        Ok(())
                    };
                    self.store.update(generation, again).await?;
                }
                self.engine.remove_container(&name).await.map_err(refused)?;
            }
            None => {}
        }
        let stored = Self::stored(&state, &unit.bundle)?;
        let bundle = self.engine.describe(&unit.bundle, &stored).await?;
        let design = Design {
            place: &self.place,
            generation,
            role: Role::Unit(unit),
            release: &release,
            bundle: &bundle,
            stored: &stored,
        };
        self.make(&name, design.body(), &bundle.artifact).await?;
        // The last look before something runs.
        self.store.update(generation, |_| Ok(())).await?;
        if let Err(error) = self.engine.start_container(&name).await {
            let error = error.effect(ReasonCode::CannotStart);
            if matches!(error, EffectError::Terminal { .. }) {
                // What cannot start is no unit; what stays of it is removed by the next commit.
                let _ = self.engine.remove_container(&name).await;
                let _ = self.forget(generation, unit).await;
            }
            return Err(error);
        }
        self.started(generation, unit, &release).await
    }

    /// Makes a container; an image that somebody took away is pulled again. Where an executor was broken off, the engine may
    /// still be making one of that name, which nobody sees yet: it is waited for and taken away.
    pub(crate) async fn make(
        &self,
        name: &str,
        body: ContainerCreateBody,
        artifact: &BundleArtifact,
    ) -> Result<(), EffectError> {
        let cannot = |error: EngineError| error.effect(ReasonCode::CannotStart);
        let until = Instant::now() + SETTLE_DEADLINE;
        let mut body = body;
        let mut has_pulled = false;
        loop {
            match self.engine.make_container(name, body.clone()).await {
                Err(error) if error.is_missing() && !has_pulled => {
                    let image = self.engine.have_image(artifact, &self.platform, &self.credentials).await?;
                    (body.image, has_pulled) = (Some(image.id), true);
                }
                Err(error) if error.is_conflict() && Instant::now() < until => {
                    match self.engine.container(name).await.map_err(refused)? {
                        Some(found) if is_running(&found) => return Err(cannot(error)),
                        Some(_) => self.engine.remove_container(name).await.map_err(refused)?,
                        None => sleep(SETTLE_EVERY).await,
                    }
                }
                made => return made.map(drop).map_err(cannot),
            }
        }
    }

    /// Remembers that a unit runs, so that it is missed if its container is taken away.
    async fn started(&self, generation: u64, unit: &UnitId, release: &str) -> Result<(), EffectError> {
        let found = self.engine.container(&self.place.unit(unit)).await.map_err(refused)?;
        let found =
            found.ok_or_else(|| passing(format!("{} is gone right after its start", unit.label())))?;
        let life = running(found);
        let mark = |state: &mut State| {
            let meant = state.units.entry(unit.clone());
            let meant = meant.or_insert_with(|| Unit {
                release: release.to_owned(),
                weight: 0,
                life: Life::Starting,
            });
            if meant.life != Life::Stopping {
                meant.life = life.clone();
            }
            Ok(())
        };
        self.store.update(generation, mark).await.map(drop)
    }

    /// Lets traffic follow what the state says now.
    pub(crate) async fn route(&self) -> Result<(), EffectError> {
        // Side by side, the one that read first might be the last to apply.
        let _turn = self.routing.lock().await;
        let state = self.store.read().await?;
        let table = self.table(&state, &self.containers().await?);
        self.routes.apply(&table).await.map_err(|error| routes_effect(&error))
    }

    pub(crate) async fn admit(&self, generation: u64, unit: &UnitId, weight: u16) -> Result<(), EffectError> {
        let found = self.engine.container(&self.place.unit(unit)).await.map_err(refused)?;
        let Some(found) = found.filter(is_running) else {
            return Err(passing(format!("{} does not run (any more), so it gets no traffic", unit.label())));
        };
        // An executor that was cut off between the start and the word of it has left one that runs all the same.
        let life = running(found);
        let mark = |state: &mut State| {
            if !state.listening.contains_key(&unit.service) {
                return Err(passing(format!(
                    "no stable port is held for {}: prepare its bundle first",
                    unit.service
                )));
            }
            let meant = state.units.get_mut(unit).filter(|meant| meant.life != Life::Stopping);
            let meant =
                meant.ok_or_else(|| passing(format!("{} is not started, or told to stop", unit.label())))?;
            if meant.life == Life::Starting {
                meant.life = life.clone();
            }
            meant.weight = weight;
            Ok(())
        };
        self.store.update(generation, mark).await?;
        self.route().await
    }

    pub(crate) async fn drain(
        &self,
        generation: u64,
        unit: &UnitId,
        deadline: Millis,
    ) -> Result<EffectOutput, EffectError> {
        let mark = |state: &mut State| {
            if let Some(meant) = state.units.get_mut(unit) {
                meant.weight = 0;
            }
            Ok(())
        };
        let state = self.store.update(generation, mark).await?;
        if !state.units.contains_key(unit) {
            return Ok(EffectOutput::default()); // What does not run has nothing in flight.
        }
        self.route().await?;
        let left = self.routes.idle(unit, Duration::from_millis(deadline)).await;
        let note = match left.map_err(|error| routes_effect(&error))? {
            0 => String::new(),
            1 => "1 request still in flight at the drain deadline".to_owned(),
            left => format!("{left} requests still in flight at the drain deadline"),
        };
        Ok(EffectOutput { note })
    }

    pub(crate) async fn stop(
        &self,
        generation: u64,
        unit: &UnitId,
        grace: Millis,
    ) -> Result<(), EffectError> {
        let name = self.place.unit(unit);
        let mark = |state: &mut State| {
            if let Some(meant) = state.units.get_mut(unit) {
                (meant.weight, meant.life) = (0, Life::Stopping);
            }
            Ok(())
        };
        let state = self.store.update(generation, mark).await?;
        // No new request may reach it. Where nothing routes there is none.
        if !state.listening.is_empty() {
            let _ = self.route().await;
        }
        if let Some(container) = self.engine.container(&name).await.map_err(refused)? {
            if is_running(&container) {
                let signal = container.config.and_then(|config| config.stop_signal);
                self.end(&name, signal.as_deref().unwrap_or(TERM), Duration::from_millis(grace)).await?;
            }
            self.engine.remove_container(&name).await.map_err(refused)?;
        }
        self.forget(generation, unit).await
    }

    async fn forget(&self, generation: u64, unit: &UnitId) -> Result<(), EffectError> {
        let forget = |state: &mut State| {
            state.units.remove(unit);
            Ok(())
        };
        self.store.update(generation, forget).await.map(drop)
    }

    /// Tells a container to end, and ends it by force after `grace`.
    pub(crate) async fn end(&self, name: &str, signal: &str, grace: Duration) -> Result<(), EffectError> {
        self.engine.signal(name, signal).await.map_err(refused)?;
        if self.engine.ended(name, grace).await.map_err(refused)? {
            return Ok(());
        }
        self.engine.signal(name, "SIGKILL").await.map_err(refused)?;
        match self.engine.ended(name, KILL_DEADLINE).await.map_err(refused)? {
            true => Ok(()),
            false => {
                Err(passing(format!("`{name}` still runs, although it was told to stop and then killed")))
            }
        }
    }
}

/// What it means for an effect that traffic is not routed.
pub(crate) fn routes_effect(error: &RoutesError) -> EffectError {
    let message = pipeline::causes::in_one_line(error);
    match error {
        RoutesError::Taken { .. } => terminal(ReasonCode::PortTaken, message),
        RoutesError::Failed { .. } => passing(message),
    }
}
