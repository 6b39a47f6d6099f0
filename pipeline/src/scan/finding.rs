//! What a scanner found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a finding is, by whoever publishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nobody has said yet.
    Unknown,
    /// Hard to use, or of little use.
    Low,
    /// Of use together with something else.
    Medium,
    /// Of use by itself.
    High,
    /// Of use to anybody who finds it.
    Critical,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// As it is written in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A weakness of a package that is known by name.
    Vulnerability,
    /// A setting that opens a door.
    Misconfiguration,
    /// A password, key or token where everybody can read it.
    Secret,
    /// A distribution that gets no more fixes.
    EndOfLife,
}

impl Kind {
    /// In words, for one and for any other number.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Vulnerability => ("vulnerability", "vulnerabilities"),
            Self::Misconfiguration => ("misconfiguration", "misconfigurations"),
            Self::Secret => ("secret", "secrets"),
            Self::EndOfLife => ("distribution past its end of life", "distributions past their end of life"),
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The rule or vulnerability: `CVE-2024-0727`, `KSV017`, `private-key`.
    pub rule: String,
    /// Another name of the rule: `AVD-KSV-0017`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What it is called.
    pub title: String,
    /// What is to be done about it, if the scanner knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The file that it is in, in the image or relative to the project's root; for packages of a distribution its name.
    pub file: String,
    /// The lines of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
    /// The package, of a vulnerability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Where more is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Lines of a file, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lines {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

/// A package with a vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The version that is there.
    pub installed: String,
    /// The version that has it no more, if there is one; several are separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

impl Finding {
    /// Whether a rule, as people name it, is the one that found this.
    pub fn is_of(&self, rule: &str) -> bool {
        self.rule.eq_ignore_ascii_case(rule)
            || self.alias.as_deref().is_some_and(|alias| alias.eq_ignore_ascii_case(rule))
    }

    /// `deploy/api.yaml:10`, or the file alone.
    pub fn place(&self) -> String {
        match self.lines {
            Some(lines) => format!("{}:{}", self.file, lines.first),
            None => self.file.clone(),
        }
    }

    /// What it is about, in short: `busybox 1.36.1-r15, fixed in 1.36.1-r17`, or its title.
    pub fn about(&self) -> String {
        match &self.package {
            Some(Package { name, installed, fixed: Some(fixed) }) => {
                format!("{name} {installed}, fixed in {fixed}")
            }
            Some(Package { name, installed, fixed: None }) => format!("{name} {installed}, no fix yet"),
            None => self.title.clone(),
        }
    }
}

/// Findings as a table for people, the worst first: severity, rule, what it is about, where.
pub fn table<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<String> {
    let mut findings: Vec<&Finding> = findings.into_iter().collect();
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    let rows: Vec<[String; 4]> = findings
        .into_iter()
        .map(|one| [one.severity.to_string(), one.rule.clone(), one.about(), one.place()])
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (severity, rule, about) = (width(0), width(1), width(2));
    let line =
        |row: &[String; 4]| format!("{:severity$}  {:rule$}  {:about$}  {}", row[0], row[1], row[2], row[3]);
    rows.iter().map(line).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::scan::Policy;

    /// As by default, but for the rules that always stop.
    pub(crate) fn policy() -> Policy {
        Policy {
            vulnerabilities: Severity::High,
            misconfigurations: Severity::High,
            secrets: Severity::Unknown,
            fixed_only: false,
            end_of_life: true,
            always: Vec::new(),
        }
    }

    /// A vulnerability of a package.
    pub(crate) fn vulnerability(rule: &str, severity: Severity, fixed: Option<&str>) -> Finding {
        Finding {
            severity,
            kind: Kind::Vulnerability,
            rule: rule.to_owned(),
            alias: None,
            title: format!("{rule} in awk"),
            advice: None,
            file: "alpine 3.19.1".to_owned(),
            lines: None,
            package: Some(Package {
                name: "busybox".to_owned(),
                installed: "1.36.1-r15".to_owned(),
                fixed: fixed.map(str::to_owned),
            }),
            url: None,
        }
    }

    /// Something that is no vulnerability.
    pub(crate) fn other(kind: Kind, rule: &str, severity: Severity, file: &str) -> Finding {
        Finding {
            kind,
            title: format!("what {rule} finds"),
            file: file.to_owned(),
            lines: Some(Lines { first: 10, last: 12 }),
            package: None,
            ..vulnerability(rule, severity, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    #[test]
    fn the_table_names_rule_package_and_file_and_begins_with_the_worst() {
        let findings = [
            other(Kind::Misconfiguration, "KSV017", Severity::High, "deploy/api.yaml"),
            vulnerability("CVE-2023-42363", Severity::Critical, Some("1.36.1-r17")),
            vulnerability("CVE-2024-1", Severity::High, None),
        ];
        assert_eq!(
            table(&findings),
            [
                "critical  CVE-2023-42363  busybox 1.36.1-r15, fixed in 1.36.1-r17  alpine 3.19.1",
                "high      CVE-2024-1      busybox 1.36.1-r15, no fix yet           alpine 3.19.1",
                "high      KSV017          what KSV017 finds                        deploy/api.yaml:10",
            ]
        );
    }

    #[test]
    fn a_rule_is_known_by_either_name() {
        let finding = Finding {
            alias: Some("AVD-KSV-0017".to_owned()),
            ..other(Kind::Misconfiguration, "KSV017", Severity::High, "x")
        };
        assert!(finding.is_of("ksv017") && finding.is_of("AVD-KSV-0017"));
        assert!(!finding.is_of("KSV01") && !finding.is_of(""));
    }
}
