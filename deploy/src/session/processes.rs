//! Targets that are this machine: units below a supervisor, all state in a folder.

use super::{
    Kind, Place, Session, SessionError, Tool,
    platform::{LogSource, Platform},
};
use crate::{
    adapter::process::{self, Launch, ProcessPlan, ProcessTarget, SecretResolver},
    model::{Millis, UnitId},
    port::Target,
};
use async_trait::async_trait;
use pipeline::name::Name;
use std::sync::Arc;

/// This machine, for one environment.
pub(super) struct Processes {
    environment: Name,
    tool: Tool,
}

impl Session {
    pub(super) fn processes(&self) -> Processes {
        Processes { environment: self.environment().clone(), tool: self.tool.clone() }
    }
}

impl Processes {
    /// The supervisor that a target needs.
    fn launch(&self, place: &Place) -> Launch {
        Launch {
            state_dir: place.folder.clone(),
            environment: self.environment.clone(),
            target: place.target.clone(),
            executable: self.tool.executable.clone(),
            version: self.tool.build.clone(),
        }
    }
}

#[async_trait]
impl Platform for Processes {
    async fn open(
        &self,
        place: &Place,
        plan: ProcessPlan,
        secrets: Arc<dyn SecretResolver>,
    ) -> Result<Arc<dyn Target>, SessionError> {
        let target = ProcessTarget::new(self.launch(place), plan, secrets).map_err(|error| {
            let text = format!("target {} could not be opened", place.target);
            SessionError::new(Kind::State, text).because(error)
        })?;
        Ok(Arc::new(target))
    }

    async fn take_down(&self, place: &Place, grace: Millis) -> Result<bool, SessionError> {
        process::take_down(&self.launch(place), grace).await.map_err(|error| {
            let text = format!("the supervisor of target {} could not be stopped", place.target);
            SessionError::new(Kind::State, text).because(error)
        })
    }

    async fn leave_nothing(&self, place: &Place) {
        let _stopped = process::shutdown(&place.folder, 0).await;
    }

    fn lost(&self, place: &Place, release: &str) -> SessionError {
        let path = place.folder.join("ledger.json");
        let text = format!("`{}` is gone, although release {release} was deployed here", path.display());
        let down = format!("{} down {}", self.tool.program, self.environment);
        SessionError::new(Kind::State, text)
            .hint("put the file back from a copy")
            .hint(format!("without one: `{down}`, then remove {} and deploy anew", place.folder.display()))
    }

    fn unit_log(&self, place: &Place, unit: &UnitId) -> LogSource {
        LogSource::File(process::log_path(&place.folder, unit))
    }

    fn migration_log(&self, place: &Place, service: &Name) -> Option<LogSource> {
        process::migration_log(&place.folder, service).map(LogSource::File)
    }
}
