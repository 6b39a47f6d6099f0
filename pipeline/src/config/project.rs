//! The project, checked.

use super::{
    file::{
        ArtifactSource, CheckSection, GithubSection, MigrationSection, ProjectFile, RegistrySection,
        ScanSection, ServiceSection, StagesSection,
    },
    findings::Findings,
    problem::{Problem, hints},
    scalar::Span,
};
use crate::{name::Name, secret::SecretRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, PathBuf},
};

/// The project, checked: what `fairlead.toml` says, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its name.
    pub name: Name,
    /// How many bundles of each service a target keeps besides the current one.
    pub keep_releases: u16,
    /// How many manifests of the newest releases are kept on this machine.
    pub keep_manifests: u16,
    /// How long reports are kept on this machine.
    pub keep_reports: Span,
    /// The services. Every name in a `depends-on` is one of them, and none depends on itself, however indirectly.
    pub services: BTreeMap<Name, ServiceSection>,
    /// Where images are published, if they are. Every service can have a repository there.
    pub registry: Option<RegistrySection>,
    /// What is known of GitHub.
    pub github: GithubSection,
    /// How a release is tested and built. Every command has a program.
    pub stages: StagesSection,
}

impl Project {
    /// Checks the meaning of a project file; what is wrong is added to the findings.
    pub fn check(file: ProjectFile, findings: &mut Findings<'_>) -> Self {
        if file.services.is_empty() {
            let problem = Problem::new("there is no service to deploy");
            findings.add(&["services"], problem.help("describe one in a table `[services.NAME]`"));
        }
        for (name, service) in &file.services {
            check_service(name, service, file.registry.is_some(), findings);
        }
        check_dependencies(&file.services, findings);
        check_stages(&file.stages, findings);
        check_registry(&file, findings);
        Self {
            name: file.project.name,
            keep_releases: file.project.keep_releases,
            keep_manifests: file.project.keep_manifests,
            keep_reports: file.project.keep_reports,
            services: file.services,
            registry: file.registry,
            github: file.github,
            stages: file.stages,
        }
    }

    /// The services in the order in which they are rolled out: each after those that it depends on, else by name.
    pub fn rollout_order(&self) -> Vec<Name> {
        let mut order: Vec<Name> = Vec::new();
        let mut left: BTreeMap<&Name, &ServiceSection> = self.services.iter().collect();
        while !left.is_empty() {
            let is_free =
                |service: &ServiceSection| service.depends_on.iter().all(|other| !left.contains_key(other));
            let free: Vec<Name> =
                left.iter().filter(|(_, one)| is_free(one)).map(|(name, _)| (*name).clone()).collect();
            if free.is_empty() {
                break; // A cycle, which a checked project does not have.
            }
            left.retain(|name, _| !free.contains(name));
            order.extend(free);
        }
        order
    }
}

/// Checks that a command has a program.
pub fn check_command(path: &[&str], command: &[String], findings: &mut Findings<'_>) {
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        let problem = Problem::new(format!("`{}` has no program", super::tree::show_path(path)));
        findings.add(path, problem.help("the first entry is the program, the others are its arguments"));
    }
}

/// Checks references to secrets, which stand at `path`.
pub fn check_secrets<'n>(
    path: &[&str],
    secrets: impl IntoIterator<Item = (&'n str, &'n SecretRef)>,
    findings: &mut Findings<'_>,
) {
    for (name, reference) in secrets {
        let at = |kind| path.iter().copied().chain([name, kind]).collect::<Vec<_>>();
        match reference {
            SecretRef::Env(variable) if variable.parse::<super::scalar::EnvName>().is_err() => {
                let message =
                    format!("the secret {name} is taken from a variable that cannot exist: `{variable}`");
                findings.add(&at("env"), Problem::new(message));
            }
            SecretRef::File(file) if file.as_os_str().is_empty() => {
                findings.add(&at("file"), Problem::new(format!("the secret {name} names no file")));
            }
            SecretRef::Command(command) => check_command(&at("command"), command, findings),
            SecretRef::Env(_) | SecretRef::File(_) => {}
        }
    }
}

