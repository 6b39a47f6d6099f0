//! Examining an environment: every tool, file and port that it needs, each with its fix. Changes nothing.

mod ports;
mod tools;

use crate::{
    context::Context,
    engines,
    failure::Failure,
    github,
    paint::Paint,
    stages,
    wire::{self, Opened},
};
use deploy::{
    adapter::process::{Client, protocol::Hello},
    config::environment::TargetKind,
    session::{Place, SessionError},
};
use pipeline::{
    causes,
    process::Runner,
    scan::{Need, trivy::Trivy},
};
use serde::Serialize;
use std::{net::IpAddr, path::Path};

/// Less free space than this is worth a warning: a few releases of a few services.
const SPACE_WARN: u64 = 1024 * 1024 * 1024;

/// Less free space than this is too little: not one release fits for sure.
const SPACE_FAIL: u64 = 100 * 1024 * 1024;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// It works, but not in every case.
    Warn,
    /// A deploy would fail.
    Fail,
}

/// What was found at one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    /// What was checked.
    pub(crate) check: String,
    /// How it stands.
    pub(crate) grade: Grade,
    /// What was found.
    pub(crate) found: String,
    /// What to do, if it is not as it should be.
    pub(crate) fix: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &str, found: impl Into<String>) -> Self {
        Self { check: check.to_owned(), grade: Grade::Ok, found: found.into(), fix: None }
    }

    pub(crate) fn warn(check: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.to_owned(), grade: Grade::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    pub(crate) fn fail(check: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.to_owned(), grade: Grade::Fail, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Examines an environment.
pub(crate) async fn findings(context: &Context, environment: &str) -> Vec<Finding> {
    let mut findings = tools::findings(&context.variables).await;
    match wire::open(context, environment) {
        Ok(opened) => {
            findings.insert(0, Finding::ok("configuration", files(&opened)));
            findings.extend(of_environment(context, &opened).await);
        }
        Err(failure) => findings.insert(0, configuration(&failure)),
    }
    findings
}

fn files(opened: &Opened) -> String {
    let files: Vec<&str> = opened.loaded.files.keys().map(String::as_str).collect();
    format!("{} in order", files.join(", "))
}

fn configuration(failure: &Failure) -> Finding {
    let text = failure.to_text(Paint::OFF);
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Finding::fail("configuration", first, text.trim_end().to_owned())
}

async fn of_environment(context: &Context, opened: &Opened) -> Vec<Finding> {
    let state = opened.session.state_folder();
    let mut findings = vec![writable(state), space(state)];
    findings.extend(scanner(context, opened).await);
    let places = opened.session.places();
    findings.extend(github::examine(context, opened));
    findings.extend(engines::examine(context, &opened.loaded, &places).await);
    for place in &places {
        findings.extend(of_target(context, opened, place).await);
    }
    findings.push(stands(context, opened).await);
    findings.push(lease(context, opened).await);
    findings
}

/// The scanner and the files of waivers, where anything is scanned.
async fn scanner(context: &Context, opened: &Opened) -> Option<Finding> {
    const CHECK: &str = "scanner";
    let rules = match stages::scan_rules(context, opened) {
        Ok(rules) => rules?,
        Err(failure) => return Some(Finding { check: "waivers".to_owned(), ..configuration(&failure) }),
    };
    let runner = Runner { redactor: context.redactor.clone(), ..Runner::default() };
    match Trivy::look(&runner, &context.variables, &rules).await {
        Ok(Trivy { version, database: Some(made), .. }) => {
            Some(Finding::ok(CHECK, format!("Trivy {version}, database of {}", made.strftime("%Y-%m-%d"))))
        }
        Ok(Trivy { version, database: None, .. }) => {
            Some(Finding::ok(CHECK, format!("Trivy {version}, which has yet to get its database")))
        }
        Err(error) => {
            let (found, fix) = ("Trivy cannot judge", causes::in_one_line(&error));
            Some(match rules.need {
                Need::Required => Finding::fail(CHECK, found, fix),
                Need::Optional => Finding::warn(CHECK, found, fix),
            })
        }
    }
}

/// A target's ports, and of processes the supervisor; an engine needs none.
async fn of_target(context: &Context, opened: &Opened, place: &Place) -> Vec<Finding> {
    let environment = &opened.loaded.environment;
    let supervisor = match place.kind {
        TargetKind::Process => Some(hello(&place.folder).await),
        TargetKind::Docker => None,
    };
    let router = match &supervisor {
        Some(hello) => hello.as_ref().ok().and_then(Option::as_ref).and_then(|hello| hello.router_pid),
        None => engines::router(place).await,
    };
    let services = environment.services.iter();
    let port = |name, host: IpAddr, port| ports::finding(name, place.host.unwrap_or(host), port, router);
    let mut findings: Vec<Finding> =
        services.map(|(name, service)| port(name, service.host, service.port)).collect();
    findings.extend(supervisor.map(|hello| supervised(context, opened, &hello)));
    if environment.targets.len() > 1 {
        for finding in &mut findings {
            finding.check = format!("{} on {}", finding.check, place.target);
        }
    }
    findings
}

async fn hello(state: &Path) -> Result<Option<Hello>, String> {
    let client = Client::new(state).map_err(|error| error.to_string())?;
    client.hello().await.map_err(|error| error.to_string())
}

fn supervised(context: &Context, opened: &Opened, hello: &Result<Option<Hello>, String>) -> Finding {
    let environment = &opened.loaded.environment.name;
    match hello {
        Ok(Some(hello)) => Finding::ok("supervisor", format!("answers, process {}", hello.pid)),
        Ok(None) => Finding::ok("supervisor", "not running; the next deploy starts it"),
        Err(problem) => {
            let down = context.command(&format!("down {environment}"));
            let fix = format!("end it: `{down}`, then deploy again");
            Finding::fail("supervisor", format!("does not answer as it should: {problem}"), fix)
        }
    }
}

/// Whether ledger and supervisor's state can be read.
async fn stands(context: &Context, opened: &Opened) -> Finding {
    match opened.session.examine().await {
        Ok(()) => Finding::ok("what stands", "can be told"),
        Err(error) => unreadable("what stands", context, error),
    }
}

/// The whole error is the fix: its causes name the file, and its hints say what to do.
fn unreadable(check: &str, context: &Context, error: SessionError) -> Finding {
    let found = error.message.clone();
    let text = Failure::from(error).to_text(Paint::OFF);
    let text = context.redactor.mask(text.trim_start_matches("error: ").trim_end()).into_owned();
    Finding::fail(check, found, text)
}

async fn lease(context: &Context, opened: &Opened) -> Finding {
    let environment = &opened.loaded.environment.name;
    let show = format!("`{}` tells more", context.command(&format!("lock {environment}")));
    match opened.session.lock().await {
        Ok(lock) => match lock.lease {
            None => Finding::ok("lease", "free"),
            Some(lease) => Finding::warn(
                "lease",
                format!("held by {} for `{}` ({})", lease.holder, lease.command, lease.verdict),
                show,
            ),
        },
        Err(error) => unreadable("lease", context, error),
    }
}

/// Tries to write where state is to be kept, in the nearest folder that is there already.
fn writable(state: &Path) -> Finding {
    let Some(folder) = existing(state) else {
        return Finding::fail(
            "state folder",
            "none of its parents exists",
            "run within the project's folder",
        );
    };
    match tempfile::tempfile_in(folder) {
        Ok(_) => Finding::ok("state folder", format!("{} can be written", folder.display())),
        Err(error) => {
            let fix = format!("make {} writable for the user that deploys", folder.display());
            Finding::fail("state folder", format!("cannot write in {}: {error}", folder.display()), fix)
        }
    }
}

fn space(state: &Path) -> Finding {
    let Some(statistics) = existing(state).and_then(|folder| nix::sys::statvfs::statvfs(folder).ok()) else {
        return Finding::warn("disk space", "unknown", "look at `df` yourself");
    };
    // The two have different widths on different platforms.
    #[expect(clippy::useless_conversion, reason = "their widths differ by platform")]
    let free = u64::from(statistics.blocks_available()).saturating_mul(u64::from(statistics.fragment_size()));
    graded_space(free)
}

fn graded_space(free: u64) -> Finding {
    let found = format!("{} MB free", free / 1_000_000);
    match free {
        0..SPACE_FAIL => Finding::fail("disk space", found, "free some: not even one release may fit"),
        SPACE_FAIL..SPACE_WARN => Finding::warn("disk space", found, "free some: only a few releases fit"),
        _ => Finding::ok("disk space", found),
    }
}

fn existing(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writable(&folder.path().join("a/b/c")).grade, Grade::Ok);
        assert_eq!(writable(Path::new("/proc/none/such")).grade, Grade::Fail);
    }

    #[test]
    fn little_space_is_told_in_time() {
        let grades =
            [0, SPACE_FAIL - 1, SPACE_FAIL, SPACE_WARN - 1, SPACE_WARN].map(|free| graded_space(free).grade);
        assert_eq!(grades, [Grade::Fail, Grade::Fail, Grade::Warn, Grade::Warn, Grade::Ok]);
    }

    #[test]
    fn every_finding_that_is_not_ok_has_its_fix() {
        assert!(graded_space(0).fix.is_some());
        assert!(graded_space(u64::MAX).fix.is_none());
    }
}
