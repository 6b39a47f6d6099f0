//! Blobs: put there in parts, going on where the registry has them.

use crate::{
    Error, Event, Registry,
    auth::Access,
    transport::{Answer, Call, Patience, Trouble},
};
use bytes::Bytes;
use pipeline::digest::Digest;
use pipeline::image::reference::Repository;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE},
};

/// How many bytes go at once: few enough to be sent again, enough that the pauses between do not count.
const CHUNK: usize = 8 * 1024 * 1024;
/// How many bytes go with the very call that ends an upload: so few that to send all of them again costs less than the call
/// that is saved.
const AT_ONCE: usize = 256 * 1024;
/// In which a registry says that it wants larger parts, in bytes.
const CHUNK_MIN_HEADER: &str = "oci-chunk-min-length";
/// The largest part that a registry may want, in bytes: above it, the answer is not believed.
const CHUNK_MAX: usize = 512 * 1024 * 1024;

/// How much is sent to see whether anything is taken, in bytes: more than what is left of most disks that are full.
const TRIED: usize = 1024 * 1024;

/// What has come of a part.
enum Part {
    /// The registry has this many bytes, and the next part goes there.
    Sent(usize, Url),
    /// It knows nothing of the upload any more.
    Lost,
}

impl Registry {
    /// Reads a blob of at most `max` bytes; `None` if it is not there.
    ///
    /// # Errors
    /// The registry's; also if the bytes have another digest.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: Digest,
        max: usize,
    ) -> Result<Option<Bytes>, Error> {
        let operation = format!("read the blob {digest} of {repository}");
        let mut call = Call::new(operation, Method::GET, self.url(repository, &format!("blobs/{digest}")));
        call.access = Some((repository.clone(), Access::Pull));
        call.max = max;
        let answer = self.call(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                answer.expect(digest, Digest::of_bytes(&answer.body))?;
                Ok(Some(answer.body))
            }
            _ => Err(answer.refused()),
        }
    }

    /// Puts a blob there, unless it is there: `false` then. What was lost on the way is sent again, from where the registry
    /// has it if it allows that, else from the beginning.
    ///
    /// # Errors
    /// The registry's.
    pub async fn put_blob(&self, repository: &Repository, bytes: &Bytes) -> Result<bool, Error> {
        let digest = Digest::of_bytes(bytes);
        if self.blob_size(repository, digest).await? == Some(bytes.len() as u64) {
            return Ok(false);
        }
        let mut patience = self.patience();
        let operation = format!("write the blob {digest} to {repository}");
        loop {
            if self.upload(&operation, repository, bytes, digest, &mut patience).await? {
                return Ok(true);
            }
            // What was sent last may have arrived although its answer did not.
            if self.blob_size(repository, digest).await? == Some(bytes.len() as u64) {
                return Ok(true);
            }
            let what = "it lost the upload".to_owned();
            let error = Error::Strange { operation: operation.clone(), what: what.clone() };
            self.wait(&operation, &mut patience, Trouble::passing(what, error)).await?;
        }
    }

    /// Looks whether a repository still takes anything: begins an upload, sends a megabyte, and takes it back. For whoever
    /// has been told nothing but that it failed.
    ///
    /// # Errors
    /// The registry's, such as [`Error::Full`].
    pub async fn try_upload(&self, repository: &Repository) -> Result<(), Error> {
        let operation = format!("write to {repository}");
        let call = |method, url| upload_call(&operation, repository, method, url);
        let (_, url) = self.begin_upload(&operation, repository).await?;
        let mut part = call(Method::PATCH, url);
        part.headers.push((CONTENT_TYPE, "application/octet-stream".to_owned()));
        part.headers.push((CONTENT_RANGE, format!("0-{}", TRIED - 1)));
        part.body = vec![0; TRIED].into();
        let answer = self.call(&part).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.refused());
        }
        // What is not taken back goes with the next tidying of the registry.
        let _ = self.once(&call(Method::DELETE, location(&answer, &part.url)?)).await;
        Ok(())
    }

    /// Begins an upload: the answer, and where the first part goes.
    async fn begin_upload(&self, operation: &str, repository: &Repository) -> Result<(Answer, Url), Error> {
        let begin = upload_call(operation, repository, Method::POST, self.url(repository, "blobs/uploads/"));
        let answer = self.call(&begin).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.refused());
        }
        let url = location(&answer, &begin.url)?;
        Ok((answer, url))
    }

    /// One upload from beginning to end. `false` if the registry lost it.
    async fn upload(
        &self,
        operation: &str,
        repository: &Repository,
        bytes: &Bytes,
        digest: Digest,
        patience: &mut Patience,
    ) -> Result<bool, Error> {
        let call = |method, url| upload_call(operation, repository, method, url);
        let (answer, mut url) = self.begin_upload(operation, repository).await?;
        let wanted = answer.header(CHUNK_MIN_HEADER).and_then(|text| text.parse().ok()).unwrap_or(0);
        let size = CHUNK.max(wanted).min(CHUNK_MAX);
        let mut at = 0;
        while at < bytes.len() && bytes.len() > AT_ONCE {
            let end = (at + size).min(bytes.len());
            let mut part = call(Method::PATCH, url);
            part.headers.push((CONTENT_TYPE, "application/octet-stream".to_owned()));
            part.headers.push((CONTENT_RANGE, format!("{at}-{}", end - 1)));
            part.body = bytes.slice(at..end);
            match self.part(&part, end, patience).await? {
                Part::Lost => return Ok(false),
                Part::Sent(now, next) => {
                    if now > bytes.len() {
                        return Ok(false);
                    }
                    (at, url) = (now, next);
                }
            }
        }
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut last = call(Method::PUT, url);
        if at < bytes.len() {
            last.headers.push((CONTENT_TYPE, "application/octet-stream".to_owned()));
            last.body = bytes.clone();
        }
        match self.once(&last).await {
            Ok(answer) if answer.status == StatusCode::CREATED => {
                if let Some(found) = answer.digest()? {
                    answer.expect(digest, found)?;
                }
                Ok(true)
            }
            Ok(answer) if is_lost(answer.status) => Ok(false),
            Ok(answer) => Err(answer.refused()),
            Err(trouble) => {
                self.wait(operation, patience, trouble).await?;
                Ok(false)
            }
        }
    }

    /// Sends one part; if that fails, asks the registry what it has.
    async fn part(&self, part: &Call, end: usize, patience: &mut Patience) -> Result<Part, Error> {
        match self.once(part).await {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                return Ok(Part::Sent(end, location(&answer, &part.url)?));
            }
            // Out of step: as after a failure, the registry knows best.
            Ok(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => {}
            Ok(answer) if is_lost(answer.status) => return Ok(Part::Lost),
            Ok(answer) => return Err(answer.refused()),
            Err(trouble) => self.wait(&part.operation, patience, trouble).await?,
        }
        let mut ask = Call::new(part.operation.clone(), Method::GET, part.url.clone());
        ask.access.clone_from(&part.access);
        let answer = self.call(&ask).await?;
        if answer.status != StatusCode::NO_CONTENT {
            return Ok(Part::Lost);
        }
        let at = match answer
            .header(RANGE.as_str())
            .and_then(|range| range.rsplit_once('-')?.1.parse::<usize>().ok())
        {
            // Of no bytes and of one the same is said; one is not worth the doubt.
            None | Some(0) => 0,
            Some(last) => last + 1,
        };
        let operation = part.operation.clone();
        self.options.tell.tell(Event::Resumed { operation, at: at as u64 });
        Ok(Part::Sent(at, location(&answer, &part.url)?))
    }
}

/// Statuses with which registries say that they do not know an upload, or not any more.
fn is_lost(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE)
}

/// A call of an upload, which needs the right to push.
fn upload_call(operation: &str, repository: &Repository, method: Method, url: Url) -> Call {
    let mut call = Call::new(operation.to_owned(), method, url);
    call.access = Some((repository.clone(), Access::Push));
    call
}

/// Where an upload goes on.
fn location(answer: &Answer, asked: &Url) -> Result<Url, Error> {
    let text = answer.header(LOCATION.as_str());
    let text = text.ok_or_else(|| answer.strange("it does not say where the upload goes".to_owned()))?;
    asked.join(text).map_err(|e| answer.strange(format!("the upload goes to no address ({e})")))
}
