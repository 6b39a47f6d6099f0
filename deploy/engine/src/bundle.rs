//! The bundle: all that stands on a target for one service, deployed and rolled back as one.

use pipeline::{digest::Digest, name::Name, secret::SecretRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

/// What names a bundle: the digest of everything in it. Two bundles are equal when their hash is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BundleHash(Digest);

impl BundleHash {
    /// A bundle's name from its digest.
    pub fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    pub fn digest(&self) -> Digest {
        self.0
    }

    /// Twelve digits: for people, folders and labels.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A config file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleFile {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its permission bits, e.g. 0o644.
    pub mode: u32,
    /// The variable that tells the unit its path, if any.
    pub env: Option<String>,
}

/// A secret of a bundle: never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleSecret {
    /// The digest of its value, keyed with the environment's own key, so that it cannot be guessed from outside.
    pub keyed_digest: Digest,
    /// Whether the unit gets the value in its environment (`secret-env = true`) instead of a file whose path stands
    /// in `<NAME>_FILE`.
    pub in_env: bool,
}

/// Limits of one unit; `None` = as the platform has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Resident memory in bytes; a unit above it is ended.
    pub memory_max_bytes: Option<u64>,
    /// Open files.
    pub open_files_max: Option<u64>,
}

/// All that stands on a target for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bundle {
    /// The service.
    pub service: Name,
    /// The executable's file name and the digest of its bytes.
    pub artifact: BundleArtifact,
    /// Arguments after the executable.
    pub args: Vec<String>,
    /// The unit's environment, as configured. The port, the paths of files and secrets, `FAIRLEAD_RELEASE`,
    /// `FAIRLEAD_BUNDLE` and `FAIRLEAD_UNIT` are added when it is started.
    pub env: BTreeMap<String, String>,
    /// The address on which the service's stable port is held.
    pub host: IpAddr,
    /// The service's stable port, at which its traffic arrives: what a rollback returns to, too.
    pub port: u16,
    /// The variable that tells the unit which port to listen on.
    pub port_env: String,
    /// The variable that tells the unit which address to listen on, if it has one.
    pub host_env: Option<String>,
    /// Config files by the name that they get in the bundle.
    pub files: BTreeMap<String, BundleFile>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, BundleSecret>,
    /// Limits of each unit.
    pub limits: Limits,
}

/// The executable of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleArtifact {
    /// Its file name.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl Bundle {
    /// Its name: the digest of everything above. The release's name is left out on purpose, so that a release that
    /// changes nothing for a service does not restart it.
    pub fn hash(&self) -> BundleHash {
        BundleHash(Digest::of_json(self))
    }
}

/// Where the parts of a bundle come from on the machine that deploys it. Never needed again once it was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundleSource {
    /// The executable.
    pub artifact: PathBuf,
    /// Config files: name in the bundle → file on this machine.
    pub files: BTreeMap<String, PathBuf>,
    /// Secrets: name → reference.
    pub secrets: BTreeMap<String, SecretRef>,
}
