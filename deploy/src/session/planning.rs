//! Making plans from what stands.

use super::{Kind, Session, SessionError};
use crate::{
    bundle::{Bundle, BundleHash},
    ledger::{Entry, Standing},
    model::HookMoment,
    plan::{OnFailure, Override, Plan, PlanKind, Request, Wanted, Wave, build, disagreement, merged},
    port::{Target, TargetSeen},
    reason::ReasonCode,
    record::RecordError,
};
use pipeline::{name::Name, release::Release, store::ReadError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Session {
    /// Makes a plan that brings a release, from what stands now. Changes nothing. `irreversible` says that there is no
    /// way back from the release, whatever its migrations say.
    ///
    /// # Errors
    /// When a secret or file cannot be read, the release lacks a service, or a target does not answer.
    pub async fn plan(
        &self,
        release: &Release,
        only: Option<&Name>,
        irreversible: bool,
    ) -> Result<Plan, SessionError> {
        let mut wanted = self.wanted(release).await?;
        let targets = self.targets(None).await?;
        let standing = self.standing(&targets).await?;
        self.refuse_disagreement(&standing)?;
        if let Some(only) = only.filter(|only| !wanted.contains_key(*only)) {
            let names: Vec<&str> = wanted.keys().map(Name::as_str).collect();
            return Err(SessionError::new(Kind::Usage, format!("there is no service `{only}`"))
                .hint(format!("services are: {}", names.join(", "))));
        }
        self.add_removed(&mut wanted, &standing);
        let left_out = wanted.keys().filter(|name| only.is_some_and(|only| only != *name)).cloned().collect();
        let mut request = self.request(PlanKind::Deploy, release.id.to_string(), wanted, standing);
        request.left_out = left_out;
        request.irreversible = irreversible;
        request.waves = self.waves();
        request.known = known(&targets, &request.standing).await;
        let mut plan = build(request);
        plan.risks.extend(self.left_behind().await);
        Ok(plan)
    }

    /// Makes a plan that returns to what stood before the last change, or to a release that is kept. Changes nothing.
    ///
    /// # Errors
    /// When there is nothing to return to, or the release is marked bad.
    pub async fn plan_rollback(&self, to: Option<&str>) -> Result<Plan, SessionError> {
        let targets = self.targets(None).await?;
        let standing = self.standing(&targets).await?;
        self.refuse_disagreement(&standing)?;
        let services = merged(&standing);
        let chosen = match to {
            Some(release) => self.entries_of(release, &services)?,
            None => last_change(&services),
        };
        if chosen.is_empty() {
            let text = format!("environment `{}` has no earlier release to return to", self.environment());
            return Err(SessionError::new(Kind::Refused, text).hint(format!(
                "`{} history {}` lists what was deployed",
                self.program(),
                self.environment()
            )));
        }
        self.refuse_one_way(&services, &chosen)?;
        let release = chosen.values().next().map(|entry| entry.release.clone()).unwrap_or_default();
        let bundles = known(&targets, &standing).await;
        let mut wanted = BTreeMap::new();
        for (name, entry) in chosen {
            let bundle = bundles.get(&entry.bundle).cloned().ok_or_else(|| {
                let text = format!("bundle {} of {name} is not on the target any more", entry.bundle.short());
                SessionError::new(Kind::Refused, text).hint("deploy the release anew")
            })?;
            refuse_missing(&name, &entry, &targets, &standing).await?;
            wanted.insert(name.clone(), self.wanted_back(&name, &entry, bundle));
        }
        let mut request = self.request(PlanKind::Rollback, release, wanted, standing);
        request.known = bundles;
        // A rollback is never rolled back: a human decides.
        request.policy.on_failure = OnFailure::Hold;
        request.policy.pause_after.clear();
        // What checks or announces a new release has nothing to say to the return of an old one, and must not stand in
        // its way.
        for moment in [HookMoment::BeforeDeploy, HookMoment::AfterDeploy] {
            request.policy.hooks.remove(&moment);
        }
        Ok(build(request))
    }

    /// Nothing is brought back across a release that is irreversible.
    fn refuse_one_way(
        &self,
        services: &BTreeMap<Name, Standing>,
        chosen: &BTreeMap<Name, Entry>,
    ) -> Result<(), SessionError> {
        let across = chosen.iter().find_map(|(name, entry)| {
            let standing = services.get(name).filter(|one| one.is_across_irreversible(entry))?;
            Some((name, entry, standing))
        });
        let Some((name, entry, standing)) = across else { return Ok(()) };
        let text = format!(
            "{name} cannot return to release {} ({}): a release that came after it, up to {}, is irreversible",
            entry.release,
            ReasonCode::Irreversible,
            standing.current.release,
        );
        Err(SessionError::new(Kind::Refused, text).hint(format!(
            "what is wrong is mended by a new release: `{} deploy {}`",
            self.program(),
            self.environment()
        )))
    }

    fn request(
        &self,
        kind: PlanKind,
        release: String,
        wanted: BTreeMap<Name, Wanted>,
        standing: BTreeMap<Name, TargetSeen>,
    ) -> Request {
        let overrides = self.loaded.provenance.iter().map(|one| Override {
            key: one.key.clone(),
            value: self.redactor.mask(&one.value).into_owned(),
            origin: one.origin.clone(),
        });
        let created_at = jiff::Timestamp::now();
        Request {
            run: run_name(created_at),
            project: self.loaded.project.name.clone(),
            environment: self.environment().clone(),
            kind,
            release,
            tool_version: self.tool.version.clone(),
            created_at,
            wanted,
            standing,
            known: BTreeMap::new(),
            policy: self.policy(),
            waves: Vec::new(),
            irreversible: false,
            overrides: overrides.collect(),
            left_out: BTreeSet::new(),
        }
    }

    /// The waves of the environment, frozen.
    fn waves(&self) -> Vec<Wave> {
        let waves = self.loaded.environment.waves.iter();
        let wave = |wave: &crate::config::environment::Wave| Wave {
            name: wave.name.clone(),
            targets: wave.targets.clone(),
            soak: wave.soak,
            failure_limit: wave.failure_limit.map(u32::from),
            pause: wave.pause,
        };
        waves.map(wave).collect()
    }

    /// Targets on which a service stands differently have no way back in common.
    fn refuse_disagreement(&self, standing: &BTreeMap<Name, TargetSeen>) -> Result<(), SessionError> {
        let Some(found) = disagreement(standing) else { return Ok(()) };
        let folder = |name: &Name| self.places().into_iter().find(|place| place.target == *name);
        let folder = folder(&found.other).map_or_else(|| self.state.clone(), |place| place.folder);
        let down = format!("{} down {}", self.program(), self.environment());
        let hint = format!(
            "`{down}`, remove {}, and deploy: target {} joins as a new one",
            folder.display(),
            found.other
        );
        Err(SessionError::new(Kind::Refused, found.to_string()).hint(hint))
    }

    /// Services that stand and are no longer configured are to be taken away.
    fn add_removed(&self, wanted: &mut BTreeMap<Name, Wanted>, standing: &BTreeMap<Name, TargetSeen>) {
        for (name, entry) in merged(standing) {
            if wanted.contains_key(&name) {
                continue;
            }
            let Entry { check, port, release, .. } = entry.current;
            let Some(any) = self.loaded.environment.services.values().next() else { continue };
            let gone = Wanted {
                replicas: 0,
                check,
                port,
                release,
                depends_on: Vec::new(),
                migration: None,
                synthetic: None,
                ..self.wanted_of(&name, any)
            };
            wanted.insert(name, gone);
        }
    }

    fn wanted_back(&self, name: &Name, entry: &Entry, bundle: Bundle) -> Wanted {
        let service = self.loaded.environment.services.get(name);
        let base = service.or_else(|| self.loaded.environment.services.values().next());
        let base =
            base.map(|service| self.wanted_of(name, service)).expect("a checked environment has services");
        Wanted {
            host: bundle.host,
            port: bundle.port,
            bundle: Some(bundle),
            source: None,
            release: entry.release.clone(),
            replicas: entry.replicas,
            check: entry.check.clone(),
            depends_on: service.map(|service| service.depends_on.clone()).unwrap_or_default(),
            migration: None,
            synthetic: None,
            bake: 0,
            ..base
        }
    }

    fn entries_of(
        &self,
        release: &str,
        services: &BTreeMap<Name, Standing>,
    ) -> Result<BTreeMap<Name, Entry>, SessionError> {
        let record = self.store().load().map_err(record_error)?;
        if record.bad_releases.contains(release) {
            let text = format!("release {release} is marked bad: it was rolled back when it was deployed");
            return Err(SessionError::new(Kind::Refused, text).hint("choose another, or deploy it anew"));
        }
        let find = |standing: &Standing| {
            let all = std::iter::once(&standing.current).chain(&standing.previous);
            all.into_iter().find(|entry| entry.release == release).cloned()
        };
        let chosen: BTreeMap<Name, Entry> =
            services.iter().filter_map(|(name, standing)| Some((name.clone(), find(standing)?))).collect();
        if chosen.is_empty() {
            let kept: BTreeSet<&str> =
                services.values().flat_map(|one| &one.previous).map(|entry| entry.release.as_str()).collect();
            let kept = kept.into_iter().collect::<Vec<_>>().join(", ");
            let kept = if kept.is_empty() { "none".to_owned() } else { kept };
            return Err(SessionError::new(Kind::Refused, format!("release {release} is not kept here"))
                .hint(format!("kept releases: {kept}")));
        }
        Ok(chosen)
    }

    /// What the program is called in hints.
    pub(super) fn program(&self) -> &str {
        &self.tool.program
    }
}

/// What the services that were changed last stood at before.
fn last_change(services: &BTreeMap<Name, Standing>) -> BTreeMap<Name, Entry> {
    let Some(last) = services.values().map(|standing| standing.current.at).max() else {
        return BTreeMap::new();
    };
    let changed = services.iter().filter(|(_, standing)| standing.current.at == last);
    changed.filter_map(|(name, standing)| Some((name.clone(), standing.previous.first()?.clone()))).collect()
}

/// Refuses to return to a bundle that a target does not have, as one that has joined since.
async fn refuse_missing(
    service: &Name,
    entry: &Entry,
    targets: &BTreeMap<Name, Arc<dyn Target>>,
    standing: &BTreeMap<Name, TargetSeen>,
) -> Result<(), SessionError> {
    for (name, target) in targets {
        let stands = standing.get(name).is_some_and(|seen| seen.ledger.services.contains_key(service));
        if stands && target.bundle(&entry.bundle).await.is_err() {
            let bundle = entry.bundle.short();
            let text = format!("bundle {bundle} of {service} is not on target {name}");
            return Err(
                SessionError::new(Kind::Refused, text).hint(format!("deploy release {} anew", entry.release))
            );
        }
    }
    Ok(())
}

/// Every bundle that the ledgers name and that can be read.
async fn known(
    targets: &BTreeMap<Name, Arc<dyn Target>>,
    standing: &BTreeMap<Name, TargetSeen>,
) -> BTreeMap<BundleHash, Bundle> {
    let mut known = BTreeMap::new();
    for (name, seen) in standing {
        let Some(target) = targets.get(name) else { continue };
        for entry in
            seen.ledger.services.values().flat_map(|one| std::iter::once(&one.current).chain(&one.previous))
        {
            if let Ok(bundle) = target.bundle(&entry.bundle).await {
                known.insert(entry.bundle, bundle);
            }
        }
    }
    known
}

/// Names a run: sortable by time, and different for two that begin in the same second.
fn run_name(now: jiff::Timestamp) -> String {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    format!("{stamp}-{:06x}", (u64::from(std::process::id()) << 10 ^ now.as_nanosecond() as u64) & 0xff_ffff)
}

pub(super) fn record_error(error: RecordError) -> SessionError {
    let is_damaged = matches!(&error, RecordError::Read(ReadError::Malformed { .. }));
    let error = SessionError::new(Kind::State, "the rollout record could not be used").because(error);
    if !is_damaged {
        return error;
    }
    error.hint("put the file back from a copy").hint(
        "without one: make sure that no rollout is under way, remove its whole folder, and the next rollout begins a \
         new record",
    )
}
