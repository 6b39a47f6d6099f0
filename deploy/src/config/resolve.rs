//! Project and environment file made one, and found to make sense together.

use super::{
    environment::{
        EffectiveService, Environment, Gates, Lease, Migration, SmokeGate, Strategy, SyntheticGate,
        Thresholds, Timings,
    },
    file::{
        EnvironmentFile, GatesSection, ScanNeed, ServiceOverride, StrategyKind, StrategySection,
        SyntheticSection,
    },
    hooks, places, timings,
};
use crate::{
    bundle::Limits,
    check::{HttpProbe, Probe, TlsProbe},
};
use pipeline::{
    config::{
        Project,
        file::{CheckSection, FileSection, HttpSection, ServiceSection},
        findings::Findings,
        image::ImageSource,
        problem::{Problem, hints},
        project::{check_command, check_secrets},
        scalar::ShareKind,
    },
    name::Name,
};
use std::collections::BTreeMap;

/// Makes project and environment file one. The result is consistent if nothing was added to the findings: every
/// service has its own port and unambiguous variables, the timings can hold together, the batches cover all units, units
/// can be replaced within the bounds of the strategy, no two targets want the same port on the same address, and the
/// waves reach each target once.
pub fn resolve(
    name: &Name,
    project: &Project,
    file: &EnvironmentFile,
    findings: &mut Findings<'_>,
) -> Environment {
    check_service_names("services", file.services.keys(), project, findings);
    timings::check_environment(file, findings);
    let services: BTreeMap<Name, EffectiveService> = project
        .services
        .iter()
        .map(|(name, service)| (name.clone(), effective(name, service, file, findings)))
        .collect();
    check_ports(&services, findings);
    let targets = places::targets(file, &services, findings);
    places::check_engines(&targets, project, findings);
    let waves = places::waves(file, findings);
    if file.protected && file.scan != ScanNeed::Required {
        let problem = Problem::new("a protected environment takes nothing that was not scanned");
        findings.add_between(
            &["scan"],
            &[(&["protected"], "it is protected".to_owned())],
            problem.help("leave `scan` out, or write `scan = \"required\"`"),
        );
    }
    check_strategy(&file.strategy, &services, findings);
    Environment {
        name: name.clone(),
        protected: file.protected,
        scan: file.scan,
        github: file.github,
        url: file.url.as_ref().map(ToString::to_string),
        targets,
        waves,
        strategy: strategy(&file.strategy),
        timings: Timings {
            progress_deadline: file.timings.progress_deadline.as_millis(),
            drain: file.timings.drain.as_millis(),
            stop_grace: file.timings.stop_grace.as_millis(),
            bake: file.timings.bake.as_millis(),
        },
        lease: Lease { ttl: file.lease.ttl.as_millis(), heartbeat: file.lease.heartbeat.as_millis() },
        gates: gates(&file.gates, project, findings),
        hooks: hooks::resolve(&file.hooks, findings),
        keep_releases: project.keep_releases,
        services,
    }
}

fn check_service_names<'n>(
    section: &str,
    names: impl Iterator<Item = &'n Name>,
    project: &Project,
    findings: &mut Findings<'_>,
) {
    for name in names.filter(|name| !project.services.contains_key(*name)) {
        let mut problem = Problem::new(format!("`{name}` is not a service of the project"));
        problem.help = hints(name.as_str(), project.services.keys().map(Name::as_str));
        let path: Vec<&str> = section.split('.').chain([name.as_str()]).collect();
        findings.add(&path, problem);
    }
}

fn effective(
    name: &Name,
    service: &ServiceSection,
    file: &EnvironmentFile,
    findings: &mut Findings<'_>,
) -> EffectiveService {
    let unchanged = ServiceOverride::default();
    let here = file.services.get(name).unwrap_or(&unchanged);
    check_secrets(
        &["services", name.as_str(), "secrets"],
        here.secrets.iter().map(|(name, one)| (name.as_str(), one)),
        findings,
    );
    let check = timings::check(name, service, file, probe(service.check.as_ref()), findings);
    let effective = EffectiveService {
        artifact: service.artifact.clone(),
        image: ImageSource::of(service),
        args: here.args.as_ref().unwrap_or(&service.args).clone(),
        replicas: here.replicas.unwrap_or(service.replicas),
        port: here.port.unwrap_or(service.port),
        host: here.host.as_ref().unwrap_or(&service.host).ip(),
        port_env: service.port_env.to_string(),
        host_env: service.host_env.as_ref().map(ToString::to_string),
        env: merged(&service.env, &here.env),
        files: merged(&service.files, &here.files),
        secrets: merged(&service.secrets, &here.secrets),
        secret_env: service.secret_env,
        limits: Limits {
            memory_max_bytes: here
                .memory_max
                .as_ref()
                .or(service.memory_max.as_ref())
                .map(|size| size.as_bytes()),
            open_files_max: here.open_files_max.or(service.open_files_max),
        },
        check,
        depends_on: service.depends_on.clone(),
        migration: service.migration.as_ref().map(|one| Migration {
            args: one.args.clone(),
            timeout: one.timeout.as_millis(),
            reversible: one.reversible,
        }),
    };
    check_variables(name, &effective, findings);
    effective
}

