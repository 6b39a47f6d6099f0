//! Fingerprints: what a stage reads, so that a stage whose inputs are those of a run that passed can be skipped, and
//! one that must run says why.

mod cargo;
mod files;

pub use cargo::{Asking, CargoError, DEADLINE, Workspace, toolchain};
pub use files::{FileError, Hashes, Stamps};

use crate::{digest::Digest, git::GitError, secret::Variables};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// What a stage read, in named parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fingerprint {
    /// Files by their path, relative to the root where possible: the digest of the bytes, or `gone`.
    pub files: BTreeMap<String, String>,
    /// All else by the words that name it: `the command`, `the toolchain`, ….
    pub values: BTreeMap<String, String>,
}

/// The first of the differences between two fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What is different: `` `src/main.rs` changed ``.
    pub what: String,
    /// How many other parts are different.
    pub others: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.others {
            0 => Ok(()),
            1 => f.write_str(", and 1 more input"),
            n => write!(f, ", and {n} more inputs"),
        }
    }
}

impl Fingerprint {
    /// How this one differs from an earlier one; `None` if it does not.
    pub fn difference_from(&self, earlier: &Self) -> Option<Difference> {
        let values = differences(&self.values, &earlier.values).map(|(name, change)| match change {
            Change::Changed(from, to) if from.len().max(to.len()) <= 60 => {
                format!("{name} changed from {from} to {to}")
            }
            Change::Changed(..) => format!("{name} changed"),
            Change::Added => format!("{name} was set"),
            Change::Removed => format!("{name} was unset"),
        });
        let files = differences(&self.files, &earlier.files).map(|(path, change)| match change {
            Change::Changed(_, "gone") | Change::Removed => format!("`{path}` was removed"),
            Change::Changed(..) => format!("`{path}` changed"),
            Change::Added => format!("`{path}` is new"),
        });
        let mut all = values.chain(files);
        let what = all.next()?;
        Some(Difference { what, others: all.count() })
    }
}

enum Change<'a> {
    Changed(&'a str, &'a str),
    Added,
    Removed,
}

/// The names whose values differ, in order.
fn differences<'a>(
    now: &'a BTreeMap<String, String>,
    then: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, Change<'a>)> {
    let names: BTreeSet<&str> = now.keys().chain(then.keys()).map(String::as_str).collect();
    names.into_iter().filter_map(|name| match (then.get(name), now.get(name)) {
        (Some(from), Some(to)) if from != to => Some((name, Change::Changed(from, to))),
        (None, Some(_)) => Some((name, Change::Added)),
        (Some(_), None) => Some((name, Change::Removed)),
        _ => None,
    })
}

/// What a stage is said to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Packages of the workspace; with them come the packages that they depend on by path, and what cargo itself reads.
    pub packages: Vec<String>,
    /// Whether these packages' development dependencies are read too.
    pub dev_dependencies: bool,
    /// Other files and folders, relative to the root.
    pub paths: Vec<PathBuf>,
    /// All else: the command, its settings.
    pub values: BTreeMap<String, String>,
}

/// Why a fingerprint could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// Cargo's answer is missing.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// Git failed.
    #[error("cannot list the files that the stage reads")]
    Git(#[from] GitError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Takes the fingerprint of everything in `scope`. Without packages and paths, every file under the root is read that
/// git tracks or would track: a stage that says nothing of its inputs may read them all.
///
/// # Errors
/// If a package or path does not exist, or something cannot be read.
pub fn take(
    root: &Path,
    scope: &Scope,
    workspace: Option<&Workspace>,
    hashes: &mut Hashes,
) -> Result<Fingerprint, FingerprintError> {
    let mut paths: BTreeSet<PathBuf> = scope.paths.iter().map(|path| root.join(path)).collect();
    if !scope.packages.is_empty() {
        let workspace = workspace.ok_or_else(|| CargoError::NoWorkspace { folder: root.to_owned() })?;
        paths.extend(workspace.folders_of(&scope.packages, scope.dev_dependencies)?);
        paths.extend(workspace.files_of_cargo());
    }
    if paths.is_empty() {
        paths.insert(root.to_owned());
    }
    let mut fingerprint = Fingerprint { files: BTreeMap::new(), values: scope.values.clone() };
    for path in files::list(root, &paths)? {
        let digest = hashes.digest(&path)?;
        let name = path_text(path.strip_prefix(root).unwrap_or(&path));
        fingerprint.files.insert(name, digest.map_or_else(|| "gone".into(), |digest| digest.to_string()));
    }
    Ok(fingerprint)
}

/// A path as text, without loss: bytes that are not UTF-8 are added in hexadecimal.
fn path_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => format!("{} ({})", path.display(), hex::encode(path.as_os_str().as_bytes())),
    }
}

/// The variables that change what cargo and the compilers make, as digests: a value may be long, or nobody's business.
pub fn compiler_variables(variables: &Variables) -> BTreeMap<String, String> {
    const NAMES: [&str; 15] = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_INCREMENTAL",
        "CC",
        "CXX",
        "AR",
        "CFLAGS",
        "CXXFLAGS",
        "LDFLAGS",
        "SOURCE_DATE_EPOCH",
        "MACOSX_DEPLOYMENT_TARGET",
    ];
    const PREFIXES: [&[u8]; 3] = [b"CARGO_BUILD_", b"CARGO_PROFILE_", b"CARGO_TARGET_"];
    let matters = |name: &OsStr| {
        NAMES.iter().any(|known| name == *known) || PREFIXES.iter().any(|p| name.as_bytes().starts_with(p))
    };
    let matching = variables.iter().filter(|(name, _)| matters(name));
    let words = matching.map(|(name, value)| {
        (format!("the variable {}", name.display()), Digest::of_bytes(value.as_bytes()).to_string())
    });
    words.collect()
}

#[cfg(test)]
mod tests;
