//! One engine as a [`Target`].

use crate::{
    bundle::Contents,
    engine::{Engine, is_running},
    error::{passing, terminal},
    events::Ear,
    image::Credentials,
    place::{Kind, Place},
    routes::Routes,
    state::{Life, Listening, State, Stored},
    store::Store,
    unit::routes_effect,
};
use async_trait::async_trait;
use deploy::{
    adapter::process::{PlannedBundle, ProcessPlan, SecretResolver, committed, protocol::CommitEntry},
    bundle::{Bundle, BundleHash},
    model::{Action, Intent, Millis, UnitId},
    port::{EffectError, EffectOutput, Target, TargetSeen},
    reason::ReasonCode,
};
use docker::Connection;
use futures::future::join_all;
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// The longest wait of [`Target::changed`].
const CHANGED_TIMEOUT: Duration = Duration::from_secs(1);

/// All that a docker target is made from.
pub struct Options {
    /// Whose it is.
    pub place: Place,
    /// The engine.
    pub connection: Connection,
    /// What a plan says about the bundles that it may bring to the engine, or bring back. An artifact's name is that of an
    /// image without a tag (`registry.example/api`), its digest the one that the registry gave it, or the image's id if it
    /// is nowhere but on the engine.
    pub plan: ProcessPlan,
    /// Gives the values of secrets while a bundle is brought to the engine, and at no other time.
    pub secrets: Arc<dyn SecretResolver>,
    /// For registries that want them.
    pub credentials: Credentials,
    /// Whatever holds the stable ports.
    pub routes: Arc<dyn Routes>,
}

/// One Docker engine: units are containers, and the engine holds all that must outlast them.
pub struct DockerTarget {
    pub(crate) place: Place,
    pub(crate) engine: Engine,
    pub(crate) platform: String,
    pub(crate) plan: ProcessPlan,
    pub(crate) credentials: Credentials,
    pub(crate) routes: Arc<dyn Routes>,
    pub(crate) store: Store,
    /// Held from reading the state to applying what it says of traffic.
    pub(crate) routing: Mutex<()>,
    secrets: Arc<dyn SecretResolver>,
    ear: Ear,
    /// What had changed before the last observation.
    seen: AtomicU64,
}

impl DockerTarget {
    /// The target. Touches nothing yet.
    pub fn new(options: Options) -> Self {
        let Options { place, connection, plan, secrets, credentials, routes } = options;
        let engine = Engine::new(connection.docker().clone());
        Self {
            store: Store::new(engine.clone(), place.clone()),
            ear: Ear::new(engine.clone(), place.clone()),
            platform: connection.facts.platform,
            routing: Mutex::default(),
            seen: AtomicU64::new(0),
            place,
            engine,
            plan,
            credentials,
            routes,
            secrets,
        }
    }

    pub(crate) fn planned(&self, bundle: &BundleHash) -> Result<&PlannedBundle, EffectError> {
        let missing =
            || terminal(ReasonCode::ActionFailed, format!("bundle {} is not in the plan", bundle.short()));
        self.plan.bundles.get(bundle).ok_or_else(missing)
    }

    /// Stops every unit, and holds no stable port any more; bundles and ledger stay. Says whether anything ran.
    pub(crate) async fn take_down(&self, grace: Millis) -> Result<bool, EffectError> {
        let generation = self.store.read().await?.generation;
        let containers = self.containers().await?;
        let give_back = |state: &mut State| {
            state.listening.clear();
            Ok(())
        };
        let state = self.store.update(generation, give_back).await?;
        self.route().await?;
        let units: BTreeSet<&UnitId> = containers.keys().chain(state.units.keys()).collect();
        let stops = units.into_iter().map(|unit| self.stop(generation, unit, grace));
        join_all(stops).await.into_iter().collect::<Result<(), EffectError>>()?;
        Ok(containers.values().any(is_running))
    }

    /// Whether nothing stands here that a router could serve.
    pub(crate) async fn listens_for_nobody(&self) -> bool {
        let state = self.store.read().await;
        state.is_ok_and(|state| state.ledger.services.is_empty() && state.units.is_empty())
    }

