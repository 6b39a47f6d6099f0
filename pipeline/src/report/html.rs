//! The report for a browser: one page that needs nothing else, runs no script and asks no network, which its own policy
//! forbids. Every text that comes from elsewhere is escaped by the macro that builds the page.

use super::{
    Making, Report, Rollout, Scanned, StageMade, StageOutcome, TestsTold, Tone, counted, moment, span,
    timeline::{picture, tone},
};
use crate::{
    release::{Release, ScanVerdict, WaivedFinding},
    scan::{Finding, Severity},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// What a browser may load for the page: its own style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The most findings of one subject that the page lists; the SARIF file beside it has all.
const FINDINGS: usize = 200;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let (meant, verdict) = report.verdict();
    let title = format!("{} {}", report.project, report.release);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – release report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header id="summary" {
                        h1 { "Release " code { (report.release) } " of " (report.project) }
                        p { (badge(meant, &verdict)) }
                        (cards(report))
                    }
                    @if let Some(release) = &report.manifest { (manifest(release)) }
                    (stages(report.making.as_ref()))
                    @if let Some(tests) = &report.tests { (tests_told(tests)) }
                    (scans(report))
                    (rollouts(&report.rollouts))
                    (files(report))
                    footer {
                        p .note { "Written by Fairlead " (report.tool_version) " at " (moment(report.at)) "." }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn badge(meant: Tone, words: &str) -> Markup {
    html! { span class=(format!("badge {}", tone(meant))) { (words) } }
}

fn cards(report: &Report) -> Markup {
    let card = |what: &str, value: &str| html! { li { div .what { (what) } div .value { (value) } } };
    let ran = |making: &Making| making.stages.iter().filter_map(|stage| stage.took).sum();
    let findings = report.findings();
    html! {
        ul .cards {
            @if let Some(commit) = report.manifest.as_ref().and_then(|made| made.commit.as_deref()) {
                (card("Commit", &commit.chars().take(12).collect::<String>()))
            }
            @if let Some(making) = &report.making {
                (card("Stages", &format!("{}, {}", counted(making.stages.len(), "stage"), span(ran(making)))))
                @if making.scanned().next().is_some() {
                    (card("Findings", &if findings.is_empty() { "none".to_owned() } else { severities(&findings) }))
                }
            }
            @if let Some(tests) = &report.tests { (card("Tests", &tests.counts())) }
            (card("Rollouts", &match report.rollouts.len() { 0 => "none".to_owned(), count => count.to_string() }))
        }
    }
}

fn severities(counts: &[(Severity, usize)]) -> String {
    counts.iter().map(|(severity, count)| format!("{count} {severity}")).collect::<Vec<_>>().join(", ")
}

fn manifest(release: &Release) -> Markup {
    let row = |what: &str, value: &str| html! { tr { th { (what) } td .mono { (value) } } };
    html! {
        section id="release" {
            h2 { "Release" }
            div .scrolls { table {
                @if let Some(commit) = &release.commit {
                    (row("Commit", &format!("{commit}{}", if release.dirty { " and uncommitted changes" } else { "" })))
                }
                @if let Some(branch) = &release.branch { (row("Branch", branch)) }
                (row("Made at", &moment(release.created_at)))
                @for (service, image) in &release.images {
                    (row(&format!("Image of {service}"), &format!("{}@{}", image.repository, image.digest)))
                }
                @for (service, artifact) in &release.services {
                    (row(&format!("Executable of {service}"), &format!("{} {}", artifact.name, artifact.digest)))
                }
            } }
        }
    }
}

fn stages(making: Option<&Making>) -> Markup {
    html! {
        section id="stages" {
            h2 { "Stages" }
            @match making {
                None => p .note { "The release was made elsewhere, or before there were reports; what is known of its making is in its manifest." },
                Some(making) => {
                    @let longest = making.stages.iter().filter_map(|stage| stage.took).max().unwrap_or(1).max(1);
                    div .scrolls { table {
                        tr { th { "Stage" } th { "Result" } th { "Took" } th { "What it came to" } }
                        @for stage in &making.stages { (stage_row(stage, longest)) }
                    } }
                    @for stage in making.stages.iter().filter(|stage| !stage.excerpt.is_empty()) {
                        details open {
                            summary { "What the stage " (stage.title()) " wrote" }
                            pre { (stage.excerpt.join("\n")) }
                        }
                    }
                }
            }
        }
    }
}

fn stage_row(stage: &StageMade, longest: u64) -> Markup {
    let meant = match stage.outcome {
        StageOutcome::Passed => Tone::Good,
        StageOutcome::Skipped => Tone::Dim,
        StageOutcome::Failed => Tone::Bad,
    };
    html! {
        tr {
            td .mono { (stage.title()) }
            td { (badge(meant, stage.outcome.as_str())) }
            td .number {
                @if let Some(took) = stage.took {
                    (span(took))
                    span .took style=(format!("width: {}%", took * 100 / longest)) {}
                }
            }
            td { (stage.words) }
        }
    }
}

fn tests_told(tests: &TestsTold) -> Markup {
    html! {
        section id="tests" {
            h2 { "Tests" }
            p { (badge(if tests.failed > 0 { Tone::Bad } else { Tone::Good }, &tests.counts())) }
            @for failed in &tests.failures {
                details open {
                    summary { (failed.suite) ": " (failed.name) }
                    pre { (failed.words.join("\n")) }
                }
            }
            @if tests.failures.len() < tests.failed {
                p .note { (tests.failed - tests.failures.len()) " more are in junit.xml." }
            }
        }
    }
}

fn scans(report: &Report) -> Markup {
    let scans = report.making.as_ref().map(|making| making.scans.as_slice()).unwrap_or_default();
    let verdicts = report.manifest.as_ref().map(|release| &release.scans);
    let configuration = verdicts.and_then(|scans| scans.configuration.as_ref());
    let images = verdicts.into_iter().flat_map(|scans| &scans.images);
    let all: Vec<(String, &ScanVerdict)> = configuration
        .map(|verdict| ("configuration".to_owned(), verdict))
        .into_iter()
        .chain(images.map(|(name, verdict)| (format!("image of {name}"), verdict)))
        .collect();
    html! {
        section id="scan" {
            h2 { "Scan" }
            @if scans.is_empty() && all.is_empty() { p .note { "Nothing was scanned." } }
            @for (title, verdict) in &all {
                @if let ScanVerdict::NotScanned { why } = verdict {
                    p { (badge(Tone::Warn, "not scanned")) " the " (title) ": " (why) }
                }
            }
            @for scanned in scans {
                @let verdict = all.iter().find(|(title, _)| *title == scanned.title()).map(|(_, verdict)| *verdict);
                (scan(scanned, verdict))
            }
        }
    }
}

fn scan(scanned: &Scanned, verdict: Option<&ScanVerdict>) -> Markup {
    let waived = match verdict {
        Some(ScanVerdict::Passed { waived, .. }) => waived.as_slice(),
        _ => &[],
    };
    let database = scanned.database.map(|at| format!(", database of {}", at.strftime("%Y-%m-%d")));
    html! {
        h3 { "Scan of the " (scanned.title()) }
        p .note { (scanned.scanner) (database.unwrap_or_default()) ", at " (moment(scanned.at)) "." }
        @if scanned.findings.is_empty() {
            p { (badge(Tone::Good, "nothing found")) }
        } @else {
            div .scrolls { table {
                tr { th { "Severity" } th { "Rule" } th { "What" } th { "Where" } th { "Waiver" } }
                @for finding in scanned.findings.iter().take(FINDINGS) { (finding_row(finding, waived)) }
            } }
            @if scanned.findings.len() > FINDINGS {
                p .note { (scanned.findings.len() - FINDINGS) " more are in the SARIF file." }
            }
        }
    }
}

fn finding_row(finding: &Finding, waived: &[WaivedFinding]) -> Markup {
    let meant = match finding.severity {
        Severity::Critical | Severity::High => Tone::Bad,
        Severity::Medium => Tone::Warn,
        Severity::Low | Severity::Unknown => Tone::Dim,
    };
    let waiver = waived.iter().find(|waiver| waiver.is_of(finding));
    html! {
        tr {
            td { (badge(meant, finding.severity.as_str())) }
            td .mono { (finding.rule) }
            td { (finding.about()) }
            td .mono { (finding.place()) }
            td { @if let Some(waiver) = waiver { "until " (waiver.expires) ": " (waiver.reason) } }
        }
    }
}

fn rollouts(rollouts: &[Rollout]) -> Markup {
    html! {
        section id="rollouts" {
            h2 { "Rollouts" }
            @if rollouts.is_empty() { p .note { "No rollout of it is known on this machine." } }
            @for (number, rollout) in rollouts.iter().enumerate() { (rollout_told(rollout, number)) }
        }
    }
}

fn rollout_told(rollout: &Rollout, number: usize) -> Markup {
    html! {
        h3 { (rollout.environment) " " (badge(rollout.tone, &rollout.outcome)) }
        p .note { "Run " code { (rollout.run) } ", began at " (moment(rollout.began_at)) ", took " (span(rollout.took)) ": " (rollout.aim) "." }
        (picture(rollout, number))
        @for dossier in &rollout.dossiers {
            details open {
                summary { "Dossier: the evidence, collected before anything was undone" }
                pre { (dossier) }
            }
        }
        details {
            summary { (counted(rollout.moments.len(), "line")) " of the journal" }
            div .scrolls { table .moments {
                @for moment in &rollout.moments {
                    tr class=(tone(moment.tone)) {
                        td .number { (span(moment.after)) }
                        td .mono { (moment.subject) }
                        td { (moment.text) }
                    }
                }
            } }
        }
    }
}

fn files(report: &Report) -> Markup {
    html! {
        section id="files" {
            h2 { "Files" }
            ul .files {
                @for name in ["report.json", "report.md"].into_iter().chain(report.files.iter().map(String::as_str)) {
                    li { a href=(name) { (name) } }
                }
            }
        }
    }
}
