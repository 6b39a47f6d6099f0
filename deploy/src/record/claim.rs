//! Taking, renewing and giving back the lease, and writing under it: the effects of what [`judge`] decides.

use super::{
    Holder, Lease, LeaseVerdict, Liveness, Observer, Processes, Record, RecordError, RecordStore, Stamp,
    judge,
};
use crate::model::Millis;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Instant;

/// What a process wants the lease for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub holder: Holder,
    /// What for: the command, as it was typed.
    pub command: String,
    /// The run.
    pub run: String,
    /// Milliseconds after its last renewal at which it expires.
    pub ttl: Millis,
    /// The highest generation that any target has seen, 0 if unknown. The new one is above it, so that an environment
    /// whose record was lost can act again.
    pub generation_floor: u64,
}

/// What a claim came to.
#[derive(Debug)]
pub enum Acquisition<P, S> {
    /// The lease was taken.
    Acquired(Box<Acquired<P, S>>),
    /// It is held by another.
    Held {
        /// The lease.
        lease: Box<Lease>,
        /// What is known of its holder.
        liveness: Liveness,
        /// Until when.
        verdict: LeaseVerdict,
    },
}

/// A lease that was taken.
#[derive(Debug)]
pub struct Acquired<P, S> {
    /// What proves it.
    pub tenure: Tenure,
    /// The record as it stands now; its open rollout, if any, is the one to go on with.
    pub record: Record<P, S>,
    /// The lease that was taken over, and why that was possible.
    pub taken_over: Option<(Lease, LeaseVerdict)>,
}

/// The proof of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// Who holds it.
    pub holder: Holder,
    /// The generation that every effect carries.
    pub generation: u64,
}

impl Tenure {
    fn holds<P, S>(&self, record: &Record<P, S>) -> bool {
        let lease = record.lease.as_ref();
        record.generation == self.generation
            && lease.is_some_and(|l| l.generation == self.generation && l.holder.is(&self.holder))
    }
}

/// Why nothing could be written under a lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It is another's now, or nobody's.
    #[error("the lease was lost: {}; this run has stopped and can change nothing more", taken_by(.by.as_deref()))]
    Lost {
        /// The lease that stands now.
        by: Option<Box<Lease>>,
    },
    /// It could not be renewed until it expired.
    #[error("the lease expired, because it could not be renewed for {} s; this run has stopped", .ttl / 1000)]
    NotRenewed {
        /// Milliseconds.
        ttl: Millis,
        /// The last failure to renew it.
        #[source]
        source: Option<Box<RecordError>>,
    },
    /// The record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Takes the lease if it is free, its holder is dead, or it has expired. The holder of an expired one is killed first
/// if it is a process of this machine: it might wake up in the middle of an effect.
///
/// # Errors
/// See [`RecordError`]; the lease is then as it was.
pub fn acquire<P, S>(
    store: &RecordStore<P, S>,
    claim: &Claim,
    observer: &mut Observer,
    processes: &dyn Processes,
    now: &Stamp,
) -> Result<Acquisition<P, S>, RecordError>
where
    P: Serialize + DeserializeOwned,
    S: Serialize + DeserializeOwned,
{
    let mut taken_over = None;
    // Judged, fenced and written under one lock: a holder cannot renew between its judgement and its end.
    let written = store.update(|mut record| {
        let lease = record.lease.take();
        let liveness = lease.as_ref().map_or(Liveness::Unknown, |lease| processes.liveness(&lease.holder));
        let unchanged = observer.unchanged(lease.as_ref(), Instant::now());
        let verdict = judge(lease.as_ref(), &claim.holder, liveness, now, unchanged);
        if let Some(lease) = lease {
            if matches!(verdict, LeaseVerdict::Held { .. }) {
                return Err(Refusal::Held { lease: Box::new(lease), liveness, verdict });
            }
            fence(&lease, verdict, liveness, processes)?;
            taken_over = Some((lease, verdict));
        }
        record.generation = record.generation.max(claim.generation_floor) + 1;
        record.lease = Some(claim.lease(record.generation, now));
        Ok(record)
    });
    match written {
        Ok(record) => {
            let tenure = Tenure { holder: claim.holder.clone(), generation: record.generation };
            Ok(Acquisition::Acquired(Box::new(Acquired { tenure, record, taken_over })))
        }
        Err(Refusal::Held { lease, liveness, verdict }) => Ok(Acquisition::Held { lease, liveness, verdict }),
        Err(Refusal::Record(error)) => Err(error),
    }
}

/// Makes the lease last for its whole length from now on.
///
/// # Errors
/// [`LeaseError::Lost`] if it is no longer ours.
pub fn renew<P, S>(store: &RecordStore<P, S>, tenure: &Tenure) -> Result<(), LeaseError>
where
    P: Serialize + DeserializeOwned,
    S: Serialize + DeserializeOwned,
{
    write(store, tenure, |_| {}).map(|_| ())
}

/// Changes the record under the lease, which it renews, and returns what was written.
///
/// # Errors
/// [`LeaseError::Lost`] if the lease is no longer ours; nothing was written.
pub fn write<P, S>(
    store: &RecordStore<P, S>,
    tenure: &Tenure,
    change: impl FnOnce(&mut Record<P, S>),
) -> Result<Record<P, S>, LeaseError>
where
    P: Serialize + DeserializeOwned,
    S: Serialize + DeserializeOwned,
{
    store.update(|mut record| {
        if !tenure.holds(&record) {
            return Err(LeaseError::Lost { by: record.lease.map(Box::new) });
        }
        change(&mut record);
        let now = Stamp::now().map_err(RecordError::Clock)?;
        if let Some(lease) = &mut record.lease {
            lease.renewed = now;
        }
        Ok(record)
    })
}

/// Gives the lease back.
///
/// # Errors
/// [`LeaseError::Lost`] if it is no longer ours; there is nothing to give back then.
pub fn release<P, S>(store: &RecordStore<P, S>, tenure: &Tenure) -> Result<(), LeaseError>
where
    P: Serialize + DeserializeOwned,
    S: Serialize + DeserializeOwned,
{
    write(store, tenure, |record| record.lease = None).map(|_| ())
}

impl Claim {
    fn lease(&self, generation: u64, now: &Stamp) -> Lease {
        Lease {
            holder: self.holder.clone(),
            command: self.command.clone(),
            run: self.run.clone(),
            generation,
            since: now.clone(),
            renewed: now.clone(),
            ttl: self.ttl,
        }
    }
}

/// Why a claim wrote nothing.
enum Refusal {
    Held { lease: Box<Lease>, liveness: Liveness, verdict: LeaseVerdict },
    Record(RecordError),
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// Ends the holder of an expired lease, if it can still act from this machine.
fn fence(
    lease: &Lease,
    verdict: LeaseVerdict,
    liveness: Liveness,
    processes: &dyn Processes,
) -> Result<(), RecordError> {
    if verdict != LeaseVerdict::Expired || !matches!(liveness, Liveness::Alive | Liveness::Stopped) {
        return Ok(());
    }
    let Holder { pid, user, .. } = &lease.holder;
    processes.end(&lease.holder).map_err(|source| RecordError::CannotFence {
        pid: *pid,
        user: user.clone(),
        source,
    })
}

fn taken_by(lease: Option<&Lease>) -> String {
    match lease {
        Some(Lease { holder, command, generation, .. }) => format!(
            "`{command}` of {} on {} (process {}, generation {generation}) has taken it over",
            holder.user, holder.host, holder.pid
        ),
        None => "it was taken away, and nobody holds it".to_owned(),
    }
}
