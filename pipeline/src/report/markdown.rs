//! The report as Markdown, for GitHub's step summary and for whoever reads text.

use super::{Making, Report, Rollout, StageMade, TestsTold, counted, moment, span};
use crate::release::{ScanVerdict, WaivedFinding};
use std::fmt::Write as _;

/// The most findings that are listed; the page and the SARIF files have all.
const FINDINGS: usize = 30;

/// The most lines of a dossier.
const DOSSIER: usize = 60;

/// The text.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let (_, verdict) = report.verdict();
    put(&mut text, format_args!("# Release `{}` of {}\n", report.release, report.project));
    put(&mut text, format_args!("**{}**\n", plain(&verdict)));
    if let Some(release) = &report.manifest {
        if let Some(commit) = &release.commit {
            let dirty = if release.dirty { " and uncommitted changes" } else { "" };
            put(&mut text, format_args!("- commit `{commit}`{dirty}"));
        }
        for (service, image) in &release.images {
            put(&mut text, format_args!("- image of {service}: `{}@{}`", image.repository, image.digest));
        }
        put(&mut text, format_args!("- made at {}\n", moment(release.created_at)));
    }
    if let Some(making) = &report.making {
        stages(&mut text, making);
    }
    if let Some(tests) = &report.tests {
        tests_told(&mut text, tests);
    }
    scans(&mut text, report);
    for rollout in &report.rollouts {
        rollout_told(&mut text, rollout);
    }
    text
}

fn stages(text: &mut String, making: &Making) {
    put(text, format_args!("## Stages\n\n| stage | result | took | what it came to |\n|---|---|---:|---|"));
    for stage in &making.stages {
        let StageMade { outcome, took, words, .. } = stage;
        let took = took.map(span).unwrap_or_default();
        put(text, format_args!("| {} | {} | {took} | {} |", stage.title(), outcome.as_str(), cell(words)));
    }
    put(text, format_args!(""));
    for stage in making.stages.iter().filter(|stage| !stage.excerpt.is_empty()) {
        fenced(text, &format!("What the stage {} wrote", stage.title()), &stage.excerpt);
    }
}

fn tests_told(text: &mut String, tests: &TestsTold) {
    put(text, format_args!("## Tests\n\n{}\n", tests.counts()));
    for failed in &tests.failures {
        fenced(text, &format!("{}: {}", failed.suite, failed.name), &failed.words);
    }
}

fn scans(text: &mut String, report: &Report) {
    let scans = report.making.as_ref().map(|making| making.scans.as_slice()).unwrap_or_default();
    let verdicts = report.manifest.as_ref().map(|release| &release.scans);
    let told: Vec<&ScanVerdict> =
        verdicts.iter().flat_map(|scans| scans.configuration.iter().chain(scans.images.values())).collect();
    if scans.is_empty() && told.is_empty() {
        return;
    }
    for verdict in &told {
        if let ScanVerdict::NotScanned { why } = verdict {
            put(text, format_args!("Not scanned: {}.\n", plain(why)));
        }
    }
    for scanned in scans {
        let database = scanned.database.map(|at| format!(", database of {}", at.strftime("%Y-%m-%d")));
        let count = counted(scanned.findings.len(), "finding");
        put(
            text,
            format_args!(
                "### Scan of the {}: {count}\n\n{}{}\n",
                scanned.title(),
                plain(&scanned.scanner),
                database.unwrap_or_default()
            ),
        );
        if scanned.findings.is_empty() {
            continue;
        }
        put(text, format_args!("| severity | rule | what | where |\n|---|---|---|---|"));
        for one in scanned.findings.iter().take(FINDINGS) {
            let (about, place) = (cell(&one.about()), cell(&one.place()));
            put(text, format_args!("| {} | {} | {about} | {place} |", one.severity, cell(&one.rule)));
        }
        if scanned.findings.len() > FINDINGS {
            put(text, format_args!("\n{} more are in the SARIF file.", scanned.findings.len() - FINDINGS));
        }
    }
    let waived: Vec<&WaivedFinding> = told
        .iter()
        .flat_map(|verdict| match verdict {
            ScanVerdict::Passed { waived, .. } => waived.as_slice(),
            ScanVerdict::NotScanned { .. } => &[],
        })
        .collect();
    if !waived.is_empty() {
        put(text, format_args!("\n### Waived\n\n| rule | until | why |\n|---|---|---|"));
        for one in waived {
            put(text, format_args!("| {} | {} | {} |", cell(&one.rule), one.expires, cell(&one.reason)));
        }
    }
    put(text, format_args!(""));
}

fn rollout_told(text: &mut String, rollout: &Rollout) {
    let Rollout { environment, outcome, aim, .. } = rollout;
    put(text, format_args!("## Rollout to {environment}: {}\n", plain(outcome)));
    let (run, began, took) = (&rollout.run, moment(rollout.began_at), span(rollout.took));
    put(text, format_args!("Run `{run}`, began at {began}, took {took}: {}.\n", plain(aim)));
    for dossier in &rollout.dossiers {
        let lines: Vec<String> = dossier.lines().take(DOSSIER).map(str::to_owned).collect();
        fenced(text, "Dossier", &lines);
    }
    let lines: Vec<String> = rollout
        .moments
        .iter()
        .map(|moment| format!("{:>10}  {}: {}", span(moment.after), moment.subject, moment.text))
        .collect();
    fenced(text, &format!("{} of the journal", counted(lines.len(), "line")), &lines);
}

/// Lines that somebody else wrote, behind a title that opens them. They are indented, which nothing in them can end.
fn fenced(text: &mut String, title: &str, lines: &[String]) {
    put(text, format_args!("<details><summary>{}</summary>\n", escaped(title)));
    for line in lines {
        put(text, format_args!("    {line}"));
    }
    put(text, format_args!("\n</details>\n"));
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    plain(&text.lines().collect::<Vec<_>>().join(" ")).replace('|', "\\|")
}

/// A text in which nothing is taken for Markdown or HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in escaped(text).chars() {
        if matches!(character, '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' | '@') {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to a String cannot fail");
    text.push('\n');
}
