//! `github`: what GitHub is told besides the rollouts themselves.

use crate::{
    cli::{Github, GithubRelease},
    context::Context,
    exit::Exit,
    failure::Failure,
    github::{self, Published, Reported},
    reporter::Ending,
    signals::{Stops, Then},
    stages,
    wire::{self, Opened},
};
use deploy::{STATE_FOLDER, github::Left};
use pipeline::{
    git,
    github::{CheckReport, STAGE_DEADLINE, failed_tests, run_url, scan_annotations},
    release::{Manifests, Release},
    scan::{Report, Subject, judge, report},
    store,
};
use std::path::{Path, PathBuf};

/// The newest commits that notes name; of more, the rest is counted.
const NOTES_MAX: usize = 200;

/// The largest file that goes beside a release, in bytes. GitHub takes 2 GiB; a larger one than this is no report.
const ASSET_MAX: u64 = 256 * 1024 * 1024;

/// Tells GitHub something.
pub(super) async fn run(context: &Context, request: &Github) -> Result<Ending, Failure> {
    match request {
        Github::Send(request) => send(context, &request.environment).await,
        Github::Report => report_commit(context).await,
        Github::Release(request) => publish(context, request).await,
    }
}

/// Sends what waits.
async fn send(context: &Context, environment: &str) -> Result<Ending, Failure> {
    let opened = wire::open(context, environment)?;
    let mut stops = Stops::listen()?;
    let sender = github::start(context, &opened)?;
    let waiting = sender.waiting();
    let left = stops.guard(sender.finish(STAGE_DEADLINE), || Then::Leave).await.ok_or(Failure::Stopped)?;
    match left {
        Left { waiting: 0 } if waiting == 0 => {
            Ok(Ending::done(format!("nothing to do: GitHub has heard all of {environment}"), context.took()))
        }
        Left { waiting: 0 } => {
            Ok(Ending::done(format!("done: GitHub has heard all of {environment}"), context.took()))
        }
        Left { waiting } => Ok(Ending {
            exit: Exit::Refused,
            sentence: format!(
                "GitHub has not heard {waiting} things of {environment}; they wait in their order"
            ),
            next: vec![context.command(&format!("github send {environment}"))],
            took: context.took(),
        }),
    }
}

/// A check run for the commit that is checked out, and SARIF.
async fn report_commit(context: &Context) -> Result<Ending, Failure> {
    let opened = wire::open(context, &wire::any_environment(context)?)?;
    let mut stops = Stops::listen()?;
    let state = opened.root.join(STATE_FOLDER);
    let mut told = tests(&opened.root, &state)?.unwrap_or_default();
    let (scans, sarif) = scans(context, &opened, &state)?;
    told.add(scans);
    if told.looked_at.is_empty() {
        let error = Failure::refused("there is nothing to report: nothing was tested or scanned here yet");
        return Err(error.hint(format!("`{}`, then again", context.command("test"))).into());
    }
    let (head, branch) = head(&opened.root)?;
    // A pull request is built as if it were merged; people look at its own last commit.
    let event = github::event(context);
    let commit = event["pull_request"]["head"]["sha"].as_str().unwrap_or(&head).to_owned();
    let reference = github::variable(context, "GITHUB_REF").map(str::to_owned);
    let reference = reference.or_else(|| branch.map(|branch| format!("refs/heads/{branch}")));
    let run = ["GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB"];
    let run: Vec<&str> = run.iter().filter_map(|name| github::variable(context, name)).collect();
    let now = jiff::Timestamp::now().as_nanosecond();
    let reported = Reported {
        commit,
        key: if run.is_empty() { format!("fairlead-{now:x}") } else { run.join("-") },
        url: run_url(&context.variables),
        report: told,
        sarif,
        scanned: reference.map(|reference| (head, reference)),
    };
    let tongue = github::tongue(context, &opened)?;
    let sent = github::send_report(context, &tongue, &reported);
    stops.guard(sent, || Then::Leave).await.ok_or(Failure::Stopped)??;
    let short: String = reported.commit.chars().take(12).collect();
    let sentence = format!("done: GitHub shows of {short}: {}", reported.report.title());
    Ok(Ending::done(sentence, context.took()))
}

/// What the tests came to, if they were run.
fn tests(root: &Path, state: &Path) -> Result<Option<CheckReport>, Failure> {
    let path = state.join("reports").join("junit.xml");
    let text = match store::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => {
            text.map_err(|error| Failure::state("the report of the tests cannot be read").because(error))?
        }
    };
    let text = String::from_utf8_lossy(&text);
    let told = failed_tests(&text, |file| root.join(file).is_file());
    let told = told.map_err(|error| {
        Failure::state(format!("`{}` is no report of tests", path.display())).because(error)
    })?;
    Ok(Some(told))
}

