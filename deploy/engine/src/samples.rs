//! Plans for tests, made from a few words. No part of what is released.

use crate::{
    bundle::{Bundle, BundleArtifact, BundleHash, Limits},
    check::{Check, Probe, SmokeGate, SyntheticGate},
    model::HookMoment,
    plan::{Hook, Migration, OnFailure, Plan, PlanKind, Policy, RateLimits, ServicePlan, Side, Wave},
    strategy::{BatchSize, Rolling, Strategy},
};
use pipeline::digest::Digest;
use std::{collections::BTreeMap, net::IpAddr};

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Services that come.
    pub services: Vec<&'static str>,
    /// Targets; each service stands on all of them.
    pub targets: Vec<&'static str>,
    /// Units of each service on each target.
    pub replicas: u16,
    /// What stands before: the word of its bundle, and units on each target.
    pub from: Option<(&'static str, u16)>,
    /// How units are replaced.
    pub strategy: Strategy,
    /// Failures that are tolerated.
    pub failure_limit: u32,
    /// What follows one more.
    pub on_failure: OnFailure,
    /// The bake, in milliseconds.
    pub bake: u64,
    /// Whether units get requests of our own before they are admitted.
    pub synthetic: bool,
    /// Whether the traffic of users is judged.
    pub traffic: bool,
    /// Whether each service waits for the one before it.
    pub chained: bool,
    /// Whether the first service is taken away.
    pub takes_away: bool,
    /// Waves, in order; none: all targets are one.
    pub waves: Vec<WaveShape>,
    /// Whether there is a hook at every moment.
    pub hooks: bool,
    /// Whether each service that comes has a migration.
    pub migrates: bool,
    /// Whether there is no way back.
    pub irreversible: bool,
}

/// What a wave is made from.
#[derive(Debug, Clone, Default)]
pub struct WaveShape {
    /// Its targets.
    pub targets: Vec<&'static str>,
    /// Its soak, in milliseconds.
    pub soak: u64,
    /// Failures in it that are tolerated, if it has a budget of its own.
    pub failure_limit: Option<u32>,
    /// Whether the next one waits to be promoted.
    pub pause: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            services: vec!["api"],
            targets: vec!["local"],
            replicas: 3,
            from: Some(("old", 3)),
            strategy: rolling(1, 0),
            failure_limit: 0,
            on_failure: OnFailure::RollBack,
            bake: 500,
            synthetic: false,
            traffic: false,
            chained: false,
            takes_away: false,
            waves: Vec::new(),
            hooks: false,
            migrates: false,
            irreversible: false,
        }
    }
}

/// Unit by unit at first, then a quarter, then the rest.
pub fn rolling(max_surge: u32, max_unavailable: u32) -> Strategy {
    rolling_by(
        vec![BatchSize::Count(1), BatchSize::Percent(25), BatchSize::Percent(100)],
        max_surge,
        max_unavailable,
    )
}

/// In these batches.
pub fn rolling_by(batches: Vec<BatchSize>, max_surge: u32, max_unavailable: u32) -> Strategy {
    Strategy::Rolling(Rolling { batches, max_surge, max_unavailable })
}

/// The hash of the bundle of this word.
pub fn bundle(word: &str) -> BundleHash {
    bundle_of(word).hash()
}

/// What a bundle of this word is; it is the same for every service.
pub fn bundle_of(word: &str) -> Bundle {
    Bundle {
        service: "any".parse().expect("a name"),
        artifact: BundleArtifact { name: word.to_owned(), digest: Digest::of_bytes(word) },
        args: Vec::new(),
        env: BTreeMap::new(),
        host: IpAddr::from([127, 0, 0, 1]),
        port: 8000,
        port_env: "PORT".to_owned(),
        host_env: None,
        files: BTreeMap::new(),
        secrets: BTreeMap::new(),
        limits: Limits::default(),
    }
}

/// A quick check.
pub fn check() -> Check {
    Check {
        probe: Probe::Tcp,
        identity: None,
        interval: 200,
        timeout: 200,
        healthy_passes: 3,
        healthy_for: 500,
        healthy_deadline: 5_000,
        unhealthy_failures: 2,
        provider_error_limit: 4,
    }
}

