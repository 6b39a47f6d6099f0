//! The targets of an environment: where each keeps its state, which address it holds the stable ports on, and what stands
//! there.
//!
//! A process target without an address of its own is the environment's only one, and keeps its state in the environment's
//! folder; every other target has a folder of its own below that. So a target stays where it is when others come and go
//! beside it, and one that was of another kind is still found, and stopped by `down`.

use super::{Kind, Session, SessionError, apply};
use crate::{
    adapter::process::{self, Client, PlannedBundle, ProcessPlan, protocol::CommitEntry},
    check::{Check, Probe},
    config::environment::TargetKind,
    plan::{Plan, Risk, ServicePlan, Side},
    port::{EffectError, Target, TargetSeen},
};
use futures::future::{join_all, try_join_all};
use pipeline::{config::scalar::EngineAddress, name::Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// How often a target is looked at before its word is taken that it cannot be: whoever answers there may just be restarted.
const LOOKS: u32 = 3;

/// Between two looks. A supervisor that was killed is there again within a tenth of this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Where the folders of targets with an address of their own are, below the environment's folder of state.
const TARGETS_FOLDER: &str = "targets";

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The target.
    pub target: Name,
    /// What it is.
    pub kind: TargetKind,
    /// The Docker engine, of a target that is one; `None`: the one of this machine.
    pub engine: Option<EngineAddress>,
    /// The address that it holds the stable ports on; `None`: each service's own.
    pub host: Option<IpAddr>,
    /// Its folder of state.
    pub folder: PathBuf,
}

impl Place {
    /// Where a service with this stable port is asked on this target, from this machine.
    pub(super) fn address(&self, port: u16) -> SocketAddr {
        let host = self.host.filter(|host| !host.is_unspecified());
        SocketAddr::new(host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
    }
}

impl Session {
    /// Where the configured targets are, by name.
    pub fn places(&self) -> Vec<Place> {
        let targets = self.loaded.environment.targets.iter();
        let place = |(name, target): (&Name, &crate::config::environment::Target)| Place {
            target: name.clone(),
            kind: target.kind,
            engine: target.engine.clone(),
            host: target.host,
            folder: match (target.kind, target.host) {
                (TargetKind::Process, None) => self.state.clone(),
                (TargetKind::Process, Some(_)) | (TargetKind::Docker, _) => self.own_folder(name),
            },
        };
        targets.map(place).collect()
    }

    /// Whether units must be told apart by their target, too.
    pub(super) fn has_several_targets(&self) -> bool {
        self.loaded.environment.targets.len() > 1
    }

    fn own_folder(&self, target: &Name) -> PathBuf {
        self.state.join(TARGETS_FOLDER).join(target.as_str())
    }

    /// Places where a target was that is configured no more, or elsewhere.
    fn left_places(&self) -> Vec<Place> {
        let places = self.places();
        let is_left = |folder: &PathBuf| !places.iter().any(|place| place.folder == *folder);
        let own = self.state.join("supervisor").is_dir() && is_left(&self.state);
        let any = || places.first().map(|place| place.target.clone());
        let own = own.then(|| process::owner(&self.state).or_else(any)).flatten();
        let left =
            |target, folder| Place { target, kind: TargetKind::Process, engine: None, host: None, folder };
        let own = own.map(|target| left(target, self.state.clone()));
        let folders = fs::read_dir(self.state.join(TARGETS_FOLDER)).into_iter().flatten().flatten();
        let names = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<Name>().ok());
        let below = names.map(|target| {
            let folder = self.own_folder(&target);
            left(target, folder)
        });
        own.into_iter().chain(below.filter(|place| is_left(&place.folder))).collect()
    }

    /// The targets, ready to carry out a plan, or only to be observed.
    ///
    /// # Errors
    /// When the plan reaches a target that is not configured, or the state of one is elsewhere.
    pub(super) async fn targets(
        &self,
        plan: Option<&Plan>,
    ) -> Result<BTreeMap<Name, Arc<dyn Target>>, SessionError> {
        let mut targets: BTreeMap<Name, Arc<dyn Target>> = BTreeMap::new();
        for place in self.places() {
            if place.kind == TargetKind::Process {
                self.refuse_moved(&place)?;
            }
            let plan = plan.map(|plan| process_plan(plan, place.host)).unwrap_or_default();
            let target = self.platform(place.kind)?.open(&place, plan, Arc::new(self.vault.clone())).await?;
            targets.insert(place.target, target);
        }
        let reached = plan.into_iter().flat_map(|plan| &plan.services).flat_map(|service| &service.targets);
        if let Some(unknown) = reached.into_iter().find(|target| !targets.contains_key(*target)) {
            let text =
                format!("the plan reaches target `{unknown}`, which `{}` has no more", self.environment());
            return Err(SessionError::new(Kind::Refused, text)
                .hint("put it back into the environment's file, or make a new plan"));
        }
        Ok(targets)
    }

