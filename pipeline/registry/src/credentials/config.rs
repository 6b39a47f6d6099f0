//! `config.json` of the Docker client.

use super::{Credentials, CredentialsError, Login, Source, server};
use base64::{Engine, engine::general_purpose::STANDARD};
use pipeline::image::reference::Host;
use pipeline::secret::Secret;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::Path,
};
use zeroize::Zeroizing;

/// The largest file, in bytes: thousands of logins.
const MAX_BYTES: u64 = 1024 * 1024;

/// What of it matters here. No `Debug`: it has passwords in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

/// A login; what the Docker client writes is `auth`, other programs write the rest.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: Zeroizing<String>,
    username: String,
    password: Zeroizing<String>,
    identitytoken: Zeroizing<String>,
}

/// `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Config>, CredentialsError> {
    let error = |source| CredentialsError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e)),
    };
    // All at once, so that growing leaves no unwiped copies behind.
    let length = file.metadata().map_err(error)?.len().min(MAX_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(error)?;
    // The parser's own words may quote a value.
    serde_json::from_slice(&bytes).map(Some).map_err(|e| CredentialsError::Damaged {
        path: path.to_owned(),
        line: e.line(),
        column: e.column(),
    })
}

impl Config {
    /// The helper that has the login for this registry: `pass` for `docker-credential-pass`.
    pub(super) fn helper(&self, host: &Host) -> Option<&str> {
        let own = self.cred_helpers.get(server(host)).or_else(|| self.cred_helpers.get(host.as_str()));
        let name = own.unwrap_or(&self.creds_store);
        (!name.is_empty()).then_some(name)
    }

    /// The registries that are named here; what is no name of one is left out.
    pub(super) fn hosts(&self) -> BTreeSet<Host> {
        let keys = self.auths.keys().chain(self.cred_helpers.keys());
        keys.filter_map(|key| hostname(key).parse().ok()).collect()
    }

    /// The login for this registry that stands in the file itself.
    pub(super) fn login(&self, host: &Host, path: &Path) -> Result<Login, CredentialsError> {
        let exact = self.auths.get(server(host));
        let by_name = || self.auths.iter().find(|(key, _)| hostname(key) == hostname(server(host)));
        let Some(auth) = exact.or_else(|| Some(by_name()?.1)) else { return Ok(Login::anonymous()) };
        let source = Source::Config(path.to_owned());
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        if !auth.identitytoken.is_empty() {
            let token = secret(&auth.identitytoken);
            return Ok(Login { credentials: Credentials::IdentityToken { token }, source });
        }
        if !auth.auth.is_empty() {
            let unreadable =
                |what| CredentialsError::Unreadable { host: host.clone(), path: path.to_owned(), what };
            let credentials = decode(&auth.auth).map_err(unreadable)?;
            return Ok(Login { credentials, source });
        }
        if !auth.username.is_empty() && !auth.password.is_empty() {
            let password = secret(&auth.password);
            return Ok(Login {
                credentials: Credentials::Password { user: auth.username.clone(), password },
                source,
            });
        }
        Ok(Login::anonymous())
    }
}

/// `name:password` in base64. Only the first colon parts them: a password may have others.
fn decode(text: &str) -> Result<Credentials, &'static str> {
    let decoded = STANDARD.decode(text.trim()).map_err(|_| "`auth` is not base64")?;
    let decoded = Zeroizing::new(decoded);
    let text = std::str::from_utf8(&decoded).map_err(|_| "`auth` is not UTF-8")?;
    let (user, password) = text.split_once(':').ok_or("`auth` has no colon in it")?;
    // Old clients filled the password up.
    let password = password.trim_matches('\0');
    Ok(Credentials::Password { user: user.to_owned(), password: Secret::new(password.as_bytes().to_vec()) })
}

/// Of `https://index.docker.io/v1/`: `index.docker.io`. As the Docker client compares the names of old logins.
fn hostname(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}