/// The plan of a shape.
pub fn plan_of(shape: &Shape) -> Plan {
    let limits = RateLimits { min_requests: 20, max_error_rate: 0.05, max_slow_rate: 0.5, slow_above: 1_000 };
    let side = |word: &str, replicas| Side {
        bundle: bundle(word),
        release: word.to_owned(),
        replicas,
        check: check(),
        host: IpAddr::from([127, 0, 0, 1]),
        port: 8000,
        absent: std::collections::BTreeSet::new(),
    };
    let service = |name: &&str| ServicePlan {
        service: name.parse().expect("a name"),
        depends_on: Vec::new(),
        targets: shape.targets.iter().map(|target| target.parse().expect("a name")).collect(),
        strategy: shape.strategy.clone(),
        from: shape.from.map(|(word, replicas)| side(word, replicas)),
        to: Some(side("new", shape.replicas)),
        changes: Vec::new(),
        migration: shape.migrates.then(|| Migration { args: vec!["migrate".to_owned()], timeout: 1_000 }),
        synthetic: shape.synthetic.then(|| SyntheticGate {
            paths: vec!["/".to_owned()],
            requests: 100,
            concurrency: 4,
            timeout_ms: 1_000,
            slow_above_ms: 1_000,
        }),
        bake: shape.bake,
        drain: 2_000,
        stop_grace: 1_000,
    };
    let mut services: Vec<ServicePlan> = shape.services.iter().map(service).collect();
    if shape.chained {
        for index in 1..services.len() {
            services[index].depends_on = vec![services[index - 1].service.clone()];
        }
    }
    if shape.takes_away && shape.from.is_some() {
        services[0].to = None;
    }
    let epoch = jiff::Timestamp::UNIX_EPOCH;
    Plan {
        version: Plan::FORMAT,
        run: "test".to_owned(),
        project: "test".parse().expect("a name"),
        environment: "local".parse().expect("a name"),
        kind: PlanKind::Deploy,
        release: "new".to_owned(),
        tool_version: "0".to_owned(),
        created_at: epoch,
        expires_at: epoch,
        overrides: Vec::new(),
        risks: Vec::new(),
        services,
        waves: shape.waves.iter().enumerate().map(|(index, wave)| wave_of(index, wave)).collect(),
        irreversible: shape.irreversible,
        unchanged: Vec::new(),
        policy: Policy {
            failure_limit: shape.failure_limit,
            on_failure: shape.on_failure,
            progress_deadline: 60_000,
            smoke: Some(SmokeGate {
                command: vec!["smoke".to_owned()],
                timeout: 1_000,
                env: BTreeMap::new(),
            }),
            synthetic: shape.synthetic.then(|| limits.clone()),
            traffic: shape.traffic.then_some(limits),
            pause_after: std::collections::BTreeSet::new(),
            hooks: if shape.hooks { hooks() } else { BTreeMap::new() },
            keep: 10,
        },
        preconditions: Vec::new(),
        bundles: BTreeMap::new(),
        sources: BTreeMap::new(),
    }
}

/// Two hooks at every moment.
fn hooks() -> BTreeMap<HookMoment, Vec<Hook>> {
    use HookMoment::{AfterDeploy, BeforeDeploy, OnFailure, OnRollback};
    let hook = Hook { command: vec!["hook".to_owned()], env: BTreeMap::new(), timeout: 1_000 };
    [BeforeDeploy, AfterDeploy, OnRollback, OnFailure].map(|moment| (moment, vec![hook.clone(); 2])).into()
}

fn wave_of(index: usize, shape: &WaveShape) -> Wave {
    Wave {
        name: format!("wave-{index}").parse().expect("a name"),
        targets: shape.targets.iter().map(|target| target.parse().expect("a name")).collect(),
        soak: shape.soak,
        failure_limit: shape.failure_limit,
        pause: shape.pause,
    }
}
