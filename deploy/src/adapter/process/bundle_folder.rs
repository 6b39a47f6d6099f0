//! A bundle on disk: `bin/`, `files/`, `secrets/`, and `bundle.json`, which is written last and so means *complete*.
//!
//! **Invariant.** A folder with the bundle's name is whole: it is filled under another name and renamed. It is never
//! changed again, so that a rollback finds the same bytes, modes and secrets.

use super::{
    folders::{FOLDER_MODE, Folders, create_private},
    procfs,
};
use crate::bundle::{Bundle, BundleHash, BundleSecret, BundleSource};
use pipeline::causes::in_one_line;
use pipeline::{
    crossing,
    digest::Digest,
    name::Name,
    secret::SecretRef,
    store::{self, Format},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The document that makes a bundle folder complete.
const DOCUMENT: &str = "bundle.json";

/// How folders that are not complete yet are called; the id of the process that fills one follows.
const TEMPORARY: &str = ".tmp-";

/// What a process that was killed while it filled a folder left behind is removed with the next commit, for secrets may
/// be in it; but if another process has its id by now, only after this long: longer than any copy of an artifact takes.
const TEMPORARY_KEPT: Duration = Duration::from_secs(3600);

/// The document's format.
const FORMAT: Format = Format { what: "bundle", version: 1 };

/// The permission bits of an executable.
const EXECUTABLE_MODE: u32 = 0o755;

/// Gives the values of secrets while a bundle is brought to this machine, and at no other time.
pub trait SecretResolver: Send + Sync {
    /// The value of a secret. The resolver holds the environment's key: it must compare the value with the planned
    /// keyed digest and refuse another.
    ///
    /// # Errors
    /// Why there is no value, or that it is not the planned one, for people; never any part of a value.
    fn resolve(&self, name: &str, reference: &SecretRef, planned: &BundleSecret) -> Result<Vec<u8>, String>;
}

impl<F> SecretResolver for F
where
    F: Fn(&str, &SecretRef, &BundleSecret) -> Result<Vec<u8>, String> + Send + Sync,
{
    fn resolve(&self, name: &str, reference: &SecretRef, planned: &BundleSecret) -> Result<Vec<u8>, String> {
        self(name, reference, planned)
    }
}

/// Why a bundle could not be brought here or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// It is not here and there is nowhere to take it from.
    #[error("bundle {} of {service} is not here (any more), and the plan does not say where to take it from", .bundle.short())]
    Missing { service: Name, bundle: BundleHash },
    /// A name in it is not a plain file name.
    #[error("bundle of {service}: `{name}` cannot be a file name in a bundle")]
    FileName { service: Name, name: String },
    /// Its parts do not fit each other.
    #[error("bundle of {service}: the plan names no source for `{name}`")]
    NoSource { service: Name, name: String },
    /// A file is not the planned one.
    #[error(
        "`{path}` is not what was planned: its digest is {found}, the plan says {planned}; \
         it was changed since: build and plan again"
    )]
    Digest { path: PathBuf, found: Digest, planned: Digest },
    /// A secret could not be had.
    #[error("secret `{name}` of {service}: {message}")]
    Secret { service: Name, name: String, message: String },
    /// The file system refused.
    #[error("cannot {operation} `{path}`")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The folder is not complete, or was damaged.
    #[error("bundle {} is not whole: {what}", .bundle.short())]
    NotWhole { bundle: BundleHash, what: String },
}

/// The content of `bundle.json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    version: u32,
    /// As it was computed by the version that made it.
    hash: BundleHash,
    bundle: Bundle,
}

/// Brings a bundle here, unless it is here whole.
pub(crate) fn prepare(
    folders: &Folders,
    hash: &BundleHash,
    service: &Name,
    source: Option<(&Bundle, &BundleSource)>,
    secrets: &dyn SecretResolver,
) -> Result<(), BundleError> {
    let damage = match read(folders, hash).and_then(|bundle| verify(folders, hash, &bundle)) {
        Ok(()) => return Ok(()),
        Err(damage) => damage,
    };
    let folder = folders.bundle(hash);
    let Some((bundle, source)) = source else {
        let is_there = folder.exists();
        return Err(if is_there {
            damage
        } else {
            BundleError::Missing { service: service.clone(), bundle: *hash }
        });
    };
    check_names(bundle)?;
    folders.create().map_err(io_error("create", folders.root()))?;
    let bundles = folders.bundles();
    let temporary = tempfile::Builder::new()
        .prefix(&temporary_prefix())
        .permissions(Permissions::from_mode(FOLDER_MODE))
        .tempdir_in(&bundles)
        .map_err(io_error("create a folder in", &bundles))?;
    crossing!("bundle.begun");
    fill(temporary.path(), hash, bundle, source, secrets)?;
    crossing!("bundle.filled");
    put_in_place(temporary.path(), &folder).map_err(io_error("put in place", &folder))
}