    async fn prepare(&self, generation: u64, service: &Name, hash: &BundleHash) -> Result<(), EffectError> {
        let planned = self.planned(hash)?;
        let state = self.store.update(generation, |_| Ok(())).await?;
        let found = match state.bundles.get(hash) {
            Some(stored) => self.engine.describe(hash, stored).await.map(|bundle| (bundle, stored.clone())),
            None => Err(terminal(
                ReasonCode::PrepareFailed,
                format!(
                    "bundle {} of {service} is not on the engine (any more), and the plan does not say where to take it from",
                    hash.short()
                ),
            )),
        };
        match (found, &planned.source) {
            (Ok((bundle, stored)), _) => {
                self.engine.have_image(&bundle.artifact, &self.platform, &self.credentials).await?;
                self.engine.keep_image(&stored.image, &self.place.image_tag(hash)).await?;
            }
            (Err(EffectError::Terminal { .. }), Some((bundle, source))) => {
                let (resolver, to_read, from) = (self.secrets.clone(), bundle.clone(), source.clone());
                let gather = move || Contents::gather(&to_read, &from, resolver.as_ref());
                let gathered = tokio::task::spawn_blocking(gather).await;
                let contents =
                    gathered.map_err(|error| passing(format!("preparing was broken off: {error}")))??;
                self.bring(generation, hash, bundle, &contents).await?;
            }
            (Err(error), _) => return Err(error),
        }
        let (host, port) = (planned.host, planned.entry.port);
        self.listen(generation, service, Listening { host, port, health_path: planned.health_path.clone() })
            .await
    }

    /// Brings a bundle to the engine and names it in the state.
    async fn bring(
        &self,
        generation: u64,
        hash: &BundleHash,
        bundle: &Bundle,
        contents: &Contents,
    ) -> Result<(), EffectError> {
        let image = self.engine.have_image(&bundle.artifact, &self.platform, &self.credentials).await?;
        self.engine.keep_image(&image.id, &self.place.image_tag(hash)).await?;
        let stored = self.engine.fill(&self.place, generation, hash, bundle, &image, contents).await?;
        let name = |state: &mut State| {
            state.bundles.insert(*hash, stored.clone());
            Ok(())
        };
        let named = self.store.update(generation, name).await;
        if matches!(named, Err(EffectError::Fenced { .. })) {
            // Nobody will ever know of it.
            let _ = self.engine.remove_volume(&stored.volume).await;
        }
        named.map(drop)
    }

    /// Holds the stable port of a service from now on.
    async fn listen(&self, generation: u64, service: &Name, listening: Listening) -> Result<(), EffectError> {
        let _turn = self.routing.lock().await;
        let mut state = self.store.update(generation, |_| Ok(())).await?;
        state.listening.insert(service.clone(), listening.clone());
        let table = self.table(&state, &self.containers().await?);
        // A port that cannot be held is not remembered.
        self.routes.apply(&table).await.map_err(|error| routes_effect(&error))?;
        let remember = |state: &mut State| {
            state.listening.insert(service.clone(), listening.clone());
            Ok(())
        };
        self.store.update(generation, remember).await.map(drop)
    }

    async fn commit(
        &self,
        generation: u64,
        services: &BTreeMap<Name, Option<BundleHash>>,
    ) -> Result<(), EffectError> {
        let entry = |bundle: &BundleHash| Ok::<_, EffectError>(self.planned(bundle)?.entry.clone());
        let entries: BTreeMap<Name, Option<CommitEntry>> = services
            .iter()
            .map(|(service, bundle)| Ok((service.clone(), bundle.as_ref().map(entry).transpose()?)))
            .collect::<Result<_, EffectError>>()?;
        let state = self.store.update(generation, |_| Ok(())).await?;
        for hash in services.values().flatten() {
            self.engine.describe(hash, &Self::stored(&state, hash)?).await?;
        }
        let now = jiff::Timestamp::now();
        let write = |state: &mut State| {
            state.ledger = committed(state.ledger.clone(), generation, &entries, self.plan.keep, now);
            for (service, _) in entries.iter().filter(|(_, entry)| entry.is_none()) {
                state.listening.remove(service);
            }
            Ok(())
        };
        self.store.update(generation, write).await?;
        self.route().await?;
        self.prune(generation, &services.keys().cloned().collect()).await
    }

