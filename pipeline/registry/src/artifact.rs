//! Artifacts: a list of contents, a signature, or a report, attached to an image without changing it.

use crate::{
    Error, Registry,
    auth::Access,
    manifest::{Content, Descriptor, Manifest, media_type},
    transport::Call,
};
use bytes::Bytes;
use futures::try_join;
use pipeline::digest::Digest;
use pipeline::image::reference::{Repository, Tag, Which};
use reqwest::{Method, StatusCode, header::ACCEPT};
use std::collections::BTreeMap;

/// In which a registry says that it keeps the list of what is attached by itself.
const SUBJECT_HEADER: &str = "oci-subject";
/// The config of an artifact that has none, as the specification has it.
const EMPTY: &[u8] = b"{}";
/// The longest list of what is attached to one image, in bytes.
const LIST_MAX: usize = 4 * 1024 * 1024;
/// How often a list that others write at the same time is written again.
const LIST_ATTEMPTS: u32 = 5;

/// Something to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What kind it is, by which it is found again: `application/spdx+json`.
    pub artifact_type: String,
    /// What its bytes are, if that is something else than what it is.
    pub media_type: String,
    /// Itself.
    pub bytes: Bytes,
    /// Words about it.
    pub annotations: BTreeMap<String, String>,
}

/// Something that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What kind it is.
    pub artifact_type: String,
    /// Words about it.
    pub annotations: BTreeMap<String, String>,
}

impl Registry {
    /// Attaches an artifact to a manifest. The same again changes nothing. Where a registry keeps no list of what is
    /// attached, it is kept in the tag `sha256-DIGEST`, as the specification says.
    ///
    /// # Errors
    /// The registry's.
    pub async fn attach(
        &self,
        repository: &Repository,
        subject: &Descriptor,
        artifact: &Artifact,
    ) -> Result<Attached, Error> {
        let empty = Bytes::from_static(EMPTY);
        try_join!(self.put_blob(repository, &empty), self.put_blob(repository, &artifact.bytes))?;
        let manifest = artifact.manifest(subject);
        let attached = Attached {
            digest: manifest.digest,
            artifact_type: artifact.artifact_type.clone(),
            annotations: artifact.annotations.clone(),
        };
        let answer = self.put(repository, &Which::Digest(manifest.digest), &manifest).await?;
        if answer.header(SUBJECT_HEADER).is_none() {
            let mut entry = manifest.descriptor();
            entry.artifact_type = Some(artifact.artifact_type.clone());
            entry.annotations.clone_from(&artifact.annotations);
            self.list(repository, subject.digest, entry).await?;
        }
        Ok(attached)
    }

    /// What is attached to a manifest, of one kind or of all.
    ///
    /// # Errors
    /// The registry's.
    pub async fn attached(
        &self,
        repository: &Repository,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Attached>, Error> {
        let operation = format!("look for what is attached to {}", repository.with(&Which::Digest(subject)));
        let mut call =
            Call::new(operation.clone(), Method::GET, self.url(repository, &format!("referrers/{subject}")));
        call.access = Some((repository.clone(), Access::Pull));
        call.headers.push((ACCEPT, media_type::OCI_INDEX.to_owned()));
        call.max = LIST_MAX;
        let answer = self.call(&call).await?;
        let index = match answer.status {
            StatusCode::OK => Some(
                Manifest::parse(answer.body, Some(media_type::OCI_INDEX))
                    .map_err(|source| Error::Manifest { operation, source })?,
            ),
            // A registry that does not know the question.
            StatusCode::NOT_FOUND => self.manifest(repository, &Which::Tag(list_tag(subject))).await?,
            _ => return Err(answer.refused()),
        };
        let found = entries(index.as_ref()).iter().map(|entry| Attached {
            digest: entry.digest,
            artifact_type: entry.artifact_type.clone().unwrap_or_default(),
            annotations: entry.annotations.clone(),
        });
        Ok(found.filter(|entry| artifact_type.is_none_or(|kind| entry.artifact_type == kind)).collect())
    }

    /// The bytes of what is attached, of at most `max` bytes; `None` if they are gone.
    ///
    /// # Errors
    /// The registry's; also if what is attached is not one blob.
    pub async fn artifact(
        &self,
        repository: &Repository,
        attached: &Attached,
        max: usize,
    ) -> Result<Option<Bytes>, Error> {
        let which = Which::Digest(attached.digest);
        let Some(manifest) = self.manifest(repository, &which).await? else { return Ok(None) };
        match &manifest.content {
            Content::Image { layers, .. } if layers.len() == 1 => {
                self.blob(repository, layers[0].digest, max).await
            }
            _ => Err(Error::Strange {
                operation: format!("read the artifact {}", repository.with(&which)),
                what: "it is not made of one blob".to_owned(),
            }),
        }
    }

    /// Adds to the list of what is attached, which others may write at the same time: read again until it is there.
    async fn list(&self, repository: &Repository, subject: Digest, entry: Descriptor) -> Result<(), Error> {
        let which = Which::Tag(list_tag(subject));
        for _ in 0..LIST_ATTEMPTS {
            let old = self.manifest(repository, &which).await?;
            let mut manifests = entries(old.as_ref()).to_vec();
            if manifests.iter().any(|other| other.digest == entry.digest) {
                return Ok(());
            }
            manifests.push(entry.clone());
            self.put(repository, &which, &index(&manifests)).await?;
        }
        Err(Error::Strange {
            operation: format!("attach something to {}", repository.with(&Which::Digest(subject))),
            what: format!("others overwrote the list {LIST_ATTEMPTS} times; run this again"),
        })
    }
}

impl Artifact {
    /// Its manifest, of which the same artifact always has the same.
    fn manifest(&self, subject: &Descriptor) -> Manifest {
        let json = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_IMAGE,
            "artifactType": self.artifact_type,
            "config": Descriptor::new(media_type::OCI_EMPTY, EMPTY),
            "layers": [Descriptor::new(&self.media_type, &self.bytes)],
            "subject": Descriptor { annotations: BTreeMap::new(), platform: None, ..subject.clone() },
            "annotations": self.annotations,
        });
        Manifest::parse(json.to_string().into(), None).expect("it is one")
    }
}

fn index(manifests: &[Descriptor]) -> Manifest {
    let json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": manifests,
    });
    Manifest::parse(json.to_string().into(), None).expect("it is one")
}

fn entries(index: Option<&Manifest>) -> &[Descriptor] {
    match index.map(|index| &index.content) {
        Some(Content::Index { manifests }) => manifests,
        _ => &[],
    }
}

/// The tag of the list of what is attached to a manifest.
fn list_tag(subject: Digest) -> Tag {
    format!("sha256-{}", subject.hex()).parse().expect("letters and digits")
}