/// What scans have found, as it is judged today, and their documents for code scanning.
fn scans(context: &Context, opened: &Opened, state: &Path) -> Result<(CheckReport, Vec<Vec<u8>>), Failure> {
    let mut told = CheckReport::default();
    let mut documents = Vec::new();
    let Some(rules) = stages::scan_rules(context, opened)? else { return Ok((told, documents)) };
    let project = &opened.loaded.project;
    let configuration =
        project.stages.scan.as_ref().map(|scan| scan.configuration.clone()).unwrap_or_default();
    let images = project.services.keys().cloned().map(Subject::Image);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    for subject in images.chain([Subject::Configuration(configuration)]) {
        let read = Report::read(state, &subject);
        let read = read.map_err(|error| Failure::state("what was found cannot be read").because(error))?;
        let Some(found) = read else { continue };
        told.add(scan_annotations(
            &subject,
            &judge(&found.findings, &subject, &rules.policy, &rules.waivers, today),
        ));
        let path = report::sarif_path(state, &subject);
        let document = store::read(&path);
        documents
            .push(document.map_err(|error| Failure::state("what was found cannot be read").because(error))?);
    }
    Ok((told, documents))
}

/// The commit that is checked out, and its branch.
fn head(root: &Path) -> Result<(String, Option<String>), Failure> {
    let tree = tokio::task::block_in_place(|| git::inspect(root))
        .map_err(|error| Failure::state("cannot tell the state of the work tree").because(error))?;
    let found = tree.and_then(|tree| Some((tree.commit?, tree.branch)));
    found.ok_or_else(|| Failure::refused("there is no commit that GitHub could be told of").into())
}

/// Makes a release on GitHub.
async fn publish(context: &Context, request: &GithubRelease) -> Result<Ending, Failure> {
    let opened = wire::open(context, &wire::any_environment(context)?)?;
    let mut stops = Stops::listen()?;
    let state = opened.root.join(STATE_FOLDER);
    let release = match &request.release {
        Some(text) => wire::find_release(context, &opened, text)?,
        None => latest(context, &state)?,
    };
    let Some(commit) = release.commit.clone().filter(|_| !release.dirty) else {
        let text = format!("release {} is not what a commit has: it has no place on GitHub", release.id);
        return Err(Failure::refused(text).hint("commit the changes, and build it anew").into());
    };
    let published = Published {
        tag: format!("release-{}", release.id),
        name: format!("Release {}", release.id),
        notes: notes(&opened.root, &release, &commit)?,
        assets: assets(&state, &release)?,
        commit,
    };
    let tongue = github::tongue(context, &opened)?;
    let (tag, files) = (published.tag.clone(), published.assets.len());
    let sent = github::send_release(context, &tongue, published);
    let url = stops.guard(sent, || Then::Leave).await.ok_or(Failure::Stopped)??;
    Ok(Ending::done(format!("done: {tag} is on GitHub with {files} files: {url}"), context.took()))
}

fn latest(context: &Context, state: &Path) -> Result<Release, Failure> {
    let latest = Manifests::new(state).latest();
    let latest =
        latest.map_err(|error| Failure::state("the release manifest cannot be read").because(error))?;
    latest.ok_or_else(|| {
        let error = Failure::refused("no release has been made here yet");
        error.hint(format!("`{}` makes one", context.command("build"))).into()
    })
}

/// In Markdown: what it runs, and what was done since the last one.
fn notes(root: &Path, release: &Release, commit: &str) -> Result<String, Failure> {
    let log = tokio::task::block_in_place(|| git::log_since(root, commit, "release-*", NOTES_MAX + 1));
    let (since, mut commits) =
        log.map_err(|error| Failure::state("git does not tell what was done").because(error))?;
    let has_more = commits.len() > NOTES_MAX;
    commits.truncate(NOTES_MAX);
    let mut notes = match since {
        Some(tag) => format!("### Since {tag}\n\n"),
        None => "### What was done\n\n".to_owned(),
    };
    for line in &commits {
        notes.push_str(&format!("- {line}\n"));
    }
    if has_more {
        notes.push_str("- … and more\n");
    }
    notes.push_str("\n### What it runs\n\n");
    for (service, artifact) in &release.services {
        notes.push_str(&format!("- {service}: `{}`\n", artifact.digest));
    }
    for (service, image) in &release.images {
        notes.push_str(&format!("- {service}, image: `{}`\n", image.id));
    }
    Ok(notes)
}

/// The manifest, and every file of the release's reports.
fn assets(state: &Path, release: &Release) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let manifest = serde_json::to_vec_pretty(release)
        .map_err(|error| Failure::bug("the manifest cannot be written").because(error))?;
    let mut assets = vec![("release-manifest.json".to_owned(), manifest)];
    let folder = state.join("reports").join(release.id.to_string());
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(assets) };
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    let failed = |error| Failure::state("a report of the release cannot be read").because(error);
    for file in files.iter().filter(|file| file.is_file()) {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        // The manifest is there already.
        if assets.iter().any(|(known, _)| known == name) {
            continue;
        }
        if file.metadata().map_err(failed)?.len() > ASSET_MAX {
            let text = format!("`{}` is too large to go beside a release", file.display());
            return Err(Failure::refused(text).into());
        }
        assets.push((name.to_owned(), store::read(file).map_err(failed)?));
    }
    Ok(assets)
}