/// The project's entries, with those of the environment added or put in their place.
fn merged<K: ToString, V: Clone>(project: &BTreeMap<K, V>, here: &BTreeMap<K, V>) -> BTreeMap<String, V> {
    project.iter().chain(here).map(|(key, value)| (key.to_string(), value.clone())).collect()
}

fn probe(check: Option<&CheckSection>) -> Probe {
    match check {
        Some(CheckSection { http: Some(http), .. }) => Probe::Http(http_probe(http)),
        Some(CheckSection { command: Some(command), .. }) => Probe::Command(command.clone()),
        // The least that can be asked of something that holds a port.
        Some(_) | None => Probe::Tcp,
    }
}

fn http_probe(http: &HttpSection) -> HttpProbe {
    let texts = |headers: &BTreeMap<_, String>| merged(headers, &BTreeMap::new());
    HttpProbe {
        path: http.path.to_string(),
        tls: http.tls.as_ref().map(|tls| TlsProbe {
            server_name: tls.server_name.clone(),
            ca_file: tls.ca_file.clone(),
            min_days_left: tls.min_days_left,
        }),
        headers: texts(&http.headers),
        status: http.status.bounds(),
        body_contains: http.body_contains.clone(),
        json: merged(&http.json, &BTreeMap::new()),
        expect_headers: texts(&http.expect_headers),
        latency_max_ms: http.latency_max.as_ref().map(|span| span.as_millis()),
    }
}

/// Checks that every variable that a unit is given has one meaning.
fn check_variables(name: &Name, service: &EffectiveService, findings: &mut Findings<'_>) {
    let at =
        |keys: &[&str]| ["services", name.as_str()].iter().chain(keys).map(|key| (*key).to_owned()).collect();
    let files = service.files.iter().filter_map(|(file, section): (&String, &FileSection)| {
        Some((section.env.as_ref()?.to_string(), at(&["files", file, "env"])))
    });
    let secrets = service.secrets.keys().map(|secret| {
        let variable = if service.secret_env { secret.clone() } else { format!("{secret}_FILE") };
        (variable, at(&["secrets", secret]))
    });
    let given: Vec<(String, Vec<String>)> = [(service.port_env.clone(), at(&["port-env"]))]
        .into_iter()
        .chain(service.host_env.iter().map(|variable| (variable.clone(), at(&["host-env"]))))
        .chain(files)
        .chain(secrets)
        .chain(service.env.keys().map(|variable| (variable.clone(), at(&["env", variable]))))
        .collect();

    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (variable, path) in &given {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if variable.starts_with("FAIRLEAD_") {
            let problem = Problem::new(format!("the variable {variable} of {name} is Fairlead's own to set"));
            findings.add(&path, problem.help("give it a name that does not begin with FAIRLEAD_"));
        } else if let Some(other) = known.get(variable.as_str()) {
            let message = format!("units of {name} would get the variable {variable} twice");
            findings.add_between(
                &path,
                &[(other, "it is also given here".to_owned())],
                Problem::new(message),
            );
        } else {
            known.insert(variable, path);
        }
    }
    // The name of a secret is that of a variable in many programs, even where a file is asked for: both is a mistake.
    for secret in
        service.secrets.keys().filter(|secret| !service.secret_env && service.env.contains_key(*secret))
    {
        let (path, other) =
            (["services", name.as_str(), "env", secret], ["services", name.as_str(), "secrets", secret]);
        let problem = Problem::new(format!("{secret} of {name} is a secret, but also stands in `env`"));
        findings.add_between(
            &path,
            &[(&other, "the secret".to_owned())],
            problem.help("remove it from `env`"),
        );
    }
}

fn check_ports(services: &BTreeMap<Name, EffectiveService>, findings: &mut Findings<'_>) {
    let mut known: BTreeMap<u16, &Name> = BTreeMap::new();
    for (name, service) in services {
        match known.get(&service.port) {
            Some(other) => {
                let problem =
                    Problem::new(format!("{name} and {other} have the same port: {}", service.port));
                let other_path = ["services", other.as_str(), "port"];
                let others: [(&[&str], String); 1] = [(&other_path, format!("the port of {other}"))];
                findings.add_between(&["services", name.as_str(), "port"], &others, problem);
            }
            None => {
                known.insert(service.port, name);
            }
        }
    }
}

fn strategy(section: &StrategySection) -> Strategy {
    Strategy {
        kind: section.kind,
        batches: section.batches.iter().map(|share| share.kind()).collect(),
        max_surge: section.max_surge,
        max_unavailable: section.max_unavailable,
        canary_units: section.canary_units,
        canary_steps: section.canary_steps.clone(),
        pause_after: section.pause_after.clone(),
        failure_limit: section.failure_limit,
        on_failure: section.on_failure,
    }
}

