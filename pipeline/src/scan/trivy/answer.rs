//! Trivy's answers, as far as they matter here (format 2). What a finding shows of a file is left behind, because a secret
//! may stand beside what was masked.

use super::ScanError;
use crate::{
    process::Argv,
    scan::{Finding, Kind, Lines, Package, Severity},
};
use jiff::Timestamp;
use serde::Deserialize;

/// The version of the format that is read. It has been 2 since 2021.
const FORMAT: u64 = 2;

/// The rule by which a distribution without fixes is named, for waivers.
const END_OF_LIFE: &str = "end-of-life";

/// Which version answers, and which database it has.
#[derive(Debug)]
pub(super) struct Versions {
    pub(super) version: String,
    pub(super) database: Option<Database>,
}

/// A database of vulnerabilities.
#[derive(Debug, Deserialize)]
pub(super) struct Database {
    #[serde(rename = "UpdatedAt")]
    pub(super) updated_at: Timestamp,
    #[serde(rename = "NextUpdate")]
    pub(super) next_update: Timestamp,
}

#[derive(Deserialize)]
struct VersionAnswer {
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "VulnerabilityDB")]
    database: Option<Database>,
}

/// Understands the answer to `trivy version`.
pub(super) fn versions(text: &[u8]) -> Result<Versions, String> {
    let answer: VersionAnswer = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if answer.version.trim().is_empty() {
        return Err("it names no version".to_owned());
    }
    Ok(Versions { version: answer.version, database: answer.database })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    artifact_type: String,
    #[serde(default)]
    metadata: Metadata,
    // Where nothing is known of what is in an image, there is none.
    #[serde(default)]
    results: Option<Vec<Part>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "OS")]
    os: Option<Distribution>,
}

#[derive(Deserialize)]
struct Distribution {
    #[serde(rename = "Family")]
    family: String,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "EOSL", default)]
    is_past_its_end: bool,
}

impl Distribution {
    fn words(&self) -> String {
        format!("{} {}", self.family, self.name).trim().to_owned()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    target: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    vulnerabilities: Option<Vec<Vulnerability>>,
    #[serde(default)]
    misconfigurations: Option<Vec<Misconfiguration>>,
    #[serde(default)]
    secrets: Option<Vec<Secret>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    pkg_name: String,
    #[serde(default)]
    pkg_path: String,
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    severity: String,
    #[serde(rename = "PrimaryURL", default)]
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Misconfiguration {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "AVDID", default)]
    alias: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    severity: String,
    status: String,
    #[serde(rename = "PrimaryURL", default)]
    url: String,
    #[serde(default)]
    cause_metadata: Cause,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cause {
    #[serde(default)]
    start_line: u32,
    #[serde(default)]
    end_line: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    #[serde(rename = "RuleID")]
    id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    start_line: u32,
    #[serde(default)]
    end_line: u32,
}

/// Understands the answer to a scan of `kind`; `argv` asked for it.
pub(super) fn parse(text: &[u8], kind: &str, argv: &Argv) -> Result<Vec<Finding>, ScanError> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "SchemaVersion")]
        format: u64,
    }
    let garbage = |why: String| ScanError::Garbage {
        command: argv.to_string(),
        why,
        begins: String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned(),
    };
    // First the version: what else another one has, nobody knows.
    let Header { format } = serde_json::from_slice(text).map_err(|error| garbage(error.to_string()))?;
    if format != FORMAT {
        return Err(ScanError::UnknownFormat { found: format, known: FORMAT });
    }
    let answer: Answer = serde_json::from_slice(text).map_err(|error| garbage(error.to_string()))?;
    if answer.artifact_type != kind {
        return Err(garbage(format!("it is about a {}, not a {kind}", answer.artifact_type)));
    }
    Ok(answer.into_findings())
}

impl Answer {
    fn into_findings(self) -> Vec<Finding> {
        let distribution = self.metadata.os;
        let end = distribution.as_ref().filter(|os| os.is_past_its_end).map(|os| Finding {
            severity: Severity::High,
            kind: Kind::EndOfLife,
            rule: END_OF_LIFE.to_owned(),
            alias: None,
            title: format!("{} gets no more fixes", os.words()),
            advice: Some("make the image of a release that is still cared for".to_owned()),
            file: os.words(),
            lines: None,
            package: None,
            url: None,
        });
        let distribution = distribution.as_ref().map(Distribution::words);
        let parts = self.results.into_iter().flatten();
        let found = parts.flat_map(|part| part.into_findings(distribution.as_deref()));
        let mut findings: Vec<Finding> = end.into_iter().chain(found).collect();
        findings.sort();
        findings.dedup();
        findings
    }
}

impl Part {
    fn into_findings(self, distribution: Option<&str>) -> Vec<Finding> {
        let target = self.target;
        // Packages of the distribution are in no file that means anything to people.
        let packages = match (self.class.as_str(), distribution) {
            ("os-pkgs", Some(distribution)) => distribution.to_owned(),
            _ => target.clone(),
        };
        let vulnerabilities =
            self.vulnerabilities.into_iter().flatten().map(|one| one.into_finding(&packages));
        let failed = |one: &Misconfiguration| one.status == "FAIL";
        let misconfigurations = self.misconfigurations.into_iter().flatten().filter(failed);
        let misconfigurations = misconfigurations.map(|one| one.into_finding(&target));
        let secrets = self.secrets.into_iter().flatten().map(|one| one.into_finding(&target));
        vulnerabilities.chain(misconfigurations).chain(secrets).collect()
    }
}

impl Vulnerability {
    fn into_finding(self, target: &str) -> Finding {
        let title = if self.title.is_empty() { self.id.clone() } else { self.title };
        Finding {
            severity: severity(&self.severity),
            kind: Kind::Vulnerability,
            rule: self.id,
            alias: None,
            title,
            advice: None,
            file: if self.pkg_path.is_empty() { target.to_owned() } else { self.pkg_path },
            lines: None,
            package: Some(Package {
                name: self.pkg_name,
                installed: self.installed_version,
                fixed: filled(self.fixed_version),
            }),
            url: filled(self.url),
        }
    }
}

impl Misconfiguration {
    fn into_finding(self, target: &str) -> Finding {
        Finding {
            severity: severity(&self.severity),
            kind: Kind::Misconfiguration,
            rule: self.id,
            alias: filled(self.alias),
            title: self.title,
            advice: filled(self.message),
            file: target.to_owned(),
            lines: lines(self.cause_metadata.start_line, self.cause_metadata.end_line),
            package: None,
            url: filled(self.url),
        }
    }
}

impl Secret {
    fn into_finding(self, target: &str) -> Finding {
        Finding {
            severity: severity(&self.severity),
            kind: Kind::Secret,
            rule: self.id,
            alias: None,
            title: self.title,
            advice: Some("take it out of the image, and replace it: whoever has the image has it".to_owned()),
            file: target.to_owned(),
            lines: lines(self.start_line, self.end_line),
            package: None,
            url: None,
        }
    }
}

fn severity(text: &str) -> Severity {
    let known = Severity::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text));
    known.unwrap_or(Severity::Unknown)
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn lines(first: u32, last: u32) -> Option<Lines> {
    (first > 0).then_some(Lines { first, last: last.max(first) })
}

#[cfg(test)]
mod tests;
