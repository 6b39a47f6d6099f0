//! One call: its attempts, its deadlines, and what an answer means.

use crate::{
    Error, Event, Registry,
    auth::Access,
    client::{DIGEST_HEADER, nothing},
};
use bytes::{Bytes, BytesMut};
use jiff::{Timestamp, fmt::rfc2822};
use pipeline::digest::Digest;
use pipeline::image::reference::Repository;
use reqwest::{
    Method, RequestBuilder, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, RETRY_AFTER},
};
use serde::Deserialize;
use std::{error::Error as StdError, fmt::Write, io, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// The longest wait between two attempts that we choose ourselves.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The longest answer that is read where only a word is expected, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// How much of what a registry says is told.
const SAID_CHARS: usize = 400;
/// The number of the system's error for a disk that is full, as registries in Go write it into their answers.
const NO_SPACE: i64 = nix::errno::Errno::ENOSPC as i64;

/// A request that may be made more than once.
pub(crate) struct Call {
    /// What is wanted, in the imperative: `read the manifest …`.
    pub(crate) operation: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// What a token must allow.
    pub(crate) access: Option<(Repository, Access)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
    /// The most that is read of an answer, in bytes.
    pub(crate) max: usize,
}

/// An answer, of whatever status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) operation: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What the registry says of an error, masked.
    pub(crate) said: String,
}

/// Why an attempt came to nothing.
pub(crate) enum Trouble {
    /// It may go better next time.
    Passing { reason: String, after: Option<Duration>, error: Box<Error> },
    /// It will not.
    Lasting(Box<Error>),
}

impl Trouble {
    pub(crate) fn passing(reason: String, error: Error) -> Self {
        Self::Passing { reason, after: None, error: Box::new(error) }
    }

    pub(crate) fn lasting(error: Error) -> Self {
        Self::Lasting(Box::new(error))
    }
}

impl Call {
    pub(crate) fn new(operation: String, method: Method, url: Url) -> Self {
        Self { operation, method, url, access: None, headers: Vec::new(), body: nothing(), max: ANSWER_MAX }
    }
}

/// The attempts that are left.
pub(crate) struct Patience {
    attempt: u32,
    until: Instant,
    wait: Duration,
}

impl Registry {
    pub(crate) fn patience(&self) -> Patience {
        Patience { attempt: 0, until: Instant::now() + self.options.whole, wait: self.options.first_wait }
    }