fn check_strategy(
    section: &StrategySection,
    services: &BTreeMap<Name, EffectiveService>,
    findings: &mut Findings<'_>,
) {
    if !matches!(section.kind, StrategyKind::Rolling | StrategyKind::Canary) {
        return; // Bounds and batches are those of the rolling strategy; kept here so that one can go back to it.
    }
    if section.kind == StrategyKind::Canary
        && let Some(pair) = section.canary_steps.windows(2).find(|pair| pair[1] <= pair[0])
    {
        let message = format!("the canary steps do not grow: {} comes after {}", pair[1], pair[0]);
        findings.add(&["strategy", "canary-steps"], Problem::new(message));
    }
    if section.max_surge == 0 && section.max_unavailable == 0 {
        let problem =
            Problem::new("`max-surge` and `max-unavailable` are both 0: no unit could ever be replaced");
        let problem = problem
            .help("`max-surge = 1` starts the new unit first; `max-unavailable = 1` stops the old one first");
        let other = (&["strategy", "max-unavailable"][..], "and this is 0, too".to_owned());
        findings.add_between(&["strategy", "max-surge"], &[other], problem);
    }
    let path = ["strategy", "batches"];
    // What falls for one service mostly falls for all: told once.
    let falling = services.iter().find_map(|(name, service)| {
        let sizes: Vec<u16> = section.batches.iter().map(|share| share.kind().of(service.replicas)).collect();
        let at = sizes.windows(2).position(|pair| pair[1] < pair[0])?;
        Some((name, service, at))
    });
    let same_kind = |pair: &[pipeline::config::scalar::Share]| match (pair[0].kind(), pair[1].kind()) {
        (ShareKind::Count(a), ShareKind::Count(b)) => b < a,
        (ShareKind::Percent(a), ShareKind::Percent(b)) => b < a,
        _ => false,
    };
    if let Some(at) = section.batches.windows(2).position(same_kind) {
        let (before, after) = (&section.batches[at], &section.batches[at + 1]);
        findings.add(&path, Problem::new(format!("the batches fall: \"{after}\" comes after \"{before}\"")));
    } else if let Some((name, service, at)) = falling {
        let (before, after) = (&section.batches[at], &section.batches[at + 1]);
        let message = format!(
            "the batches fall: \"{after}\" of the {} units of {name} is less than \"{before}\" before it",
            service.replicas
        );
        findings.add(&path, Problem::new(message));
    }
    let left_out = services.iter().find(|(_, service)| {
        section.batches.last().is_none_or(|share| share.kind().of(service.replicas) < service.replicas)
    });
    if let Some((name, service)) = left_out {
        let message = format!("the last batch does not cover the {} units of {name}", service.replicas);
        findings.add(&path, Problem::new(message).help("let the last batch be \"100%\""));
    }
}

fn gates(section: &GatesSection, project: &Project, findings: &mut Findings<'_>) -> Gates {
    if let Some(synthetic) = &section.synthetic {
        check_synthetic(synthetic, project, findings);
    }
    if let Some(smoke) = &section.smoke {
        check_command(&["gates", "smoke", "command"], &smoke.command, findings);
        if smoke.timeout.as_millis() == 0 {
            findings.add(&["gates", "smoke", "timeout"], Problem::new("`timeout` must be longer than 0"));
        }
    }
    Gates {
        traffic: section.traffic.as_ref().map(|one| Thresholds {
            max_error_rate: one.max_error_rate,
            max_slow_rate: one.max_slow_rate,
            slow_above: one.slow_above.as_millis(),
            min_requests: one.min_requests,
        }),
        synthetic: section.synthetic.as_ref().map(|one| SyntheticGate {
            paths: one
                .paths
                .iter()
                .map(|(service, paths)| (service.clone(), paths.iter().map(ToString::to_string).collect()))
                .collect(),
            requests: one.requests,
            thresholds: Thresholds {
                max_error_rate: one.max_error_rate,
                max_slow_rate: one.max_slow_rate,
                slow_above: one.slow_above.as_millis(),
                min_requests: one.min_requests,
            },
        }),
        smoke: section.smoke.as_ref().map(|one| SmokeGate {
            command: one.command.clone(),
            env: merged(&one.env, &BTreeMap::new()),
            timeout: one.timeout.as_millis(),
        }),
    }
}

fn check_synthetic(section: &SyntheticSection, project: &Project, findings: &mut Findings<'_>) {
    check_service_names("gates.synthetic.paths", section.paths.keys(), project, findings);
    for (service, _) in section.paths.iter().filter(|(_, paths)| paths.is_empty()) {
        let problem = Problem::new(format!("there is no path to ask {service} for"));
        findings.add(&["gates", "synthetic", "paths", service.as_str()], problem);
    }
    if section.min_requests > section.requests {
        let message = format!(
            "`min-requests` ({}) is more than `requests` ({}): there could never be enough evidence",
            section.min_requests, section.requests
        );
        let other = (&["gates", "synthetic", "requests"][..], "as many are made".to_owned());
        findings.add_between(&["gates", "synthetic", "min-requests"], &[other], Problem::new(message));
    }
}
