//! The lease: who may act, until when, and whether another may take its place. Pure, but for [`Stamp::now`].

use super::{Death, Holder, Liveness};
use crate::model::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// A moment on the machine that holds the record, by two of its clocks.
///
/// Within one boot only the second counts, because nothing sets it: a corrected wall clock neither ends a lease early
/// nor keeps it alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stamp {
    /// By the wall clock: milliseconds since the Unix epoch.
    pub wall: Millis,
    /// Which boot `uptime` counts from.
    pub boot_id: String,
    /// Milliseconds since that boot, sleep included.
    pub uptime: Millis,
}

impl Stamp {
    /// This moment on this machine.
    ///
    /// # Errors
    /// The machine's clocks cannot be read.
    pub fn now() -> io::Result<Self> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let uptime = fs::read_to_string("/proc/uptime")?;
        let seconds = uptime.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
        let seconds = seconds.ok_or_else(|| io::Error::other("`/proc/uptime` does not hold a number"))?;
        Ok(Self {
            wall: u64::try_from(wall).unwrap_or(u64::MAX),
            boot_id: super::holder::boot_id()?,
            uptime: (seconds * 1000.0) as Millis,
        })
    }

    /// Milliseconds from `earlier` to this moment; 0 if the clock was set back in between.
    pub fn since(&self, earlier: &Self) -> Millis {
        if self.boot_id == earlier.boot_id {
            self.uptime.saturating_sub(earlier.uptime)
        } else {
            self.wall.saturating_sub(earlier.wall)
        }
    }
}

/// The right to act on an environment, held by one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lease {
    /// Who.
    pub holder: Holder,
    /// What for: the command, as it was typed.
    pub command: String,
    /// The run, as its journal is named.
    pub run: String,
    /// The generation that it acts with.
    pub generation: u64,
    /// Since when.
    pub since: Stamp,
    /// When it was last renewed.
    pub renewed: Stamp,
    /// Milliseconds after its last renewal at which it expires.
    pub ttl: Millis,
}

/// Whether a lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseVerdict {
    /// Nobody holds it.
    Free,
    /// The asking process holds it.
    Mine,
    /// Its holder is provably dead: it may be taken at once.
    DeadHolder,
    /// It has expired: it may be taken, once its holder can do no more.
    Expired,
    /// It may not be taken.
    Held {
        /// When it expires unless it is renewed, by the wall clock of the asking machine.
        until: Millis,
    },
}

/// Whether `me` may take a lease whose holder is found in this condition.
///
/// `unchanged` is for how long, in milliseconds, the asking process itself has seen no renewal. It makes a lease expire
/// when no clock can: after a restart of the home with a wall clock that was set back.
pub fn judge(
    lease: Option<&Lease>,
    me: &Holder,
    liveness: Liveness,
    now: &Stamp,
    unchanged: Millis,
) -> LeaseVerdict {
    let Some(lease) = lease else { return LeaseVerdict::Free };
    if lease.holder.is(me) {
        return LeaseVerdict::Mine;
    }
    if matches!(liveness, Liveness::Dead(_)) {
        return LeaseVerdict::DeadHolder;
    }
    match lease.ttl.checked_sub(now.since(&lease.renewed).max(unchanged)) {
        None | Some(0) => LeaseVerdict::Expired,
        Some(left) => LeaseVerdict::Held { until: now.wall.saturating_add(left) },
    }
}

/// Counts for how long one process has seen no renewal of a lease.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    seen: Option<(Lease, Instant)>,
}

impl Observer {
    /// Milliseconds since it first saw the lease exactly like this.
    pub fn unchanged(&mut self, lease: Option<&Lease>, at: Instant) -> Millis {
        match (&self.seen, lease) {
            (Some((seen, since)), Some(lease)) if seen == lease => {
                u64::try_from(at.saturating_duration_since(*since).as_millis()).unwrap_or(u64::MAX)
            }
            (_, lease) => {
                self.seen = lease.map(|lease| (lease.clone(), at));
                0
            }
        }
    }
}

/// A lease in lines for people: who, what for, since when, in which condition, until when, and what to do.
pub fn describe(
    lease: Option<&Lease>,
    liveness: Liveness,
    verdict: LeaseVerdict,
    now: &Stamp,
) -> Vec<String> {
    let Some(lease) = lease else { return vec!["The lease is free.".to_owned()] };
    let Holder { pid, host, user, .. } = &lease.holder;
    let condition = match liveness {
        Liveness::Alive => "its process runs",
        Liveness::Stopped => "its process is stopped (suspended)",
        Liveness::Dead(Death::Gone) => "its process has ended without releasing it",
        Liveness::Dead(Death::Replaced) => "its process has ended; its number belongs to another one now",
        Liveness::Dead(Death::Rebooted) => "its machine was restarted since",
        Liveness::Unknown => "its process cannot be seen from here",
    };
    let age = now.since(&lease.renewed);
    let expiry = match verdict {
        LeaseVerdict::Held { until } => {
            format!("expires in {}, unless it is renewed", span(until.saturating_sub(now.wall)))
        }
        LeaseVerdict::Expired => format!("expired; it was to be renewed within {}", span(lease.ttl)),
        LeaseVerdict::Free | LeaseVerdict::Mine | LeaseVerdict::DeadHolder => "free to be taken".to_owned(),
    };
    vec![
        format!("held by:  {user} on {host}, process {pid}"),
        format!("for:      {} (run {}, generation {})", lease.command, lease.run, lease.generation),
        format!("since:    {} ({} ago)", instant(lease.since.wall), span(now.since(&lease.since))),
        format!("renewed:  {} ago", span(age)),
        format!("holder:   {condition}"),
        format!("expiry:   {expiry}"),
        format!("to do:    {}", advice(liveness, verdict, lease)),
    ]
}

fn advice(liveness: Liveness, verdict: LeaseVerdict, lease: &Lease) -> String {
    let Holder { pid, host, .. } = &lease.holder;
    match (verdict, liveness) {
        (LeaseVerdict::Free | LeaseVerdict::Mine | LeaseVerdict::DeadHolder, _) => {
            "nothing: the next `resume`, `rollback` or `deploy` takes it at once".to_owned()
        }
        (LeaseVerdict::Expired, Liveness::Alive | Liveness::Stopped) => {
            format!("nothing: the next `resume`, `rollback` or `deploy` ends process {pid} and takes it")
        }
        (LeaseVerdict::Expired, _) => {
            "nothing: the next `resume`, `rollback` or `deploy` takes it".to_owned()
        }
        (LeaseVerdict::Held { .. }, Liveness::Stopped) => {
            format!("continue it with `kill -CONT {pid}`, or wait until the lease has expired")
        }
        (LeaseVerdict::Held { .. }, Liveness::Unknown) => {
            format!("wait until it has ended, or look for process {pid} on {host}")
        }
        (LeaseVerdict::Held { .. }, _) => {
            format!("wait until it has ended, or stop it at its next safe point with `kill -INT {pid}`")
        }
    }
}

fn instant(wall: Millis) -> String {
    let timestamp = i64::try_from(wall).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| "an unknown time".to_owned(), |t| format!("{t:.0}"))
}

/// A span of milliseconds with two units at most.
fn span(ms: Millis) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) if seconds < 10 => format!("{}.{} s", seconds, ms % 1000 / 100),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
