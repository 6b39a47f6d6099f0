//! What is wanted: configuration and release made into bundles.

use super::{Kind, Session, SessionError};
use crate::{
    bundle::{Bundle, BundleArtifact, BundleFile, BundleSecret, BundleSource},
    check::{SmokeGate, SyntheticGate},
    config::{
        EffectiveService,
        environment::{FailurePolicy, StrategyKind, Thresholds},
    },
    plan::{Migration, OnFailure, Policy, RateLimits, Wanted, WantedMigration},
    strategy::{BatchSize, Canary, Rolling, Strategy},
};
use pipeline::{config::scalar::ShareKind, digest::Digest, name::Name, release::Release};
use std::{collections::BTreeMap, path::PathBuf};

impl Session {
    /// What a release and the configuration want of every service.
    pub(super) async fn wanted(&self, release: &Release) -> Result<BTreeMap<Name, Wanted>, SessionError> {
        let mut wanted = BTreeMap::new();
        for (name, service) in &self.loaded.environment.services {
            let (bundle, source) = self.bundle(name, service, release).await?;
            let mut one = self.wanted_of(name, service);
            one.bundle = Some(bundle);
            one.source = Some(source);
            one.release = release.id.to_string();
            wanted.insert(name.clone(), one);
        }
        Ok(wanted)
    }

    /// All that is wanted of a service except what it runs.
    pub(super) fn wanted_of(&self, name: &Name, service: &EffectiveService) -> Wanted {
        let environment = &self.loaded.environment;
        Wanted {
            bundle: None,
            source: None,
            release: String::new(),
            replicas: service.replicas,
            check: service.check.clone(),
            host: service.host,
            port: service.port,
            depends_on: service.depends_on.clone(),
            strategy: self.strategy(),
            migration: service.migration.as_ref().map(|one| WantedMigration {
                step: Migration { args: one.args.clone(), timeout: one.timeout },
                reversible: one.reversible,
            }),
            synthetic: self.synthetic(name),
            bake: environment.timings.bake,
            drain: environment.timings.drain,
            stop_grace: environment.timings.stop_grace,
        }
    }

    /// What applies to a whole rollout.
    pub(super) fn policy(&self) -> Policy {
        let environment = &self.loaded.environment;
        Policy {
            failure_limit: u32::from(environment.strategy.failure_limit),
            on_failure: match environment.strategy.on_failure {
                FailurePolicy::RollBack => OnFailure::RollBack,
                FailurePolicy::Hold => OnFailure::Hold,
            },
            progress_deadline: environment.timings.progress_deadline,
            smoke: environment.gates.smoke.as_ref().map(|gate| SmokeGate {
                command: gate.command.clone(),
                timeout: gate.timeout,
                env: gate.env.clone(),
            }),
            synthetic: environment.gates.synthetic.as_ref().map(|gate| limits(&gate.thresholds)),
            traffic: environment.gates.traffic.as_ref().map(limits),
            pause_after: environment.strategy.pause_after.iter().copied().map(u32::from).collect(),
            hooks: environment.hooks.clone(),
            keep: usize::from(environment.keep_releases),
        }
    }

    fn strategy(&self) -> Strategy {
        let strategy = &self.loaded.environment.strategy;
        let size = |share: &ShareKind| match *share {
            ShareKind::Count(count) => BatchSize::Count(u32::from(count)),
            ShareKind::Percent(percent) => BatchSize::Percent(u32::from(percent)),
        };
        let rolling = Rolling {
            batches: strategy.batches.iter().map(size).collect(),
            max_surge: u32::from(strategy.max_surge),
            max_unavailable: u32::from(strategy.max_unavailable),
        };
        match strategy.kind {
            StrategyKind::Recreate => Strategy::Recreate,
            StrategyKind::Rolling => Strategy::Rolling(rolling),
            StrategyKind::Canary => Strategy::Canary(Canary {
                units: u32::from(strategy.canary_units),
                steps: strategy.canary_steps.iter().copied().map(u32::from).collect(),
                rolling,
            }),
            StrategyKind::BlueGreen => Strategy::BlueGreen,
        }
    }

    fn synthetic(&self, name: &Name) -> Option<SyntheticGate> {
        let gate = self.loaded.environment.gates.synthetic.as_ref()?;
        Some(SyntheticGate {
            paths: gate.paths.get(name)?.clone(),
            requests: gate.requests,
            concurrency: SyntheticGate::CONCURRENCY,
            timeout_ms: SyntheticGate::TIMEOUT_MS.max(gate.thresholds.slow_above * 2),
            slow_above_ms: gate.thresholds.slow_above,
        })
    }

    async fn bundle(
        &self,
        name: &Name,
        service: &EffectiveService,
        release: &Release,
    ) -> Result<(Bundle, BundleSource), SessionError> {
        let (artifact, path) = self.artifact(name, release)?;
        let mut secrets = BTreeMap::new();
        for (secret, reference) in &service.secrets {
            let keyed_digest = self.vault.digest(secret, reference).await?;
            secrets.insert(secret.clone(), BundleSecret { keyed_digest, in_env: service.secret_env });
        }
        let mut files = BTreeMap::new();
        let mut sources = BTreeMap::new();
        for (file, section) in &service.files {
            let path = self.root.join(&section.source);
            let digest = Digest::of_file(&path).map_err(|error| {
                let text = format!("config file {file} of {name} could not be read from {}", path.display());
                SessionError::new(Kind::Refused, text).because(error)
            })?;
            let env = section.env.as_ref().map(ToString::to_string);
            files.insert(file.clone(), BundleFile { digest, mode: section.mode.bits(), env });
            sources.insert(file.clone(), path);
        }
        let bundle = Bundle {
            service: name.clone(),
            artifact,
            args: service.args.clone(),
            env: service.env.clone(),
            host: service.host,
            port: service.port,
            port_env: service.port_env.clone(),
            host_env: service.host_env.clone(),
            files,
            secrets,
            limits: service.limits.clone(),
        };
        Ok((bundle, BundleSource { artifact: path, files: sources, secrets: service.secrets.clone() }))
    }

    /// What a release has for a service here: an image, or an executable and where it is.
    fn artifact(&self, name: &Name, release: &Release) -> Result<(BundleArtifact, PathBuf), SessionError> {
        let found = if self.loaded.environment.runs_images() {
            let image = release.images.get(name);
            image.map(|image| (image.repository.clone(), image.digest, PathBuf::new()))
        } else {
            let artifact = release.services.get(name);
            artifact.map(|one| (one.name.clone(), one.digest, self.root.join(&one.path)))
        };
        let (artifact, digest, path) = found.ok_or_else(|| {
            let what = if self.loaded.environment.runs_images() { "image" } else { "artifact" };
            SessionError::new(Kind::Refused, format!("release {} has no {what} for {name}", release.id))
                .hint("build a release that has it, or deploy others with `--only`")
        })?;
        Ok((BundleArtifact { name: artifact, digest }, path))
    }
}

fn limits(thresholds: &Thresholds) -> RateLimits {
    RateLimits {
        min_requests: u64::from(thresholds.min_requests),
        max_error_rate: thresholds.max_error_rate,
        max_slow_rate: thresholds.max_slow_rate,
        slow_above: thresholds.slow_above,
    }
}
