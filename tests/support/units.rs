//! Units, as the outside world shows them: processes that run an executable out of a bundle.

use crate::{
    processes::{Process, processes_under},
    sockets::listening_ports_of,
    tree::digest_of,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// A file that a unit uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// The digest of its bytes.
    pub digest: String,
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its process.
    pub process: Process,
    /// What it runs, read through `/proc/PID/exe`, so that a file replaced meanwhile does not deceive.
    pub executable: UnitFile,
    /// The variables that it was started with.
    pub environ: BTreeMap<String, String>,
    /// The files that its variables name: variable → file.
    pub files: BTreeMap<String, UnitFile>,
}

impl Unit {
    /// The units whose bundles are below a folder, in the order of their pids.
    pub fn all_under(folder: &Path) -> Vec<Self> {
        let processes = processes_under(folder).into_iter();
        processes.filter(|process| is_unit(&process.exe)).filter_map(Self::of).collect()
    }

    fn of(process: Process) -> Option<Self> {
        let link = PathBuf::from(format!("/proc/{}/exe", process.pid));
        let executable = UnitFile { path: process.exe.clone(), ..UnitFile::of(&link)? };
        let environ = process.environ();
        let named = environ.iter().filter(|(_, value)| value.starts_with('/') && value.contains("/bundles/"));
        let files =
            named.filter_map(|(variable, path)| Some((variable.clone(), UnitFile::of(Path::new(path))?)));
        Some(Self { files: files.collect(), executable, environ, process })
    }

    /// Its service.
    pub fn service(&self) -> &str {
        self.process.name().trim_start_matches("noogh-")
    }

    /// A variable of it; empty if it has none of that name.
    pub fn variable(&self, name: &str) -> &str {
        self.environ.get(name).map_or("", String::as_str)
    }

    /// All that must come back byte for byte: what it runs, its arguments, variables and files. What belongs to one
    /// life alone (pid, start time, its own port) is left out.
    pub fn identity(&self) -> String {
        let own = |name: &str| name.ends_with("_PORT");
        let environ: BTreeMap<_, _> = self.environ.iter().filter(|(name, _)| !own(name)).collect();
        format!(
            "executable {:?}\narguments {:?}\nenviron {environ:#?}\nfiles {:#?}\n",
            self.executable, self.process.cmdline, self.files
        )
    }

    /// The ports that it listens on.
    pub fn ports(&self) -> BTreeSet<u16> {
        listening_ports_of(self.process.pid)
    }
}

impl UnitFile {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let mode = metadata.permissions().mode() & 0o7777;
        Some(Self { path: path.to_owned(), mode, digest: digest_of_file(path, &metadata)? })
    }
}

/// The digest of a file's bytes, which are read once for each change of it: executables of many MB are looked at again and
/// again. Whoever changes a byte changes the file's `ctime` too, which nobody can set.
fn digest_of_file(path: &Path, metadata: &fs::Metadata) -> Option<String> {
    static KNOWN: Mutex<BTreeMap<(u64, u64, i64, i64), String>> = Mutex::new(BTreeMap::new());
    // Times are as fine as the kernel's tick: what has just changed may change again within the same one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let is_settled = metadata.ctime() + 1 < now;
    if !is_settled {
        return digest_of(path);
    }
    let key = (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known().get(&key) {
        return Some(digest.clone());
    }
    let digest = digest_of(path)?;
    known().insert(key, digest.clone());
    Some(digest)
}

/// Whether an executable is one out of a bundle.
pub(crate) fn is_unit(exe: &Path) -> bool {
    let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("noogh-") && exe.components().any(|part| part.as_os_str() == "bundles")
}
