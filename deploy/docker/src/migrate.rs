//! Migrations: one-shot containers of a new bundle, before any of its units is started.
//!
//! The container's name is the service's, so that no two of a service run together whoever asks. An executor that dies
//! leaves it running, and who asks again waits for its end; how it ended is read from the container, so that nothing that
//! has succeeded is run again, even if nobody has written it down.

use crate::{
    container::{Design, ROOT, Role, SECRETS},
    engine::is_running,
    error::{EngineError, passing, terminal},
    observe::{exit, release_of},
    state::State,
    target::DockerTarget,
};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use deploy::{
    bundle::BundleHash,
    plan::Migration,
    port::{EffectError, EffectOutput},
    reason::ReasonCode,
};
use pipeline::{
    name::Name,
    secret::{Redactor, Secret},
};
use std::{io::Read, time::Duration};
use zeroize::Zeroizing;

/// From SIGTERM at the deadline to SIGKILL: enough to break off a transaction.
const GRACE: Duration = Duration::from_secs(5);

/// Lines of a failed migration's log that are told with its failure: a short trace of an error.
const LOG_LINES: usize = 20;

#[expect(clippy::needless_pass_by_value, reason = "used as a function to map errors with")]
fn refused(error: EngineError) -> EffectError {
    error.effect(ReasonCode::MigrationFailed)
}

impl DockerTarget {
    pub(crate) async fn migrate(
        &self,
        generation: u64,
        service: &Name,
        hash: &BundleHash,
    ) -> Result<EffectOutput, EffectError> {
        let Migration { args, timeout } = self.plan.migrations.get(service).ok_or_else(|| {
            terminal(ReasonCode::MigrationFailed, format!("the plan has no migration of {service}"))
        })?;
        let (release, longest) = (&self.planned(hash)?.entry.release, Duration::from_millis(*timeout));
        let done = EffectOutput { note: format!("done for release {release}") };
        let state = self.store.update(generation, |_| Ok(())).await?;
        if state.ledger.has_migrated(service, release) {
            return Ok(done);
        }
        let name = self.place.migration(service);
        let runs = match self.engine.container(&name).await.map_err(refused)? {
            Some(found) if is_running(&found) && release_of(&found) != *release => {
                self.engine.ended(&name, longest).await.map_err(refused)?;
                let other = release_of(&found);
                return Err(passing(format!(
                    "the migration of {service} for release {other} had to end first"
                )));
            }
            Some(found) if is_running(&found) || has_succeeded(&found, release) => true,
            Some(_) => {
                self.engine.remove_container(&name).await.map_err(refused)?;
                false
            }
            None => false,
        };
        if !runs {
            let stored = Self::stored(&state, hash)?;
            let bundle = self.engine.describe(hash, &stored).await?;
            let role = Role::Migration { service, bundle: hash, args };
            let place = &self.place;
            let design = Design { place, generation, role, release, bundle: &bundle, stored: &stored };
            self.make(&name, design.body(), &bundle.artifact).await?;
            // The last look before something runs.
            self.store.update(generation, |_| Ok(())).await?;
            self.engine.start_container(&name).await.map_err(refused)?;
        }
        self.come_to_end(&name, service, longest).await?;
        let settle = |state: &mut State| {
            state.ledger.add_migrated(service, release);
            state.ledger.generation = state.ledger.generation.max(generation);
            Ok(())
        };
        self.store.update(generation, settle).await?;
        // What stays is found by the next migration.
        let _ = self.engine.remove_container(&name).await;
        Ok(done)
    }

    /// Waits for the end of a migration, and judges it.
    async fn come_to_end(&self, name: &str, service: &Name, longest: Duration) -> Result<(), EffectError> {
        let in_time = self.engine.ended(name, longest).await.map_err(refused)?;
        if !in_time {
            self.end(name, "SIGTERM", GRACE).await?;
        }
        let found = self.engine.container(name).await.map_err(refused)?;
        let found = found
            .ok_or_else(|| passing(format!("the migration of {service} was taken away while it ran")))?;
        let exit = exit(&found);
        let why = match (in_time, exit.code) {
            (true, Some(0)) => return Ok(()),
            (true, _) => exit.to_string(),
            (false, _) => format!("it took longer than {} ms", longest.as_millis()),
        };
        let redactor = self.redactor(name).await;
        let mut message = format!("the migration of {service} failed: {why}");
        for line in self.engine.log_tail(name, LOG_LINES).await.ok().flatten().unwrap_or_default() {
            message.push_str("\n  ");
            message.push_str(&redactor.mask(&line));
        }
        Err(terminal(ReasonCode::MigrationFailed, message))
    }

    /// Knows the secrets that a container was given.
    async fn redactor(&self, container: &str) -> Redactor {
        let redactor = Redactor::default();
        let folder = format!("{ROOT}/{SECRETS}");
        let Ok(Some(tar)) = self.engine.download(container, &folder).await else { return redactor };
        let tar = Zeroizing::new(tar);
        let mut archive = tar::Archive::new(tar.as_slice());
        for mut entry in archive.entries().into_iter().flatten().flatten() {
            let mut value = Vec::new();
            if entry.header().entry_type().is_file() && entry.read_to_end(&mut value).is_ok() {
                redactor.learn(&Secret::new(value));
            }
        }
        redactor
    }
}

fn has_succeeded(container: &ContainerInspectResponse, release: &str) -> bool {
    let status = container.state.as_ref().and_then(|state| state.status);
    status == Some(ContainerStateStatusEnum::EXITED)
        && exit(container).code == Some(0)
        && release_of(container) == release
}
