//! The sender: takes what waits to GitHub, in order, beside everything else.

use super::{
    outbox::{Outbox, OutboxError},
    words::{Deployment, Status, What},
};
use async_trait::async_trait;
use pipeline::{
    causes::in_one_line,
    github::{Next, Trouble, next},
    name::Name,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a command that has done its work waits for GitHub to take what is left. It is about what an outage of one
/// request costs with three attempts; whoever deploys must not wait for a server that is down.
pub const END_DEADLINE: Duration = Duration::from_secs(20);

/// How long one delivery is tried while a rollout goes on.
const ROLLOUT_DEADLINE: Duration = Duration::from_secs(600);

/// How often it is looked whether somebody else still sends.
const HELD_INTERVAL: Duration = Duration::from_millis(200);

/// Who speaks to GitHub. Each request is sent once; with `look`, an earlier attempt may have taken hold.
#[async_trait]
pub trait Post: Send + Sync {
    /// Makes a deployment, and gives its number.
    async fn deployment(&self, environment: &Name, wanted: &Deployment, look: bool) -> Result<u64, Trouble>;

    /// Gives a deployment a status.
    async fn status(&self, number: u64, wanted: &Status, look: bool) -> Result<(), Trouble>;
}

/// What the sender tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// GitHub takes nothing for now; it is tried again. Told once until it takes something again.
    Delayed {
        /// Why.
        trouble: Trouble,
    },
    /// This is never taken, and was put aside.
    Refused {
        /// What.
        about: String,
        /// Why.
        trouble: Trouble,
    },
    /// Nothing is taken until this is mended.
    Stopped {
        /// Why.
        trouble: Trouble,
    },
    /// The outbox itself cannot be used.
    Broken {
        /// Why.
        why: String,
    },
}

/// What was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// How much waits.
    pub waiting: usize,
}

/// Sends in the background.
#[derive(Debug)]
pub struct Sender {
    outbox: Outbox,
    ends: CancellationToken,
    task: JoinHandle<()>,
}

impl Sender {
    /// Begins to send what waits, and what is put in from now on.
    pub fn begin(outbox: Outbox, post: Arc<dyn Post>, tell: Arc<dyn Fn(Told) + Send + Sync>) -> Self {
        let ends = CancellationToken::new();
        let work = Work { outbox: outbox.clone(), post, tell, ends: ends.clone() };
        Self { outbox, ends, task: tokio::spawn(work.run()) }
    }

    /// How much waits now.
    pub fn waiting(&self) -> usize {
        self.outbox.waiting().map_or(0, |waiting| waiting.len())
    }

    /// Waits until everything was sent, at most so long, and ends.
    pub async fn finish(mut self, deadline: Duration) -> Left {
        self.ends.cancel();
        if timeout(deadline, &mut self.task).await.is_err() {
            self.task.abort();
        }
        Left { waiting: self.waiting() }
    }
}

/// Whoever drops it does not want to wait; what is left stays in the outbox.
impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    outbox: Outbox,
    post: Arc<dyn Post>,
    tell: Arc<dyn Fn(Told) + Send + Sync>,
    ends: CancellationToken,
}

/// Why no more is sent.
enum Stop {
    Told(Told),
    /// There is no time left.
    Late,
}

impl From<OutboxError> for Stop {
    fn from(error: OutboxError) -> Self {
        Self::Told(Told::Broken { why: in_one_line(&error) })
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        OutboxError::from(error).into()
    }
}

impl From<pipeline::store::ReadError> for Stop {
    fn from(error: pipeline::store::ReadError) -> Self {
        OutboxError::from(error).into()
    }
}

impl Work {
    async fn run(self) {
        let held = loop {
            match self.outbox.hold() {
                Ok(Some(held)) => break held,
                Ok(None) => sleep(HELD_INTERVAL).await,
                Err(error) => return (self.tell)(Told::Broken { why: in_one_line(&error) }),
            }
        };
        // What is there already may have been on its way when somebody was ended.
        let old = self.outbox.waiting().ok().and_then(|waiting| waiting.last().copied()).unwrap_or(0);
        loop {
            // Before it is looked: what is put in after that is sent before the end all the same.
            let ends = self.ends.is_cancelled();
            if let Err(stop) = self.drain(old).await {
                if let Stop::Told(told) = stop {
                    (self.tell)(told);
                }
                break;
            }
            if ends {
                break;
            }
            tokio::select! {
                () = self.outbox.news() => {}
                () = self.ends.cancelled() => {}
            }
        }
        drop(held);
    }

    async fn drain(&self, old: u64) -> Result<(), Stop> {
        loop {
            let Some(number) = self.outbox.waiting()?.first().copied() else { return Ok(()) };
            let what = self.outbox.read(number)?.what;
            // Its deployment was refused, which was told then.
            if matches!(what, What::Status(_)) && self.outbox.number_of(what.key())?.is_none() {
                self.outbox.put_aside(number)?;
                continue;
            }
            match self.deliver(&what, number <= old).await? {
                Ok(()) => self.outbox.remove(number)?,
                Err(trouble) => {
                    self.outbox.put_aside(number)?;
                    (self.tell)(Told::Refused { about: what.about(), trouble });
                }
            }
        }
    }

    /// Tries one until it is taken or refused.
    async fn deliver(&self, what: &What, mut look: bool) -> Result<Result<(), Trouble>, Stop> {
        let mut attempt = 0;
        let mut is_told = false;
        let mut ends = self.ends.is_cancelled();
        let mut until = Instant::now() + if ends { END_DEADLINE } else { ROLLOUT_DEADLINE };
        loop {
            attempt += 1;
            let trouble = match self.attempt(what, look).await? {
                Ok(()) => return Ok(Ok(())),
                Err(trouble) => trouble,
            };
            look |= trouble.may_have_taken_hold();
            let is_missing = matches!(trouble, Trouble::NotFound { .. });
            if trouble.is_of_all() || is_missing && matches!(what, What::Deployment(_)) {
                return Err(Stop::Told(Told::Stopped { trouble }));
            }
            if !trouble.may_pass() {
                return Ok(Err(trouble));
            }
            if !is_told && !ends {
                is_told = true;
                (self.tell)(Told::Delayed { trouble: trouble.clone() });
            }
            let left = until.saturating_duration_since(Instant::now());
            let Next::Again(wait) = next(attempt, &trouble, left) else { return Err(Stop::Late) };
            if ends {
                sleep(wait).await;
            } else if timeout(wait, self.ends.cancelled()).await.is_ok() {
                // The rollout is over: what is left of the time counts from now.
                (ends, attempt, until) = (true, 0, Instant::now() + END_DEADLINE);
            }
        }
    }

    async fn attempt(&self, what: &What, look: bool) -> Result<Result<(), Trouble>, Stop> {
        match what {
            What::Deployment(wanted) => {
                if self.outbox.number_of(&wanted.key)?.is_some() {
                    return Ok(Ok(()));
                }
                match self.post.deployment(self.outbox.environment(), wanted, look).await {
                    Ok(number) => {
                        self.outbox.remember_number(&wanted.key, number)?;
                        Ok(Ok(()))
                    }
                    Err(trouble) => Ok(Err(trouble)),
                }
            }
            What::Status(wanted) => {
                let number = self.outbox.number_of(&wanted.key)?.unwrap_or_default();
                Ok(self.post.status(number, wanted, look).await)
            }
        }
    }
}
