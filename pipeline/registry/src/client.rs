//! One registry, asked.

use crate::{
    Error, Tell,
    auth::{Access, Known},
    credentials::Login,
    manifest::{Content, Descriptor, Manifest, media_type},
    transport::{Answer, Call},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::image::reference::{Host, Repository, Tag, Which};
use pipeline::{digest::Digest, secret::Redactor};
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LINK},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

/// The header in which registries say which manifest or blob they mean.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";
/// The longest manifest, in bytes: the limit of the distribution specification.
const MANIFEST_MAX: usize = 4 * 1024 * 1024;
/// The longest page of a list of tags, in bytes.
const TAGS_MAX: usize = 16 * 1024 * 1024;
/// How many pages of tags are read: registries give a hundred or a thousand a page.
const PAGES_MAX: usize = 1000;
/// How many blobs are asked for at once: registries limit the rate, not the patience.
const SIDE_BY_SIDE: usize = 4;
/// How deep an index may hold others: images do not, one level is for those that bundle several.
const DEPTH_MAX: u8 = 3;

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// They are, except to this machine.
    #[default]
    Auto,
    /// They are, also to this machine.
    Tls,
    /// They are not, because somebody said so.
    Plain,
}

/// How patient we are.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether connections are encrypted.
    pub security: Security,
    /// How long one request may take. A minute: eight megabytes over a slow line.
    pub attempt: Duration,
    /// How long a call may take with all its attempts. Five minutes: as long as a registry takes to be restarted.
    pub whole: Duration,
    /// How often it is made. Six: with the waits in between about half a minute.
    pub attempts: u32,
    /// How long is waited after the first failure; twice as long after each other, up to 20 s. A second.
    pub first_wait: Duration,
    /// Who is told.
    pub tell: Tell,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            security: Security::Auto,
            attempt: Duration::from_secs(60),
            whole: Duration::from_secs(300),
            attempts: 6,
            first_wait: Duration::from_secs(1),
            tell: Tell::default(),
        }
    }
}

/// A registry, with a login.
#[derive(Debug)]
pub struct Registry {
    pub(crate) host: Host,
    pub(crate) login: Login,
    pub(crate) options: Options,
    pub(crate) http: Client,
    pub(crate) base: Url,
    pub(crate) known: Mutex<Known>,
    /// Knows our password, in case that a registry repeats it.
    pub(crate) redactor: Redactor,
}

/// Where the API of a registry answers.
fn api(host: &Host) -> &str {
    // Docker's own registry is called otherwise than the images in it.
    if host.is_docker_hub() { "registry-1.docker.io" } else { host.as_str() }
}