    /// Makes a call, again if need be. Statuses that say something about what was asked for are left to the caller:
    /// 404 and others below 500, but not 401, 403 and 429.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, Error> {
        let mut patience = self.patience();
        loop {
            match self.once(call).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => self.wait(&call.operation, &mut patience, trouble).await?,
            }
        }
    }

    /// Waits after a failed attempt, or gives up.
    pub(crate) async fn wait(
        &self,
        operation: &str,
        patience: &mut Patience,
        trouble: Trouble,
    ) -> Result<(), Error> {
        let (reason, after, error) = match trouble {
            Trouble::Lasting(error) => return Err(*error),
            Trouble::Passing { reason, after, error } => (reason, after, error),
        };
        patience.attempt += 1;
        let wait = after.unwrap_or(patience.wait);
        if patience.attempt >= self.options.attempts || Instant::now() + wait >= patience.until {
            return Err(error.after(patience.attempt));
        }
        patience.wait = (patience.wait * 2).min(LONGEST_WAIT);
        let (operation, attempt) = (operation.to_owned(), patience.attempt);
        self.options.tell.tell(Event::Retrying { operation, attempt, reason, wait });
        sleep(wait).await;
        Ok(())
    }

    /// One attempt, with the login that the registry asks for.
    pub(crate) async fn once(&self, call: &Call) -> Result<Answer, Trouble> {
        let mut answer = self.request(call).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.answer_challenge(call, &answer).await? {
            answer = self.request(call).await?;
        }
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(Trouble::lasting(self.unauthorized(&answer))),
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(self.judge(answer))
            }
            status if status.is_server_error() => Err(self.judge(answer)),
            _ => Ok(answer),
        }
    }

    async fn request(&self, call: &Call) -> Result<Answer, Trouble> {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = self.authorization(call) {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.exchange(&call.operation, request.body(call.body.clone()), call.max).await
    }

    /// Sends, and reads the whole answer.
    pub(crate) async fn exchange(
        &self,
        operation: &str,
        request: RequestBuilder,
        max: usize,
    ) -> Result<Answer, Trouble> {
        let read = async {
            let mut response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > max {
                    return Ok(None);
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(Some((status, headers, body.freeze())))
        };
        let operation = operation.to_owned();
        let limit = self.options.attempt;
        let (status, headers, body) = match timeout(limit, read).await {
            Ok(Ok(Some(whole))) => whole,
            Ok(Ok(None)) => return Err(Trouble::lasting(Error::TooLong { operation, limit: max })),
            Ok(Err(error)) => return Err(unreachable(operation, error)),
            Err(_) => {
                let reason = format!("no whole answer within {} s", limit.as_secs_f32());
                return Err(Trouble::passing(reason, Error::Deadline { operation, limit }));
            }
        };
        let said =
            if status.is_success() { String::new() } else { self.redactor.mask(&said(&body)).into_owned() };
        Ok(Answer { operation, status, headers, body, said })
    }

    /// What a failed attempt means.
    pub(crate) fn judge(&self, answer: Answer) -> Trouble {
        let operation = answer.operation.clone();
        if answer.status == StatusCode::INSUFFICIENT_STORAGE || names_full_disk(&answer.body) {
            return Trouble::lasting(Error::Full { operation, said: answer.said });
        }
        if answer.status == StatusCode::FORBIDDEN {
            let (host, login) = (self.host.to_string(), self.login.source.to_string());
            return Trouble::lasting(Error::Denied { operation, host, login, said: answer.said });
        }
        let busy =
            answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status == StatusCode::REQUEST_TIMEOUT;
        // 501 and 505 say what it will never do.
        let passing = busy || matches!(answer.status.as_u16(), 500 | 502 | 503 | 504 | 520..=599);
        if !passing {
            return Trouble::lasting(answer.refused());
        }
        let after = answer.header(RETRY_AFTER.as_str()).and_then(retry_after);
        Trouble::Passing { reason: answer.status.to_string(), after, error: Box::new(answer.refused()) }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Which manifest or blob the registry says it is.
    pub(crate) fn digest(&self) -> Result<Option<Digest>, Error> {
        let text = self.header(DIGEST_HEADER);
        text.map(|text| text.parse().map_err(|e| self.strange(format!("{e}")))).transpose()
    }

    pub(crate) fn expect(&self, wanted: Digest, found: Digest) -> Result<(), Error> {
        if wanted == found {
            Ok(())
        } else {
            Err(Error::Corrupt { operation: self.operation.clone(), wanted, found })
        }
    }

    pub(crate) fn refused(&self) -> Error {
        let (operation, said) = (self.operation.clone(), self.said.clone());
        Error::Refused { operation, status: self.status.as_u16(), said, attempts: 1 }
    }

    pub(crate) fn strange(&self, what: String) -> Error {
        Error::Strange { operation: self.operation.clone(), what }
    }
}

impl Error {
    /// The same, after so many attempts.
    fn after(self, made: u32) -> Self {
        match self {
            Self::Refused { operation, status, said, .. } => {
                Self::Refused { operation, status, said, attempts: made }
            }
            Self::Unreachable { operation, source, .. } => {
                Self::Unreachable { operation, source, attempts: made }
            }
            other => other,
        }
    }
}

/// No answer: the connection was refused, lost, or is not one that is trusted.
fn unreachable(operation: String, error: reqwest::Error) -> Trouble {
    // Where it was sent is in the operation, and may hold a right to be asked.
    let error = error.without_url();
    let mut lasting = error.is_builder() || error.is_redirect();
    let mut reason = error.to_string();
    let mut cause: &dyn StdError = &error;
    while let Some(source) = cause.source() {
        lasting |= source.is::<rustls::Error>();
        if let Some(inner) = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            lasting |= inner.is::<rustls::Error>();
        }
        reason = source.to_string();
        cause = source;
    }
    let error = Error::Unreachable { operation, attempts: 1, source: error.into() };
    if lasting { Trouble::lasting(error) } else { Trouble::passing(reason, error) }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

/// What a registry says of an error: `UNAUTHORIZED: authentication required`, or the beginning of its text.
fn said(body: &[u8]) -> String {
    let mut text = String::new();
    match serde_json::from_slice::<Errors>(body) {
        Ok(told) => {
            for error in told.errors {
                let comma = if text.is_empty() { "" } else { "; " };
                // Writing into a text does not fail.
                let _ = write!(text, "{comma}{}: {}", error.code, error.message);
                if !error.detail.is_null() {
                    let _ = write!(text, " ({})", error.detail);
                }
            }
        }
        Err(_) => text = String::from_utf8_lossy(body).split_whitespace().collect::<Vec<_>>().join(" "),
    }
    text.chars().take(SAID_CHARS).filter(|c| !c.is_control()).collect()
}

/// Whether an error is that of a disk without room, in the words of the system or in its number.
fn names_full_disk(body: &[u8]) -> bool {
    fn numbered(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .any(|(name, field)| (name == "Err" && field.as_i64() == Some(NO_SPACE)) || numbered(field)),
            serde_json::Value::Array(items) => items.iter().any(numbered),
            serde_json::Value::String(text) => text.contains("no space left on device"),
            _ => false,
        }
    }
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => numbered(&value),
        Err(_) => String::from_utf8_lossy(body).contains("no space left on device"),
    }
}

/// Seconds, or a moment.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Duration::try_from(moment.duration_since(Timestamp::now())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_registrys_words() {
        let body =
            br#"{"errors":[{"code":"DENIED","message":"requested access","detail":[{"Type":"repository"}]},
            {"code":"UNKNOWN","message":"unknown error"}]}"#;
        assert_eq!(
            said(body),
            r#"DENIED: requested access ([{"Type":"repository"}]); UNKNOWN: unknown error"#
        );
        assert_eq!(said(b"<html>\n  Bad   gateway"), "<html> Bad gateway");
        assert!(said(&[b'x'; 10_000]).len() <= SAID_CHARS);
    }

    #[test]
    fn a_full_disk_is_known_by_its_number_and_by_its_words() {
        let number = br#"{"errors":[{"code":"UNKNOWN","detail":{"Enclosed":{"Op":"write","Err":28}}}]}"#;
        let other = br#"{"errors":[{"code":"UNKNOWN","detail":{"Enclosed":{"Op":"write","Err":5}}}]}"#;
        assert!(names_full_disk(number) && !names_full_disk(other));
        assert!(names_full_disk(b"write /data: no space left on device") && !names_full_disk(b"gone"));
    }

    #[test]
    fn waits_that_are_asked_for_are_understood() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = retry_after("Thu, 21 Oct 2100 07:28:00 GMT").expect("a moment");
        assert!(later > Duration::from_secs(60 * 60 * 24 * 365), "{later:?}");
        assert_eq!(retry_after("soon"), None);
    }
}
