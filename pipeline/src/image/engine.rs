//! Where a Docker engine listens.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where an engine listens unless something else is said, as with the `docker` client.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A Unix socket: `unix:///var/run/docker.sock`.
    Unix(PathBuf),
    /// A TCP socket without encryption, which only a private network allows: `tcp://127.0.0.1:2375`.
    Tcp(String),
}

/// Why a text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no address of a Docker engine: expected `unix:///path/to/docker.sock` or `tcp://host:port`"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
}

impl Default for Address {
    fn default() -> Self {
        Self::Unix(PathBuf::from(DEFAULT_SOCKET))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError { text: text.to_owned() };
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp", host))
                if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) =>
            {
                Ok(Self::Tcp(host.to_owned()))
            }
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_the_docker_client_takes_them() {
        for text in ["unix:///run/user/1000/docker.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "/var/run/docker.sock",
            "unix://docker.sock",
            "tcp://host",
            "ssh://host",
            "npipe:////./pipe/x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        assert_eq!(Address::default().to_string(), "unix:///var/run/docker.sock");
    }
}
