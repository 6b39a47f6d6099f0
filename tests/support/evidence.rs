//! What is shown when a test fails: the journals, the logs and the processes of its project.

use crate::processes::processes_under;
use std::{fmt::Write as _, fs, path::Path};

/// Lines shown of each file.
const LINES: usize = 60;

/// Endings of files that tell something: logs, journals, dossiers.
const TELLING: [&str; 3] = ["log", "jsonl", "txt"];

/// Folders that do not.
const SILENT: [&str; 2] = ["bin", "bundles"];

/// Shows everything that helps to understand a failure.
#[expect(clippy::print_stderr, reason = "what a failed test has to say")]
pub(crate) fn show(project: &Path, state: &Path) {
    eprintln!("{}", collect(project, state));
}

fn collect(project: &Path, state: &Path) -> String {
    let mut text = format!("=== evidence of {}\n", project.display());
    for process in processes_under(project) {
        let (pid, state, command) = (process.pid, process.state, process.cmdline.join(" "));
        writeln!(text, "process {pid} ({state}) of {}: {command}", process.parent)
            .expect("a String takes it");
    }
    files(state, &mut text);
    text
}

fn files(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !SILENT.contains(&name.as_str()) {
            files(&path, text);
        }
        let tells = path.extension().and_then(|end| end.to_str()).is_some_and(|end| TELLING.contains(&end));
        let Some(content) = fs::read(&path).ok().filter(|_| tells && path.is_file()) else { continue };
        let content = String::from_utf8_lossy(&content);
        let lines: Vec<&str> = content.lines().collect();
        writeln!(text, "--- {}", path.display()).expect("a String takes it");
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            let short: String = line.chars().take(400).collect();
            writeln!(text, "{short}").expect("a String takes it");
        }
    }
}