    /// A target whose `host` came or went looks for its state where it is not: it would be taken for a new one.
    fn refuse_moved(&self, place: &Place) -> Result<(), SessionError> {
        let (other, change, back) = match place.host {
            Some(_) => (self.state.clone(), "before it got a `host`", "take its `host` out again"),
            None => (self.own_folder(&place.target), "as long as it had a `host`", "put its `host` back"),
        };
        let stood = process::owner(&other).is_some_and(|owner| owner == place.target);
        if !stood || process::owner(&place.folder).is_some() {
            return Ok(());
        }
        let text = format!("target `{}` kept its state in `{}` {change}", place.target, other.display());
        let down = format!("{} down {}", self.program(), self.environment());
        Err(SessionError::new(Kind::State, text)
            .hint(back)
            .hint(format!("or `{down}`, remove `ledger.json` there, and deploy: it joins as a new target")))
    }

    /// What stands on every target.
    pub(super) async fn standing(
        &self,
        targets: &BTreeMap<Name, Arc<dyn Target>>,
    ) -> Result<BTreeMap<Name, TargetSeen>, SessionError> {
        let looks = targets.iter().map(|(name, target)| async move {
            let seen = looked_at(|| target.observe()).await.map_err(|error| {
                SessionError::new(Kind::State, format!("target {name} does not say what stands there"))
                    .because(error)
            })?;
            Ok::<_, SessionError>((name.clone(), seen))
        });
        let standing = try_join_all(looks).await?.into_iter().collect();
        self.miss_ledgers(&standing)?;
        Ok(standing)
    }

    /// A rollout that has succeeded on a target has left a ledger there. One that is gone is not taken for an empty one:
    /// the next rollout would have nothing to return to. A target whose whole folder is gone was taken away: it joins as
    /// a new one.
    fn miss_ledgers(&self, standing: &BTreeMap<Name, TargetSeen>) -> Result<(), SessionError> {
        let is_empty =
            |place: &Place| standing.get(&place.target).is_some_and(|seen| seen.ledger.generation == 0);
        let may_miss = |place: &Place| is_empty(place) && (place.host.is_none() || place.folder.is_dir());
        let missing: Vec<Place> = self.places().into_iter().filter(may_miss).collect();
        if missing.is_empty() {
            return Ok(());
        }
        // What cannot be read is told by whoever needs it.
        let Ok(history) = self.store().history() else { return Ok(()) };
        for place in missing {
            // What was written before rollouts told their targets was of an environment with one.
            let reached = |targets: &BTreeSet<Name>| match targets.is_empty() {
                true => place.host.is_none(),
                false => targets.contains(&place.target),
            };
            let mut entries = history.entries.iter();
            let Some(last) = entries.find(|one| one.outcome == apply::SUCCEEDED && reached(&one.targets))
            else {
                continue;
            };
            return Err(self.platform(place.kind)?.lost(&place, &last.release));
        }
        Ok(())
    }

