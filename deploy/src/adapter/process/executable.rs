//! The copy of the program that supervisor and router run from: a rebuild of the original does not touch it.

use super::{ClientError, Launch, folders::Folders};
use pipeline::crossing;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Copies of older executables are removed after this long, when no other deploy can be about to start them.
const COPIES_KEPT: Duration = Duration::from_secs(600);

/// Copies the executable to where no rebuild touches it.
pub(super) fn copy(folders: &Folders, launch: &Launch) -> Result<PathBuf, ClientError> {
    let copy = folders.executables().join(format!("fairlead-{}", launch.version));
    let make = || {
        folders.create()?;
        remove_old_copies(&folders.executables(), &copy);
        if copy.exists() {
            return Ok(());
        }
        let temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folders.executables())?;
        fs::copy(&launch.executable, temporary.path())?;
        temporary.as_file().sync_all()?;
        let path = temporary.into_temp_path();
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        crossing!("executable.copied");
        path.persist(&copy).map_err(|e| e.error)?;
        crossing!("executable.named");
        Ok(())
    };
    make().map_err(|source| ClientError::Start {
        what: format!("`{}` as `{}`", launch.executable.display(), copy.display()),
        source,
    })?;
    Ok(copy)
}

/// Removes copies that nobody will start any more. Those that run go on.
fn remove_old_copies(folder: &Path, except: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path != except) {
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > COPIES_KEPT) {
            // Only tidiness: the next start tries again.
            let _ = fs::remove_file(path);
        }
    }
}
