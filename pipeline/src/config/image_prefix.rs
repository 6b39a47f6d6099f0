//! Where images are published: a registry, and a path in it.

use crate::image::reference::{Host, Reference, ReferenceError, Repository};
use crate::name::Name;
use std::{fmt, str::FromStr};

/// A registry, and perhaps a path in it, below which each service has a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    host: Host,
    path: Option<String>,
}

impl Prefix {
    /// The registry.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The repository of a service.
    ///
    /// # Errors
    /// No repository can have the service's name (one that ends with a dash, or has two dots), or all is too long.
    pub fn repository(&self, service: &Name) -> Result<Repository, ReferenceError> {
        let path = self.path.iter().map(String::as_str).chain([service.as_str()]).collect::<Vec<_>>();
        Repository::new(self.host.clone(), &path.join("/"))
    }
}

impl FromStr for Prefix {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        // A host must be said: a path alone would mean Docker's own registry, which nobody may want by mistake.
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(ReferenceError::Host { text: text.to_owned() });
        }
        let Some(path) = path else { return Ok(Self { host: host.parse()?, path: None }) };
        let Reference { repository, tag, digest } = format!("{host}/{path}").parse()?;
        if tag.is_some() || digest.is_some() {
            return Err(ReferenceError::Name { text: text.to_owned(), part: path.to_owned() });
        }
        Ok(Self { host: repository.host, path: Some(path.to_owned()) })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_a_repository_below_it() {
        let api: Name = "api".parse().expect("a name");
        for (text, repository) in [
            ("ghcr.io/team", "ghcr.io/team/api"),
            ("127.0.0.1:5000", "127.0.0.1:5000/api"),
            ("docker.io/team", "docker.io/team/api"),
            ("localhost/a/b", "localhost/a/b/api"),
        ] {
            let prefix: Prefix = text.parse().expect(text);
            assert_eq!(prefix.to_string(), text);
            assert_eq!(prefix.repository(&api).expect(text).to_string(), repository);
        }
        for text in [
            "",
            "team",
            "team/app",
            "ghcr.io/",
            "ghcr.io/Team",
            "ghcr.io/a:1",
            "https://ghcr.io/a",
            "ghcr.io/a/",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let dash: Name = "api-".parse().expect("a name");
        assert!("ghcr.io/team".parse::<Prefix>().expect("a prefix").repository(&dash).is_err());
    }
}
