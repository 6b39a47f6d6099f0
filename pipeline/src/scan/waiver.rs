//! Waivers: findings that a release may have for a while, each with the reason and the last day.

use super::{Finding, Subject, ignore};
use crate::{
    config::{
        findings::Findings,
        problem::{Problem, Problems, hints},
        scalar::{Day, RuleId},
        schema::Schema,
        source::Source,
        tree::Node,
    },
    name::Name,
};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

/// How long before its last day a waiver is warned of, in days: two weeks, time for one sprint to mend it.
pub const WARNED_DAYS: i32 = 14;

/// A file of waivers as it is written. The comments here are what editors show, and what the reference is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "waivers.toml")]
pub struct WaiversFile {
    /// Version of this file's format; this version of Fairlead reads 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// What is tolerated for a while, by the vulnerability or rule: `[waivers.CVE-2024-0727]`.
    #[serde(default)]
    pub waivers: BTreeMap<RuleId, WaiverSection>,
}

/// A finding that is tolerated for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WaiverSection {
    /// Why it may stay: who reads the report in a year must understand it.
    pub reason: String,
    /// The last day on which it counts, in UTC.
    pub expires: Day,
    /// The services in whose images it is tolerated. By default all, and the configuration.
    #[serde(default)]
    pub services: Vec<Name>,
    /// The packages that may have it. By default all.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The files that may have it, and folders all of whose files may. By default all.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
}

/// A waiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Waiver {
    /// The vulnerability or rule.
    pub rule: String,
    /// Why it may stay.
    pub reason: String,
    /// The last day on which it counts, in UTC.
    pub expires: Date,
    /// The services whose images it counts for; empty: all, and the configuration.
    pub services: BTreeSet<Name>,
    /// The packages that it counts for; empty: all.
    pub packages: BTreeSet<String>,
    /// The files and folders that it counts for; empty: all.
    pub paths: Vec<PathBuf>,
    /// Where it is written: `waivers.toml:3`.
    pub origin: String,
}

/// Whether a waiver counts on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does, for long.
    Counts,
    /// It does, for so many days more after this one.
    Expires {
        /// At most [`WARNED_DAYS`].
        days: i32,
    },
    /// Not any more.
    Expired,
}

impl Waiver {
    /// Whether it counts on this day.
    pub fn state(&self, today: Date) -> State {
        let days = today.until(self.expires).map_or(i32::MAX, |span| span.get_days());
        match days {
            ..0 => State::Expired,
            0..=WARNED_DAYS => State::Expires { days },
            _ => State::Counts,
        }
    }

    fn is_for(&self, finding: &Finding, subject: &Subject) -> bool {
        let is_service = self.services.is_empty()
            || subject.service().is_some_and(|service| self.services.contains(service));
        let is_package = self.packages.is_empty()
            || finding.package.as_ref().is_some_and(|package| self.packages.contains(&package.name));
        let file = Path::new(finding.file.trim_start_matches('/'));
        let below = |path: &PathBuf| file.starts_with(path.strip_prefix("/").unwrap_or(path));
        finding.is_of(&self.rule)
            && is_service
            && is_package
            && (self.paths.is_empty() || self.paths.iter().any(below))
    }
}

/// All waivers of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Waivers(Vec<Waiver>);

impl Waivers {
    /// Reads files of waivers, relative to the root: TOML, or any other name for lines as in `.trivyignore`.
    ///
    /// # Errors
    /// Everything that is wrong with all of them.
    pub fn read(root: &Path, files: &[PathBuf], services: &[&Name]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut all = Vec::new();
        for file in files {
            let (path, shown) = (root.join(file), file.display().to_string());
            let is_toml = file.extension().is_some_and(|extension| extension == "toml");
            // A list of nothing is a list; a TOML file without its version is a mistake.
            let source = if is_toml { Source::read(&path, &shown) } else { Source::read_text(&path, &shown) };
            match source {
                Ok(source) if is_toml => all.extend(parse_toml(&source, services, &mut problems)),
                Ok(source) => all.extend(ignore::parse(&source, &mut problems)),
                Err(problem) => problems.push(problem),
            }
        }
        match Problems::from_vec(problems) {
            Some(problems) => Err(problems),
            None => Ok(Self(all)),
        }
    }

    /// The waiver of a finding that counts longest, if there is one.
    pub fn of(&self, finding: &Finding, subject: &Subject) -> Option<&Waiver> {
        self.0.iter().filter(|waiver| waiver.is_for(finding, subject)).max_by_key(|waiver| waiver.expires)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Waiver> {
        self.0.iter()
    }
}

impl FromIterator<Waiver> for Waivers {
    fn from_iter<I: IntoIterator<Item = Waiver>>(waivers: I) -> Self {
        Self(waivers.into_iter().collect())
    }
}

/// The schema of a file of waivers.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<WaiversFile>);
    &SCHEMA
}

fn parse_toml(source: &Arc<Source>, services: &[&Name], problems: &mut Vec<Problem>) -> Vec<Waiver> {
    let (mut tree, syntax) = Node::parse(source);
    if !syntax.is_empty() {
        problems.extend(syntax);
        return Vec::new();
    }
    let before = problems.len();
    let Some(file) = schema().read::<WaiversFile>(&mut tree, problems) else { return Vec::new() };
    let mut findings = Findings::new(vec![&tree], problems.len() > before);
    let mut waivers = Vec::new();
    for (rule, section) in file.waivers {
        let at = |key: &'static str| ["waivers", rule.as_str(), key];
        if section.reason.trim().is_empty() {
            let problem = Problem::new(format!("the waiver of {rule} has no reason"));
            findings.add(
                &at("reason"),
                problem.help("say why it may stay: who reads it in a year must understand it"),
            );
        }
        for name in section.services.iter().filter(|name| !services.contains(name)) {
            let mut problem =
                Problem::new(format!("the waiver of {rule} is for `{name}`, which is not a service"));
            problem.help = hints(name.as_str(), services.iter().map(|service| service.as_str()));
            findings.add(&at("services"), problem);
        }
        if section.packages.iter().any(|package| package.trim().is_empty()) {
            let problem = Problem::new(format!("the waiver of {rule} is for a package without a name"));
            findings.add(&at("packages"), problem);
        }
        let is_outside = |path: &&PathBuf| {
            path.as_os_str().is_empty() || path.components().any(|part| part.as_os_str() == "..")
        };
        for path in section.paths.iter().filter(is_outside) {
            let problem = Problem::new(format!(
                "the waiver of {rule} is for `{}`, which is no path within an image or the project",
                path.display()
            ));
            findings.add(&at("paths"), problem.help("write it as the finding has it"));
        }
        let line = tree.place_of(&["waivers", rule.as_str()]).map(|place| place.line());
        waivers.push(Waiver {
            origin: line.map_or_else(|| source.name.clone(), |line| format!("{}:{line}", source.name)),
            rule: rule.to_string(),
            reason: section.reason,
            expires: section.expires.date(),
            services: section.services.into_iter().collect(),
            packages: section.packages.into_iter().collect(),
            paths: section.paths,
        });
    }
    problems.extend(findings.into_problems());
    waivers
}

#[cfg(test)]
mod tests;
