//! Manifests: the bytes that a digest names, and what they say.

use bytes::Bytes;
use pipeline::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Types of manifests that are understood.
pub mod media_type {
    /// An image of Docker.
    pub const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Images of Docker for several platforms.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// An image, or an artifact, of OCI.
    pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    /// Several of OCI.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The config of an artifact that has none.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

    /// All of which a manifest may be.
    pub const MANIFESTS: [&str; 4] = [OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST];
}

/// What a manifest says of something else that lies in the same repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Words of whoever made it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For which platform it is: kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<serde_json::Value>,
    /// Where else its bytes may be had; these are not in the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// What a manifest is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An image or an artifact: blobs.
    Image {
        /// Its config, whose digest engines call the image's id.
        config: Box<Descriptor>,
        /// Its layers, from the lowest.
        layers: Vec<Descriptor>,
        /// What it is attached to.
        subject: Option<Box<Descriptor>>,
    },
    /// Other manifests.
    Index {
        /// They.
        manifests: Vec<Descriptor>,
    },
}

/// A manifest as it lies in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it says that it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Itself.
    pub bytes: Bytes,
    /// What it is made of.
    pub content: Content,
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// They are no JSON, or lack what belongs there.
    #[error("the manifest {digest} is damaged, or of a kind that is not known")]
    Json {
        /// Of the bytes.
        digest: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A type that is not known.
    #[error(
        "the manifest {digest} is a `{media_type}`, which is not understood; push it with a newer engine"
    )]
    Type {
        /// Of the bytes.
        digest: Digest,
        /// What it says that it is.
        media_type: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    media_type: Option<String>,
    config: Option<Box<Descriptor>>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Box<Descriptor>>,
}

impl Manifest {
    /// Reads a manifest. `told` is the type that a registry gave with it, for those that do not say so themselves.
    ///
    /// # Errors
    /// It is none, or of a type that is not known.
    pub fn parse(bytes: Bytes, told: Option<&str>) -> Result<Self, ManifestError> {
        let digest = Digest::of_bytes(&bytes);
        let json = |source| ManifestError::Json { digest, source };
        let fields: Fields = serde_json::from_slice(&bytes).map_err(json)?;
        let media_type = fields.media_type.or_else(|| told.map(str::to_owned)).unwrap_or_default();
        let content = match media_type.as_str() {
            media_type::DOCKER_IMAGE | media_type::OCI_IMAGE => {
                let missing = || json(serde::de::Error::missing_field("config"));
                let config = fields.config.ok_or_else(missing)?;
                Content::Image { config, layers: fields.layers, subject: fields.subject }
            }
            media_type::DOCKER_LIST | media_type::OCI_INDEX => Content::Index { manifests: fields.manifests },
            _ => return Err(ManifestError::Type { digest, media_type }),
        };
        Ok(Self { media_type, digest, bytes, content })
    }

    /// How others refer to it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, &self.bytes)
    }
}

impl Descriptor {
    /// Of these bytes.
    pub fn new(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of_bytes(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
            platform: None,
            urls: Vec::new(),
        }
    }
}
