//! What reads and runs workflows of GitHub Actions: linters, and a runner on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The programs, fetched if they are not there.
#[derive(Debug)]
pub struct Actions {
    folder: PathBuf,
}

impl Actions {
    /// Makes sure of them.
    ///
    /// # Panics
    /// If they cannot be had, with what the script says.
    #[track_caller]
    pub fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("components/actions");
        let output = Command::new(script).arg("install").stdin(Stdio::null()).output().expect("a script");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder: PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end()) }
    }

    /// Where `act`, `actionlint` and `zizmor` are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What actionlint says of these files, and whether it found nothing.
    ///
    /// # Panics
    /// If it cannot be run, or cannot tell.
    #[track_caller]
    pub fn actionlint(&self, files: &[PathBuf]) -> (bool, String) {
        told(Command::new(self.folder.join("actionlint")).args(files), &[0, 1])
    }

    /// The same of zizmor, with what it says to those who want everything clean.
    ///
    /// # Panics
    /// If it cannot be run, or cannot tell.
    #[track_caller]
    pub fn zizmor(&self, files: &[PathBuf]) -> (bool, String) {
        let words = ["--offline", "--no-progress", "--color=never", "--persona=pedantic"];
        // 11 to 14 are findings of the four severities.
        told(Command::new(self.folder.join("zizmor")).args(words).args(files), &[0, 11, 12, 13, 14])
    }
}

impl Default for Actions {
    fn default() -> Self {
        Self::new()
    }
}

#[track_caller]
fn told(command: &mut Command, codes: &[i32]) -> (bool, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("a linter");
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.code().is_some_and(|code| codes.contains(&code)), "{command:?}: {status}\n{text}");
    (status.success(), text)
}

/// The folder of this repository's workflows.
pub fn workflows() -> PathBuf {
    crate::program::repository().join(".github/workflows")
}

/// The files of this repository's workflows.
///
/// # Panics
/// If there are none.
pub fn workflow_files() -> Vec<PathBuf> {
    let files = fs::read_dir(workflows()).expect("the workflows");
    let mut files: Vec<_> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "there are no workflows");
    files
}
