//! Trivy, as a process: what it is asked, and what its answers mean.
//!
//! It runs in an empty folder and with a handful of variables, so that neither its own ignore and configuration files nor
//! `TRIVY_…` change what it finds, and no secret of a deployment is where it, or whatever somebody has put in its place,
//! could read it. It reads images through the engine, by their id, and needs no login.

mod answer;
mod error;

pub use error::ScanError;

use super::{Finding, Rules, bill};
use crate::{
    digest::Digest,
    process::{Argv, Captured, Finished, ProcessError, Runner},
    secret::Variables,
};
use answer::Versions;
use jiff::{SignedDuration, Timestamp};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// The variables that it sees, beside what we tell it: where programs and its cache are, and how the network is reached.
const VARIABLES: [&str; 14] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "TRIVY_CACHE_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LANG",
];

/// The longest that it may take to say its version: it starts in a tenth of a second.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// The longest that the database of vulnerabilities may take to come: some 60 MB, over a slow line.
const DATABASE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How much it may write, in bytes: the answer on an image with ten thousand packages is some 30 MB.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// By how much its own limit is longer than ours, so that ours is the one that counts.
const LEEWAY: Duration = Duration::from_secs(60);

/// Trivy as it is installed here, and fit to judge.
#[derive(Debug)]
pub struct Trivy {
    /// Its version: `0.59.1`.
    pub version: String,
    /// When its database of vulnerabilities was made; `None` if it has none.
    pub database: Option<Timestamp>,
    /// Whether a newer one may be had.
    is_due: bool,
    program: Program,
}

/// A database of vulnerabilities that is young enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// When it was made.
    pub made: Timestamp,
    /// What somebody should know though it is young enough: why it could not be brought up to date.
    pub warning: Option<String>,
}

/// What an image was found to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageScan {
    /// What was found.
    pub findings: Vec<Finding>,
    /// The bill of materials (CycloneDX, JSON).
    pub bill: Vec<u8>,
}

/// How the program is run.
#[derive(Debug)]
struct Program {
    runner: Runner,
    /// Names that it must not see.
    hidden: Vec<OsString>,
    /// Where programs are, as the run was told.
    path: Option<OsString>,
    /// Empty, and for us alone.
    folder: TempDir,
}

impl Trivy {
    /// Asks which version is installed, and how old its database is. Changes nothing.
    ///
    /// # Errors
    /// If it is not installed, is not the version that the rules name, or does not answer sensibly.
    pub async fn look(runner: &Runner, variables: &Variables, rules: &Rules) -> Result<Self, ScanError> {
        let is_hidden = |name: &&OsString| !VARIABLES.iter().any(|known| *name == OsStr::new(known));
        let hidden = variables.keys().filter(is_hidden).cloned().collect();
        let folder = tempfile::tempdir().map_err(|source| ScanError::Folder { source })?;
        let path = variables.get(OsStr::new("PATH")).cloned();
        let program = Program { runner: runner.clone(), hidden, path, folder };
        let Versions { version, database } = program.versions().await?;
        if let Some(pinned) = rules.version.as_ref().filter(|pinned| **pinned != version) {
            return Err(ScanError::OtherVersion { found: version, pinned: pinned.clone() });
        }
        let is_due = database.as_ref().is_none_or(|database| database.next_update <= Timestamp::now());
        Ok(Self { version, database: database.map(|database| database.updated_at), is_due, program })
    }

    /// Whether a newer database of vulnerabilities may be had.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Brings the database of vulnerabilities up to date, if that is due, and makes sure that it is young enough.
    ///
    /// # Errors
    /// If there is none, or only one that is too old.
    pub async fn refresh(&self, rules: &Rules) -> Result<Fresh, ScanError> {
        let (mut made, mut warning) = (self.database, None);
        if self.is_due {
            let mut argv = self.program.argv().args(["image", "--download-db-only", "--no-progress"]);
            for repository in &rules.database_repositories {
                argv = argv.arg("--db-repository").arg(repository);
            }
            match self.program.run(&argv, DATABASE_LIMIT).await {
                Ok(_) => {}
                Err(error) if error.is_cancelled() => return Err(error),
                Err(error) if self.database.is_none() => {
                    return Err(ScanError::NoDatabase { source: Box::new(error) });
                }
                Err(error) => {
                    warning = Some(format!(
                        "the database of vulnerabilities could not be brought up to date: {}",
                        crate::causes::in_one_line(&error)
                    ));
                }
            }
            let Versions { database, .. } = self.program.versions().await?;
            made = database.map(|database| database.updated_at);
        }
        let Some(made) = made else { return Err(ScanError::DatabaseLost) };
        let max = SignedDuration::try_from(rules.database_age_max).unwrap_or(SignedDuration::MAX);
        let age = Timestamp::now().duration_since(made);
        if age > max {
            let why = warning.unwrap_or_default();
            return Err(ScanError::StaleDatabase { made, age, max, why });
        }
        Ok(Fresh { made, warning })
    }

