//! Where a rollout goes: targets that can stand side by side, and waves that reach each of them once.

use super::{
    environment::{EffectiveService, Target, TargetKind, Wave},
    file::{EnvironmentFile, WaveSection},
};
use crate::check::Probe;
use pipeline::{
    config::{
        Project,
        findings::Findings,
        problem::{Problem, hints},
    },
    name::Name,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The targets. Consistent if nothing was added to the findings: there is at least one, and no two of them want the same
/// port on the same address.
pub(super) fn targets(
    file: &EnvironmentFile,
    services: &BTreeMap<Name, EffectiveService>,
    findings: &mut Findings<'_>,
) -> BTreeMap<Name, Target> {
    let targets: BTreeMap<Name, Target> = file
        .targets
        .iter()
        .map(|(name, section)| {
            let host = section.host.as_ref().map(pipeline::config::scalar::Address::ip);
            (name.clone(), Target { kind: section.kind, host, engine: section.engine.clone() })
        })
        .collect();
    if targets.is_empty() {
        let problem = Problem::new("there is no target to deploy to");
        findings.add(&["targets"], problem.help("describe one: `[targets.local]` with `kind = \"process\"`"));
    }
    check_kinds(&targets, services, findings);
    check_addresses(&targets, services, findings);
    targets
}

/// What one kind of target cannot do, and that there is but one kind.
fn check_kinds(
    targets: &BTreeMap<Name, Target>,
    services: &BTreeMap<Name, EffectiveService>,
    findings: &mut Findings<'_>,
) {
    let Some((first, Target { kind, .. })) = targets.first_key_value() else { return };
    for (name, target) in targets {
        if target.kind != *kind {
            let message = format!("`{first}` is a {} target, and `{name}` is none", kind.as_str());
            let problem = Problem::new(message)
                .help("a bundle is the same on every target of an environment: give the other kind another environment");
            let path = ["targets", name.as_str(), "kind"];
            findings.add_between(
                &path,
                &[(&["targets", first.as_str(), "kind"], format!("`{first}`"))],
                problem,
            );
        }
        if target.engine.is_some() && !target.kind.runs_images() {
            let problem =
                Problem::new(format!("`{name}` is a {} target, which has no engine", target.kind.as_str()));
            findings.add(&["targets", name.as_str(), "engine"], problem);
        }
    }
    for (name, service) in services {
        let at = |key: &'static str| ["services", name.as_str(), key];
        if !kind.runs_images() && service.artifact.is_none() {
            let message = format!("{name} has no executable, and `{first}` runs nothing else");
            let problem = Problem::new(message).help("name it: `artifact = { cargo-bin = \"NAME\" }`");
            findings.add_missing(&at("artifact"), problem);
        }
        if *kind == TargetKind::Docker {
            check_for_containers(first, name, service, findings);
        }
    }
}

/// Without a registry an image is nowhere but on the engine that made it.
pub(super) fn check_engines(
    targets: &BTreeMap<Name, Target>,
    project: &Project,
    findings: &mut Findings<'_>,
) {
    if project.registry.is_some() {
        return;
    }
    let maker = &project.stages.image.engine;
    let others = targets.iter().filter(|(_, target)| target.kind.runs_images() && target.engine != *maker);
    for (name, _) in others {
        let message = format!(
            "`{name}` is another engine than the one that makes the images, and there is no registry between them"
        );
        let problem = Problem::new(message)
            .help("name a registry, `[registry]` with its `prefix`, or the same engine in `[stages.image]`");
        findings.add(&["targets", name.as_str()], problem);
    }
}

fn check_for_containers(target: &Name, name: &Name, service: &EffectiveService, findings: &mut Findings<'_>) {
    let at = |key: &'static str| ["services", name.as_str(), key];
    if service.secret_env && !service.secrets.is_empty() {
        let message = format!(
            "{name} gets its secrets as variables, which everyone can read who may ask the engine of `{target}`"
        );
        let problem = Problem::new(message).help("leave `secret-env` out: units find each secret in a file");
        findings.add(&at("secret-env"), problem);
    }
    if service.check.probe == Probe::Tcp {
        let message = format!(
            "the check of {name} can prove nothing on `{target}`: an engine accepts connections on a published port before anybody listens behind it"
        );
        let problem = Problem::new(message).help("ask it over HTTP: `http = { path = \"/ready\" }`");
        findings.add(&at("check"), problem);
    }
}

/// The waves, in order. Consistent if nothing was added to the findings: see [`super::Environment::waves`].
pub(super) fn waves(file: &EnvironmentFile, findings: &mut Findings<'_>) -> Vec<Wave> {
    check_wave_names(&file.waves, findings);
    check_reach(file, findings);
    if let Some((last, wave)) = file.waves.iter().enumerate().next_back().filter(|(_, wave)| wave.pause) {
        let problem =
            Problem::new(format!("`{}` is the last wave: there is nothing to promote after it", wave.name));
        findings
            .add(&wave_path(last, "pause").each(), problem.help("leave `pause` out, or put a wave after it"));
    }
    file.waves.iter().map(wave).collect()
}

fn wave(section: &WaveSection) -> Wave {
    Wave {
        name: section.name.clone(),
        targets: section.targets.clone(),
        soak: section.soak.as_millis(),
        failure_limit: section.failure_limit,
        pause: section.pause,
    }
}

/// The path of a key of a wave, or of the wave itself.
struct WavePath {
    index: String,
    key: &'static str,
}

fn wave_path(index: usize, key: &'static str) -> WavePath {
    WavePath { index: index.to_string(), key }
}

impl WavePath {
    fn each(&self) -> [&str; 3] {
        ["waves", &self.index, self.key]
    }
}

/// Two targets of one machine cannot hold the same ports on the same address.
fn check_addresses(
    targets: &BTreeMap<Name, Target>,
    services: &BTreeMap<Name, EffectiveService>,
    findings: &mut Findings<'_>,
) {
    let mut before: Vec<(&Name, &Target)> = Vec::new();
    for (name, target) in targets {
        let taken = before.iter().find_map(|(other, first)| {
            Some((other, shared(&addresses(first, services), &addresses(target, services))?))
        });
        if let Some((other, address)) = taken {
            let message =
                format!("`{name}` and `{other}` hold the same ports on the same address: {address}");
            let problem = Problem::new(message).help(
                "give each target of this machine an address of its own, such as `host = \"127.0.0.2\"`: all of 127.0.0.0/8 is this machine's",
            );
            let path = address_path(name, target);
            let other_path = address_path(other, &targets[*other]);
            findings.add_between(&path, &[(&other_path, format!("`{other}`"))], problem);
        }
        before.push((name, target));
    }
}

/// Where it is written which address a target has.
fn address_path<'n>(name: &'n Name, target: &Target) -> Vec<&'n str> {
    let key = target.host.map(|_| "host");
    ["targets", name.as_str()].into_iter().chain(key).collect()
}

