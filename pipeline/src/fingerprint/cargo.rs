//! What cargo knows of the workspace: packages, their folders, their binaries, and which depend on which by path.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};
use xshell::{Shell, cmd};

/// Files beside the root manifest that change what cargo does.
const ROOT_FILES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"];

/// Files that cargo reads in the workspace's root and every folder above it.
const CONFIG_FILES: [&str; 2] = [".cargo/config.toml", ".cargo/config"];

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
    /// Cargo's answer could not be read.
    #[error("cannot read what `cargo metadata` said about `{folder}`")]
    Answer {
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
    /// If cargo cannot be run or finds the manifests faulty.
    pub fn read(folder: &Path, cargo: &OsStr) -> Result<Option<Self>, CargoError> {
        if !folder.join("Cargo.toml").is_file() {
            return Ok(None);
        }
        let metadata = ask(folder, cargo)?;
        let mut workspace = Self {
            patches: patches(&metadata.workspace_root),
            root: metadata.workspace_root,
            target_directory: metadata.target_directory,
            packages: BTreeMap::new(),
        };
        workspace.add(metadata.packages, true);
        // Packages that are reached by path but are no members are known to their own manifests alone.
        while let Some(outside) = workspace.unknown() {
            let packages =
                if outside.join("Cargo.toml").is_file() { ask(&outside, cargo)?.packages } else { vec![] };
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
/// it cannot be run.
pub fn toolchain(root: &Path, rustc: &OsStr) -> Option<String> {
    let shell = Shell::new().ok()?;
    shell.change_dir(root); // A toolchain file there may choose another compiler.
    let text = cmd!(shell, "{rustc} -vV").quiet().ignore_stderr().read().ok()?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("an unknown host");
    Some(format!("{} for {host}", text.lines().next()?))
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

fn ask(folder: &Path, cargo: &OsStr) -> Result<Metadata, CargoError> {
    let answer = |source| CargoError::Answer { folder: folder.to_owned(), source };
    let shell = Shell::new().map_err(|e| answer(io::Error::other(e)))?;
    shell.change_dir(folder);
    let output = cmd!(shell, "{cargo} metadata --no-deps --offline --format-version 1")
        .quiet()
        .ignore_status()
        .output()
        .map_err(|_| CargoError::NoCargo { program: OsString::from(cargo).to_string_lossy().into_owned() })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CargoError::Failed { folder: folder.to_owned(), message });
    }
    serde_json::from_slice(&output.stdout).map_err(|e| answer(e.into()))
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
