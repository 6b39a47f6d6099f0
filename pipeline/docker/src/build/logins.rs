//! Logins for the registries of base images and of caches: what the Docker client knows, and nothing more.

use super::ImageBuild;
use crate::login::{header, json, quoted, server};
use http::HeaderValue;
use pipeline::secret::{DEADLINE, Redactor, Variables};
use registry::{Credentials, CredentialsError, Host, Login};
use std::{fmt, fmt::Write as _, fs, io::Read as _};
use zeroize::Zeroizing;

/// The longest Dockerfile that is searched for names of registries, in bytes: what engines take.
const DOCKERFILE_MAX: u64 = 2 * 1024 * 1024;

/// Where logins are looked for while an image is built.
#[derive(Clone, Default)]
pub struct Logins {
    variables: Variables,
    own: Option<Host>,
}

/// No values.
impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Logins {
    /// Those that the Docker client has, by these variables. To the registry `own` goes what our own variables say; they
    /// are meant for no other, whatever a Dockerfile names.
    pub fn new(variables: Variables, own: Option<Host>) -> Self {
        Self { variables, own }
    }

    /// The login for a registry; what of it is secret is masked from now on.
    pub(super) async fn find(&self, host: &Host, redactor: &Redactor) -> Result<Login, CredentialsError> {
        let login = Login::find(host, self.own.as_ref(), &self.variables, DEADLINE).await?;
        match &login.credentials {
            Credentials::Anonymous => {}
            Credentials::Password { password, .. } => redactor.learn(password),
            Credentials::IdentityToken { token } => redactor.learn(token),
        }
        Ok(login)
    }

    /// What the classic builder is told beforehand: the logins for the registries that the Dockerfile names, and for
    /// Docker's own, which need not be named. `None` if there is none.
    pub(super) async fn registry_config(
        &self,
        request: &ImageBuild,
        redactor: &Redactor,
    ) -> Result<Option<HeaderValue>, CredentialsError> {
        let mut hosts = Login::hosts(&self.variables)?;
        hosts.extend(self.own.clone());
        let text = named(request);
        let mut all = Zeroizing::new(String::new());
        for host in hosts.into_iter().filter(|host| host.is_docker_hub() || text.contains(host.as_str())) {
            let login = self.find(&host, redactor).await?;
            if matches!(login.credentials, Credentials::Anonymous) {
                continue;
            }
            let comma = if all.is_empty() { "" } else { "," };
            let server = server(&host);
            // Writing into a text does not fail.
            let _ = write!(all, "{comma}{}:{}", &*quoted(server), &*json(&login, server));
        }
        let whole = Zeroizing::new(format!("{{{}}}", &*all));
        Ok((!all.is_empty()).then(|| header(&whole)))
    }
}

/// All in which a base image can be named.
fn named(request: &ImageBuild) -> String {
    let mut text = String::new();
    // One that cannot be read is told when the context is sent.
    if let Ok(file) = fs::File::open(request.context.join(&request.dockerfile)) {
        let mut bytes = Vec::new();
        let _ = file.take(DOCKERFILE_MAX).read_to_end(&mut bytes);
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    for value in request.args.values() {
        text.push('\n');
        text.push_str(value);
    }
    text
}
