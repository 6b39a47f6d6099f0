//! What git says about the tree: read only, by git's own command line, in as few processes as possible.
//!
//! A folder outside git, and a machine without git, are normal answers (`None`), not errors.

use crate::{
    causes::in_one_line,
    digest::Digest,
    process::{Argv, ProcessError, Runner},
};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use xshell::{Shell, cmd};

/// Folders of the project that never count as a change: what Fairlead and cargo write.
const OWN_FOLDERS: [&str; 2] = [".fairlead", "target"];

/// The longest that git may take to answer. It takes 10 ms; five minutes are for a work tree of a million files on a disk that
/// has read none of them yet.
const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// The most that is read of an answer, in bytes: some millions of paths.
const ANSWER_MAX: usize = 512 * 1024 * 1024;

/// Why git gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A git command failed.
    #[error("`git {command}` failed in `{folder}`: {message}")]
    Failed {
        /// The subcommand.
        command: &'static str,
        /// Where it ran.
        folder: PathBuf,
        /// What git said.
        message: String,
    },
    /// The folder cannot be worked in.
    #[error("cannot ask git about `{folder}`")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer.
    #[error(
        "`git {command}` did not answer within {} s in `{folder}`, and was ended: run it there yourself to see what it waits for (a file system monitor, a network folder), then try again",
        .limit.as_secs_f32()
    )]
    Deadline {
        /// The subcommand.
        command: &'static str,
        /// Where it ran.
        folder: PathBuf,
        /// The time that it had.
        limit: Duration,
    },
    /// A changed file cannot be read.
    #[error("cannot read the changed file `{path}`")]
    Changed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The state of a work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The top folder of the work tree.
    pub root: PathBuf,
    /// The commit that is checked out, all digits; `None` before the first.
    pub commit: Option<String>,
    /// The branch that is checked out; `None` when detached.
    pub branch: Option<String>,
    /// What differs from the commit, in the order of the paths.
    pub changes: Vec<Change>,
}

/// A file that differs from the commit: changed, removed, or new and not ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Relative to the root of the work tree.
    pub path: PathBuf,
    /// For a submodule: what git says of it, as its content is not ours to read.
    pub submodule: Option<String>,
}

impl Tree {
    /// Whether it has anything that the commit does not have.
    pub fn is_dirty(&self) -> bool {
        !self.changes.is_empty()
    }

    /// A digest of all changes: names, kinds and contents. Staging a change does not alter it.
    ///
    /// # Errors
    /// If a changed file cannot be read.
    pub fn state_digest(&self) -> Result<Digest, GitError> {
        let mut hasher = Sha256::new();
        for change in &self.changes {
            let path = self.root.join(&change.path);
            let state = match &change.submodule {
                Some(state) => format!("submodule {state}"),
                None => describe(&path).map_err(|source| GitError::Changed { path, source })?,
            };
            // Lengths first, so that no two lists of changes are hashed as the same bytes.
            for part in [change.path.as_os_str().as_bytes(), state.as_bytes()] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        Ok(Digest::from_bytes(hasher.finalize().into()))
    }
}

/// The state of the work tree that `folder` stands in; `None` outside git, and without git. What stands in the
/// `.fairlead` and `target` folders of `folder` does not count.
///
/// # Errors
/// If git fails for any other reason, such as a repository that belongs to another user.
pub fn inspect(folder: &Path) -> Result<Option<Tree>, GitError> {
    inspect_within(folder, DEADLINE)
}

fn inspect_within(folder: &Path, limit: Duration) -> Result<Option<Tree>, GitError> {
    let excluded = OWN_FOLDERS.map(|name| format!(":(exclude){name}"));
    let mut args: Vec<&OsStr> =
        ["--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--", ":/"]
            .map(OsStr::new)
            .to_vec();
    args.extend(excluded.iter().map(OsStr::new));
    // Side by side: most of what either takes is its start.
    let (root, status) = std::thread::scope(|scope| {
        let root = scope.spawn(|| run(folder, "rev-parse", &["--show-toplevel".as_ref()], limit));
        let status = run(folder, "status", &args, limit);
        (root.join().expect("it does not panic"), status)
    });
    let Some(root) = root? else { return Ok(None) };
    let root = PathBuf::from(OsStr::from_bytes(root.trim_ascii_end()));
    let Some(status) = status? else { return Ok(None) };
    Ok(Some(parse_status(root, &status)))
}

/// When the commit that is checked out was made, in seconds since 1970; `None` outside git, and before the first commit.
pub fn commit_time(folder: &Path) -> Option<u64> {
    let args = ["-1", "--format=%ct"].map(OsStr::new);
    let time = run(folder, "log", &args, DEADLINE).ok().flatten()?;
    String::from_utf8_lossy(&time).trim().parse().ok()
}

/// The commits up to this one since the last tag of this form before it, newest first, at most so many: each its short hash
/// and what it does. With the tag, if there is one.
///
/// # Errors
/// If git does not know the commit, or fails for another reason.
pub fn log_since(
    folder: &Path,
    commit: &str,
    tags: &str,
    most: usize,
) -> Result<(Option<String>, Vec<String>), GitError> {
    let (before, matching) = (format!("{commit}^"), format!("--match={tags}"));
    let args: [&OsStr; 4] = ["--tags".as_ref(), "--abbrev=0".as_ref(), matching.as_ref(), before.as_ref()];
    // There may be no such tag, and no commit before this one.
    let tag = run(folder, "describe", &args, DEADLINE).ok().flatten();
    let tag = tag.map(|tag| String::from_utf8_lossy(&tag).trim().to_owned()).filter(|tag| !tag.is_empty());
    let range = tag.as_ref().map_or_else(|| commit.to_owned(), |tag| format!("{tag}..{commit}"));
    let count = format!("--max-count={most}");
    let args: [&OsStr; 5] =
        [count.as_ref(), "--no-merges".as_ref(), "--format=%h %s".as_ref(), range.as_ref(), "--".as_ref()];
    let log = run(folder, "log", &args, DEADLINE)?.unwrap_or_default();
    Ok((tag, String::from_utf8_lossy(&log).lines().map(str::to_owned).collect()))
}

/// Where the repository comes from, as a URL without a login in it; `None` if it has no remote `origin`.
pub fn origin(folder: &Path) -> Option<String> {
    let args = ["get-url", "origin"].map(OsStr::new);
    let url = run(folder, "remote", &args, DEADLINE).ok().flatten()?;
    Some(without_login(String::from_utf8_lossy(&url).trim()))
}

/// `https://user:token@host/path` names a secret.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

/// The files under these folders and files that git tracks or would track, relative to `folder`; `None` outside git,
/// and without git. A tracked file that was removed is listed.
///
/// # Errors
/// If git fails for any other reason.
pub fn files(folder: &Path, under: &[PathBuf]) -> Result<Option<Vec<PathBuf>>, GitError> {
    let mut args: Vec<&OsStr> =
        ["-z", "--cached", "--others", "--exclude-standard", "--"].map(OsStr::new).to_vec();
    args.extend(
        under.iter().map(|path| if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() }),
    );
    let Some(list) = run(folder, "ls-files", &args, DEADLINE)? else { return Ok(None) };
    let mut files: Vec<_> = list.split(|b| *b == 0).filter(|p| !p.is_empty()).map(to_path).collect();
    files.retain(|path| !OWN_FOLDERS.iter().any(|own| path.starts_with(own)));
    files.sort();
    files.dedup();
    Ok(Some(files))
}

