//! The release: the immutable product of one commit, and `release-manifest.json`, its hand-over between jobs.

pub mod kept;
pub mod manifest;
pub mod retention;
mod scan;

pub use kept::Kept;
pub use manifest::Manifests;
pub use scan::{ScanVerdict, Scans, WaivedFinding};

use crate::{
    digest::Digest,
    git::{GitError, Tree},
    name::Name,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The name of a release, by its content: the commit's first twelve digits, with `-dirty-` and a short hash of the
/// changes when the tree was not clean, or `tree-` and a hash of the artifacts where there is no git.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReleaseId(pub String);

impl ReleaseId {
    /// The name of what was built from this tree.
    ///
    /// # Errors
    /// If a changed file cannot be read.
    pub fn of(
        tree: Option<&Tree>,
        services: &BTreeMap<Name, Artifact>,
        images: &BTreeMap<Name, Image>,
    ) -> Result<Self, GitError> {
        let Some((tree, commit)) = tree.and_then(|tree| Some((tree, tree.commit.as_ref()?))) else {
            let mut digests: BTreeMap<&Name, Digest> =
                services.iter().map(|(name, artifact)| (name, artifact.digest)).collect();
            for (name, image) in images {
                digests.entry(name).or_insert(image.id);
            }
            return Ok(Self(format!("tree-{}", Digest::of_json(&digests).short())));
        };
        let commit: String = commit.chars().take(12).collect();
        if !tree.is_dirty() {
            return Ok(Self(commit));
        }
        let changes = tree.state_digest()?.hex();
        Ok(Self(format!("{commit}-dirty-{}", &changes[..6])))
    }

    /// Whether it can be the name of a release, and so of a file: lower-case letters, digits and dashes, 1 to 60.
    pub fn is_well_formed(&self) -> bool {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=60).contains(&self.0.len()) && self.0.bytes().all(allowed)
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What one service of a release runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Artifact {
    /// The file name of the executable.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Where the bytes were when the release was made: relative to the project's root if they were below it, else on the
    /// machine that made it.
    pub path: PathBuf,
}

/// Why a file is not what a release says.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It cannot be read.
    #[error("cannot read the artifact `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a folder, a device, ….
    #[error("the artifact `{path}` is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be run.
    #[error("the artifact `{path}` is not executable: give it mode 0755")]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// Its bytes are others.
    #[error(
        "the artifact `{path}` was changed after the release was made: it has {found}, the release {expected}"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What its bytes give now.
        found: Digest,
        /// What the release says.
        expected: Digest,
    },
}

impl Artifact {
    /// Reads an executable.
    ///
    /// # Errors
    /// If it cannot be read or run.
    pub fn of_file(path: &Path) -> Result<Self, ArtifactError> {
        let at = |source| ArtifactError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(at)?;
        let metadata = file.metadata().map_err(at)?;
        if !metadata.is_file() {
            return Err(ArtifactError::NotAFile { path: path.to_owned() });
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(ArtifactError::NotExecutable { path: path.to_owned() });
        }
        Ok(Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            digest: Digest::of_reader(file).map_err(at)?,
            size_bytes: metadata.len(),
            path: path.to_owned(),
        })
    }

    /// The same with a path that means the same in every checkout of the project, if the file is below its root.
    #[must_use]
    pub fn named_below(mut self, root: &Path) -> Self {
        if let Ok(path) = self.path.strip_prefix(root) {
            self.path = path.to_owned();
        }
        self
    }

    /// Reads the file again and compares it with what is recorded.
    ///
    /// # Errors
    /// If it cannot be read, or has changed.
    pub fn verify(&self) -> Result<(), ArtifactError> {
        let found = Self::of_file(&self.path)?.digest;
        if found == self.digest {
            return Ok(());
        }
        Err(ArtifactError::Changed { path: self.path.clone(), found, expected: self.digest })
    }
}

/// The image that one service of a release runs, where it runs one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Image {
    /// Its repository, without tag and digest: `ghcr.io/team/api`; of the host `localhost` if it is nowhere but on the engine
    /// that made it.
    pub repository: String,
    /// What it is deployed by: the digest of its manifest if it is published, else its id on that engine.
    pub digest: Digest,
    /// Its id on the engine that made it: the digest of its configuration.
    pub id: Digest,
    /// Its size in bytes, with all its layers.
    pub size_bytes: u64,
    /// The tags that pointed to it when the release was made; none if it is not published.
    pub tags: Vec<String>,
}

impl Image {
    /// Whether it is in a registry.
    pub fn is_published(&self) -> bool {
        !self.tags.is_empty()
    }
}

/// How a stage of the pipeline ended for this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StageVerdict {
    /// It ran and passed.
    Passed,
    /// Its inputs were those of an earlier run that passed.
    SkippedUnchanged,
    /// The user asked for it not to run.
    NotRun,
}

/// The immutable product of one commit, and the content of `release-manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Release {
    /// Format version of this document; see [`Release::FORMAT`].
    pub version: u32,
    /// The project's name.
    pub project: Name,
    /// Its name.
    pub id: ReleaseId,
    /// The full commit hash, if the project is in git.
    pub commit: Option<String>,
    /// The branch it was made on, if any.
    pub branch: Option<String>,
    /// Whether the tree had changes that the commit does not have.
    pub dirty: bool,
    /// When it was made.
    pub created_at: jiff::Timestamp,
    /// The version of Fairlead that made it.
    pub tool_version: String,
    /// The executable of each service that has one.
    pub services: BTreeMap<Name, Artifact>,
    /// The image of each service, if the release was made for targets that run images.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<Name, Image>,
    /// How each stage ended.
    pub stages: BTreeMap<String, StageVerdict>,
    /// What the scans came to.
    #[serde(default, skip_serializing_if = "Scans::is_empty")]
    pub scans: Scans,
}

impl Release {
    /// The format this version writes; older is read, newer is refused. As of 2 there are images, as of 3 scans.
    pub const FORMAT: u32 = 3;

    /// Makes the release of what was built from a tree. Pure but for reading the changed files of a dirty tree.
    ///
    /// # Errors
    /// If a changed file cannot be read.
    pub fn assemble(parts: Parts<'_>, created_at: jiff::Timestamp) -> Result<Self, GitError> {
        let Parts { project, tree, tool_version, services, images, stages, scans } = parts;
        Ok(Self {
            version: Self::FORMAT,
            project: project.clone(),
            id: ReleaseId::of(tree, &services, &images)?,
            commit: tree.and_then(|tree| tree.commit.clone()),
            branch: tree.and_then(|tree| tree.branch.clone()),
            dirty: tree.is_some_and(Tree::is_dirty),
            created_at,
            tool_version: tool_version.to_owned(),
            services,
            images,
            stages,
            scans,
        })
    }

    /// The digest of the whole manifest: two jobs that name the same digest mean the same release.
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }
}

/// What a release is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The project's name.
    pub project: &'a Name,
    /// The tree that it was built from, as it was *before* the build; `None` outside git.
    pub tree: Option<&'a Tree>,
    /// The version of Fairlead.
    pub tool_version: &'a str,
    /// The executable of each service that has one.
    pub services: BTreeMap<Name, Artifact>,
    /// The image of each service, if any was made.
    pub images: BTreeMap<Name, Image>,
    /// How each stage ended.
    pub stages: BTreeMap<String, StageVerdict>,
    /// What the scans came to.
    pub scans: Scans,
}

#[cfg(test)]
mod tests;
