//! Docker engines as a kind of target that a session can open.

use crate::{DockerTarget, LaunchRouter, LocalRoutes, Options, Place, engine::Engine, image::Credentials};
use async_trait::async_trait;
use deploy::{
    adapter::process::{ProcessPlan, SecretResolver},
    model::{Millis, UnitId},
    port::Target,
    session::{self, Kind, Lines, LogSource, Platform, SessionError},
};
use docker::{Address, Connection};
use futures::stream::BoxStream;
use pipeline::name::Name;
use std::{path::PathBuf, sync::Arc};

/// The folder of a target's router, in its folder of state.
const ROUTER_FOLDER: &str = "router";

/// Finds what the registries of some images want to know, by the images' names.
#[async_trait]
pub trait FindCredentials: Send + Sync {
    /// For images of these names, without tag and digest. Where nothing is known, there is no entry.
    ///
    /// # Errors
    /// Logins that should be there cannot be had: why, for people.
    async fn find(&self, images: &[String]) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>>;
}

/// Engines of this machine, for one environment of one project.
pub struct LocalEngines {
    /// The project.
    pub project: Name,
    /// The environment.
    pub environment: Name,
    /// The engine of a target that names none.
    pub engine: Address,
    /// Starts routers.
    pub router: Arc<dyn LaunchRouter>,
    /// Knows logins.
    pub credentials: Arc<dyn FindCredentials>,
}

impl LocalEngines {
    fn address(&self, place: &session::Place) -> Address {
        place.engine.as_ref().map_or_else(|| self.engine.clone(), |engine| engine.address().clone())
    }

    fn place(&self, place: &session::Place) -> Place {
        Place {
            project: self.project.clone(),
            environment: self.environment.clone(),
            target: place.target.clone(),
        }
    }

    fn router_folder(place: &session::Place) -> PathBuf {
        place.folder.join(ROUTER_FOLDER)
    }

    async fn target(
        &self,
        place: &session::Place,
        plan: ProcessPlan,
        secrets: Arc<dyn SecretResolver>,
    ) -> Result<DockerTarget, SessionError> {
        let connection = self.connection(place).await?;
        let images =
            plan.bundles.values().filter_map(|one| Some(one.source.as_ref()?.0.artifact.name.clone()));
        let images: Vec<String> = images.collect();
        let credentials = self.credentials.find(&images).await.map_err(|error| {
            let text = format!("the login for the images of target {} cannot be had", place.target);
            SessionError::new(Kind::Refused, text).because(error)
        })?;
        let routes = LocalRoutes::new(Self::router_folder(place), self.router.clone());
        Ok(DockerTarget::new(Options {
            place: self.place(place),
            connection,
            plan,
            secrets,
            credentials,
            routes: Arc::new(routes),
        }))
    }

    async fn connection(&self, place: &session::Place) -> Result<Connection, SessionError> {
        Connection::open(self.address(place)).await.map_err(|error| {
            let text = format!("target {} cannot be reached", place.target);
            SessionError::new(Kind::State, text).because(error).hint(
                "start the engine, or name another: `engine` of the target, or the variable DOCKER_HOST",
            )
        })
    }

    /// One that only looks.
    async fn observer(&self, place: &session::Place) -> Result<DockerTarget, SessionError> {
        let nothing = |_: &str, _: &pipeline::secret::SecretRef, _: &deploy::bundle::BundleSecret| {
            Err("nothing is prepared here".to_owned())
        };
        self.target(place, ProcessPlan::default(), Arc::new(nothing)).await
    }
}

/// The process id of the router of a target on this machine; `None` if none runs, or it does not answer.
pub async fn router_process(place: &session::Place) -> Option<u32> {
    crate::local::router_process(&LocalEngines::router_folder(place)).await
}

#[async_trait]
impl Platform for LocalEngines {
    async fn open(
        &self,
        place: &session::Place,
        plan: ProcessPlan,
        secrets: Arc<dyn SecretResolver>,
    ) -> Result<Arc<dyn Target>, SessionError> {
        Ok(Arc::new(self.target(place, plan, secrets).await?))
    }

    async fn take_down(&self, place: &session::Place, grace: Millis) -> Result<bool, SessionError> {
        let target = self.observer(place).await?;
        let failed = |error| {
            let text = format!("the units of target {} could not be stopped", place.target);
            SessionError::new(Kind::State, text).because(error)
        };
        let ran = target.take_down(grace).await.map_err(failed)?;
        let routes = LocalRoutes::new(Self::router_folder(place), self.router.clone());
        let routed = routes.end().await.map_err(|error| {
            let text = format!("the router of target {} could not be ended", place.target);
            SessionError::new(Kind::State, text).because(error)
        })?;
        Ok(ran | routed)
    }

    async fn leave_nothing(&self, place: &session::Place) {
        let Ok(target) = self.observer(place).await else { return };
        if target.listens_for_nobody().await {
            let _ended = LocalRoutes::new(Self::router_folder(place), self.router.clone()).end().await;
        }
    }

    fn lost(&self, place: &session::Place, release: &str) -> SessionError {
        let engine = self.address(place);
        let text = format!(
            "the Docker engine at {engine} knows nothing of target {}, although release {release} was deployed there",
            place.target
        );
        SessionError::new(Kind::State, text)
            .hint("is it another engine than before? Name the right one: `engine` of the target, or DOCKER_HOST")
            .hint("if it was set up anew: give the target another name, and it joins as a new one")
    }

    fn unit_log(&self, place: &session::Place, unit: &UnitId) -> LogSource {
        LogSource::Lines(self.log(place, self.place(place).unit(unit)))
    }

    fn migration_log(&self, _: &session::Place, _: &Name) -> Option<LogSource> {
        // A migration's container is removed when its end has been written down; a failed one is quoted in the dossier.
        None
    }
}

/// The log of one container.
struct ContainerLog {
    address: Address,
    container: String,
}

impl LocalEngines {
    fn log(&self, place: &session::Place, container: String) -> Arc<dyn Lines> {
        Arc::new(ContainerLog { address: self.address(place), container })
    }
}

#[async_trait]
impl Lines for ContainerLog {
    async fn read(&self, last: usize, follow: bool) -> Result<BoxStream<'static, String>, SessionError> {
        let opened = Connection::open(self.address.clone()).await;
        let connection = opened
            .map_err(|error| SessionError::new(Kind::State, "the log cannot be read").because(error))?;
        Ok(Engine::new(connection.docker().clone()).log_lines(&self.container, last, follow))
    }
}
