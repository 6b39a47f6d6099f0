//! `noogh-api migrate`: brings the data of the service to the schema that this version needs, once for each release.
//!
//! The data is the folder that `API_DATA` names. `schema` in it holds the version of what is there; `migrations` tells
//! of each run, a line each. Without `API_DATA` there is no data, and nothing to do.

use crate::SPEC;
use noogh_common::{
    StartError,
    log::Log,
    settings::{Files, Settings},
};
use serde_json::json;
use std::{
    env, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

/// The argument that asks for a migration.
pub(crate) const ARGUMENT: &str = "migrate";

/// The version of the schema that this version of the service needs.
const SCHEMA: u32 = 1;

/// Why there is no migration.
#[derive(Debug, thiserror::Error)]
enum MigrateError {
    /// A setting or a file that it names is not as it must be.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The data cannot be read or written.
    #[error("cannot {operation} {}", path.display())]
    Data { operation: &'static str, path: PathBuf, source: io::Error },
    /// Somebody else has written the data.
    #[error("{} has schema {found}, this version knows {SCHEMA} at most", path.display())]
    Newer { path: PathBuf, found: u32 },
    /// What says the version says something else.
    #[error("{} is not a version: `{text}`", path.display())]
    NoVersion { path: PathBuf, text: String },
}

/// Migrates, and says how it went by the exit code: 0, or 1 with the reason in the log.
pub(crate) fn run() -> ExitCode {
    match migrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let text = format!("cannot migrate: {error}{}", cause.unwrap_or_default());
            Log::new(SPEC.name, noogh_common::log::Level::Error).error(&text, &[]);
            ExitCode::FAILURE
        }
    }
}

fn migrate() -> Result<(), MigrateError> {
    let settings = Settings::read(&SPEC, |name| env::var_os(name))?;
    let Files { token, .. } = settings.load(&SPEC)?;
    let log = Log::new(SPEC.name, settings.level);
    let data = env::var_os("API_DATA").map(PathBuf::from);
    log.info("migrating", &[("schema", json!(SCHEMA)), ("has_token", json!(token.is_some()))]);
    if settings.faults.migration_hangs {
        log.warn("hanging, as NOOGH_FAULT asks", &[]);
        loop {
            thread::park();
        }
    }
    if settings.faults.migration_fails {
        return Err(StartError::Fault.into());
    }
    let Some(data) = data else {
        log.info("there is no data to migrate: API_DATA is not set", &[]);
        return Ok(());
    };
    let from = version(&data)?;
    fs::create_dir_all(&data).map_err(|error| failed("make", &data, error))?;
    note(&data, &format!("{} {from} {SCHEMA}\n", settings.release))?;
    // By another name first, so that the version is never half written.
    let (new, path) = (data.join("schema.new"), data.join("schema"));
    fs::write(&new, format!("{SCHEMA}\n")).map_err(|error| failed("write", &new, error))?;
    fs::rename(&new, &path).map_err(|error| failed("replace", &path, error))?;
    log.info("migrated", &[("from", json!(from)), ("to", json!(SCHEMA))]);
    Ok(())
}

/// The version of what is there; 0: nothing is.
fn version(data: &Path) -> Result<u32, MigrateError> {
    let path = data.join("schema");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed("read", &path, error)),
    };
    match text.trim().parse() {
        Ok(found) if found <= SCHEMA => Ok(found),
        Ok(found) => Err(MigrateError::Newer { path, found }),
        Err(_) => Err(MigrateError::NoVersion { path, text: text.trim().chars().take(80).collect() }),
    }
}

fn note(data: &Path, line: &str) -> Result<(), MigrateError> {
    let path = data.join("migrations");
    let open = fs::OpenOptions::new().append(true).create(true).open(&path);
    open.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|error| failed("write", &path, error))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> MigrateError {
    MigrateError::Data { operation, path: path.to_owned(), source }
}
