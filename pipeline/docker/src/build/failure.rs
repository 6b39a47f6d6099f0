//! Why there is no image: the engine's words, read for what a user can do about it.

use super::session::SessionError;
use crate::Address;
use pipeline::image::context::ContextError;
use registry::CredentialsError;
use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Why an image was not built. Its text says what failed and what to do; the step and its last lines are the evidence.
#[derive(Debug)]
pub struct BuildError {
    /// The folder or program that was to become an image.
    pub subject: PathBuf,
    /// Why.
    pub kind: BuildFailure,
    /// The step that failed, or that was the last to be under way.
    pub step: Option<String>,
    /// The last lines that it wrote, at most 30; secrets masked.
    pub last_lines: Vec<String>,
}

impl BuildError {
    pub(super) fn before(subject: impl Into<PathBuf>, kind: BuildFailure) -> Self {
        Self { subject: subject.into(), kind, step: None, last_lines: Vec::new() }
    }

    /// Whether the same build may succeed if it is tried again.
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            BuildFailure::Gone { .. }
            | BuildFailure::RegistryUnreachable { .. }
            | BuildFailure::Session { .. } => true,
            BuildFailure::Context(error) => {
                matches!(error, ContextError::Changed { .. } | ContextError::Vanished { .. })
            }
            _ => false,
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot build an image of `{}`: ", self.subject.display())?;
        if let Some(step) = self.step.as_ref().filter(|_| self.kind.is_of_a_step()) {
            write!(f, "step `{step}`: ")?;
        }
        self.kind.fmt(f)
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind.source()
    }
}

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// The context could not be sent.
    #[error(transparent)]
    Context(ContextError),
    /// What the classic builder does not know was asked of it.
    #[error(
        "{what} needs BuildKit, and the classic builder was chosen or is all that the engine has: choose BuildKit, or do without"
    )]
    NeedsBuildKit {
        /// What.
        what: String,
    },
    /// A build argument or label, which everybody may read in the image, holds the value of a secret.
    #[error(
        "the {what} holds the value of a build secret, which anybody could read in the image: mount it as a secret"
    )]
    SecretInTheOpen {
        /// Which.
        what: String,
    },
    /// A program of a step ended with a failure.
    #[error("it ended with exit code {code}: see its last lines")]
    Step {
        /// With what.
        code: i64,
    },
    /// The Dockerfile is not well formed.
    #[error("{}: {reason}", place(dockerfile, *line))]
    Dockerfile {
        /// Which.
        dockerfile: PathBuf,
        /// The line, from 1, if the builder says.
        line: Option<u32>,
        /// What is wrong with it.
        reason: String,
    },
    /// The Dockerfile has no such stage.
    #[error("`{dockerfile}` has no stage `{stage}`: write `FROM … AS {stage}`, or choose another target")]
    NoSuchStage {
        /// Which Dockerfile.
        dockerfile: PathBuf,
        /// Which stage.
        stage: String,
    },
    /// A step asks for a secret that the build was not given.
    #[error(
        "it asks for the build secret `{id}`, which the build was not given: add it to the service's secrets"
    )]
    SecretMissing {
        /// Which.
        id: String,
    },
    /// What a step copies is not there.
    #[error("there is no `{path}` to copy: is it in the build context, and not excluded by its ignore file?")]
    NotThere {
        /// What.
        path: String,
    },
    /// The program of a step cannot be started.
    #[error("its program cannot be started: {reason}; is it in the image by then, with all that it needs?")]
    CannotStart {
        /// The engine's words.
        reason: String,
    },
    /// The image that a stage begins with is neither on the engine nor in a registry.
    #[error(
        "the base image can be had neither from the engine nor from its registry ({reason}): is its name right, and is there a login that may read it (`docker login`)?"
    )]
    BaseImage {
        /// The engine's words.
        reason: String,
    },
    /// The registry of the image that a stage begins with does not answer.
    #[error(
        "the base image is not on the engine, and its registry does not answer ({reason}): load or build the image there first, or try again"
    )]
    RegistryUnreachable {
        /// The engine's words.
        reason: String,
    },
    /// A disk is full.
    #[error(
        "the engine's disk is full, or a file system that the step was given ({reason}): remove what is not needed, `docker system df` tells what there is"
    )]
    DiskFull {
        /// The engine's words.
        reason: String,
    },
    /// The engine cannot run programs of this platform, or has no such image for it.
    #[error(
        "the engine cannot do this for the platform ({reason}): build on an engine of that platform, or cross-compile"
    )]
    Platform {
        /// The engine's words.
        reason: String,
    },
    /// Something else.
    #[error("the engine refuses: {reason}")]
    Engine {
        /// Its words.
        reason: String,
    },
    /// The engine ended, or the connection to it broke.
    #[error("the Docker engine at {address} went away before the image was built: try again when it is back")]
    Gone {
        /// Where it was.
        address: Address,
        /// What was seen of it; without one, its answer just ended.
        #[source]
        source: Option<bollard::errors::Error>,
    },
    /// A login that should be there for the registry of a base image cannot be had.
    #[error("the login for the registry of a base image cannot be had")]
    Login(#[source] CredentialsError),
    /// There is no session with the builder.
    #[error("no session with the builder of the Docker engine at {address}")]
    Session {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: SessionError,
    },
    /// It took too long.
    #[error("it took longer than {} s and was stopped: see what its last step waits for, or allow more time", limit.as_secs())]
    Deadline {
        /// What was allowed.
        limit: Duration,
    },
    /// A program that is to be an image by itself is none that can.
    #[error(transparent)]
    Binary(#[from] super::elf::ElfError),
}

impl BuildFailure {
    fn is_of_a_step(&self) -> bool {
        matches!(
            self,
            Self::Step { .. }
                | Self::SecretMissing { .. }
                | Self::NotThere { .. }
                | Self::CannotStart { .. }
                | Self::Platform { .. }
                | Self::BaseImage { .. }
                | Self::RegistryUnreachable { .. }
                | Self::DiskFull { .. }
                | Self::Deadline { .. }
        )
    }
}

fn place(dockerfile: &Path, line: Option<u32>) -> String {
    match line {
        Some(line) => format!("line {line} of `{}` is at fault", dockerfile.display()),
        None => format!("`{}` is at fault", dockerfile.display()),
    }
}