fn check_service(name: &Name, service: &ServiceSection, has_registry: bool, findings: &mut Findings<'_>) {
    let at =
        |keys: &[&'static str]| ["services", name.as_str()].into_iter().chain(keys.iter().copied()).collect();
    super::image::check(name, service, has_registry, findings);
    let artifact_empty = match &service.artifact {
        Some(ArtifactSource::CargoBin(bin)) => bin.trim().is_empty(),
        Some(ArtifactSource::Path(path)) => path.as_os_str().is_empty(),
        None => false,
    };
    let path: Vec<&str> = at(&["artifact"]);
    if artifact_empty {
        findings.add(&path, Problem::new(format!("the artifact of {name} is empty")));
    }
    for (file, section) in &service.files {
        if section.source.as_os_str().is_empty() {
            let path = ["services", name.as_str(), "files", file.as_str(), "source"];
            findings.add(&path, Problem::new(format!("the config file {file} has no source")));
        }
    }
    let path: Vec<&str> = at(&["secrets"]);
    check_secrets(&path, service.secrets.iter().map(|(name, one)| (name.as_str(), one)), findings);
    if let Some(check) = &service.check {
        check_check(name, check, findings);
    }
    if let Some(migration) = &service.migration {
        check_migration(name, migration, findings);
    }
}

fn check_migration(name: &Name, migration: &MigrationSection, findings: &mut Findings<'_>) {
    if migration.args.is_empty() {
        let problem = Problem::new(format!("the migration of {name} has no arguments"));
        findings.add(
            &["services", name.as_str(), "migration", "args"],
            problem.help("without one the executable could not tell it from the start of a unit"),
        );
    }
    if migration.timeout.as_millis() == 0 {
        let problem = Problem::new(format!("the migration of {name} has no time: its timeout is 0"));
        findings.add(&["services", name.as_str(), "migration", "timeout"], problem);
    }
}

fn check_check(name: &Name, check: &CheckSection, findings: &mut Findings<'_>) {
    let path = ["services", name.as_str(), "check"];
    let given = [
        ("http", check.http.is_some()),
        ("tcp", check.tcp == Some(true)),
        ("command", check.command.is_some()),
    ];
    let given: Vec<&str> =
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(kind, _)| kind).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            let problem = Problem::new(format!("the check of {name} says nothing to check"));
            findings.add_missing(
                &["services", name.as_str(), "check", "http"],
                problem.help("give it one of `http = { path = \"/ready\" }`, `tcp = true`, `command = […]`"),
            );
        }
        several => {
            let message = format!("the check of {name} has more than one of `http`, `tcp`, `command`");
            let problem = Problem::new(message).help(format!("keep one of `{}`", several.join("`, `")));
            findings.add(&path, problem);
        }
    }
    if let Some(command) = &check.command {
        check_command(&["services", name.as_str(), "check", "command"], command, findings);
    }
    for (kind, headers) in check
        .http
        .iter()
        .flat_map(|http| [("headers", &http.headers), ("expect-headers", &http.expect_headers)])
    {
        for (header, _) in headers.iter().filter(|(_, value)| value.contains(['\r', '\n'])) {
            let path = ["services", name.as_str(), "check", "http", kind, header.as_str()];
            findings.add(&path, Problem::new(format!("the header {header} has a line break in its value")));
        }
    }
}

