//! One request, and what its answer means.

use bytes::Bytes;
use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use octocrab::{OctoBody, Octocrab, service::middleware::retry::RetryConfig};
use pipeline::{
    github::{ATTEMPT_MAX, Place, Repository, Trouble, fit},
    secret::Secret,
};
use serde::Deserialize;
use serde_json::Value;
use std::{error::Error, io, time::Duration};

/// The longest that a connection may take. A second is usual across the world.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes: a page of a hundred deployments is less than one MB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// The wait that GitHub asks for where it names none.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// The version of the API that is spoken.
const API_VERSION: (&str, &str) = ("X-GitHub-Api-Version", "2022-11-28");

/// A repository that is spoken to. Each request is sent once.
#[derive(Debug, Clone)]
pub struct Client {
    api: Octocrab,
    /// Where files go. A client of its own: octocrab would put the path of the API before that of a whole address.
    uploads: Octocrab,
    repository: Repository,
}

/// A request: what it does in words, and the permission that it takes as workflows name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct What<'a> {
    pub(crate) doing: &'a str,
    pub(crate) permission: &'static str,
}

/// What GitHub says of a request that it does not do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    errors: Value,
}

impl Client {
    /// One that speaks for whoever the token is of.
    ///
    /// # Errors
    /// An address or the token has characters that cannot be sent.
    pub fn new(place: &Place, token: &Secret) -> Result<Self, Trouble> {
        let token = String::from_utf8_lossy(token.expose()).trim().to_owned();
        let is_sent = |byte: u8| byte.is_ascii_graphic();
        if token.is_empty() || !token.bytes().all(is_sent) {
            let message = "it has characters that no token has".to_owned();
            return Err(Trouble::Unauthorised { message });
        }
        Ok(Self {
            api: connection(&place.server.api, token.clone())?,
            uploads: connection(&place.server.uploads, token)?,
            repository: place.repository.clone(),
        })
    }

    /// The route of something in the repository.
    pub(crate) fn route(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", self.repository.owner(), self.repository.name())
    }

    /// Reads something.
    pub(crate) async fn get(&self, what: What<'_>, rest: &str) -> Result<Value, Trouble> {
        self.send(&self.api, what, Method::GET, rest, Body::None).await
    }

    /// Makes something.
    pub(crate) async fn post(&self, what: What<'_>, rest: &str, body: &Value) -> Result<Value, Trouble> {
        self.send(&self.api, what, Method::POST, rest, Body::Json(body)).await
    }

    /// Changes something.
    pub(crate) async fn patch(&self, what: What<'_>, rest: &str, body: &Value) -> Result<Value, Trouble> {
        self.send(&self.api, what, Method::PATCH, rest, Body::Json(body)).await
    }

    /// Removes something.
    pub(crate) async fn delete(&self, what: What<'_>, rest: &str) -> Result<(), Trouble> {
        self.send(&self.api, what, Method::DELETE, rest, Body::None).await.map(drop)
    }

    /// Hands a file over.
    pub(crate) async fn upload(&self, what: What<'_>, rest: &str, file: Bytes) -> Result<Value, Trouble> {
        self.send(&self.uploads, what, Method::POST, rest, Body::File(file)).await
    }

    async fn send(
        &self,
        connection: &Octocrab,
        what: What<'_>,
        method: Method,
        rest: &str,
        body: Body<'_>,
    ) -> Result<Value, Trouble> {
        let is_file = matches!(body, Body::File(_));
        let changes = method != Method::GET;
        let mut request = http::Request::builder().method(method).uri(self.route(rest));
        request =
            request.header(API_VERSION.0, API_VERSION.1).header("Accept", "application/vnd.github+json");
        let request = match body {
            Body::None => request.body(OctoBody::empty()),
            Body::Json(json) => {
                request.header(CONTENT_TYPE, "application/json").body(OctoBody::from(json.to_string()))
            }
            Body::File(file) => {
                request.header(CONTENT_TYPE, "application/octet-stream").body(OctoBody::from(file))
            }
        };
        let strange = |message: String| Trouble::Strange { doing: what.doing.to_owned(), message };
        let request = request.map_err(|error| strange(error.to_string()))?;
        let exchange = async {
            let response = connection.execute(request).await.map_err(Box::<dyn Error + Send + Sync>::from)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
            Ok::<_, Box<dyn Error + Send + Sync>>((parts.status, parts.headers, body))
        };
        // A file may be large, and the line slow: it has the time of several.
        let longest = if is_file { ATTEMPT_MAX * 4 } else { ATTEMPT_MAX };
        let answer = tokio::time::timeout(longest, exchange).await;
        let unavailable = |message, may_have_taken_hold| Trouble::Unavailable {
            doing: what.doing.to_owned(),
            message,
            may_have_taken_hold,
        };
        let (status, headers, body) = match answer {
            Err(_) => return Err(unavailable(format!("no answer within {} s", longest.as_secs()), changes)),
            Ok(Err(error)) => {
                return Err(unavailable(in_words(&*error), changes && !was_never_sent(&*error)));
            }
            Ok(Ok(answer)) => answer,
        };
        if let Some(trouble) = trouble(what, status, &headers, &body, Timestamp::now(), changes) {
            return Err(trouble);
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| strange(error.to_string()))
    }
}

enum Body<'a> {
    None,
    Json(&'a Value),
    File(Bytes),
}

fn connection(address: &str, token: String) -> Result<Octocrab, Trouble> {
    let build = || {
        Octocrab::builder()
            .base_uri(address)?
            .upload_uri(address)?
            .personal_token(token)
            .add_retry_config(RetryConfig::None)
            .set_connect_timeout(Some(CONNECT_MAX))
            .set_read_timeout(Some(ATTEMPT_MAX))
            .build()
    };
    build().map_err(|error: octocrab::Error| Trouble::Strange {
        doing: format!("a connection to {address}"),
        message: in_words(&error),
    })
}