    /// Removes what nothing needs any more. What cannot be removed is left for the next commit.
    async fn prune(&self, generation: u64, services: &BTreeSet<Name>) -> Result<(), EffectError> {
        let containers = self.containers().await?;
        // A start that was broken off and that nobody has asked for again.
        let never_ran = |unit: &UnitId| !containers.get(unit).is_some_and(is_running);
        let is_needless = |needed: &BTreeSet<BundleHash>, hash: &BundleHash, stored: &Stored| {
            !needed.contains(hash) && services.contains(&stored.service)
        };
        let before = self.store.read().await?;
        let forget = |state: &mut State| {
            state.units.retain(|unit, meant| meant.life != Life::Starting || !never_ran(unit));
            let needed = state.needed();
            state.bundles.retain(|hash, stored| !is_needless(&needed, hash, stored));
            Ok(())
        };
        let state = self.store.update(generation, forget).await?;
        for unit in containers.keys().filter(|unit| never_ran(unit) && !state.units.contains_key(*unit)) {
            let _ = self.engine.remove_container(&self.place.unit(unit)).await;
        }
        for hash in before.bundles.keys().filter(|hash| !state.bundles.contains_key(*hash)) {
            let _ = self.engine.let_image_go(&self.place.image_tag(hash)).await;
        }
        // Of this generation nobody fills any more when it commits, and an older one cannot name what it has filled.
        for container in self.engine.containers(&self.place, Kind::Filler).await.unwrap_or_default() {
            let _ = self.engine.remove_container(&container.id.unwrap_or_default()).await;
        }
        let named: BTreeSet<&String> = state.bundles.values().map(|stored| &stored.volume).collect();
        for volume in self.engine.volumes(&self.place, Kind::Bundle).await.unwrap_or_default() {
            if !named.contains(&volume.name) {
                let _ = self.engine.remove_volume(&volume.name).await;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for DockerTarget {
    fn name(&self) -> &Name {
        &self.place.target
    }

    async fn observe(&self) -> Result<TargetSeen, EffectError> {
        self.seen.store(self.ear.seen(), Ordering::Relaxed);
        self.look().await
    }

    async fn changed(&self) {
        self.ear.changed(self.seen.load(Ordering::Relaxed), CHANGED_TIMEOUT).await;
    }

    async fn fence(&self, generation: u64) -> Result<(), EffectError> {
        let state = self.store.update(generation, |_| Ok(())).await?;
        if !state.listening.is_empty() {
            // After a start of the machine, or where an executor died between what it wrote and what it did, traffic is
            // not as the state says. What stands in the way is told by the first action that needs it.
            let _ = self.route().await;
        }
        Ok(())
    }

    async fn perform(&self, generation: u64, intent: &Intent) -> Result<EffectOutput, EffectError> {
        let done = match &intent.action {
            Action::Prepare { service, bundle, .. } => self.prepare(generation, service, bundle).await,
            Action::Migrate { service, bundle, .. } => {
                return self.migrate(generation, service, bundle).await;
            }
            Action::Start { unit } => self.start(generation, unit).await,
            Action::Admit { unit, weight } => self.admit(generation, unit, *weight).await,
            Action::Drain { unit, deadline } => return self.drain(generation, unit, *deadline).await,
            Action::Stop { unit, grace } => self.stop(generation, unit, *grace).await,
            Action::Commit { services, .. } => self.commit(generation, services).await,
            Action::Hook { .. } | Action::Judge { .. } | Action::Verify { .. } | Action::Collect => {
                let message = format!("a target does not {}: that is done elsewhere", intent.action.verb());
                Err(terminal(ReasonCode::ActionFailed, message))
            }
        };
        done.map(|()| EffectOutput::default())
    }

    async fn bundle(&self, hash: &BundleHash) -> Result<Bundle, EffectError> {
        let state = self.store.read().await?;
        self.engine.describe(hash, &Self::stored(&state, hash)?).await
    }

    async fn log_tail(&self, unit: &UnitId, lines: usize) -> Result<Vec<String>, EffectError> {
        let tail = self.engine.log_tail(&self.place.unit(unit), lines).await;
        Ok(tail.map_err(|error| error.effect(ReasonCode::ActionFailed))?.unwrap_or_default())
    }

    async fn resources(&self, unit: &UnitId) -> Vec<(String, String)> {
        let Ok(Some(stats)) = self.engine.stats(&self.place.unit(unit)).await else { return Vec::new() };
        let memory = stats.memory_stats.unwrap_or_default();
        let Some(usage) = memory.usage else { return Vec::new() }; // It does not run.
        // What the kernel gives back as soon as somebody wants it; hierarchies of the first version name it otherwise.
        let parts = memory.stats.unwrap_or_default();
        let cache =
            parts.get("total_inactive_file").or_else(|| parts.get("inactive_file")).copied().unwrap_or(0);
        let mebibytes = usage.saturating_sub(cache).div_ceil(1024 * 1024);
        let mut pairs = vec![("resident memory".to_owned(), format!("{mebibytes} MiB"))];
        let tasks = stats.pids_stats.and_then(|pids| pids.current);
        pairs.extend(tasks.map(|count| ("processes and threads".to_owned(), count.to_string())));
        pairs
    }
}
