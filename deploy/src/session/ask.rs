//! What an operator asks of a rollout that another process carries out: the request is left beside the record, and what
//! comes of it is read from there.

use super::{
    Kind, Session, SessionError,
    planning::record_error,
    view::{history_entry, judged, open_rollout},
};
use crate::{
    model::Millis,
    plan::Plan,
    port::{Request, Requests},
    record::{self, Finished, Holder, Lease, LeaseVerdict, describe},
    state::{Command, Pause, State},
    status::{HistoryEntry, OpenRollout},
};
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked at what came of a request.
const LOOK: Duration = Duration::from_millis(200);

/// How long an executor may take to take a request. It looks several times a second; the rest is a busy machine.
const TAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long a pause must last under the lease to be one that the executor stays in: one that leaves is gone by then.
const STAYS_AFTER: Duration = Duration::from_secs(1);

/// How much longer than the rollout itself a request waits for something to move.
const PATIENCE: Millis = 60_000;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// No rollout is open; how the last one ended, if there was one.
    NothingOpen {
        /// The last one.
        last: Option<HistoryEntry>,
    },
    /// A rollout is open, and no executor is at it (any more).
    Unattended {
        /// Where it is.
        open: OpenRollout,
        /// Whether an executor had taken the request before it left.
        taken: bool,
    },
    /// It is paused, and its executor waits until it is promoted.
    Paused(OpenRollout),
    /// It ended.
    Ended(HistoryEntry),
}

/// What there is to tell while a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking<'a> {
    /// The request was left for this command of this holder, which has not taken it yet.
    Left {
        /// The command, as it was typed.
        command: &'a str,
        /// Who runs it.
        holder: &'a str,
    },
    /// It was taken; the rollout is in this phase now. Told again whenever the phase changes.
    Taken {
        /// The phase in a word.
        phase: &'a str,
    },
}

