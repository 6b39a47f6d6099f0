//! What must be true when everything has ended: what stands is one whole release, the files agree with it, and nothing
//! else is left. Judged by `/proc`, sockets and files.

use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};
use tests::{Process, Project, http, listening_ports_of_each, processes_under, wait_for};

/// How long processes that were told to end may take to vanish.
const VANISH: Duration = Duration::from_secs(5);

/// The supervisor and its router.
const HELPERS: usize = 2;

/// What may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Nothing,
    /// Exactly what was recorded, byte for byte.
    Recorded {
        /// Its release.
        release: String,
        /// Its units, as [`Project::identities`] tells them.
        identities: Vec<String>,
    },
    /// What the project's tree says now.
    Tree {
        /// Its release.
        release: String,
    },
}

impl Standing {
    /// What stands now.
    pub(crate) fn now(project: &Project) -> Self {
        match project.units().first() {
            None => Self::Nothing,
            Some(unit) => Self::Recorded {
                release: unit.variable("FAIRLEAD_RELEASE").to_owned(),
                identities: project.identities(),
            },
        }
    }

    /// The release of the tree as it is now.
    pub(crate) fn tree(project: &Project) -> Self {
        Self::Tree { release: project.release() }
    }

    fn release(&self) -> &str {
        match self {
            Self::Nothing => "",
            Self::Recorded { release, .. } | Self::Tree { release } => release,
        }
    }
}

/// Finds which of these stands, whole and alone.
///
/// # Panics
/// If none does, or anything else is there.
#[track_caller]
pub(crate) fn judge<'a>(project: &Project, allowed: &'a [Standing]) -> &'a Standing {
    wait_for("units that were told to stop to vanish", VANISH, || {
        (releases(project).len() <= 1 && helpers(project).len() <= HELPERS).then_some(())
    });
    let release = releases(project).pop_first().unwrap_or_default();
    let standing = allowed.iter().find(|one| one.release() == release);
    let standing =
        standing.unwrap_or_else(|| panic!("`{release}` stands, which is none of these: {allowed:#?}"));
    match standing {
        Standing::Nothing => project.assert_nothing_stands(),
        Standing::Recorded { identities, .. } => assert_eq!(&project.identities(), identities),
        Standing::Tree { .. } => is_of_the_tree(project),
    }
    if *standing != Standing::Nothing {
        project.assert_serves("api", &release);
    }
    the_ledger_agrees(project, &release);
    nothing_is_held(project);
    nothing_else_runs(project, *standing == Standing::Nothing);
    standing
}

/// Whether the record on disk has an open rollout.
pub(crate) fn is_open(project: &Project) -> bool {
    record(project).is_some_and(|record| !record["open"].is_null())
}

fn record(project: &Project) -> Option<Value> {
    document(&environment(project).join("record/record.json"))
}

/// Where the environment's state is.
fn environment(project: &Project) -> PathBuf {
    project.state().join("local")
}

fn document(path: &std::path::Path) -> Option<Value> {
    let bytes = fs::read(path).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{} is torn: {error}", path.display())))
}

fn releases(project: &Project) -> BTreeSet<String> {
    project.units().iter().map(|unit| unit.variable("FAIRLEAD_RELEASE").to_owned()).collect()
}

fn is_of_the_tree(project: &Project) {
    for unit in project.units() {
        assert_eq!(unit.executable.digest, project.artifact_digest("api"), "{unit:#?}");
        for (variable, source) in [("API_CONFIG", "api.conf"), ("HF_TOKEN_FILE", "secret.txt")] {
            let read = |path: &std::path::Path| fs::read_to_string(path).expect("a file of text");
            // A secret is taken without the newline at the end of its file.
            let deployed = read(&unit.files[variable].path);
            assert_eq!(deployed.trim_end(), read(&project.path().join(source)).trim_end(), "{variable}");
        }
    }
}

/// The ledger names what runs, and every bundle that it names is there, and no other is.
fn the_ledger_agrees(project: &Project, release: &str) {
    let ledger = document(&environment(project).join("ledger.json")).unwrap_or_default();
    let standing = &ledger["services"]["api"];
    let current = &standing["current"];
    assert_eq!(current["release"].as_str().unwrap_or_default(), release, "{ledger:#}");
    let bundle = |entry: &Value| entry["bundle"].as_str().unwrap_or_default().to_owned();
    let running: BTreeSet<_> =
        project.units().iter().map(|unit| unit.variable("FAIRLEAD_BUNDLE").to_owned()).collect();
    let expected: BTreeSet<_> = Some(bundle(current)).filter(|hash| !hash.is_empty()).into_iter().collect();
    assert_eq!(running, expected, "{ledger:#}");
    let previous = standing["previous"].as_array().cloned().unwrap_or_default();
    let named: Vec<_> = previous.iter().map(bundle).chain(expected).collect();
    let folders = bundle_folders(project);
    let is_of = |folder: &String, hash: &String| hash.trim_start_matches("sha256:").starts_with(folder);
    for folder in &folders {
        assert!(named.iter().any(|hash| is_of(folder, hash)), "nobody needs bundle {folder}: {ledger:#}");
    }
    for hash in &named {
        assert!(folders.iter().any(|folder| is_of(folder, hash)), "bundle {hash} is gone: {folders:?}");
    }
}

/// Bundles by the names of their folders. One that was being filled has a temporary name, and is removed in time.
fn bundle_folders(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(environment(project).join("bundles")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with(".tmp-")).collect()
}

/// The lease is free and no rollout is open.
fn nothing_is_held(project: &Project) {
    let Some(record) = record(project) else { return };
    assert!(record["lease"].is_null(), "the lease is still held: {:#}", record["lease"]);
    assert!(record["open"].is_null(), "a rollout is still open: {:#}", record["open"]["state"]);
}

fn helpers(project: &Project) -> Vec<Process> {
    let units: BTreeSet<i32> = project.units().iter().map(|unit| unit.process.pid).collect();
    processes_under(project.path()).into_iter().filter(|process| !units.contains(&process.pid)).collect()
}

/// Beside the units runs one supervisor with one router, and nobody listens but these on what is theirs.
fn nothing_else_runs(project: &Project, nothing_stands: bool) {
    let helpers = helpers(project);
    if nothing_stands {
        assert!(helpers.len() <= HELPERS, "left over: {helpers:#?}");
        return;
    }
    assert_eq!(helpers.len(), HELPERS, "{helpers:#?}");
    let stable = BTreeSet::from([project.port("api")]);
    let units = project.units();
    let processes = helpers.iter().chain(units.iter().map(|unit| &unit.process));
    let mut ports = listening_ports_of_each(processes.map(|process| process.pid));
    let of_units = ports.split_off(helpers.len());
    assert!(ports.iter().all(|ports| *ports == stable), "{ports:?}, not {stable:?}: {helpers:#?}");
    let ports = of_units;
    assert!(ports.iter().all(|ports| ports.len() == 1), "{ports:?}");
    assert_eq!(http::get(project.port("api"), "/ready").map(|answer| answer.status), Ok(200));
}
