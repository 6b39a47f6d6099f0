//! What was found, in SARIF 2.1.0, for whoever shows it beside the code.

use super::{Finding, Judgement, Package, Severity, Subject, Waiver};
use crate::digest::Digest;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write};

/// Where the schema of the format is published.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Where the scanner tells of itself.
const INFORMATION: &str = "https://trivy.dev/";

/// One scan, and what it came to.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// What was scanned.
    pub subject: &'a Subject,
    /// Who scanned, with its version: `Trivy 0.59.1`.
    pub scanner: &'a str,
    /// What it came to.
    pub judgement: &'a Judgement,
}

/// All scans of a release as one document: a run each. What the policy tolerates is in it, too; what is waived is in it as
/// suppressed, with the reason.
pub fn document(scans: &[Scan<'_>]) -> Value {
    json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": scans.iter().map(run).collect::<Vec<_>>() })
}

fn run(scan: &Scan<'_>) -> Value {
    let Judgement { stops, waived, tolerated } = scan.judgement;
    let all: Vec<(&Finding, Option<&Waiver>)> = stops
        .iter()
        .map(|stop| (&stop.finding, None))
        .chain(waived.iter().map(|(finding, waiver)| (finding, Some(waiver))))
        .chain(tolerated.iter().map(|finding| (finding, None)))
        .collect();
    let mut rules: BTreeMap<&str, &Finding> = BTreeMap::new();
    for (finding, _) in &all {
        rules.entry(&finding.rule).or_insert(finding);
    }
    let index: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(index, rule)| (*rule, index)).collect();
    let results: Vec<Value> = all
        .iter()
        .map(|(finding, waiver)| result(scan, finding, *waiver, index[finding.rule.as_str()]))
        .collect();
    let (name, version) = scan.scanner.rsplit_once(' ').unwrap_or((scan.scanner, ""));
    let mut driver = json!({ "name": name, "informationUri": INFORMATION, "rules": rules.values().map(|finding| rule(finding)).collect::<Vec<_>>() });
    if !version.is_empty() {
        driver["version"] = version.into();
    }
    let id =
        scan.subject.service().map_or_else(|| "configuration".to_owned(), |name| format!("image/{name}"));
    json!({
        "tool": { "driver": driver },
        "automationDetails": { "id": format!("fairlead/{id}/") },
        "results": results,
    })
}

fn rule(finding: &Finding) -> Value {
    let mut rule = json!({
        "id": finding.rule,
        "shortDescription": { "text": finding.title },
        "fullDescription": { "text": format!("{}.", finding.title.trim_end_matches('.')) },
        "help": { "text": help(finding) },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": {
            "security-severity": score(finding.severity),
            "tags": ["security", finding.kind.words().0],
        },
    });
    if let Some(url) = &finding.url {
        rule["helpUri"] = url.clone().into();
    }
    rule
}

/// What is to be done about it, as far as it is known: GitHub refuses a rule without.
fn help(finding: &Finding) -> String {
    let advice = finding.advice.clone().unwrap_or_else(|| match &finding.package {
        Some(Package { name, fixed: Some(fixed), .. }) => format!("Take {name} {fixed} or newer."),
        Some(Package { name, .. }) => format!("There is no fixed version of {name} yet."),
        None => "Mend it where it was found, or waive it with a reason and a last day.".to_owned(),
    });
    finding.url.iter().fold(advice, |text, url| format!("{text} More of it: {url}"))
}

fn result(scan: &Scan<'_>, finding: &Finding, waiver: Option<&Waiver>, rule: usize) -> Value {
    let mut text = format!("{} in {}: {}", finding.rule, scan.subject, finding.about());
    if let Some(advice) = &finding.advice {
        let _ = write!(text, ". {advice}");
    }
    let mut location = json!({ "artifactLocation": { "uri": uri(&finding.file) } });
    if let Some(lines) = finding.lines {
        location["region"] = json!({ "startLine": lines.first, "endLine": lines.last });
    }
    let package = finding.package.as_ref().map(|package| package.name.as_str());
    let service = scan.subject.service().map(ToString::to_string);
    let print = Digest::of_json(&(&finding.rule, &finding.file, package, service));
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": level(finding.severity),
        "message": { "text": text },
        "locations": [{ "physicalLocation": location }],
        // Without the line, which every change above moves.
        "partialFingerprints": { "fairlead/v1": print.hex() },
    });
    if let Some(waiver) = waiver {
        let justification = format!("{} (until {}, {})", waiver.reason, waiver.expires, waiver.origin);
        result["suppressions"] =
            json!([{ "kind": "external", "status": "accepted", "justification": justification }]);
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Unknown => "note",
    }
}

/// A number in the range that CVSS gives the severity, as those who sort by it want it.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
        Severity::Unknown => "0.0",
    }
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{
        Kind, Waivers,
        finding::testing::{other, policy, vulnerability},
        judge,
    };

    #[test]
    fn every_finding_is_there_once_and_a_waived_one_is_suppressed_with_its_reason() {
        let findings = [
            vulnerability("CVE-1", Severity::Critical, Some("2")),
            vulnerability("CVE-2", Severity::Low, None),
            other(Kind::Secret, "private-key", Severity::High, "/etc/my key.pem"),
        ];
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ignore"), "# a demo\nCVE-1 exp:2027-01-01\n").unwrap();
        let waivers = Waivers::read(folder.path(), &["ignore".into()], &[]).unwrap();
        let policy = policy();
        let subject = Subject::Image("api".parse().unwrap());
        let judgement = judge(&findings, &subject, &policy, &waivers, jiff::civil::date(2026, 12, 1));
        let scan = Scan { subject: &subject, scanner: "Trivy 0.59.1", judgement: &judgement };
        let document = document(&[scan]);
        let run = &document["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "Trivy");
        assert_eq!(run["automationDetails"]["id"], "fairlead/image/api/");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let helps: Vec<_> = rules.iter().map(|rule| rule["help"]["text"].as_str().unwrap()).collect();
        assert_eq!(helps[0], "Take busybox 2 or newer.");
        assert_eq!(helps[1], "There is no fixed version of busybox yet.");
        assert!(helps[2].starts_with("Mend it"), "{helps:?}");
        let results = run["results"].as_array().unwrap();
        let told: Vec<_> =
            results.iter().map(|one| (one["ruleId"].as_str().unwrap(), &one["level"])).collect();
        assert_eq!(
            told,
            [("private-key", &json!("error")), ("CVE-1", &json!("error")), ("CVE-2", &json!("note"))]
        );
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "etc/my%20key.pem");
        assert_eq!(place["region"], json!({ "startLine": 10, "endLine": 12 }));
        assert_eq!(results[1]["suppressions"][0]["justification"], "a demo (until 2027-01-01, ignore:2)");
        assert!(results[0]["suppressions"].is_null());
        for result in results {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
    }
}