/// Runs a git command that changes nothing; `None` outside git, and without git.
fn run(
    folder: &Path,
    command: &'static str,
    args: &[&OsStr],
    limit: Duration,
) -> Result<Option<Vec<u8>>, GitError> {
    let at = |source| GitError::Folder { folder: folder.to_owned(), source };
    let shell = Shell::new().map_err(|e| at(io::Error::other(e)))?;
    if !folder.is_dir() {
        return Err(at(io::ErrorKind::NotADirectory.into()));
    }
    shell.change_dir(folder);
    // The C locale, because we read what git says; no optional locks, because another git may be at work; and paths
    // are names, never patterns, except for the exclusions.
    let git = cmd!(shell, "git {command} {args...}").env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0");
    let git = if command == "ls-files" { git.env("GIT_LITERAL_PATHSPECS", "1") } else { git };
    let folder = folder.to_owned();
    let mut captured = match Runner::default().capture_blocking(&Argv::from(git), limit, ANSWER_MAX) {
        Ok(captured) => captured,
        Err(ProcessError::NotFound { .. } | ProcessError::Start { .. }) => return Ok(None),
        Err(ProcessError::Deadline { .. }) => return Err(GitError::Deadline { command, folder, limit }),
        Err(error) => return Err(GitError::Failed { command, folder, message: in_one_line(&error) }),
    };
    if captured.finished.success() {
        return Ok(Some(std::mem::take(&mut *captured.stdout)));
    }
    let message = captured.finished.tail.join("\n");
    if message.contains("not a git repository") || message.contains("must be run in a work tree") {
        return Ok(None);
    }
    Err(GitError::Failed { command, folder, message: message.trim().to_owned() })
}

/// Parses `git status --porcelain=v2 --branch -z`.
fn parse_status(root: PathBuf, status: &[u8]) -> Tree {
    let mut tree = Tree { root, commit: None, branch: None, changes: Vec::new() };
    for line in status.split(|b| *b == 0) {
        if let Some(oid) = line.strip_prefix(b"# branch.oid ") {
            tree.commit = (oid != b"(initial)").then(|| String::from_utf8_lossy(oid).into_owned());
        } else if let Some(head) = line.strip_prefix(b"# branch.head ") {
            tree.branch = (head != b"(detached)").then(|| String::from_utf8_lossy(head).into_owned());
        } else if let Some(change) = parse_change(line) {
            tree.changes.push(change);
        }
    }
    tree.changes.sort();
    tree.changes.dedup();
    tree
}

/// Parses one entry: `1 XY sub mH mI mW hH hI path`, `u XY sub m1 m2 m3 mW h1 h2 h3 path` or `? path`.
fn parse_change(line: &[u8]) -> Option<Change> {
    let fields_before_path = match line.first()? {
        b'1' => 8,
        b'u' => 10,
        b'?' => 1,
        _ => return None,
    };
    let mut fields = line.splitn(fields_before_path + 1, |b| *b == b' ');
    let submodule = match fields.nth(2.min(fields_before_path - 1)) {
        Some(sub) if sub.starts_with(b"S") => Some(String::from_utf8_lossy(line).into_owned()),
        _ => None,
    };
    Some(Change { path: to_path(fields.last()?), submodule })
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// What stands at a path: its kind and content, but not its times and owner.
fn describe(path: &Path) -> io::Result<String> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok("gone".into()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok("gone".into()),
        Err(e) => return Err(e),
    };
    if metadata.is_symlink() {
        return Ok(format!("link {}", Digest::of_bytes(fs::read_link(path)?.as_os_str().as_bytes())));
    }
    if !metadata.is_file() {
        return Ok("special".into()); // A repository inside this one, a socket: git lists it without its content.
    }
    let kind = if metadata.permissions().mode() & 0o111 == 0 { "file" } else { "program" };
    Ok(format!("{kind} {}", Digest::of_file(path)?))
}

#[cfg(test)]
pub(crate) mod tests;