fn check_dependencies(services: &BTreeMap<Name, ServiceSection>, findings: &mut Findings<'_>) {
    for (name, service) in services {
        for other in service.depends_on.iter().filter(|other| !services.contains_key(*other)) {
            let mut problem = Problem::new(format!("{name} depends on `{other}`, which is not a service"));
            problem.help = hints(other.as_str(), services.keys().map(Name::as_str));
            findings.add(&["services", name.as_str(), "depends-on"], problem);
        }
    }
    // Each cycle is told once: at the first of its services.
    let mut told: BTreeSet<Name> = BTreeSet::new();
    for name in services.keys() {
        if let Some(cycle) =
            cycle_through(name, services).filter(|cycle| cycle.iter().all(|one| !told.contains(one)))
        {
            let shown: Vec<&str> = cycle.iter().chain([name]).map(Name::as_str).collect();
            let problem =
                Problem::new(format!("services depend on each other in a circle: {}", shown.join(" → ")));
            findings.add(
                &["services", name.as_str(), "depends-on"],
                problem.help("none of them could be rolled out first"),
            );
            told.extend(cycle);
        }
    }
}

/// A shortest way along dependencies from a service back to itself, without the end.
fn cycle_through(start: &Name, services: &BTreeMap<Name, ServiceSection>) -> Option<Vec<Name>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last().expect("a way begins with its start");
            for next in services.get(last).into_iter().flat_map(|service| &service.depends_on) {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way.iter().chain([next]).cloned().collect());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Checks that every service can have a repository.
fn check_registry(file: &ProjectFile, findings: &mut Findings<'_>) {
    let Some(registry) = &file.registry else { return };
    for (name, error) in file
        .services
        .keys()
        .filter_map(|name| registry.prefix.prefix().repository(name).err().map(|error| (name, error)))
    {
        let problem = Problem::new(format!("no image can be published under the name of {name}: {error}"));
        findings.add(&["services", name.as_str()], problem);
    }
}

fn check_stages(stages: &StagesSection, findings: &mut Findings<'_>) {
    if let Some(scan) = &stages.scan {
        check_scan(scan, findings);
    }
    let scan = stages.scan.as_ref().map(|scan| ("scan", None, &scan.timeout));
    let test = stages.test.as_ref().map(|test| ("test", test.command.as_ref(), &test.timeout));
    let others = [
        ("build", stages.build.command.as_ref(), &stages.build.timeout),
        ("image", None, &stages.image.timeout),
        ("publish", None, &stages.publish.timeout),
    ];
    for (stage, command, timeout) in test.into_iter().chain(scan).chain(others) {
        if let Some(command) = command {
            check_command(&["stages", stage, "command"], command, findings);
        }
        if timeout.as_millis() == 0 {
            let path = ["stages", stage, "timeout"];
            findings.add(&path, Problem::new(format!("the {stage} stage has no time: its timeout is 0")));
        }
    }
}

fn check_scan(scan: &ScanSection, findings: &mut Findings<'_>) {
    let is_version = |text: &String| {
        text.split('.').count() == 3 && text.split('.').all(|part| part.parse::<u32>().is_ok())
    };
    if let Some(version) = scan.version.as_ref().filter(|version| !is_version(version)) {
        let problem = Problem::new(format!("`{}` is no version of Trivy", super::problem::shorten(version)));
        let hint = "write it as `trivy --version` says it, such as \"0.59.1\"";
        findings.add(&["stages", "scan", "version"], problem.help(hint));
    }
    for (key, paths) in [("configuration", &scan.configuration), ("waivers", &scan.waivers)] {
        let leads_out = |path: &&PathBuf| {
            path.as_os_str().is_empty()
                || path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
        };
        for path in paths.iter().filter(leads_out) {
            let problem = Problem::new(format!("`{}` is not within the project", path.display()));
            findings.add(
                &["stages", "scan", key],
                problem.help("write it relative to the folder of fairlead.toml, without `..`"),
            );
        }
    }
    if scan.database_repositories.iter().any(|one| one.trim().is_empty() || one.starts_with('-')) {
        let problem =
            Problem::new("a place of the database of vulnerabilities is empty, or begins with a dash");
        findings.add(&["stages", "scan", "database-repositories"], problem);
    }
}
