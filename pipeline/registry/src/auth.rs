//! Logins as registries want them: Basic, or a token of another server for each repository.

use crate::{
    Error, Registry,
    credentials::{Credentials, Login},
    transport::{Answer, Call, Trouble},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use pipeline::image::reference::{Repository, is_loopback};
use pipeline::secret::{Redactor, Secret};
use reqwest::{
    Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

/// How long a token holds that does not say so: the token specification's word.
const TOKEN_HOLDS: Duration = Duration::from_secs(60);
/// How much earlier a new one is asked for, so that none ends on the way.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);
/// The longest answer of a token server, in bytes.
const TOKEN_MAX: usize = 256 * 1024;
/// Who we are to token servers that ask which program it is.
const CLIENT_ID: &str = "fairlead";

/// What is done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
    Delete,
}

/// What is known of how this registry wants its logins.
#[derive(Default)]
pub(crate) struct Known {
    basic: bool,
    tokens: BTreeMap<String, Token>,
}

struct Token {
    value: Secret,
    until: Instant,
}

/// No values.
impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("basic", &self.basic).field("tokens", &self.tokens.keys()).finish()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Zeroizing<String>,
    #[serde(default)]
    access_token: Zeroizing<String>,
    expires_in: Option<u64>,
}

impl Login {
    pub(crate) fn teach(&self, redactor: &Redactor) {
        match &self.credentials {
            Credentials::Anonymous => {}
            Credentials::Password { password, .. } => redactor.learn(password),
            Credentials::IdentityToken { token } => redactor.learn(token),
        }
    }

    /// As HTTP's Basic scheme has it.
    fn basic(&self) -> Option<HeaderValue> {
        let Credentials::Password { user, password } = &self.credentials else { return None };
        let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.expose().len()));
        pair.extend_from_slice(user.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(password.expose());
        Some(sensitive("Basic ", &Zeroizing::new(STANDARD.encode(&*pair))))
    }
}

/// A header that no log shows.
fn sensitive(scheme: &str, value: &str) -> HeaderValue {
    let text = Zeroizing::new(format!("{scheme}{value}"));
    // A token that cannot stand in a header cannot be one that is taken.
    let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"));
    header.set_sensitive(true);
    header
}

/// What a token has to allow.
pub(crate) fn scope(access: Option<&(Repository, Access)>) -> Option<String> {
    let (repository, access) = access?;
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
        Access::Delete => "pull,delete",
    };
    Some(format!("repository:{}:{actions}", repository.path()))
}

impl Registry {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent with a call, as far as it is known what this registry wants.
    pub(crate) fn authorization(&self, call: &Call) -> Option<HeaderValue> {
        // What a registry points to elsewhere has its own right to be asked in its address.
        if call.url.origin() != self.base.origin() {
            return None;
        }
        let known = self.known();
        if known.basic {
            return self.login.basic();
        }
        let token = known.tokens.get(&scope(call.access.as_ref()).unwrap_or_default())?;
        if token.until <= Instant::now() {
            return None;
        }
        Some(sensitive("Bearer ", std::str::from_utf8(token.value.expose()).ok()?))
    }

    /// Does what an answer of 401 asks for. `false` if there is nothing that could be done.
    pub(crate) async fn answer_challenge(&self, call: &Call, refused: &Answer) -> Result<bool, Trouble> {
        if call.url.origin() != self.base.origin() {
            return Ok(false);
        }
        for header in refused.headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = header.to_str() else { continue };
            let Ok(challenges) = http_auth::parse_challenges(text) else { continue };
            for challenge in challenges {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    self.known().basic = self.login.basic().is_some();
                    return Ok(self.login.basic().is_some());
                }
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let Some(realm) = parameter("realm") else { continue };
                    let own = scope(call.access.as_ref());
                    let wanted = own.clone().or_else(|| parameter("scope"));
                    let token = self.token(call, &realm, parameter("service"), wanted).await?;
                    self.known().tokens.insert(own.unwrap_or_default(), token);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Asks the server that a registry names for a token.
    async fn token(
        &self,
        call: &Call,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<Token, Trouble> {
        let mut url = self.realm(call, realm)?;
        let mut fields: Vec<(&str, String)> = Vec::new();
        fields.extend(service.map(|service| ("service", service)));
        fields.extend(scope.map(|scope| ("scope", scope)));
        let mut request = match &self.login.credentials {
            Credentials::IdentityToken { token } => {
                let token = String::from_utf8_lossy(token.expose()).into_owned();
                fields.push(("client_id", CLIENT_ID.to_owned()));
                fields.push(("grant_type", "refresh_token".to_owned()));
                fields.push(("refresh_token", token));
                let mut form = url.clone();
                form.query_pairs_mut().clear().extend_pairs(&fields);
                let form = form.query().unwrap_or_default().to_owned();
                let kind = "application/x-www-form-urlencoded";
                self.http.request(Method::POST, url).header(CONTENT_TYPE, kind).body(form)
            }
            Credentials::Password { user, .. } => {
                fields.push(("account", user.clone()));
                url.query_pairs_mut().extend_pairs(&fields);
                self.http.request(Method::GET, url)
            }
            Credentials::Anonymous => {
                url.query_pairs_mut().extend_pairs(&fields);
                self.http.request(Method::GET, url)
            }
        };
        if let Some(basic) = self.login.basic() {
            request = request.header(AUTHORIZATION, basic);
        }
        let answer = self.exchange(&call.operation, request, TOKEN_MAX).await?;
        if !answer.status.is_success() {
            // A token server that is asked wrongly answers 400; for a token that has ended, too.
            return Err(match answer.status {
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
                    Trouble::lasting(self.unauthorized(&answer))
                }
                _ => self.judge(answer),
            });
        }
        let strange = || Trouble::lasting(answer.strange("the token server gives no token".to_owned()));
        let told: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|_| strange())?;
        let value = if told.token.is_empty() { &told.access_token } else { &told.token };
        if value.is_empty() {
            return Err(strange());
        }
        let value = Secret::new(value.as_bytes().to_vec());
        self.redactor.learn(&value);
        let holds = told.expires_in.map_or(TOKEN_HOLDS, Duration::from_secs).saturating_sub(TOKEN_MARGIN);
        // A day at most, so that the sum is a moment that there is.
        let until = Instant::now() + holds.min(Duration::from_secs(24 * 60 * 60));
        Ok(Token { value, until })
    }

    /// Where a token is to be had, if a login may be sent there.
    fn realm(&self, call: &Call, realm: &str) -> Result<Url, Trouble> {
        let operation = || call.operation.clone();
        let strange = |what| Trouble::lasting(Error::Strange { operation: operation(), what });
        let url = Url::parse(realm)
            .map_err(|e| strange(format!("`{realm}` is no address of a token server ({e})")))?;
        let safe = match url.scheme() {
            "https" => true,
            // One that is asked without encryption by somebody's word has a token server like itself.
            "http" => {
                url.host_str().is_some_and(is_loopback)
                    || self.base.scheme() == "http" && !self.host.is_loopback()
            }
            _ => false,
        };
        if safe {
            Ok(url)
        } else {
            Err(Trouble::lasting(Error::Exposed { operation: operation(), realm: realm.to_owned() }))
        }
    }

    pub(crate) fn unauthorized(&self, answer: &Answer) -> Error {
        Error::Unauthorized {
            operation: answer.operation.clone(),
            host: self.host.to_string(),
            login: self.login.source.to_string(),
            said: answer.said.clone(),
        }
    }
}
