//! Carrying out a plan, and taking up a rollout that was left: lease, preconditions, loop, history.

use super::{
    ApplyOptions, Events, Kind, Session, SessionError,
    clock::RealClock,
    ear::Ear,
    lease::{Held, Kept, lease_error, lost},
    planning::record_error,
    scribe::{Scribe, Told},
    targets::addresses,
};
use crate::{
    adapter::{
        hook::CommandHooks,
        probe::{Gates, RealProber},
    },
    decide::End,
    event::Event,
    lint,
    plan::{Plan, ServicePlan, changed_since},
    port::{Clock, SwapError, Target},
    record::{Finished, OpenRollout},
    run::Rollout,
    state::{Command, Outcome, Phase, State},
};
use pipeline::{journal::Journal, name::Name};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::mpsc;

/// What the history calls a rollout that brought what it was to bring.
pub(super) const SUCCEEDED: &str = "succeeded";

/// How far ahead of this machine's clock a plan may have been made: it may come from another machine. Above what clocks
/// that are kept right by the network differ, far below the day after which a plan expires.
const CLOCK_DIFFERENCE_MAX: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

impl Session {
    /// Carries out a plan: preconditions, lease, rollout.
    ///
    /// # Errors
    /// It is refused, naming the field, if what it rests on has changed, and nothing is changed then. The failure of a
    /// rollout is not an error but an outcome.
    pub async fn apply(
        &self,
        mut plan: Plan,
        options: ApplyOptions,
        events: Events,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<End, SessionError> {
        self.check_plan(&plan)?;
        self.vault.check(&plan.bundles, &plan.sources).await?;
        if options.keep_failed {
            plan.policy.on_failure = crate::plan::OnFailure::Hold;
        }
        let targets = self.targets(Some(&plan)).await?;
        let standing = self.standing(&targets).await?;
        let floor = standing.values().map(|seen| seen.generation).max().unwrap_or(0);
        let held = self.acquire(&plan.run, &options, floor, &events).await?;
        if let Some(open) = &held.open {
            let error = self.in_the_way(open);
            held.give_back().await;
            return Err(error);
        }
        if let Err(error) = self.frozen(held.freeze.as_ref(), &plan, &options) {
            held.give_back().await;
            return Err(error);
        }
        // Looked at under the lease: from here on nobody else changes anything.
        let standing = self.standing(&targets).await?;
        if let Err(error) = refuse_changes(&plan, &standing) {
            held.give_back().await;
            return Err(error);
        }
        if let Err(error) = self.fence(&targets, held.generation).await {
            held.give_back().await;
            return Err(error);
        }
        let state = State::new(&plan, RealClock::new().now());
        let open = OpenRollout {
            run: plan.run.clone(),
            plan: plan.clone(),
            state: state.clone(),
            started_at: RealClock::new().now(),
            actor: held.actor.clone(),
        };
        held.keeper.write(move |record| record.open = Some(open)).await.map_err(lease_error)?;
        self.carry_out(plan, state, false, held, targets, options, events, commands).await
    }

    /// Takes up the open rollout and carries it on; with `Some(Command::Cancel)` it is rolled back instead.
    ///
    /// # Errors
    /// When no rollout is open, or the lease is held.
    pub async fn resume(
        &self,
        first: Option<Command>,
        options: ApplyOptions,
        events: Events,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<End, SessionError> {
        let Some(open) = self.store().load().map_err(record_error)?.open else {
            let text = format!("no rollout is open in environment `{}`", self.environment());
            return Err(SessionError::new(Kind::Refused, text)
                .hint(format!("`{} status` shows what stands", self.program())));
        };
        let targets = self.targets(Some(&open.plan)).await?;
        let standing = self.standing(&targets).await?;
        let floor = standing.values().map(|seen| seen.generation).max().unwrap_or(0);
        let held = self.acquire(&open.run, &options, floor, &events).await?;
        // What was read before the lease was taken may be out of date by now.
        let Some(open) = held.open.clone() else {
            held.give_back().await;
            return Err(SessionError::new(
                Kind::Refused,
                "the rollout was finished by another in the meantime",
            ));
        };
        if let Err(error) = self.fence(&targets, held.generation).await {
            held.give_back().await;
            return Err(error.hint(format!(
                "`{} resume {}` tries again",
                self.program(),
                self.environment()
            )));
        }
        let mut state = open.state.clone();
        state.reopen();
        let (forward, commands) = with_first(first, commands);
        let end = self.carry_out(open.plan, state, true, held, targets, options, events, commands).await;
        forward.abort();
        end
    }

    /// Keeps every older executor off the targets, before anything is written down that must then be carried out.
    async fn fence(
        &self,
        targets: &BTreeMap<Name, Arc<dyn Target>>,
        generation: u64,
    ) -> Result<(), SessionError> {
        for (name, target) in targets {
            target.fence(generation).await.map_err(|error| {
                SessionError::new(Kind::State, format!("target {name} does not let this rollout begin"))
                    .because(error)
            })?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "wiring: each is handed on to one place")]
    async fn carry_out(
        &self,
        plan: Plan,
        state: State,
        resumed: bool,
        held: Held,
        targets: BTreeMap<Name, Arc<dyn Target>>,
        options: ApplyOptions,
        events: Events,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<End, SessionError> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let began = clock.now();
        let plan = Arc::new(plan);
        let scribe = self.scribe(&plan, &held)?;
        let (told, events) = (events.clone(), scribe.before(events));
        let (letters, events) = self.letters(&plan, events);
        let (requests, run) = (Arc::new(self.requests()), plan.run.clone());
        let (ear, commands) = Ear::begin(requests, run, held.generation, commands, events.clone());
        let rollout = Rollout {
            prober: Arc::new(self.prober(&plan, clock.clone())),
            hooks: Arc::new(CommandHooks::new(
                self.root.clone(),
                self.redactor.clone(),
                &plan,
                addresses(&plan, &self.places()),
            )),
            plan: plan.clone(),
            generation: held.generation,
            targets,
            clock: clock.clone(),
            record: Arc::new(Kept(held.keeper.clone())),
            events,
            dossiers: self.state.join("dossier"),
            program: self.program().to_owned(),
            mask: self.mask(),
            lost: held.keeper.lost(),
            stay_paused: options.wait,
        };
        let end = rollout.run(state, resumed, commands).await;
        scribe.finish(&told);
        if let Some(letters) = letters {
            letters.finish();
        }
        if matches!(end, Ok(End::Finished(_))) {
            self.leave_nothing(&rollout.targets).await;
        }
        drop(rollout);
        match end {
            Ok(End::Finished(outcome)) => {
                let entry = finished(&plan, &outcome, &held, &options, began, clock.now());
                self.store().append_history(&entry).map_err(|error| {
                    SessionError::new(Kind::State, "the history could not be written").because(error)
                })?;
                let by = ear.ended_by().unwrap_or_else(|| held.actor.clone());
                let freeze = self.freeze_after(&plan, &outcome, &options, by, clock.now());
                held.finish(&plan, outcome.clone(), entry, freeze).await?;
                Ok(End::Finished(outcome))
            }
            Ok(left) => {
                held.give_back().await;
                Ok(left)
            }
            Err(SwapError::Lost { .. }) => Err(lost(&held.keeper)),
            Err(SwapError::Write(error)) => {
                let text = "the rollout record could not be written, so nothing more was begun";
                Err(SessionError::new(Kind::State, text).because(error).hint(format!(
                    "mend it, then `{} resume {}`",
                    self.program(),
                    self.environment()
                )))
            }
        }
    }

    /// What can be said of a plan without looking at anything.
    fn check_plan(&self, plan: &Plan) -> Result<(), SessionError> {
        let refuse = |text: String| Err(SessionError::new(Kind::Refused, text).hint("make a new plan"));
        if plan.environment != *self.environment() {
            let text = format!(
                "the plan is for environment `{}`, not for `{}`",
                plan.environment,
                self.environment()
            );
            return refuse(text);
        }
        let now = jiff::Timestamp::now();
        if plan.created_at > now + CLOCK_DIFFERENCE_MAX {
            // Its expiry says nothing either: it may be older than any that expired.
            return refuse(format!(
                "the plan was made at {}, and by this machine's clock it is {now:.0}: one of the clocks is wrong",
                plan.created_at
            ));
        }
        if plan.expires_at < now {
            return refuse(format!("the plan expired at {}", plan.expires_at));
        }
        match lint::refusal(plan, self.loaded.environment.protected) {
            Some(text) => Err(SessionError::new(Kind::Refused, text)),
            None => Ok(()),
        }
    }

    fn in_the_way(&self, open: &OpenRollout<Plan, State>) -> SessionError {
        let (program, environment) = (self.program(), self.environment());
        let phase = match &open.state.phase {
            Phase::Finished(Outcome::Held { cause, .. }) => {
                format!("held: {}: {}", cause.reason, cause.message)
            }
            Phase::Finished(Outcome::RollbackFailed { failure, .. }) => {
                format!("its rollback failed: {}: {}", failure.reason, failure.message)
            }
            _ if open.state.is_paused() => "paused".to_owned(),
            phase => format!("left while {}", phase.word()),
        };
        let carry_on = if phase.starts_with("paused") { "promote" } else { "resume" };
        let text = format!("the rollout of {} (run {}) is open: {phase}", open.plan.release, open.run);
        SessionError::new(Kind::Locked, text)
            .hint(format!("`{program} {carry_on} {environment}` carries it on"))
            .hint(format!("`{program} rollback {environment}` brings back what stood before it"))
    }

    fn prober(&self, plan: &Plan, clock: Arc<dyn Clock>) -> RealProber {
        let mut prober = RealProber::new(clock, self.mask());
        for service in &plan.services {
            let mut smoke = plan.policy.smoke.clone();
            if let Some(gate) = &mut smoke {
                gate.env.extend(addresses(plan, &self.places()));
            }
            let gates = Gates { synthetic: service.synthetic.clone(), smoke };
            prober = prober.with_gates(service.service.clone(), gates);
        }
        prober
    }

    /// Begins the journal of this run, with what happened before the rollout.
    fn scribe(&self, plan: &Plan, held: &Held) -> Result<Scribe, SessionError> {
        let generation = held.generation;
        let run = format!("{}-g{generation}", plan.run);
        let folder = self.state.join("journal");
        let journal =
            Journal::create(&folder, &run, &self.tool.version, self.redactor.clone()).map_err(|error| {
                SessionError::new(Kind::State, "the journal could not be begun, so nothing was")
                    .because(error)
            })?;
        let scribe = Scribe::begin(move |told| journal.record(told));
        for event in self.before.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..) {
            scribe.write(Told::Pipeline(event));
        }
        let took_over = held.took_over.clone();
        scribe.write(Told::Deploy(Event::LeaseAcquired { generation, took_over }));
        Ok(scribe)
    }
}

/// Whether what the plan brings is, in part, the release that stood before.
pub(super) fn stands_already(plan: &Plan) -> bool {
    let before =
        |service: &ServicePlan| service.from.as_ref().is_some_and(|from| from.release == plan.release);
    plan.services.iter().any(before)
}

fn refuse_changes(
    plan: &Plan,
    standing: &BTreeMap<Name, crate::port::TargetSeen>,
) -> Result<(), SessionError> {
    let changed = changed_since(plan, standing);
    if changed.is_empty() {
        return Ok(());
    }
    let lines = changed.iter().map(|(field, then, now)| format!("  {field}: was {then}, is {now}"));
    let text = format!("what the plan rests on has changed:\n{}", lines.collect::<Vec<_>>().join("\n"));
    Err(SessionError::new(Kind::Refused, text).hint("make a new plan"))
}

fn finished(
    plan: &Plan,
    outcome: &Outcome,
    held: &Held,
    options: &ApplyOptions,
    began: u64,
    now: u64,
) -> Finished {
    let previous: BTreeSet<String> =
        plan.services.iter().filter_map(|service| Some(service.from.as_ref()?.release.clone())).collect();
    let (word, cause) = match outcome {
        Outcome::Succeeded => (SUCCEEDED, None),
        Outcome::RolledBack { cause } => ("rolled-back", Some(cause)),
        Outcome::Refused { cause } => ("refused", Some(cause)),
        Outcome::Held { cause, .. } => ("held", Some(cause)),
        Outcome::RollbackFailed { failure, .. } => ("rollback-failed", Some(failure.as_ref())),
    };
    Finished {
        version: Finished::FORMAT,
        run: plan.run.clone(),
        generation: held.generation,
        command: options.command.clone(),
        kind: plan.kind,
        services: plan.services.iter().map(|service| service.service.clone()).collect(),
        targets: plan.services.iter().flat_map(|service| service.targets.iter().cloned()).collect(),
        release: plan.release.clone(),
        previous,
        outcome: word.to_owned(),
        exit_code: exit_code(outcome, options.rollback_asked),
        reasons: cause.map(|cause| cause.reason).into_iter().collect(),
        message: cause.map(|cause| cause.message.clone()),
        started_at: began,
        finished_at: now,
        actor: held.actor.clone(),
    }
}

/// The public exit code of an outcome: what was asked for is 0.
fn exit_code(outcome: &Outcome, rollback_asked: bool) -> u8 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::RolledBack { .. } if rollback_asked => 0,
        Outcome::RolledBack { .. } => 10,
        Outcome::Refused { .. } => 3,
        Outcome::RollbackFailed { .. } => 11,
        Outcome::Held { .. } => 12,
    }
}

/// The operator's commands with one put first.
fn with_first(
    first: Option<Command>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> (tokio::task::JoinHandle<()>, mpsc::UnboundedReceiver<Command>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Some(first) = first {
        sender.send(first).expect("the receiver is held right here");
    }
    let forward = tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    (forward, receiver)
}