fn addresses(target: &Target, services: &BTreeMap<Name, EffectiveService>) -> BTreeSet<IpAddr> {
    match target.host {
        Some(host) => BTreeSet::from([host]),
        None => services.values().map(|service| service.host).collect(),
    }
}

/// An address of the second that the first takes, too; the unspecified address takes every one.
fn shared(first: &BTreeSet<IpAddr>, second: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let takes = |one: &IpAddr, other: &IpAddr| one == other || one.is_unspecified() || other.is_unspecified();
    second.iter().find(|address| first.iter().any(|other| takes(other, address))).copied()
}

fn check_wave_names(waves: &[WaveSection], findings: &mut Findings<'_>) {
    let mut known: BTreeMap<&Name, usize> = BTreeMap::new();
    for (index, wave) in waves.iter().enumerate() {
        match known.get(&wave.name) {
            Some(first) => {
                let problem = Problem::new(format!("two waves are called `{}`", wave.name));
                let (path, other) = (wave_path(index, "name"), wave_path(*first, "name"));
                findings.add_between(&path.each(), &[(&other.each(), "the first".to_owned())], problem);
            }
            None => {
                known.insert(&wave.name, index);
            }
        }
    }
}

/// Every wave has targets, and every target is in one wave.
fn check_reach(file: &EnvironmentFile, findings: &mut Findings<'_>) {
    let mut reached: BTreeMap<&Name, usize> = BTreeMap::new();
    for (index, wave) in file.waves.iter().enumerate() {
        let path = wave_path(index, "targets");
        for target in &wave.targets {
            let problem = match reached.get(target) {
                _ if !file.targets.contains_key(target) => {
                    let mut problem =
                        Problem::new(format!("wave `{}`: there is no target `{target}`", wave.name));
                    problem.help = hints(target.as_str(), file.targets.keys().map(Name::as_str));
                    problem
                }
                Some(first) if *first == index => {
                    Problem::new(format!("wave `{}` names target `{target}` twice", wave.name))
                }
                Some(first) => {
                    let message = format!(
                        "target `{target}` is in wave `{}` and in wave `{}`",
                        file.waves[*first].name, wave.name
                    );
                    let other = wave_path(*first, "targets");
                    let others: [(&[&str], String); 1] =
                        [(&other.each(), "it is reached here already".to_owned())];
                    findings.add_between(&path.each(), &others, Problem::new(message));
                    continue;
                }
                None => {
                    reached.insert(target, index);
                    continue;
                }
            };
            findings.add(&path.each(), problem);
        }
    }
    if file.waves.is_empty() {
        return;
    }
    for target in file.targets.keys().filter(|target| !reached.contains_key(target)) {
        let problem = Problem::new(format!("target `{target}` is in no wave, so no rollout would reach it"));
        findings.add(&["targets", target.as_str()], problem.help("add it to the `targets` of a wave"));
    }
}