/// Reads a complete bundle's description.
pub(crate) fn read(folders: &Folders, hash: &BundleHash) -> Result<Bundle, BundleError> {
    let not_whole = |what| BundleError::NotWhole { bundle: *hash, what };
    let path = folders.bundle(hash).join(DOCUMENT);
    let document: Document = store::read_json(&path, FORMAT).map_err(|e| not_whole(in_one_line(&e)))?;
    if document.hash != *hash {
        return Err(not_whole(format!("`{}` belongs to {}", path.display(), document.hash)));
    }
    Ok(document.bundle)
}

/// The executable of a bundle.
pub(crate) fn executable(folder: &Path, bundle: &Bundle) -> PathBuf {
    folder.join("bin").join(&bundle.artifact.name)
}

/// A config file of a bundle.
pub(crate) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("files").join(name)
}

/// The secrets of a bundle.
pub(crate) fn secrets(folder: &Path) -> PathBuf {
    folder.join("secrets")
}

/// A secret of a bundle.
pub(crate) fn secret(folder: &Path, name: &str) -> PathBuf {
    secrets(folder).join(name)
}

/// Removes one bundle.
pub(crate) fn remove(folders: &Folders, hash: &BundleHash) -> io::Result<()> {
    remove_folder(&folders.bundle(hash))
}

/// Removes the bundles of these services that nothing needs, and returns those that remain of all services. Bundles
/// of other services stay: they may have been prepared for a rollout that goes on.
pub(crate) fn prune(
    folders: &Folders,
    services: &BTreeSet<Name>,
    needed: &BTreeSet<BundleHash>,
) -> io::Result<BTreeSet<String>> {
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(folders.bundles())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_needed = needed.iter().any(|hash| hash.short() == name);
        let document = store::read_json::<Document>(&entry.path().join(DOCUMENT), FORMAT);
        let goes = if name.starts_with(TEMPORARY) {
            is_left_behind(&name) || is_older_than(&entry.path(), TEMPORARY_KEPT)
        } else {
            !is_needed && document.is_ok_and(|document| services.contains(&document.bundle.service))
        };
        if goes {
            remove_folder(&entry.path())?;
        } else {
            kept.insert(name);
        }
    }
    Ok(kept)
}

/// Whether everything in the folder is what the bundle says. Values of secrets cannot be checked: the key to their
/// digests is not here.
fn verify(folders: &Folders, hash: &BundleHash, bundle: &Bundle) -> Result<(), BundleError> {
    let folder = folders.bundle(hash);
    let expect = |path: &Path, planned: Digest, mode: u32| {
        let found = Digest::of_file(path).map_err(io_error("read", path))?;
        let found_mode = fs::metadata(path).map_err(io_error("read", path))?.permissions().mode() & 0o7777;
        if found == planned && found_mode == mode {
            return Ok(());
        }
        let what = format!("`{}` was changed since it was prepared", path.display());
        Err(BundleError::NotWhole { bundle: *hash, what })
    };
    expect(&executable(&folder, bundle), bundle.artifact.digest, EXECUTABLE_MODE)?;
    for (name, planned) in &bundle.files {
        expect(&file(&folder, name), planned.digest, planned.mode)?;
    }
    for name in bundle.secrets.keys() {
        let path = secret(&folder, name);
        fs::metadata(&path).map_err(io_error("read", &path))?;
    }
    Ok(())
}

/// A name in a bundle becomes a path: it must be one plain component.
fn check_names(bundle: &Bundle) -> Result<(), BundleError> {
    let names = [&bundle.artifact.name].into_iter().chain(bundle.files.keys()).chain(bundle.secrets.keys());
    for name in names {
        let mut parts = Path::new(name).components();
        let is_plain = matches!(parts.next(), Some(Component::Normal(part)) if part == name.as_str());
        if !is_plain || parts.next().is_some() || name.contains('\0') {
            return Err(BundleError::FileName { service: bundle.service.clone(), name: name.clone() });
        }
    }
    Ok(())
}

