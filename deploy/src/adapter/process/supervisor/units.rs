//! How the process of a unit or of a migration is started.

use super::super::{bundle_folder, identity::Process, logs};
use crate::{
    bundle::{Bundle, BundleHash, Limits},
    model::UnitId,
};
use pipeline::{crossing, name::Name};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::Ipv4Addr,
    os::unix::ffi::OsStringExt,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Where a unit finds programs. Fixed, so that a unit never depends on who deployed it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Units listen here: only the router is reached from outside.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// How often an executable that "is being written" is tried again: another process was forked while its copy was
/// open, and holds that open until it executes something, a few milliseconds later.
const BUSY_TRIES: u32 = 40;

/// The pause between these tries.
const BUSY_PAUSE: Duration = Duration::from_millis(25);

/// All that a process is made of.
pub(super) struct Launch<'a> {
    pub(super) role: Role<'a>,
    pub(super) release: &'a str,
    pub(super) bundle: &'a Bundle,
    pub(super) folder: &'a Path,
    pub(super) log: &'a Path,
}

/// What a process of a bundle is started as.
pub(super) enum Role<'a> {
    /// A unit, which listens on a port of its own.
    Unit { unit: &'a UnitId, port: u16 },
    /// A migration, which has no port.
    Migration { service: &'a Name, bundle: &'a BundleHash, args: &'a [String] },
}

impl Role<'_> {
    fn label(&self) -> String {
        match self {
            Self::Unit { unit, .. } => unit.label(),
            Self::Migration { service, .. } => format!("the migration of {service}"),
        }
    }

    fn args<'a>(&'a self, bundle: &'a Bundle) -> &'a [String] {
        match self {
            Self::Unit { .. } => &bundle.args,
            Self::Migration { args, .. } => args,
        }
    }

    /// The variables that it has besides those of every process of the bundle.
    fn variables(&self, bundle: &Bundle) -> Vec<(String, OsString)> {
        let own = |marks: [(&'static str, String); 2]| {
            marks.into_iter().map(|(name, value)| (name.to_owned(), value.into()))
        };
        match self {
            Self::Unit { unit, port } => {
                let host = bundle.host_env.iter().map(|name| (name.clone(), HOST.to_string().into()));
                let port = (bundle.port_env.clone(), port.to_string().into());
                [port].into_iter().chain(host).chain(own(marks(unit))).collect()
            }
            Self::Migration { service, bundle, .. } => own(migration_marks(service, bundle)).collect(),
        }
    }
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    /// A part of its bundle or its log is not there.
    #[error("cannot start {unit}: cannot open `{path}`")]
    Open {
        unit: String,
        path: String,
        #[source]
        source: io::Error,
    },
    /// The system does not run the executable.
    #[error("cannot start {unit}: cannot run `{executable}`")]
    Run {
        unit: String,
        executable: String,
        #[source]
        source: io::Error,
    },
}

/// Starts the process.
pub(super) async fn launch(launch: &Launch<'_>) -> Result<Process, LaunchError> {
    let mut command = command(launch)?;
    let mut tries = BUSY_TRIES;
    crossing!("unit.launch.before");
    loop {
        match command.spawn() {
            // Reaped by the supervisor's own reaper, which also knows children from before a hand-over.
            Ok(child) => {
                let pid = child.id();
                crossing!("unit.launch.after");
                // A zombie keeps its entry until it is reaped, so this look finds even one that ended at once.
                return Ok(Process::of(pid).unwrap_or(Process { pid, start_time: 0 }));
            }
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries > 0 => {
                tries -= 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(source) => {
                let executable = bundle_folder::executable(launch.folder, launch.bundle);
                return Err(LaunchError::Run {
                    unit: launch.role.label(),
                    executable: executable.display().to_string(),
                    source,
                });
            }
        }
    }
}

/// The variable that every unit has, and what a unit starts has too.
pub(super) const MARK: &str = "FAIRLEAD_UNIT";

/// The variable that every migration has, and what a migration starts has too.
pub(super) const MIGRATION_MARK: &str = "FAIRLEAD_MIGRATION";

/// The variables by which a process is found to be the migration of a service.
pub(super) fn migration_marks(service: &Name, bundle: &BundleHash) -> [(&'static str, String); 2] {
    [("FAIRLEAD_BUNDLE", bundle.to_string()), (MIGRATION_MARK, service.to_string())]
}

/// The variables by which a process is found to be a unit.
pub(super) fn marks(unit: &UnitId) -> [(&'static str, String); 2] {
    [("FAIRLEAD_BUNDLE", unit.bundle.to_string()), (MARK, format!("{}/{}", unit.service, unit.slot))]
}

fn command(launch: &Launch<'_>) -> Result<Command, LaunchError> {
    let open = |path: &Path, source| LaunchError::Open {
        unit: launch.role.label(),
        path: path.display().to_string(),
        source,
    };
    let log = logs::open(launch.log).map_err(|e| open(launch.log, e))?;
    let log_again = log.try_clone().map_err(|e| open(launch.log, e))?;
    let mut command = Command::new(bundle_folder::executable(launch.folder, launch.bundle));
    command
        .args(launch.role.args(launch.bundle))
        .env_clear()
        .envs(environment(launch)?)
        .current_dir(launch.folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_again);
    limit(&mut command, &launch.bundle.limits);
    Ok(command)
}

/// The whole environment of a process: only what its bundle, its release and its place say.
fn environment(launch: &Launch<'_>) -> Result<BTreeMap<String, OsString>, LaunchError> {
    let bundle = launch.bundle;
    let mut variables = BTreeMap::from([("PATH".to_owned(), OsString::from(PATH))]);
    variables.extend(bundle.env.iter().map(|(name, value)| (name.clone(), value.into())));
    for (file, planned) in &bundle.files {
        if let Some(name) = &planned.env {
            variables.insert(name.clone(), bundle_folder::file(launch.folder, file).into());
        }
    }
    for (secret, planned) in &bundle.secrets {
        let path = bundle_folder::secret(launch.folder, secret);
        if planned.in_env {
            let value = fs::read(&path).map_err(|source| LaunchError::Open {
                unit: launch.role.label(),
                path: path.display().to_string(),
                source,
            })?;
            variables.insert(secret.clone(), OsString::from_vec(value));
        } else {
            variables.insert(format!("{secret}_FILE"), path.into());
        }
    }
    variables.insert("FAIRLEAD_RELEASE".to_owned(), launch.release.into());
    variables.extend(launch.role.variables(bundle));
    Ok(variables)
}

/// Sets the limits that the system enforces by itself; memory is watched by the supervisor.
#[expect(
    unsafe_code,
    reason = "a limit must hold from the first instruction on, so the child sets it itself"
)]
fn limit(command: &mut Command, limits: &Limits) {
    use nix::sys::resource::{Resource, setrlimit};
    let Some(open_files) = limits.open_files_max else { return };
    let set = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, open_files, open_files)?);
    // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
    unsafe {
        command.pre_exec(set);
    }
}