/// What an answer means that is no success. Pure.
fn trouble(
    what: What<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    changes: bool,
) -> Option<Trouble> {
    if status.is_success() {
        return None;
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let message = match refusal.message.is_empty() {
        true => status.to_string(),
        false => fit(&refusal.message, 300),
    };
    let What { doing, permission } = what;
    let doing = doing.to_owned();
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let is_used_up = number("x-ratelimit-remaining") == Some(0);
    let asks_to_wait = number(RETRY_AFTER.as_str()).is_some();
    let is_limit = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN
            && (asks_to_wait || is_used_up || message.to_ascii_lowercase().contains("rate limit"));
    Some(match status.as_u16() {
        _ if is_limit => {
            let until = number("x-ratelimit-reset").filter(|_| is_used_up).map(|at| {
                // A moment later, as clocks are not the same to the second.
                at.saturating_sub(now.as_second().unsigned_abs()) + 1
            });
            let wait = number(RETRY_AFTER.as_str()).or(until).map_or(LIMIT_WAIT, Duration::from_secs);
            Trouble::RateLimited { wait, message }
        }
        401 => Trouble::Unauthorised { message },
        403 => Trouble::Forbidden { doing, permission, message },
        404 => Trouble::NotFound { doing, permission, message },
        409 => Trouble::Conflict { doing, message },
        408 | 500..=599 => Trouble::Unavailable { doing, message, may_have_taken_hold: changes },
        400..=499 => Trouble::Invalid { doing, message, errors: errors(&refusal.errors) },
        _ => Trouble::Strange { doing, message },
    })
}

/// What GitHub says of each field: objects with `field`, `code` and `message`, or plain texts.
fn errors(errors: &Value) -> Vec<String> {
    let one = |error: &Value| match error {
        Value::String(text) => fit(text, 200),
        error => {
            let of = |key: &str| error[key].as_str();
            let words = [of("resource"), of("field"), of("message").or(of("code"))];
            fit(&words.into_iter().flatten().collect::<Vec<_>>().join(" "), 200)
        }
    };
    match errors {
        Value::Array(all) => all.iter().take(10).map(one).filter(|text| !text.is_empty()).collect(),
        Value::Null => Vec::new(),
        other => vec![one(other)],
    }
}

/// The causes in one line, without the traces of where they were made.
fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        let text = fit(&error.to_string(), 200);
        if words.last() != Some(&text) {
            words.push(text);
        }
        cause = error.source();
    }
    if words.is_empty() { "the connection broke".to_owned() } else { words.join(": ") }
}

/// Whether nobody can have read the request: there was no connection.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: What<'static> = What { doing: "a deployment", permission: "deployments: write" };

    fn meaning(status: u16, headers: &[(&'static str, &str)], body: &str) -> Trouble {
        let status = StatusCode::from_u16(status).expect("a status");
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a header")));
        let now = Timestamp::from_second(1_000_000).expect("a time");
        trouble(WHAT, status, &headers.collect(), body.as_bytes(), now, true).expect("no success")
    }

    #[test]
    fn a_limit_is_told_from_a_missing_permission() {
        let message = r#"{"message":"no"}"#;
        let wait = |trouble| match trouble {
            Trouble::RateLimited { wait, .. } => Some(wait.as_secs()),
            _ => None,
        };
        assert_eq!(wait(meaning(403, &[], message)), None);
        assert_eq!(wait(meaning(403, &[("retry-after", "7")], message)), Some(7));
        assert_eq!(wait(meaning(429, &[], message)), Some(60));
        let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000009")];
        assert_eq!(wait(meaning(403, &used_up, message)), Some(10));
        // What is left says nothing of a limit, and neither does a clock that is ahead.
        let left = [("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1000009")];
        assert_eq!(wait(meaning(403, &left, message)), None);
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "5")];
        assert_eq!(wait(meaning(403, &past, message)), Some(1));
        assert_eq!(wait(meaning(403, &[], r#"{"message":"You exceeded a secondary rate limit"}"#)), Some(60));
    }

    #[test]
    fn what_github_says_of_each_field_is_told() {
        let body = r#"{"message":"Validation Failed","errors":[
            {"resource":"Deployment","field":"ref","code":"missing"}, "No ref found", {"message":"odd"}]}"#;
        let trouble = meaning(422, &[], body).to_string();
        assert!(trouble.contains("(Deployment ref missing; No ref found; odd)"), "{trouble}");
        let strange = meaning(422, &[], r#"{"message":"no","errors":"one text"}"#).to_string();
        assert!(strange.contains("(one text)"), "{strange}");
    }

    #[test]
    fn an_answer_of_a_machine_in_between_is_an_outage() {
        let trouble = meaning(502, &[], "<html>Bad Gateway</html>");
        assert!(trouble.may_pass() && trouble.may_have_taken_hold(), "{trouble:?}");
        assert!(trouble.to_string().contains("502 Bad Gateway"), "{trouble}");
    }

    #[test]
    fn a_token_that_no_header_can_hold_is_refused_before_anything_is_sent() {
        let place = Place {
            server: pipeline::github::Server::of(&pipeline::secret::Variables::new()).expect("GitHub"),
            repository: "team/shop".parse().expect("a repository"),
        };
        for token in ["", "  ", "two words", "line\nbreak", "\u{e4}"] {
            let refused = Client::new(&place, &Secret::new(token.as_bytes().to_vec()));
            assert!(matches!(refused, Err(Trouble::Unauthorised { .. })), "{token:?}");
        }
    }
}
