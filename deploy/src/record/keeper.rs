//! Keeps a lease alive beside the loop, and says at once when it is lost.

use super::{LeaseError, Record, RecordStore, Tenure, release, renew, write};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How many times within a heartbeat a failed renewal is tried again.
const RETRIES_A_HEARTBEAT: u32 = 4;

/// A lease that is renewed until it is released, dropped or lost.
pub struct LeaseKeeper<P, S>
where
    P: Serialize + DeserializeOwned + 'static,
    S: Serialize + DeserializeOwned + 'static,
{
    shared: Arc<Shared<P, S>>,
    task: Option<JoinHandle<()>>,
}

struct Shared<P, S> {
    store: RecordStore<P, S>,
    tenure: Tenure,
    ttl: Duration,
    heartbeat: Duration,
    stop: CancellationToken,
    lost: CancellationToken,
    cause: OnceLock<Arc<LeaseError>>,
}

impl<P, S> LeaseKeeper<P, S>
where
    P: Serialize + DeserializeOwned + Send + 'static,
    S: Serialize + DeserializeOwned + Send + 'static,
{
    /// Begins to renew a lease that was just acquired with this `ttl`. Must be called within a Tokio runtime.
    pub fn start(store: RecordStore<P, S>, tenure: Tenure, ttl: Duration, heartbeat: Duration) -> Self {
        let shared = Arc::new(Shared {
            store,
            tenure,
            ttl,
            heartbeat,
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
            cause: OnceLock::new(),
        });
        let task = tokio::spawn(keep(Arc::clone(&shared)));
        Self { shared, task: Some(task) }
    }

    /// The generation that every effect carries.
    pub fn generation(&self) -> u64 {
        self.shared.tenure.generation
    }

    /// Cancelled when the lease is lost: every effect must end.
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// Why it was lost, if it was.
    pub fn cause(&self) -> Option<Arc<LeaseError>> {
        self.shared.cause.get().cloned()
    }

    /// Changes the record under the lease, and returns what was written.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if the lease is no longer ours: nothing was written, and [`LeaseKeeper::lost`] is
    /// cancelled.
    pub async fn write(
        &self,
        change: impl FnOnce(&mut Record<P, S>) + Send + 'static,
    ) -> Result<Record<P, S>, LeaseError> {
        let shared = Arc::clone(&self.shared);
        let written = spawn_blocking(move || {
            let written = write(&shared.store, &shared.tenure, change);
            if let Err(LeaseError::Lost { by }) = &written {
                shared.lose(LeaseError::Lost { by: by.clone() });
            }
            written
        });
        written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if it was lost meanwhile.
    pub async fn release(self) -> Result<(), LeaseError> {
        self.finish(|_| {}).await.map(|_| ())
    }

    /// Changes the record for the last time and gives the lease back, in one write: no other process sees a finished
    /// rollout under a lease, or an unfinished one without.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if it was lost meanwhile; nothing was written.
    pub async fn finish(
        mut self,
        change: impl FnOnce(&mut Record<P, S>) + Send + 'static,
    ) -> Result<Record<P, S>, LeaseError> {
        self.shared.stop.cancel();
        if let Some(task) = self.task.take() {
            // It ends at once, or within the limit of the renewal that is under way.
            let _ended = task.await;
        }
        let shared = Arc::clone(&self.shared);
        let finished = spawn_blocking(move || {
            write(&shared.store, &shared.tenure, |record| {
                change(record);
                record.lease = None;
            })
        });
        finished.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

impl<P, S> Drop for LeaseKeeper<P, S>
where
    P: Serialize + DeserializeOwned + 'static,
    S: Serialize + DeserializeOwned + 'static,
{
    fn drop(&mut self) {
        self.shared.stop.cancel();
        // Released explicitly, the task is gone. Lost, there is nothing to give back.
        if self.task.take().is_some() && !self.shared.lost.is_cancelled() {
            // Milliseconds, unless another process is stopped in a write. Nobody is left to be told of a failure; a
            // lease that stays behind expires, or falls with this process.
            let _released = release(&self.shared.store, &self.shared.tenure);
        }
    }
}

impl<P, S> Shared<P, S> {
    fn lose(&self, cause: LeaseError) {
        // The first cause is the true one.
        let _later = self.cause.set(Arc::new(cause));
        self.lost.cancel();
    }
}

async fn keep<P, S>(shared: Arc<Shared<P, S>>)
where
    P: Serialize + DeserializeOwned + Send + 'static,
    S: Serialize + DeserializeOwned + Send + 'static,
{
    let mut renewed = Instant::now();
    let mut next = renewed + shared.heartbeat;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
        let started = Instant::now();
        let expiry = renewed + shared.ttl;
        // After a pause of this process (SIGSTOP, sleep) the expiry may be past; if nobody has taken over, it goes on.
        let limit = expiry.max(started + shared.heartbeat);
        let renewal = spawn_blocking({
            let shared = Arc::clone(&shared);
            move || renew(&shared.store, &shared.tenure)
        });
        let failure = match timeout_at(limit, renewal).await {
            Ok(Ok(Ok(()))) => {
                // Counted from before the write: never longer than others count.
                renewed = started;
                next = started + shared.heartbeat;
                continue;
            }
            Ok(Ok(Err(LeaseError::Record(error)))) => Some(Box::new(error)),
            Ok(Ok(Err(lost))) => return shared.lose(lost),
            Ok(Err(_)) | Err(_) => None,
        };
        if Instant::now() >= expiry {
            let ttl = u64::try_from(shared.ttl.as_millis()).unwrap_or(u64::MAX);
            return shared.lose(LeaseError::NotRenewed { ttl, source: failure });
        }
        next = expiry.min(Instant::now() + shared.heartbeat / RETRIES_A_HEARTBEAT);
    }
}
