//! What the scans of a release came to, as its manifest says it.

use crate::{
    name::Name,
    scan::{Finding, Judgement, Report, Severity},
};
use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The scans of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Scans {
    /// That of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ScanVerdict>,
    /// That of the image of each service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<Name, ScanVerdict>,
}

impl Scans {
    /// Whether nothing is known of any.
    pub fn is_empty(&self) -> bool {
        self.configuration.is_none() && self.images.is_empty()
    }

    /// Adds the scan of a service's image, or that of the configuration.
    pub(crate) fn add(&mut self, service: Option<Name>, verdict: ScanVerdict) {
        match service {
            Some(service) => {
                self.images.insert(service, verdict);
            }
            None => self.configuration = Some(verdict),
        }
    }
}

/// A scan that let a release pass, or was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum ScanVerdict {
    /// It was scanned, and nothing stops the release.
    Passed {
        /// Who scanned, with its version.
        scanner: String,
        /// When the scan ended.
        at: Timestamp,
        /// When the database of vulnerabilities was made, if one was used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<Timestamp>,
        /// How many findings there are of each severity that has any, waived and tolerated.
        findings: BTreeMap<Severity, usize>,
        /// What would have stopped it, but for a waiver.
        waived: Vec<WaivedFinding>,
    },
    /// It was not scanned.
    NotScanned {
        /// Why not.
        why: String,
    },
}

/// A finding that a waiver let pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WaivedFinding {
    /// The vulnerability or rule.
    pub rule: String,
    /// The package, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The file.
    pub file: String,
    /// Why it may stay.
    pub reason: String,
    /// The last day on which the waiver counts, in UTC.
    pub expires: Date,
}

impl WaivedFinding {
    /// Whether this finding is the one.
    pub fn is_of(&self, finding: &Finding) -> bool {
        let package = finding.package.as_ref().map(|package| &package.name);
        (&self.rule, self.package.as_ref(), &self.file) == (&finding.rule, package, &finding.file)
    }
}

impl ScanVerdict {
    /// The verdict of a scan that stops nothing.
    pub(crate) fn of(report: &Report, judgement: &Judgement) -> Self {
        let mut findings = BTreeMap::new();
        for finding in &report.findings {
            *findings.entry(finding.severity).or_insert(0) += 1;
        }
        let waived = judgement.waived.iter().map(|(finding, waiver)| WaivedFinding {
            rule: finding.rule.clone(),
            package: finding.package.as_ref().map(|package| package.name.clone()),
            file: finding.file.clone(),
            reason: waiver.reason.clone(),
            expires: waiver.expires,
        });
        let mut waived: Vec<WaivedFinding> = waived.collect();
        waived.sort();
        waived.dedup();
        Self::Passed {
            scanner: report.scanner.clone(),
            at: report.at,
            database: report.database,
            findings,
            waived,
        }
    }

    /// There was none.
    pub(crate) fn not_scanned(why: String) -> Self {
        Self::NotScanned { why }
    }
}
