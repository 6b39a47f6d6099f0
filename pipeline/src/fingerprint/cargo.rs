//! What cargo knows of the workspace: packages, their folders, their binaries, and which depend on which by path.

use crate::process::{Argv, Captured, ProcessError, Runner};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Files beside the root manifest that change what cargo does.
const ROOT_FILES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"];

/// Files that cargo reads in the workspace's root and every folder above it.
const CONFIG_FILES: [&str; 2] = [".cargo/config.toml", ".cargo/config"];

/// The longest that cargo and rustc may take to answer. They take 30 ms; five minutes are for rustup, which stands in their
/// place and may first have to fetch the toolchain that a file names, some 200 MB, over a slow line.
pub const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// The most that is read of an answer: some thousands of packages.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

/// Asks cargo and rustc.
#[derive(Debug, Clone)]
pub struct Asking<'a> {
    /// Runs them; what cancels it breaks the asking off.
    pub runner: &'a Runner,
    /// The longest that each may take, as a rule [`DEADLINE`].
    pub limit: Duration,
}

impl Asking<'_> {
    /// What a program answers; `None` if it cannot be run.
    fn answer(&self, what: &'static str, argv: &Argv) -> Result<Option<Captured>, CargoError> {
        let folder = argv.folder.clone().unwrap_or_default();
        match self.runner.capture_blocking(argv, self.limit, ANSWER_MAX) {
            Ok(captured) => Ok(Some(captured)),
            Err(
                ProcessError::NotFound { .. } | ProcessError::NoFolder { .. } | ProcessError::Start { .. },
            ) => Ok(None),
            Err(ProcessError::Cancelled { .. }) => Err(CargoError::Cancelled { what, folder }),
            Err(ProcessError::Deadline { .. }) => {
                Err(CargoError::Deadline { what, folder, limit: self.limit })
            }
            Err(error) => Err(CargoError::Answer { what, folder, source: io::Error::other(error) }),
        }
    }
}

/// Why cargo gave no answer, or not the one that was needed.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// Cargo could not be run.
    #[error("cannot run `{program}`: install Rust from https://rustup.rs, or set CARGO to cargo's path")]
    NoCargo {
        /// The program.
        program: String,
    },
    /// Cargo failed.
    #[error("`cargo metadata` failed in `{folder}`: {message}")]
    Failed {
        /// Where it ran.
        folder: PathBuf,
        /// What cargo said.
        message: String,
    },
    /// It did not answer.
    #[error(
        "`{what}` did not answer within {} s in `{folder}`, and was ended: run it there yourself to see what it waits for (a lock that another cargo holds, a toolchain that rustup fetches, a network folder), then try again",
        .limit.as_secs_f32()
    )]
    Deadline {
        /// What was asked.
        what: &'static str,
        /// Where it ran.
        folder: PathBuf,
        /// The time that it had.
        limit: Duration,
    },
    /// The run was cancelled while it was asked.
    #[error("`{what}` was ended in `{folder}` because the run was cancelled")]
    Cancelled {
        /// What was asked.
        what: &'static str,
        /// Where it ran.
        folder: PathBuf,
    },
    /// The answer could not be read.
    #[error("cannot read what `{what}` said about `{folder}`")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// Where it ran.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Packages were named, but there is no manifest.
    #[error("there is no Cargo.toml in `{folder}`, but packages or binaries of cargo are named")]
    NoWorkspace {
        /// The project's root.
        folder: PathBuf,
    },
    /// No package has that name.
    #[error("the workspace has no package `{name}`; it has {known}")]
    NoPackage {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// No package has a binary of that name.
    #[error("no package of the workspace has a binary `{name}`; there are {known}")]
    NoBinary {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
}

/// A cargo workspace.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    target_directory: PathBuf,
    /// By folder, the workspace's own and those that are reached by path.
    packages: BTreeMap<PathBuf, Package>,
    /// Folders that the root manifest puts in the place of registry packages: every package may read them.
    patches: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
struct Package {
    name: String,
    binaries: Vec<String>,
    /// Folder and whether it is a development dependency.
    dependencies: Vec<(PathBuf, bool)>,
    /// Whether it belongs to the workspace itself.
    is_member: bool,
}

impl Workspace {
    /// Asks cargo about the workspace in `folder`; `None` if there is no manifest.
    ///
    /// # Errors
    /// If cargo cannot be run, does not answer in time, or finds the manifests faulty.
    pub fn read(folder: &Path, cargo: &OsStr, asking: &Asking<'_>) -> Result<Option<Self>, CargoError> {
        if !folder.join("Cargo.toml").is_file() {
            return Ok(None);
        }
        let metadata = ask(folder, cargo, asking)?;
        let mut workspace = Self {
            patches: patches(&metadata.workspace_root),
            root: metadata.workspace_root,
            target_directory: metadata.target_directory,
            packages: BTreeMap::new(),
        };
        workspace.add(metadata.packages, true);
        // Packages that are reached by path but are no members are known to their own manifests alone.
        while let Some(outside) = workspace.unknown() {
            let packages = match outside.join("Cargo.toml").is_file() {
                true => ask(&outside, cargo, asking)?.packages,
                false => Vec::new(),
            };
            workspace.add(packages, false);
            let nothing =
                || Package { name: String::new(), binaries: vec![], dependencies: vec![], is_member: false };
            workspace.packages.entry(outside).or_insert_with(nothing);
        }
        Ok(Some(workspace))
    }

    /// Where cargo puts what it builds.
    pub fn target_directory(&self) -> &Path {
        &self.target_directory
    }

    /// The package that has a binary of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn package_with_binary(&self, name: &str) -> Result<&str, CargoError> {
        let mut members = self.members();
        let found = members.find(|package| package.binaries.iter().any(|binary| binary == name));
        found.map(|package| package.name.as_str()).ok_or_else(|| CargoError::NoBinary {
            name: name.to_owned(),
            known: listed(self.members().flat_map(|package| &package.binaries)),
        })
    }

    /// The names of the workspace's own packages.
    pub fn member_names(&self) -> impl Iterator<Item = &str> {
        self.members().map(|package| package.name.as_str())
    }

    /// The folders of these packages and of all that they depend on by path; of the development dependencies, those of
    /// the named packages alone, as cargo does.
    ///
    /// # Errors
    /// If there is no such package.
    pub fn folders_of(
        &self,
        names: &[String],
        dev_dependencies: bool,
    ) -> Result<BTreeSet<PathBuf>, CargoError> {
        let mut folders = BTreeSet::new();
        let mut open = self.patches.clone();
        for name in names {
            let mut members = self.packages.iter().filter(|(_, package)| package.is_member);
            let (folder, package) =
                members.find(|(_, package)| package.name == *name).ok_or_else(|| CargoError::NoPackage {
                    name: name.clone(),
                    known: listed(self.members().map(|package| &package.name)),
                })?;
            open.push(folder.clone());
            let dev = package.dependencies.iter().filter(|(_, is_dev)| *is_dev && dev_dependencies);
            open.extend(dev.map(|(folder, _)| folder.clone()));
        }
        while let Some(folder) = open.pop() {
            let dependencies = self.packages.get(&folder).map_or(&[][..], |package| &package.dependencies);
            if folders.insert(folder) {
                open.extend(
                    dependencies.iter().filter(|(_, is_dev)| !is_dev).map(|(folder, _)| folder.clone()),
                );
            }
        }
        Ok(folders)
    }

    /// The files that cargo itself reads for any package, as far as they exist.
    pub fn files_of_cargo(&self) -> impl Iterator<Item = PathBuf> {
        let root_files = ROOT_FILES.iter().map(|name| self.root.join(name));
        let config_files =
            self.root.ancestors().flat_map(|folder| CONFIG_FILES.iter().map(|name| folder.join(name)));
        root_files.chain(config_files).filter(|path| path.is_file())
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.is_member)
    }

    fn add(&mut self, packages: Vec<MetadataPackage>, is_member: bool) {
        for package in packages {
            let Some(folder) = package.manifest_path.parent() else { continue };
            let is_binary = |target: &&Target| target.kind.iter().any(|kind| kind == "bin");
            let dependencies = package.dependencies.into_iter();
            let package = Package {
                name: package.name,
                binaries: package
                    .targets
                    .iter()
                    .filter(is_binary)
                    .map(|target| target.name.clone())
                    .collect(),
                dependencies: dependencies
                    .filter_map(|d| Some((d.path?, d.kind.as_deref() == Some("dev"))))
                    .collect(),
                is_member,
            };
            self.packages.entry(folder.to_owned()).or_insert(package);
        }
    }

    /// A folder that something depends on and that is not known yet.
    fn unknown(&self) -> Option<PathBuf> {
        let dependencies =
            self.packages.values().flat_map(|package| &package.dependencies).map(|(folder, _)| folder);
        dependencies.chain(&self.patches).find(|folder| !self.packages.contains_key(*folder)).cloned()
    }
}

