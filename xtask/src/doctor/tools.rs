//! The programs that the stages call.

use super::Finding;
use pipeline::{
    process::{Argv, Runner},
    secret::Variables,
};
use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

/// The longest that a program may take to tell its version: rustup may have to fetch a toolchain.
const DEADLINE: Duration = Duration::from_secs(30);

/// The most that is read of what it tells.
const OUTPUT_MAX: usize = 64 * 1024;

/// Looks at each.
pub(super) async fn findings(variables: &Variables) -> Vec<Finding> {
    let variable = |name: &str, default: &str| {
        variables
            .get(OsStr::new(name))
            .filter(|value| !value.is_empty())
            .cloned()
            .unwrap_or_else(|| default.into())
    };
    let rust = "install Rust: https://rustup.rs";
    let compiler =
        "install a C compiler: `apt install build-essential`, `dnf install gcc`, `xcode-select --install`";
    let git = "install git: without it a release is named by its artifacts, and none is fit for a protected environment";
    let (cargo, rustc, git, compiler) = tokio::join!(
        tool("cargo", variable("CARGO", "cargo"), Finding::fail, rust),
        tool("rustc", variable("RUSTC", "rustc"), Finding::fail, rust),
        tool("git", "git".into(), Finding::warn, git),
        tool("C compiler", variable("CC", "cc"), Finding::warn, compiler),
    );
    vec![cargo, rustc, git, compiler]
}

async fn tool(
    check: &str,
    program: OsString,
    missing: impl Fn(&str, String, String) -> Finding,
    fix: &str,
) -> Finding {
    match version(&program).await {
        Ok(version) => Finding::ok(check, version),
        Err(problem) => missing(check, problem, fix.to_owned()),
    }
}

/// The first line of what a program says to `--version`.
async fn version(program: &OsStr) -> Result<String, String> {
    let argv = Argv::new(program).arg("--version");
    let captured =
        Runner::default().capture(&argv, DEADLINE, OUTPUT_MAX).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&captured.stdout);
    match text.lines().next() {
        Some(line) if captured.finished.success() => Ok(line.to_owned()),
        _ => Err(format!("`{argv}` says nothing ({})", captured.finished.status_text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[tokio::test]
    async fn a_tool_that_is_there_tells_its_version() {
        let finding = tool("cargo", env!("CARGO").into(), Finding::fail, "install it").await;
        assert_eq!(finding.grade, Grade::Ok);
        assert!(finding.found.starts_with("cargo "), "{}", finding.found);
    }

    #[tokio::test]
    async fn a_tool_that_is_missing_comes_with_its_fix() {
        let finding = tool("git", "no-such-program".into(), Finding::warn, "install it").await;
        assert_eq!(finding.grade, Grade::Warn);
        assert_eq!(finding.fix.as_deref(), Some("install it"));
    }
}
