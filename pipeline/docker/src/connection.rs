//! One engine: where it is, and what it can do.

use bollard::{API_DEFAULT_VERSION, Docker};
use pipeline::image::engine::Address;
use std::time::Duration;

/// The longest that an engine may take to begin an answer. Two minutes: a busy engine that pulls and builds for others
/// has been seen to take half of one. Streams have deadlines of their own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// The oldest API that is spoken: 1.41, of engine 20.10, the oldest that distributions still carry.
const API_MIN: (u32, u32) = (1, 41);

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its version: `20.10.24`.
    pub version: String,
    /// The newest version of the API that it speaks: major, minor.
    pub api: (u32, u32),
    /// Its operating system and architecture as images name them: `linux/amd64`.
    pub platform: String,
    /// Whether BuildKit is part of it, as of every engine for Linux since 18.09, and of none for Windows.
    pub has_buildkit: bool,
}

/// An engine that has answered.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where it is.
    pub address: Address,
    /// What it said.
    pub facts: Facts,
    docker: Docker,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers.
    #[error("no Docker engine answers at {address}; is it started, and may this user reach it?")]
    Unreachable {
        /// Where.
        address: Address,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// It is too old.
    #[error("the Docker engine at {address} is version {version}; 20.10 or newer is needed")]
    TooOld {
        /// Where.
        address: Address,
        /// What it is.
        version: String,
    },
}

impl Connection {
    /// Connects, and asks the engine what it is.
    ///
    /// # Errors
    /// Nobody answers there, or an engine that is older than 20.10.
    pub async fn open(address: Address) -> Result<Self, ConnectError> {
        let seconds = ANSWER_TIMEOUT.as_secs();
        let docker = match &address {
            Address::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            }
            Address::Tcp(host) => {
                Docker::connect_with_http(&format!("http://{host}"), seconds, API_DEFAULT_VERSION)
            }
        };
        let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
        let docker = docker.map_err(unreachable)?;
        let version = docker.version().await.map_err(unreachable)?;
        let newest = version.api_version.as_deref().and_then(parse_version);
        let name = version.version.unwrap_or_default();
        let Some(api) = newest.filter(|api| *api >= API_MIN) else {
            return Err(ConnectError::TooOld { address, version: name });
        };
        let os = version.os.unwrap_or_default();
        let facts = Facts {
            version: name,
            api,
            platform: format!("{os}/{}", version.arch.unwrap_or_default()),
            has_buildkit: os == "linux",
        };
        Ok(Self { address, facts, docker })
    }

    /// The client.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }
}

/// `1.41` as two numbers.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
