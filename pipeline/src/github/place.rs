//! Where GitHub is, and which repository is meant.

use crate::secret::Variables;
use std::{ffi::OsStr, fmt, str::FromStr};

/// The variable with the token. A workflow must hand it to the step.
pub const TOKEN: &str = "GITHUB_TOKEN";

/// GitHub's own API.
const API: &str = "https://api.github.com";

/// Where GitHub takes files.
const UPLOADS: &str = "https://uploads.github.com";

/// A repository: `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    owner: String,
    name: String,
}

/// Why there is nobody to speak to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No repository is named, and git knows none.
    #[error(
        "no repository on GitHub is known: no `repository` in `[github]`, no GITHUB_REPOSITORY, no `origin` at {host}"
    )]
    NoRepository {
        /// The host that `origin` would have to be at.
        host: String,
    },
    /// A repository has another form.
    #[error("`{0}` is no repository: `owner/name` is expected")]
    Repository(String),
    /// An address has another form.
    #[error("GITHUB_API_URL names no address: `{0}`")]
    Address(String),
}

/// The server: where its API is, where it takes files, and what people open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `https://api.github.com`, `https://github.example/api/v3`; without a slash at its end.
    pub api: String,
    /// `https://uploads.github.com`, `https://github.example/api/uploads`.
    pub uploads: String,
    /// The host that people and git know: `github.com`.
    pub host: String,
}

/// A repository at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The server.
    pub server: Server,
    /// The repository.
    pub repository: Repository,
}

impl Repository {
    /// Who it belongs to.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The one at this host that a URL of git leads to: `https://host/owner/name.git`, `git@host:owner/name`.
    pub fn of_url(url: &str, host: &str) -> Option<Self> {
        let rest = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?,
            None => url.split_once(':')?,
        };
        let (authority, path) = rest;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let named = authority.split_once(':').map_or(authority, |(host, _)| host);
        let path = path.trim_matches('/');
        (named.eq_ignore_ascii_case(host)).then(|| path.strip_suffix(".git").unwrap_or(path).parse().ok())?
    }
}

