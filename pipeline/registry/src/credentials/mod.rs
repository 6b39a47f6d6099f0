//! Who we are to a registry, and how we know.

mod config;
mod helper;

use pipeline::image::reference::Host;
use pipeline::secret::{Secret, Variables};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The variable of the name that is used for whichever registry is published to.
pub const USERNAME: &str = "FAIRLEAD_REGISTRY_USERNAME";
/// The variable of its password; both or neither.
pub const PASSWORD: &str = "FAIRLEAD_REGISTRY_PASSWORD";

/// What proves who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, UTF-8.
        password: Secret,
    },
    /// A token that the registry's token server exchanges for others.
    IdentityToken {
        /// The token, UTF-8.
        token: Secret,
    },
}

/// Where credentials came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// There are none anywhere.
    Nothing,
    /// The variables [`USERNAME`] and [`PASSWORD`].
    Variables,
    /// What `docker login` wrote into this file.
    Config(PathBuf),
    /// A program that this file names.
    Helper {
        /// `docker-credential-pass`.
        program: String,
        /// The file.
        config: PathBuf,
    },
    /// Whoever called.
    Caller,
}

/// Credentials, and where they came from.
#[derive(Debug, Clone)]
pub struct Login {
    /// What proves who we are.
    pub credentials: Credentials,
    /// Where it came from.
    pub source: Source,
}

/// Why credentials that should be there cannot be had. No text has a part of them in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read the logins in `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is damaged.
    #[error(
        "the logins in `{path}` are damaged in line {line}, column {column}: log in again with `docker login`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// What stands there for this registry is no login.
    #[error("the login for {host} in `{path}` is not what `docker login` writes ({what}): log in again")]
    Unreadable {
        /// The registry.
        host: Host,
        /// The file.
        path: PathBuf,
        /// What is wrong, without its value.
        what: &'static str,
    },
    /// The value of a variable is none.
    #[error("the variable `{name}` is not UTF-8: registries take no other password")]
    Variable {
        /// Which.
        name: &'static str,
    },
    /// The program is not there.
    #[error(
        "`{path}` leaves the login for {host} to `{program}`, and there is no such program: install it, or log in without it"
    )]
    NoHelper {
        /// The registry.
        host: Host,
        /// The file.
        path: PathBuf,
        /// The program.
        program: String,
    },
    /// The program failed.
    #[error("`{program}` gave no login for {host}: {what}")]
    Helper {
        /// The registry.
        host: Host,
        /// The program.
        program: String,
        /// How it ended, and what it said.
        what: String,
    },
    /// The program could not be run.
    #[error("cannot ask `{program}` for the login for {host}")]
    HelperRun {
        /// The registry.
        host: Host,
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program did not end.
    #[error("`{program}` did not give the login for {host} within {} s, and was ended: does it wait for somebody to unlock it?", .limit.as_secs_f32())]
    HelperDeadline {
        /// The registry.
        host: Host,
        /// The program.
        program: String,
        /// The time that it had.
        limit: Duration,
    },
}

impl Login {
    /// Nobody.
    pub fn anonymous() -> Self {
        Self { credentials: Credentials::Anonymous, source: Source::Nothing }
    }

    /// This name and this password.
    pub fn password(user: impl Into<String>, password: Secret) -> Self {
        Self { credentials: Credentials::Password { user: user.into(), password }, source: Source::Caller }
    }

    /// Looks for the login for a registry: if it is the project's `own`, first in our own variables, then where the Docker
    /// client looks, in the `config.json` of `DOCKER_CONFIG` or `~/.docker`, and in the programs that it names. Our own
    /// variables name no registry and are meant for that one alone, so no other is given them, whatever names it: an image,
    /// a release of somebody else, a Dockerfile. `deadline` is for the programs; see [`pipeline::secret::DEADLINE`].
    ///
    /// # Errors
    /// There should be one, but it cannot be had. That there is none anywhere is not an error: it is [`Source::Nothing`].
    pub async fn find(
        host: &Host,
        own: Option<&Host>,
        variables: &Variables,
        deadline: Duration,
    ) -> Result<Self, CredentialsError> {
        if own == Some(host)
            && let Some(login) = from_variables(variables)?
        {
            return Ok(login);
        }
        let Some(path) = config_path(variables) else { return Ok(Self::anonymous()) };
        let Some(config) = config::read(&path)? else { return Ok(Self::anonymous()) };
        match config.helper(host) {
            Some(name) => helper::ask(name, host, &path, variables, deadline).await,
            None => config.login(host, &path),
        }
    }

    /// The registries for which the Docker client has a login of their own, or a program that may have one.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn hosts(variables: &Variables) -> Result<BTreeSet<Host>, CredentialsError> {
        let Some(path) = config_path(variables) else { return Ok(BTreeSet::new()) };
        Ok(config::read(&path)?.map(|config| config.hosts()).unwrap_or_default())
    }
}

fn from_variables(variables: &Variables) -> Result<Option<Login>, CredentialsError> {
    let text = |name: &'static str| match variables.get(OsStr::new(name)) {
        Some(value) if !value.is_empty() => match value.to_str() {
            Some(text) => Ok(Some(text)),
            None => Err(CredentialsError::Variable { name }),
        },
        _ => Ok(None),
    };
    let (Some(user), Some(password)) = (text(USERNAME)?, text(PASSWORD)?) else { return Ok(None) };
    let password = Secret::new(password.as_bytes().to_vec());
    let credentials = Credentials::Password { user: user.to_owned(), password };
    Ok(Some(Login { credentials, source: Source::Variables }))
}

fn config_path(variables: &Variables) -> Option<PathBuf> {
    let folder = |name: &str| variables.get(OsStr::new(name)).filter(|value| !value.is_empty());
    let docker = folder("DOCKER_CONFIG").map(PathBuf::from);
    let folder = docker.or_else(|| folder("HOME").map(|home| Path::new(home).join(".docker")))?;
    Some(folder.join("config.json"))
}

/// The name under which logins for this registry are kept.
fn server(host: &Host) -> &str {
    if host.is_docker_hub() { "https://index.docker.io/v1/" } else { host.as_str() }
}

/// As error texts name it: `of the file …`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none was found"),
            Self::Variables => write!(f, "from {USERNAME} and {PASSWORD}"),
            Self::Config(path) => write!(f, "from `{}`", path.display()),
            Self::Helper { program, config } => {
                write!(f, "from `{program}`, which `{}` names", config.display())
            }
            Self::Caller => f.write_str("given by the caller"),
        }
    }
}

/// The value of a variable, for a program that is looked for where the variables say.
fn path_of(variables: &Variables, program: &str) -> Option<PathBuf> {
    let path = variables.get(OsStr::new("PATH"))?;
    let folders = path.as_bytes().split(|b| *b == b':').filter(|folder| !folder.is_empty());
    let mut files = folders.map(|folder| Path::new(OsStr::from_bytes(folder)).join(program));
    files.find(|file| file.is_file())
}

#[cfg(test)]
mod tests;