impl Registry {
    /// A registry. Nothing is asked yet.
    ///
    /// # Errors
    /// This machine trusts no certificates.
    pub fn new(host: Host, login: Login, options: Options) -> Result<Self, Error> {
        let plain = match options.security {
            Security::Auto => host.is_loopback(),
            Security::Tls => false,
            Security::Plain => true,
        };
        let mut builder = Client::builder().tls_backend_preconfigured(tls()?).https_only(!plain);
        // The name of what is asked for is nobody else's business when a registry sends us on.
        builder = builder.referer(false).user_agent(concat!("fairlead/", env!("CARGO_PKG_VERSION")));
        if host.is_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| Error::Setup(source.into()))?;
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", api(&host)))
            .map_err(|source| Error::Setup(source.into()))?;
        let redactor = Redactor::default();
        login.teach(&redactor);
        Ok(Self { host, login, options, http, base, known: Mutex::default(), redactor })
    }

    /// Which.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Who we are there.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Looks whether it answers, and takes the login.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), Error> {
        let operation = format!("reach the registry {}", self.host);
        let answer = self.call(&Call::new(operation, Method::GET, self.base.clone())).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.refused()) }
    }

    /// The digest of what a tag points to; `None` if there is no such tag, manifest or repository.
    ///
    /// # Errors
    /// The registry's; see [`Error`].
    pub async fn digest(&self, repository: &Repository, which: &Which) -> Result<Option<Digest>, Error> {
        let operation = format!("look for the manifest {}", repository.with(which));
        let call = self.manifest_call(operation, Method::HEAD, repository, which, Access::Pull);
        let answer = self.call(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => match answer.digest()? {
                Some(digest) => Ok(Some(digest)),
                // Some say it only with the bytes.
                None => Ok(self.manifest(repository, which).await?.map(|manifest| manifest.digest)),
            },
            _ => Err(answer.refused()),
        }
    }

    /// Reads a manifest, whose digest is that of its bytes; `None` if there is none.
    ///
    /// # Errors
    /// The registry's; also if the bytes have another digest than was asked for, or than the registry says.
    pub async fn manifest(&self, repository: &Repository, which: &Which) -> Result<Option<Manifest>, Error> {
        let operation = format!("read the manifest {}", repository.with(which));
        let mut call = self.manifest_call(operation, Method::GET, repository, which, Access::Pull);
        call.max = MANIFEST_MAX;
        let answer = self.call(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            _ => return Err(answer.refused()),
        }
        let found = Digest::of_bytes(&answer.body);
        let asked = match which {
            Which::Digest(digest) => Some(*digest),
            Which::Tag(_) => None,
        };
        for wanted in [asked, answer.digest()?].into_iter().flatten() {
            answer.expect(wanted, found)?;
        }
        let told = answer.header(CONTENT_TYPE.as_str());
        let manifest = Manifest::parse(answer.body.clone(), told);
        let manifest =
            manifest.map_err(|source| Error::Manifest { operation: answer.operation.clone(), source })?;
        Ok(Some(manifest))
    }

    /// Puts a manifest there, byte for byte, under a tag or its digest. What it names must be there.
    ///
    /// # Errors
    /// The registry's; also if it says that what it took is something else.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        which: &Which,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        self.put(repository, which, manifest).await.map(drop)
    }

    pub(crate) async fn put(
        &self,
        repository: &Repository,
        which: &Which,
        manifest: &Manifest,
    ) -> Result<Answer, Error> {
        let operation = format!("write the manifest {}", repository.with(which));
        let mut call = self.manifest_call(operation, Method::PUT, repository, which, Access::Push);
        call.headers.push((CONTENT_TYPE, manifest.media_type.clone()));
        call.body = manifest.bytes.clone();
        let answer = self.call(&call).await?;
        if answer.status != StatusCode::CREATED {
            return Err(answer.refused());
        }
        if let Some(found) = answer.digest()? {
            answer.expect(manifest.digest, found)?;
        }
        Ok(answer)
    }

    /// Removes a manifest, and with it all tags that point to it. `false` if there is none.
    ///
    /// # Errors
    /// The registry's: many do not allow it.
    pub async fn delete_manifest(&self, repository: &Repository, digest: Digest) -> Result<bool, Error> {
        let which = Which::Digest(digest);
        let operation = format!("remove the manifest {}", repository.with(&which));
        let call = self.manifest_call(operation, Method::DELETE, repository, &which, Access::Delete);
        let answer = self.call(&call).await?;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::METHOD_NOT_ALLOWED => {
                let (operation, said) = (answer.operation, answer.said);
                Err(Error::NoRemoval { operation, host: self.host.to_string(), said })
            }
            _ => Err(answer.refused()),
        }
    }

    /// All tags of a repository, in the registry's order; none if there is no such repository.
    ///
    /// # Errors
    /// The registry's.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let operation = format!("list the tags of {repository}");
        let mut url = self.url(repository, "tags/list");
        let mut tags = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut call = Call::new(operation.clone(), Method::GET, url.clone());
            call.access = Some((repository.clone(), Access::Pull));
            call.max = TAGS_MAX;
            let answer = self.call(&call).await?;
            match answer.status {
                StatusCode::NOT_FOUND => return Ok(tags),
                StatusCode::OK => {}
                _ => return Err(answer.refused()),
            }
            let page: Page =
                serde_json::from_slice(&answer.body).map_err(|e| answer.strange(e.to_string()))?;
            for tag in page.tags.unwrap_or_default() {
                tags.push(tag.parse().map_err(|e| answer.strange(format!("{e}")))?);
            }
            match answer.header(LINK.as_str()).and_then(next_page) {
                Some(next) => url = url.join(next).map_err(|e| answer.strange(e.to_string()))?,
                None => return Ok(tags),
            }
        }
        Err(Error::Strange { operation, what: format!("more than {PAGES_MAX} pages of tags") })
    }

    /// The size of a blob in bytes; `None` if it is not there.
    ///
    /// # Errors
    /// The registry's.
    pub async fn blob_size(&self, repository: &Repository, digest: Digest) -> Result<Option<u64>, Error> {
        let operation = format!("look for the blob {digest} of {repository}");
        let mut call = Call::new(operation, Method::HEAD, self.url(repository, &format!("blobs/{digest}")));
        call.access = Some((repository.clone(), Access::Pull));
        let answer = self.call(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let size = answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
                size.map(Some)
                    .ok_or_else(|| answer.strange("it does not say how long the blob is".to_owned()))
            }
            _ => Err(answer.refused()),
        }
    }

    /// What a manifest names and the registry does not have, or has in another size. Of an index, its manifests are read
    /// and looked through as well. Layers that lie elsewhere by their own word are not looked for.
    ///
    /// # Errors
    /// The registry's.
    pub async fn missing(
        &self,
        repository: &Repository,
        manifest: &Manifest,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut blobs = BTreeMap::new();
        let mut missing = Vec::new();
        let mut open = vec![(0, manifest.clone())];
        while let Some((depth, manifest)) = open.pop() {
            match manifest.content {
                Content::Image { config, layers, .. } => {
                    let here = layers.into_iter().filter(|layer| layer.urls.is_empty());
                    blobs.extend([*config].into_iter().chain(here).map(|blob| (blob.digest, blob)));
                }
                Content::Index { manifests } => {
                    if depth == DEPTH_MAX {
                        let operation = format!("look through {repository}@{}", manifest.digest);
                        let what = format!("an index in an index, {DEPTH_MAX} deep");
                        return Err(Error::Strange { operation, what });
                    }
                    for inner in manifests {
                        match self.manifest(repository, &Which::Digest(inner.digest)).await? {
                            Some(manifest) => open.push((depth + 1, manifest)),
                            None => missing.push(inner),
                        }
                    }
                }
            }
        }
        let looked = stream::iter(blobs.into_values())
            .map(|blob| async move {
                let there = self.blob_size(repository, blob.digest).await? == Some(blob.size);
                Ok::<_, Error>((!there).then_some(blob))
            })
            .buffered(SIDE_BY_SIDE);
        missing.extend(looked.try_collect::<Vec<_>>().await?.into_iter().flatten());
        Ok(missing)
    }

    /// Of something in a repository.
    pub(crate) fn url(&self, repository: &Repository, rest: &str) -> Url {
        let path = format!("{}/{rest}", repository.path());
        self.base
            .join(&path)
            .expect("names of repositories, tags and digests have nothing that a path cannot")
    }

    fn manifest_call(
        &self,
        operation: String,
        method: Method,
        repository: &Repository,
        which: &Which,
        access: Access,
    ) -> Call {
        let mut call = Call::new(operation, method, self.url(repository, &format!("manifests/{which}")));
        call.access = Some((repository.clone(), access));
        call.headers.push((ACCEPT, media_type::MANIFESTS.join(", ")));
        call
    }
}

/// The address between `<` and `>` of the link that is the next page.
fn next_page(link: &str) -> Option<&str> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\"") || part.contains("rel=next"))?;
    next.trim().strip_prefix('<')?.split('>').next()
}

/// What this machine trusts, as its other programs do; `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
fn tls() -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read must not be in the way of the others; without any, a connection says what is wrong.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|source| Error::Setup(source.into()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Nothing, as the body of a request.
pub(crate) fn nothing() -> Bytes {
    Bytes::new()
}
