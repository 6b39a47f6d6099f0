//! Image registries, as the OCI distribution specification has them: what an image is called, who may push it, and the
//! manifests, blobs and artifacts that lie there.
//!
//! Not a client of `oci-client`: that neither retries nor resumes, cannot delete, and keeps no order in its errors.
//!
//! **Invariant.** No manifest leaves this package whose bytes do not have the digest that it was asked for, or that the
//! registry says it has. No password leaves it but to the registry that it is for.

mod artifact;
mod auth;
mod blob;
mod client;
mod credentials;
mod error;
mod event;
mod manifest;
mod prune;
mod reach;
mod survey;
mod transport;

pub use artifact::{Artifact, Attached};
pub use client::{Options, Registry, Security};
pub use credentials::{Credentials, CredentialsError, Login, PASSWORD, Source, USERNAME};
pub use error::Error;
pub use event::{Event, Tell};
pub use manifest::{Content, Descriptor, Manifest, ManifestError, media_type};
pub use pipeline::image::reference::{Host, Reference, ReferenceError, Repository, Tag, Which};
pub use prune::{Going, Seen, Selection, Survey, Why, select};
pub use reach::{Node, unreached};