/// The compiler's first line and host, as `rustc -vV` says them in `root`: `rustc 1.95.0 (…) for x86_64-…`. `None` if
/// it cannot be run, or fails.
///
/// # Errors
/// If it does not answer in time: without it, nobody would notice that it has changed.
pub fn toolchain(root: &Path, rustc: &OsStr, asking: &Asking<'_>) -> Result<Option<String>, CargoError> {
    // In the root: a toolchain file there may choose another compiler.
    let argv = Argv::new(rustc).arg("-vV").folder(root);
    let answer = asking.answer("rustc -vV", &argv)?.filter(|answer| answer.finished.success());
    Ok(answer.and_then(|answer| {
        let text = String::from_utf8_lossy(&answer.stdout);
        let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("an unknown host");
        Some(format!("{} for {host}", text.lines().next()?))
    }))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
    kind: Option<String>,
}

fn ask(folder: &Path, cargo: &OsStr, asking: &Asking<'_>) -> Result<Metadata, CargoError> {
    const WHAT: &str = "cargo metadata";
    let argv = Argv::new(cargo).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let Some(answer) = asking.answer(WHAT, &argv.folder(folder))? else {
        return Err(CargoError::NoCargo { program: cargo.to_string_lossy().into_owned() });
    };
    let folder = folder.to_owned();
    if !answer.finished.success() {
        let message = answer.finished.tail.join("\n").trim().to_owned();
        return Err(CargoError::Failed { folder, message });
    }
    serde_json::from_slice(&answer.stdout).map_err(|error| CargoError::Answer {
        what: WHAT,
        folder,
        source: error.into(),
    })
}

/// The paths in the `[patch]` tables of the root manifest, which `cargo metadata` does not tell. A manifest that is
/// faulty has been refused by cargo already.
fn patches(root: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let sources =
        manifest.get("patch").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let packages = sources.filter_map(toml::Value::as_table).flat_map(toml::Table::values);
    packages.filter_map(|package| package.get("path")?.as_str()).map(|path| root.join(path)).collect()
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: BTreeSet<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".into() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}