impl FromStr for Repository {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let is_word = |word: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=100).contains(&word.len()) && word.bytes().all(allowed) && !matches!(word, "." | "..")
        };
        match text.split_once('/') {
            Some((owner, name)) if is_word(owner) && is_word(name) => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(PlaceError::Repository(text.to_owned())),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl Server {
    /// The one of `GITHUB_API_URL`, or GitHub's own.
    ///
    /// # Errors
    /// The variable names no address.
    pub fn of(variables: &Variables) -> Result<Self, PlaceError> {
        let api = variable(variables, "GITHUB_API_URL").unwrap_or_else(|| API.to_owned());
        let api = api.trim_end_matches('/').to_owned();
        let wrong = || PlaceError::Address(api.clone());
        let (scheme, rest) = api.split_once("://").ok_or_else(wrong)?;
        let authority = rest.split('/').next().unwrap_or_default();
        // A login in it would stand in texts.
        if !matches!(scheme, "https" | "http") || authority.is_empty() || authority.contains(['@', ' ']) {
            return Err(wrong());
        }
        let host = authority.split_once(':').map_or(authority, |(host, _)| host);
        if api == API {
            return Ok(Self { api, uploads: UPLOADS.to_owned(), host: "github.com".to_owned() });
        }
        if let Some(tenant) = host.strip_prefix("api.").filter(|host| host.ends_with(".ghe.com")) {
            let uploads = format!("{scheme}://uploads.{tenant}");
            return Ok(Self { host: tenant.to_owned(), uploads, api });
        }
        // GitHub Enterprise Server has both below its own name; anything else is asked as it stands.
        let uploads = match api.strip_suffix("/api/v3") {
            Some(root) => format!("{root}/api/uploads"),
            None => api.clone(),
        };
        Ok(Self { host: host.to_owned(), uploads, api })
    }
}

impl Place {
    /// The repository that is configured, else that of the workflow, else that which git came from.
    ///
    /// # Errors
    /// None is known, or an address or name has another form.
    pub fn of(
        configured: Option<&Repository>,
        variables: &Variables,
        origin: impl FnOnce() -> Option<String>,
    ) -> Result<Self, PlaceError> {
        let server = Server::of(variables)?;
        if let Some(repository) = configured {
            return Ok(Self { repository: repository.clone(), server });
        }
        if let Some(named) = variable(variables, "GITHUB_REPOSITORY") {
            return Ok(Self { repository: named.parse()?, server });
        }
        let origin = origin().and_then(|url| Repository::of_url(&url, &server.host));
        match origin {
            Some(repository) => Ok(Self { repository, server }),
            None => Err(PlaceError::NoRepository { host: server.host }),
        }
    }
}

/// What people open to see the run of the workflow that this is part of; none outside of one.
pub fn run_url(variables: &Variables) -> Option<String> {
    let server = variable(variables, "GITHUB_SERVER_URL")?;
    let repository: Repository = variable(variables, "GITHUB_REPOSITORY")?.parse().ok()?;
    let run: u64 = variable(variables, "GITHUB_RUN_ID")?.parse().ok()?;
    let is_address = (server.starts_with("https://") || server.starts_with("http://"))
        && !server.contains(['@', ' ', '"', '\n']);
    is_address.then(|| format!("{}/{repository}/actions/runs/{run}", server.trim_end_matches('/')))
}

fn variable(variables: &Variables, name: &str) -> Option<String> {
    let value = variables.get(OsStr::new(name))?.to_str()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[(&str, &str)]) -> Variables {
        all.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_repository_is_found_in_every_kind_of_url_of_the_right_host() {
        let found = |url: &str| Repository::of_url(url, "github.com").map(|one| one.to_string());
        for url in [
            "https://github.com/team/shop.git",
            "https://github.com/team/shop/",
            "git@github.com:team/shop.git",
            "ssh://git@github.com:22/team/shop.git",
        ] {
            assert_eq!(found(url).as_deref(), Some("team/shop"), "{url}");
        }
        for url in ["https://other.example/team/shop", "/srv/team/shop.git", "https://github.com/shop", ""] {
            assert_eq!(found(url), None, "{url}");
        }
    }

    #[test]
    fn files_go_where_each_kind_of_server_takes_them() {
        let server = |api: &str| {
            let server = Server::of(&variables(&[("GITHUB_API_URL", api)])).expect("a server");
            (server.api, server.uploads, server.host)
        };
        let texts = |texts: [&str; 3]| {
            let [api, uploads, host] = texts.map(String::from);
            (api, uploads, host)
        };
        assert_eq!(server(""), texts([API, UPLOADS, "github.com"]));
        assert_eq!(
            server("https://git.example/api/v3/"),
            texts(["https://git.example/api/v3", "https://git.example/api/uploads", "git.example"])
        );
        assert_eq!(
            server("https://api.octo.ghe.com"),
            texts(["https://api.octo.ghe.com", "https://uploads.octo.ghe.com", "octo.ghe.com"])
        );
        for wrong in ["git.example", "ftp://git.example", "https://", "https://me:secret@git.example"] {
            assert!(Server::of(&variables(&[("GITHUB_API_URL", wrong)])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_configured_comes_before_the_workflow_and_that_before_git() {
        let own: Repository = "team/own".parse().expect("a repository");
        let workflow = variables(&[("GITHUB_REPOSITORY", "team/flow")]);
        let origin = || Some("git@github.com:team/git.git".to_owned());
        let named = |configured, variables: &Variables| {
            Place::of(configured, variables, origin).expect("a place").repository.to_string()
        };
        assert_eq!(named(Some(&own), &workflow), "team/own");
        assert_eq!(named(None, &workflow), "team/flow");
        assert_eq!(named(None, &Variables::new()), "team/git");
        assert!(matches!(Place::of(None, &Variables::new(), || None), Err(PlaceError::NoRepository { .. })));
    }

    #[test]
    fn the_run_is_linked_only_inside_of_one() {
        let all = [
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "team/shop"),
            ("GITHUB_RUN_ID", "42"),
        ];
        let url = run_url(&variables(&all));
        assert_eq!(url.as_deref(), Some("https://github.com/team/shop/actions/runs/42"));
        assert_eq!(run_url(&variables(&all[..2])), None);
    }
}
