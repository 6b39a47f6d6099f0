//! What a session must know of a kind of target beside the target itself: how one is opened and taken down, and where its
//! logs are. Kinds that are heavy to compile are given to the session by whoever links them.

use super::{Kind, Place, Session, SessionError};
use crate::{
    adapter::process::{ProcessPlan, SecretResolver},
    config::environment::TargetKind,
    model::{Millis, UnitId},
    port::Target,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use pipeline::name::Name;
use std::{fmt, path::PathBuf, sync::Arc};

/// A kind of target.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Opens a target, ready to carry out a plan, or with an empty one to be observed. Changes nothing.
    async fn open(
        &self,
        place: &Place,
        plan: ProcessPlan,
        secrets: Arc<dyn SecretResolver>,
    ) -> Result<Arc<dyn Target>, SessionError>;

    /// Stops every unit and gives the stable ports back; ledger and bundles stay. Says whether anything ran.
    async fn take_down(&self, place: &Place, grace: Millis) -> Result<bool, SessionError>;

    /// Ends what serves a target on which nothing stands; what cannot be ended does no harm.
    async fn leave_nothing(&self, place: &Place);

    /// What is wrong if a target has forgotten that this release was deployed to it.
    fn lost(&self, place: &Place, release: &str) -> SessionError;

    /// The log of a unit.
    fn unit_log(&self, place: &Place, unit: &UnitId) -> LogSource;

    /// The log of the last migration of a service, if one is left.
    fn migration_log(&self, place: &Place, service: &Name) -> Option<LogSource>;
}

/// Kinds of target that are not part of this crate.
#[derive(Clone, Default)]
pub struct Platforms {
    /// Docker engines.
    pub docker: Option<Arc<dyn Platform>>,
}

/// Where a log is.
#[derive(Clone)]
pub enum LogSource {
    /// In a file that grows; rotated parts have `.1`, `.2` appended.
    File(PathBuf),
    /// With somebody who must be asked.
    Lines(Arc<dyn Lines>),
}

/// A log that is asked for.
#[async_trait]
pub trait Lines: Send + Sync {
    /// The last lines, and if it is followed those that are written from now on, until the unit is gone.
    async fn read(&self, last: usize, follow: bool) -> Result<BoxStream<'static, String>, SessionError>;
}

impl fmt::Debug for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Lines(_) => f.write_str("Lines(…)"),
        }
    }
}

impl Session {
    /// The kind of a target.
    ///
    /// # Errors
    /// When this build of the program does not have it.
    pub(super) fn platform(&self, kind: TargetKind) -> Result<Arc<dyn Platform>, SessionError> {
        match kind {
            TargetKind::Process => Ok(Arc::new(self.processes())),
            TargetKind::Docker => self.platforms.docker.clone().ok_or_else(|| {
                SessionError::new(Kind::Usage, "this build of the program does not know Docker engines")
                    .hint("build it with its feature `docker`")
            }),
        }
    }
}
