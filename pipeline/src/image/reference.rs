//! What an image is called: `ghcr.io/team/api:1.2`, as the Docker client reads it.

use crate::digest::{Digest, DigestError};
use std::{fmt, net::IpAddr, str::FromStr};

/// Where an image without a host is, as with the Docker client.
const DEFAULT_HOST: &str = "docker.io";
/// What an image there without a folder is in.
const DEFAULT_FOLDER: &str = "library";
/// Which of a repository's images is meant when nothing is said.
const DEFAULT_TAG: &str = "latest";
/// The longest name of a repository with its host, in bytes: the limit of the Docker client and of registries.
const NAME_MAX: usize = 255;

/// A registry: host, and port if it is not the usual one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// A repository of a registry, in which images lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// The registry.
    pub host: Host,
    path: String,
}

/// A tag: a name in a repository that can be moved from one image to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// What the tag points to at the moment.
    Tag(Tag),
    /// This one for ever.
    Digest(Digest),
}

/// The name of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Where it lies.
    pub repository: Repository,
    /// Its tag, which says nothing where there is a digest.
    pub tag: Option<Tag>,
    /// Its digest.
    pub digest: Option<Digest>,
}

/// Why a text is not a [`Reference`] or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is nothing.
    #[error("the name of an image is empty: expected something like `ghcr.io/team/api:1.2`")]
    Empty,
    /// An address of the web.
    #[error("`{text}` is an address, not the name of an image: leave out `{scheme}://`")]
    Address {
        /// The text.
        text: String,
        /// `https`.
        scheme: String,
    },
    /// The host is none.
    #[error(
        "`{text}` is no registry: expected a host, and a port if need be, like `ghcr.io` or `127.0.0.1:5000`"
    )]
    Host {
        /// The text.
        text: String,
    },
    /// A name with capital letters.
    #[error("the repository `{text}` has capital letters, which registries refuse: write `{}`", .text.to_lowercase())]
    Capitals {
        /// The text.
        text: String,
    },
    /// A name with something else in it.
    #[error(
        "the repository `{text}` is no name: in `{part}` are only lower-case letters and digits allowed, with single `.`, \
         `_`, `__` or `-` between them"
    )]
    Name {
        /// The text.
        text: String,
        /// The part between two slashes that is at fault.
        part: String,
    },
    /// It is too long.
    #[error("the repository `{text}` is {} bytes long; registries take {NAME_MAX}", .text.len())]
    Long {
        /// The text.
        text: String,
    },
    /// The tag is none.
    #[error(
        "`{text}` is no tag: expected up to {} letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`",
        Tag::LENGTH_MAX
    )]
    Tag {
        /// The text.
        text: String,
    },
    /// The digest is none.
    #[error("the digest in the name of an image is none")]
    Digest(#[source] DigestError),
}

impl Host {
    /// Whether it is this machine, and nothing that is sent there can be read on the way.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.name())
    }

    /// Without the port.
    pub fn name(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.0,
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Docker's own registry, which is called otherwise wherever it matters.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DEFAULT_HOST
    }
}

/// `localhost` and all addresses of this machine's own network; without a port.
pub fn is_loopback(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for Host {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let error = || ReferenceError::Host { text: text.to_owned() };
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (text, None),
        };
        let is_port = |port: &str| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        let is_label = |label: &str| {
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            edge(label.bytes().next())
                && edge(label.bytes().last())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_name = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.split('.').all(is_label),
        };
        if !is_name || !port.is_none_or(is_port) {
            return Err(error());
        }
        // One registry under three names.
        let hub = matches!(text, "index.docker.io" | "registry-1.docker.io");
        Ok(Self(if hub { DEFAULT_HOST.to_owned() } else { text.to_ascii_lowercase() }))
    }
}

impl Repository {
    /// The repository of this path in a registry: `team/api`.
    ///
    /// # Errors
    /// The path is none.
    pub fn new(host: Host, path: &str) -> Result<Self, ReferenceError> {
        let text = || path.to_owned();
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Capitals { text: text() });
        }
        if let Some(part) = path.split('/').find(|part| !is_component(part)) {
            return Err(ReferenceError::Name { text: text(), part: part.to_owned() });
        }
        if host.0.len() + 1 + path.len() > NAME_MAX {
            return Err(ReferenceError::Long { text: text() });
        }
        Ok(Self { host, path: path.to_owned() })
    }

    /// Without the host: `team/api`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name of one of its images.
    pub fn with(&self, which: &Which) -> Reference {
        let (tag, digest) = match which {
            Which::Tag(tag) => (Some(tag.clone()), None),
            Which::Digest(digest) => (None, Some(*digest)),
        };
        Reference { repository: self.clone(), tag, digest }
    }
}

/// Runs of lower-case letters and digits, and between two of them `.`, `_`, `__`, or any number of `-`.
fn is_component(part: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = [part.bytes().next(), part.bytes().last()];
    if !edges.iter().all(|edge| edge.is_some_and(is_inner)) {
        return false;
    }
    let between = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    between.into_iter().all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

impl Tag {
    /// The longest, in bytes: the limit of the distribution specification.
    pub const LENGTH_MAX: usize = 128;

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
            && text.len() <= Tag::LENGTH_MAX;
        if good { Ok(Self(text.to_owned())) } else { Err(ReferenceError::Tag { text: text.to_owned() }) }
    }
}

impl Reference {
    /// Which image of its repository: the digest if it has one, else the tag, else `latest`.
    pub fn which(&self) -> Which {
        match (self.digest, &self.tag) {
            (Some(digest), _) => Which::Digest(digest),
            (None, Some(tag)) => Which::Tag(tag.clone()),
            (None, None) => Which::Tag(Tag(DEFAULT_TAG.to_owned())),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(ReferenceError::Address { text: text.to_owned(), scheme: scheme.to_owned() });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(ReferenceError::Digest)?)),
            None => (text, None),
        };
        // What follows a colon is a tag only behind the last slash: before it, it is a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse()?)),
            _ => (rest, None),
        };
        // As the Docker client tells a host from a folder.
        let is_host = |part: &str| {
            part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
        };
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host.parse()?, path.to_owned()),
            _ => (Host(DEFAULT_HOST.to_owned()), name.to_owned()),
        };
        let path = if host.is_docker_hub() && !path.contains('/') {
            format!("{DEFAULT_FOLDER}/{path}")
        } else {
            path
        };
        Ok(Self { repository: Repository::new(host, &path)?, tag, digest })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As it stands in addresses of a registry's API.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// With everything that the text that it was read from left out.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