    /// Scans an image of an engine: packages and secrets. `engine` is its address, as `DOCKER_HOST` has it.
    ///
    /// # Errors
    /// If there is no answer that can be relied on.
    pub async fn image(
        &self,
        id: Digest,
        size_bytes: u64,
        engine: &str,
        rules: &Rules,
    ) -> Result<ImageScan, ScanError> {
        if size_bytes > rules.image_size_max {
            return Err(ScanError::TooLarge { size_bytes, max_bytes: rules.image_size_max });
        }
        // Of the image's own settings only secrets are looked for: its history is no Dockerfile, and read as one it breaks
        // rules that the file keeps. The file itself is scanned as configuration.
        let argv = self.program.argv().env("DOCKER_HOST", engine).args([
            "image",
            "--image-src=docker",
            "--format=json",
            "--list-all-pkgs",
            "--scanners=vuln,secret",
            "--image-config-scanners=secret",
            "--skip-db-update",
            "--skip-check-update",
            "--no-progress",
            "--quiet",
            &timeout(rules.timeout),
        ]);
        let argv = argv.arg(id.to_string());
        let text = self.program.capture(&argv, rules.timeout).await?;
        let answer = answer::parse(&text, "container_image", &argv)?;
        let bill = self.bill(&text, rules).await?;
        Ok(ImageScan { findings: answer, bill })
    }

    /// Scans Dockerfiles, manifests and the like below a folder, or one file.
    ///
    /// # Errors
    /// If there is no answer that can be relied on.
    pub async fn configuration(
        &self,
        root: &Path,
        path: &Path,
        rules: &Rules,
    ) -> Result<Vec<Finding>, ScanError> {
        let argv = self
            .program
            .argv()
            .args(["config", "--format=json", "--skip-check-update", "--quiet", &timeout(rules.timeout)])
            .arg(root.join(path));
        let text = self.program.capture(&argv, rules.timeout).await?;
        let mut findings = answer::parse(&text, "filesystem", &argv)?;
        for finding in &mut findings {
            finding.file = within(root, path, &finding.file);
        }
        Ok(findings)
    }

    /// The bill of materials, out of the same answer. It is handed over without the secrets that were found, and what stands
    /// beside them.
    async fn bill(&self, answer: &[u8], rules: &Rules) -> Result<Vec<u8>, ScanError> {
        let at = |source| ScanError::Folder { source };
        let folder = tempfile::tempdir_in(self.program.folder.path()).map_err(at)?;
        let file = folder.path().join("answer.json");
        std::fs::write(&file, bill::without_secrets(answer)).map_err(at)?;
        let argv = self.program.argv().args(["convert", "--format=cyclonedx", "--quiet"]).arg(&file);
        let text = self.program.capture(&argv, rules.timeout).await?;
        bill::check(&text).map_err(|why| self.program.garbage(&argv, why, &text))?;
        Ok(text)
    }
}

/// A finding's file relative to the root; Trivy tells it relative to what it was asked to scan.
fn within(root: &Path, asked: &Path, file: &str) -> String {
    let path = if root.join(asked).is_file() { asked.to_owned() } else { asked.join(file) };
    let path: PathBuf = path.components().filter(|part| part.as_os_str() != ".").collect();
    path.to_string_lossy().into_owned()
}

fn timeout(limit: Duration) -> String {
    format!("--timeout={}s", (limit + LEEWAY).as_secs())
}

impl Program {
    fn argv(&self) -> Argv {
        // A login of the Docker client is none of its business.
        let argv = Argv::new("trivy").folder(self.folder.path()).env("DOCKER_CONFIG", self.folder.path());
        let argv = self.path.iter().fold(argv, |argv, path| argv.env("PATH", path));
        self.hidden.iter().fold(argv, |argv, name| argv.env_remove(name))
    }

    async fn versions(&self) -> Result<Versions, ScanError> {
        let argv = self.argv().args(["version", "--format=json"]);
        let text = self.capture(&argv, VERSION_LIMIT).await?;
        answer::versions(&text).map_err(|why| self.garbage(&argv, why, &text))
    }

    /// Runs it to a good end.
    async fn run(&self, argv: &Argv, limit: Duration) -> Result<Finished, ScanError> {
        let ran = self.runner.run(argv, limit, &mut |_, _| {}).await;
        ran.and_then(|finished| finished.check(argv)).map_err(ScanError::of_process)
    }

    /// Runs it to a good end, and returns what it wrote.
    async fn capture(&self, argv: &Argv, limit: Duration) -> Result<Vec<u8>, ScanError> {
        let captured = self.runner.capture(argv, limit, ANSWER_MAX).await.map_err(ScanError::of_process)?;
        let Captured { finished, stdout } = captured;
        finished.check(argv).map_err(ScanError::of_process)?;
        Ok(stdout.to_vec())
    }

    fn garbage(&self, argv: &Argv, why: String, text: &[u8]) -> ScanError {
        let begins = self.runner.redactor.mask_bytes(&text[..text.len().min(100)]);
        ScanError::Garbage { command: argv.to_string(), why, begins }
    }
}

impl ScanError {
    fn of_process(error: ProcessError) -> Self {
        match error {
            ProcessError::NotFound { .. } => Self::NotInstalled,
            ProcessError::Cancelled { .. } => Self::Cancelled,
            ProcessError::Deadline { limit, tail, .. } => Self::Deadline { limit, tail },
            source => Self::Process { source },
        }
    }
}
