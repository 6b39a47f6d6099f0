//! The folder of a release's report: what is put aside while the release is made, because the next one has its own, and
//! what is written when the report is asked for.

use super::{Making, Report, Rollout, TestsTold, html, making, making::subject, markdown};
use crate::{
    name::Name,
    release::{Manifests, ReleaseId},
    scan::report::{bill_path, sarif_path},
    stage::StageName,
    store::{self, FileError, ReadError},
};
use jiff::Timestamp;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The report as data.
const JSON: &str = "report.json";
/// The report for people who read text, and for GitHub's step summary.
const MARKDOWN: &str = "report.md";
/// The report for a browser.
const HTML: &str = "report.html";
/// How the release was made.
const MAKING: &str = "stages.json";
/// What was said of each test.
const JUNIT: &str = "junit.xml";

/// Why there is no report, or no evidence for one.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of ours cannot be read.
    #[error("cannot read what the report is made of")]
    Read(#[from] ReadError),
    /// A file cannot be written, read, copied or removed.
    #[error("cannot keep the report")]
    Io(#[from] io::Error),
    /// The JUnit file is none.
    #[error("`{path}` is no JUnit file")]
    Junit {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: quick_junit::DeserializeError,
    },
    /// The text cannot be the name of a release.
    #[error("`{0}` is not a name of a release")]
    Name(String),
}

/// The folder of one release's report.
#[derive(Debug, Clone)]
pub struct Folder {
    state: PathBuf,
    release: ReleaseId,
    path: PathBuf,
}

impl Folder {
    /// That of a release, in the project with this state folder (`.fairlead`). It need not be there.
    ///
    /// # Errors
    /// If the text cannot be the name of a release, and so of a folder.
    pub fn of(state: &Path, release: &ReleaseId) -> Result<Self, ReportError> {
        if !release.is_well_formed() {
            return Err(ReportError::Name(release.0.clone()));
        }
        let path = folder(state).join(&release.0);
        Ok(Self { state: state.to_owned(), release: release.clone(), path })
    }

    /// The release whose stages ended last, of those that have a folder.
    ///
    /// # Errors
    /// If the folders, or what is in them, cannot be read.
    pub fn latest(state: &Path) -> Result<Option<ReleaseId>, ReportError> {
        let mut latest: Option<Making> = None;
        for name in names(&folder(state))? {
            let Ok(folder) = Self::of(state, &ReleaseId(name)) else { continue };
            let making = folder.making()?;
            latest = latest.into_iter().chain(making).max_by_key(|making| making.at);
        }
        Ok(latest.map(|making| making.release))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anything is known of the release there.
    pub fn is_there(&self) -> bool {
        self.path.is_dir()
    }

    /// Puts aside how the release was made, and what its stages have left: the next release has files of the same names.
    ///
    /// # Errors
    /// If something cannot be read or written; the error names the file.
    pub fn keep(&self, making: Making) -> Result<(), ReportError> {
        store::create_folder(&self.path)?;
        if making.has(StageName::Test, None) {
            self.copy(&self.state.join("reports").join(JUNIT), JUNIT)?;
        }
        for service in making.scanned() {
            let subject = subject(service);
            let stem = service.map_or("configuration", Name::as_str);
            self.copy(&sarif_path(&self.state, &subject), &format!("{stem}.sarif"))?;
            self.copy(&bill_path(&self.state, &subject), &format!("{stem}.cdx.json"))?;
        }
        let before = self.making()?;
        let making = making.with_scans(&self.state)?.after(before);
        // Excerpts of a failed stage may tell more than everybody should know.
        Ok(store::write_json(&self.path.join(MAKING), &making, store::PRIVATE)?)
    }

    /// How the release was made; `None` if that is not known here.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn making(&self) -> Result<Option<Making>, ReadError> {
        store::read_json_if_exists(&self.path.join(MAKING), making::FORMAT)
    }

    /// Puts together all that is known of the release.
    ///
    /// # Errors
    /// If something that is there cannot be read; the error names the file.
    pub fn assemble(
        &self,
        project: &Name,
        tool_version: &str,
        rollouts: Vec<Rollout>,
        at: Timestamp,
    ) -> Result<Report, ReportError> {
        Ok(Report {
            version: Report::FORMAT,
            project: project.clone(),
            release: self.release.clone(),
            at,
            tool_version: tool_version.to_owned(),
            manifest: Manifests::new(&self.state).find(&self.release)?,
            making: self.making()?,
            tests: self.tests()?,
            rollouts,
            files: self.evidence()?,
        })
    }

    /// Writes the report in all its forms.
    ///
    /// # Errors
    /// If it cannot be written; the error names the file.
    pub fn write(&self, report: &Report) -> Result<(), ReportError> {
        store::create_folder(&self.path)?;
        let mut json = serde_json::to_vec_pretty(report).map_err(io::Error::other)?;
        json.push(b'\n');
        let texts = [
            (JSON, json),
            (MARKDOWN, markdown::text(report).into_bytes()),
            (HTML, html::page(report).into_bytes()),
        ];
        for (name, bytes) in texts {
            // Log lines of units are in it.
            store::write_atomic(&self.path.join(name), &bytes, store::PRIVATE)?;
        }
        Ok(())
    }

    fn tests(&self) -> Result<Option<TestsTold>, ReportError> {
        let path = self.path.join(JUNIT);
        let bytes = match store::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let told = TestsTold::read(&String::from_utf8_lossy(&bytes));
        told.map(Some).map_err(|source| ReportError::Junit { path, source })
    }

    /// The files beside the report, by name.
    fn evidence(&self) -> io::Result<Vec<String>> {
        let is_ours = |name: &String| [JSON, MARKDOWN, HTML].contains(&name.as_str());
        let mut files = names(&self.path)?;
        files.retain(|name| !is_ours(name) && !name.starts_with('.'));
        Ok(files)
    }

    /// Copies a file, whole; nothing if there is none.
    fn copy(&self, from: &Path, name: &str) -> io::Result<()> {
        match store::read(from) {
            Ok(bytes) => store::write_atomic(&self.path.join(name), &bytes, store::PRIVATE),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("reports")
}

/// Removes the folders in which nothing was written for this long. Gives the names of their releases.
///
/// # Errors
/// If one cannot be read or removed; the error names it.
pub fn remove_old(state: &Path, keep: Duration, now: SystemTime) -> io::Result<Vec<String>> {
    let all = folder(state);
    let mut removed = Vec::new();
    for name in names(&all)? {
        let path = all.join(&name);
        let metadata = fs::symlink_metadata(&path).map_err(|error| FileError::wrap("read", &path, error))?;
        // Whatever else lies there is not ours to remove.
        if !metadata.is_dir() || !ReleaseId(name.clone()).is_well_formed() {
            continue;
        }
        let written = metadata.modified().map_err(|error| FileError::wrap("read", &path, error))?;
        if now.duration_since(written).is_ok_and(|age| age > keep) {
            fs::remove_dir_all(&path).map_err(|error| FileError::wrap("remove", &path, error))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// What is in a folder, by name; nothing if there is none. What is no text is none of ours.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::wrap("read", folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| FileError::wrap("read", folder, error))?.file_name();
        names.extend(name.into_string());
    }
    names.sort();
    Ok(names)
}