/// Who is told while a request waits.
pub type Listener<'a> = &'a (dyn Fn(Asking<'_>) + Send + Sync);

type Record = record::Record<Plan, State>;

impl Session {
    /// Asks the executor of the open rollout for something, and waits for what comes of it. Where nobody carries the
    /// rollout out, nothing is asked.
    ///
    /// # Errors
    /// When the executor does not take the request in time (it is withdrawn then), or nothing moves any more.
    pub async fn ask(&self, command: Command, tell: Listener<'_>) -> Result<Answer, SessionError> {
        let give_up = Instant::now() + TAKE_LIMIT;
        loop {
            let record = self.store().load().map_err(record_error)?;
            let Some(open) = &record.open else {
                let last = record.last.map(|last| history_entry(self.environment(), last));
                return Ok(Answer::NothingOpen { last });
            };
            let Some(lease) = acting(&record)? else {
                return Ok(Answer::Unattended { open: open_rollout(open), taken: false });
            };
            // Another run holds the lease for a moment only: it finds this rollout in its way.
            if lease.run == open.run {
                let request = request(command, lease)?;
                let marks = Marks::of(&open.state);
                let Holder { user, host, pid, .. } = &lease.holder;
                let holder = format!("{user} on {host}, process {pid}");
                self.requests().leave(&request).await.map_err(|error| self.unheard(error))?;
                tell(Asking::Left { command: &lease.command, holder: &holder });
                if let Some(answer) = self.follow(&request, marks, tell).await? {
                    return Ok(answer);
                }
            }
            if Instant::now() >= give_up {
                let text = format!("the executor on `{}` changes all the time", self.environment());
                return Err(SessionError::new(Kind::Locked, text).hint("try again"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for what comes of a request; `None` if its executor was replaced by another one.
    async fn follow(
        &self,
        request: &Request,
        asked_at: Marks,
        tell: Listener<'_>,
    ) -> Result<Option<Answer>, SessionError> {
        let requests = self.requests();
        let left_at = Instant::now();
        let mut patience = Patience { told: "", state: None, moved_at: left_at, resting_since: None };
        loop {
            // First the request, then the record: if it was taken, the record shows what came of it.
            let is_left = requests.is_left(&request.id).await.map_err(|error| self.unheard(error))?;
            let record = self.store().load().map_err(record_error)?;
            let is_acting = acting(&record)?.is_some();
            match progress(request, &record, is_left, is_acting) {
                Progress::Ended(last) => {
                    return Ok(Some(Answer::Ended(history_entry(self.environment(), last.clone()))));
                }
                Progress::Superseded => {
                    self.withdraw(request).await?;
                    return Ok(None);
                }
                Progress::Unattended(open) => {
                    // One that was taken in the moment in which its executor left may not have been heeded.
                    let is_heeded = request.command != Command::Promote || Marks::of(&open.state) != asked_at;
                    let taken = !self.withdraw(request).await? && is_heeded;
                    return Ok(Some(Answer::Unattended { open: open_rollout(open), taken }));
                }
                Progress::Waits if left_at.elapsed() < TAKE_LIMIT => {}
                Progress::Waits => {
                    // It may be taken at this very moment; then it is followed.
                    if self.withdraw(request).await? {
                        return Err(self.not_taken(&record)?);
                    }
                }
                Progress::Taken(open) => {
                    let state = &open.state;
                    let phase = if state.is_paused() { "paused" } else { state.phase.word() };
                    patience.look(phase, state, tell);
                    let rests = is_resting(request.command, asked_at, state);
                    if patience.rests(rests) {
                        return Ok(Some(Answer::Paused(open_rollout(open))));
                    }
                    if patience.is_exhausted(&open.plan) {
                        return Err(self.stuck(&record)?);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes a request back; says whether it had not been taken.
    async fn withdraw(&self, request: &Request) -> Result<bool, SessionError> {
        self.requests().remove(&request.id).await.map_err(|error| self.unheard(error))
    }

    pub(super) fn requests(&self) -> impl Requests + use<> {
        self.store().requests()
    }

    fn unheard(&self, error: std::io::Error) -> SessionError {
        let text = format!("the executor on `{}` could not be asked", self.environment());
        SessionError::new(Kind::State, text).because(error)
    }

    fn not_taken(&self, record: &Record) -> Result<SessionError, SessionError> {
        let text = format!(
            "the executor on `{}` did not take the request within {} s; the request was withdrawn",
            self.environment(),
            TAKE_LIMIT.as_secs()
        );
        self.holder_error(&text, record)
    }

    fn stuck(&self, record: &Record) -> Result<SessionError, SessionError> {
        let text = format!("the request was taken, but nothing moves on `{}` any more", self.environment());
        self.holder_error(&text, record)
    }

    fn holder_error(&self, text: &str, record: &Record) -> Result<SessionError, SessionError> {
        let lease = record.lease.as_ref();
        let (liveness, verdict, now) = judged(lease)?;
        let lines = describe(lease, liveness, verdict, &now).join("\n");
        let lock = format!("`{} lock {}` shows it", self.program(), self.environment());
        Ok(SessionError::new(Kind::Locked, format!("{text}\n{lines}")).hint(lock))
    }
}

/// The lease, if its holder can act.
fn acting(record: &Record) -> Result<Option<&Lease>, SessionError> {
    let Some(lease) = &record.lease else { return Ok(None) };
    let (_, verdict, _) = judged(Some(lease))?;
    Ok(Some(lease).filter(|_| matches!(verdict, LeaseVerdict::Held { .. })))
}

/// A request for the executor that holds this lease.
fn request(command: Command, lease: &Lease) -> Result<Request, SessionError> {
    let me = Holder::this_process().map_err(|error| {
        SessionError::new(Kind::State, "this process could not be identified").because(error)
    })?;
    // Sortable by time, and different for two that ask at once.
    let now = jiff::Timestamp::now().as_millisecond();
    Ok(Request {
        version: Request::FORMAT,
        id: format!("{now:014}-{}", me.pid),
        run: lease.run.clone(),
        generation: lease.generation,
        command,
        actor: format!("{}@{}", me.user, me.host),
    })
}

/// What the record shows of a request.
#[derive(Debug, PartialEq)]
enum Progress<'a> {
    /// It has not been taken.
    Waits,
    /// It was taken; the rollout goes on.
    Taken(&'a record::OpenRollout<Plan, State>),
    /// The rollout ended under the executor that was asked.
    Ended(&'a Finished),
    /// The rollout is open, and its executor has left, or is dead.
    Unattended(&'a record::OpenRollout<Plan, State>),
    /// Another executor is at it, or another rollout.
    Superseded,
}

/// What a record shows of a request that still lies there (`is_left`), or not; `is_acting` says whether the holder of
/// the record's lease can act. Pure.
fn progress<'a>(request: &Request, record: &'a Record, is_left: bool, is_acting: bool) -> Progress<'a> {
    let is_its_end = |last: &&Finished| last.run == request.run && last.generation == request.generation;
    if let Some(last) = record.last.as_ref().filter(is_its_end) {
        return Progress::Ended(last);
    }
    let open = record.open.as_ref().filter(|open| open.run == request.run);
    match open {
        Some(open) if record.generation == request.generation => match (is_acting, is_left) {
            (false, _) => Progress::Unattended(open),
            (true, true) => Progress::Waits,
            (true, false) => Progress::Taken(open),
        },
        Some(_) | None => Progress::Superseded,
    }
}

/// By which two pauses of one rollout are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// What was promoted up to now.
    promoted: u32,
    /// How far a pause is that was asked for.
    pause: Pause,
}

impl Marks {
    fn of(state: &State) -> Self {
        let promoted = state.services.values().map(|service| service.promoted).sum::<u32>();
        Self { promoted: promoted + state.wave.promoted, pause: state.pause }
    }
}

/// Whether the rollout rests in a pause that answers the command: for `promote` not the one that it was asked in.
fn is_resting(command: Command, asked_at: Marks, state: &State) -> bool {
    let rests = state.is_paused() && state.flights.is_empty();
    match command {
        Command::Pause => rests,
        Command::Promote => rests && Marks::of(state) != asked_at,
        Command::Interrupt | Command::Cancel | Command::Hold => false,
    }
}

/// What whoever waits has seen, and for how long.
struct Patience {
    told: &'static str,
    state: Option<State>,
    moved_at: Instant,
    resting_since: Option<Instant>,
}

impl Patience {
    fn look(&mut self, phase: &'static str, state: &State, tell: Listener<'_>) {
        if self.told != phase {
            self.told = phase;
            tell(Asking::Taken { phase });
        }
        if self.state.as_ref() != Some(state) {
            self.state = Some(state.clone());
            self.moved_at = Instant::now();
        }
    }

    /// Whether it has rested for long enough.
    fn rests(&mut self, rests: bool) -> bool {
        self.resting_since = self.resting_since.or(Some(Instant::now())).filter(|_| rests);
        self.resting_since.is_some_and(|since| since.elapsed() >= STAYS_AFTER)
    }

    fn is_exhausted(&self, plan: &Plan) -> bool {
        self.moved_at.elapsed() >= Duration::from_millis(stall_limit(plan))
    }
}

/// For how long, in milliseconds, nothing may move before a rollout is given up by whoever waits for it: longer than by
/// the rollout itself.
fn stall_limit(plan: &Plan) -> Millis {
    let policy = &plan.policy;
    let hooks = policy.hooks.values().flatten().map(|hook| hook.timeout);
    let smoke = policy.smoke.iter().map(|smoke| smoke.timeout);
    let soaks = plan.waves.iter().map(|wave| wave.soak);
    let migrations =
        plan.services.iter().filter_map(|service| service.migration.as_ref()).map(|one| one.timeout);
    let longest = hooks.chain(smoke).chain(migrations).chain(soaks).max().unwrap_or(0);
    policy.progress_deadline.saturating_add(longest).saturating_add(PATIENCE)
}

#[cfg(test)]
mod tests;