/// Writes all of a bundle into an empty folder, the document last.
fn fill(
    folder: &Path,
    hash: &BundleHash,
    bundle: &Bundle,
    source: &BundleSource,
    secrets: &dyn SecretResolver,
) -> Result<(), BundleError> {
    for part in ["bin", "files", "secrets"] {
        let path = folder.join(part);
        create_private(&path).map_err(io_error("create", &path))?;
    }
    let no_source =
        |name: &String| BundleError::NoSource { service: bundle.service.clone(), name: name.clone() };
    copy(&source.artifact, &executable(folder, bundle), bundle.artifact.digest, EXECUTABLE_MODE)?;
    crossing!("bundle.artifact-copied");
    for (name, planned) in &bundle.files {
        let from = source.files.get(name).ok_or_else(|| no_source(name))?;
        copy(from, &file(folder, name), planned.digest, planned.mode)?;
    }
    for (name, planned) in &bundle.secrets {
        let reference = source.secrets.get(name).ok_or_else(|| no_source(name))?;
        let value = secrets.resolve(name, reference, planned).map_err(|message| BundleError::Secret {
            service: bundle.service.clone(),
            name: name.clone(),
            message,
        })?;
        let path = secret(folder, name);
        write_secret(&path, &value).map_err(io_error("write", &path))?;
    }
    let document = Document { version: FORMAT.version, hash: *hash, bundle: bundle.clone() };
    let path = folder.join(DOCUMENT);
    store::write_json(&path, &document, store::PRIVATE).map_err(io_error("write", &path))?;
    for part in ["bin", "files", "secrets"] {
        let path = folder.join(part);
        sync(&path).map_err(io_error("flush", &path))?;
    }
    Ok(())
}

/// Copies a file and takes its digest on the way, so that what is checked is what was written.
fn copy(from: &Path, to: &Path, planned: Digest, mode: u32) -> Result<(), BundleError> {
    let reader = File::open(from).map_err(io_error("read", from))?;
    let writer = create(to, mode).map_err(io_error("write", to))?;
    let mut tee = Tee { reader, writer };
    let found = Digest::of_reader(&mut tee).map_err(io_error("copy", from))?;
    if found != planned {
        return Err(BundleError::Digest { path: from.to_owned(), found, planned });
    }
    tee.writer.sync_all().map_err(io_error("write", to))
}

/// Writes down everything that is read through it.
struct Tee {
    reader: File,
    writer: File,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.writer.write_all(&buffer[..count])?;
        Ok(count)
    }
}

fn write_secret(path: &Path, value: &[u8]) -> io::Result<()> {
    let mut file = create(path, store::PRIVATE)?;
    file.write_all(value)?;
    file.sync_all()
}

/// A new file that nobody else can read before it has its permission bits, whatever the umask.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(store::PRIVATE).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Gives a complete folder its name; what had the name before was not whole.
fn put_in_place(complete: &Path, folder: &Path) -> io::Result<()> {
    sync(complete)?;
    remove_folder(folder)?;
    fs::rename(complete, folder)?;
    crossing!("bundle.renamed");
    sync(folder.parent().unwrap_or(folder))
}

/// Removes a folder under another name first, so that a crash in the middle leaves nothing that looks whole.
fn remove_folder(folder: &Path) -> io::Result<()> {
    let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let away = folder.with_file_name(format!("{}{name}", temporary_prefix()));
    match fs::rename(folder, &away) {
        Ok(()) => fs::remove_dir_all(away),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What this process's temporary folders begin with.
fn temporary_prefix() -> String {
    format!("{TEMPORARY}{}-", std::process::id())
}

/// Whether the process that fills this temporary folder is gone.
fn is_left_behind(name: &str) -> bool {
    let owner = name.strip_prefix(TEMPORARY).and_then(|rest| rest.split_once('-')).map(|(owner, _)| owner);
    owner.and_then(|owner| owner.parse().ok()).is_some_and(|owner| procfs::stat(owner).is_none())
}

fn is_older_than(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|passed| passed > age))
}

/// Names operation and path in an error of the file system.
fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Io { operation, path, source }
}