    /// What should be known of targets that are configured no more: what runs there goes on.
    pub(super) async fn left_behind(&self) -> Vec<Risk> {
        let looks = self.left_places().into_iter().map(|place| async move {
            let runs = match Client::new(&place.folder) {
                Ok(client) => !matches!(client.hello().await, Ok(None)),
                Err(_) => false,
            };
            runs.then(|| Risk {
                service: None,
                message: format!(
                    "target {} is configured no more, and what runs there goes on: `{} down {}` stops it, with all else",
                    place.target,
                    self.program(),
                    self.environment()
                ),
            })
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// Stops every unit and every router of this environment; what was deployed stays recorded, and the next deploy
    /// restores it. Targets that are configured no more are stopped, too. Says whether anything ran.
    ///
    /// # Errors
    /// When something does not stop; the rest was stopped nevertheless.
    pub(super) async fn take_down(&self) -> Result<bool, SessionError> {
        let grace = self.loaded.environment.timings.stop_grace;
        let places = self.places().into_iter().chain(self.left_places());
        let downs =
            places.map(|place| async move { self.platform(place.kind)?.take_down(&place, grace).await });
        // All are awaited before the first error is told.
        join_all(downs).await.into_iter().try_fold(false, |ran, down| Ok(down? | ran))
    }

    /// Where nothing stands any more, as after a failed first deploy, nothing is left running.
    pub(super) async fn leave_nothing(&self, targets: &BTreeMap<Name, Arc<dyn Target>>) {
        let Ok(standing) = self.standing(targets).await else { return };
        for place in self.places() {
            let is_empty = |seen: &TargetSeen| seen.ledger.services.is_empty() && seen.units.is_empty();
            if standing.get(&place.target).is_some_and(is_empty) {
                // It does no harm if it goes on: there is nothing that it could serve.
                if let Ok(platform) = self.platform(place.kind) {
                    platform.leave_nothing(&place).await;
                }
            }
        }
    }
}

/// Where the deployed services answer, for smoke tests and hooks: `FAIRLEAD_URL_API` on the first target that the rollout
/// reaches, and on each target `FAIRLEAD_URL_API_EAST` where there are several.
pub(super) fn addresses(plan: &Plan, places: &[Place]) -> BTreeMap<String, String> {
    let word = |name: &Name| name.as_str().to_uppercase().replace('-', "_");
    let mut addresses = BTreeMap::new();
    for service in &plan.services {
        let Some(side) = &service.to else { continue };
        let reached = service.targets.iter().filter_map(|name| places.iter().find(|one| one.target == *name));
        for (index, place) in reached.enumerate() {
            let url = format!("http://{}", place.address(side.port));
            let variable = format!("FAIRLEAD_URL_{}", word(&service.service));
            if places.len() > 1 {
                addresses.insert(format!("{variable}_{}", word(&place.target)), url.clone());
            }
            if index == 0 {
                addresses.insert(variable, url);
            }
        }
    }
    addresses
}

/// What a process target must know of a plan; `host` is the target's own address, if it has one.
fn process_plan(plan: &Plan, host: Option<IpAddr>) -> ProcessPlan {
    let mut bundles = BTreeMap::new();
    let sides = plan.services.iter().flat_map(|service| {
        let brings = is_new(service);
        [(&service.from, false), (&service.to, plan.irreversible && brings)]
    });
    for (side, irreversible) in sides.filter_map(|(side, one_way)| Some((side.as_ref()?, one_way))) {
        let source = plan.sources.get(&side.bundle).cloned();
        let source = source.and_then(|source| Some((plan.bundles.get(&side.bundle)?.clone(), source)));
        let planned = PlannedBundle {
            entry: commit_entry(side, irreversible),
            host: host.unwrap_or(side.host),
            health_path: health_path(&side.check),
            source,
        };
        // Where both sides are the same bundle, the goal counts.
        bundles.insert(side.bundle, planned);
    }
    let migration = |service: &ServicePlan| Some((service.service.clone(), service.migration.clone()?));
    let migrations = plan.services.iter().filter_map(migration).collect();
    ProcessPlan { bundles, migrations, keep: plan.policy.keep }
}

/// Looks, and looks again where what was in the way may pass. Looking changes nothing.
async fn looked_at<T, F: Future<Output = Result<T, EffectError>>>(
    look: impl Fn() -> F,
) -> Result<T, EffectError> {
    for _ in 1..LOOKS {
        match look().await {
            Err(EffectError::Passing { .. }) => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
            seen => return seen,
        }
    }
    look().await
}

/// Whether a service gets another bundle than the one that stands.
fn is_new(service: &ServicePlan) -> bool {
    let bundle = |side: &Option<Side>| side.as_ref().map(|side| side.bundle);
    bundle(&service.from) != bundle(&service.to)
}

fn commit_entry(side: &Side, irreversible: bool) -> CommitEntry {
    CommitEntry {
        bundle: side.bundle,
        release: side.release.clone(),
        replicas: side.replicas,
        check: side.check.clone(),
        port: side.port,
        irreversible,
    }
}

fn health_path(check: &Check) -> Option<String> {
    match &check.probe {
        Probe::Http(http) if http.tls.is_none() => Some(http.path.clone()),
        Probe::Http(_) | Probe::Tcp | Probe::Command(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::ReasonCode;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What comes of looks of which so many fail, and how many there were.
    async fn looks(fail: u32, error: EffectError) -> (Result<u32, EffectError>, u32) {
        let count = AtomicU32::new(0);
        let look = || {
            let number = 1 + count.fetch_add(1, Ordering::Relaxed);
            let seen = if number > fail { Ok(number) } else { Err(error.clone()) };
            async move { seen }
        };
        (looked_at(look).await, count.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_just_restarted_is_asked_again_and_a_refusal_is_taken_at_once() {
        let lost = EffectError::Passing { message: "Connection reset by peer".to_owned() };
        assert_eq!(looks(2, lost.clone()).await, (Ok(3), 3));
        assert_eq!(looks(9, lost.clone()).await, (Err(lost), LOOKS));
        let refused =
            EffectError::Terminal { reason: ReasonCode::ActionFailed, message: "damaged".to_owned() };
        assert_eq!(looks(1, refused.clone()).await, (Err(refused), 1));
    }
}
