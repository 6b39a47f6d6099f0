//! One unit behind the router: what is in flight on it, what was counted, whether it is left out.

use super::{
    pool::{Connection, Pool},
    protocol::UpstreamStats,
};
use crate::model::Traffic;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The first time that a unit which cannot be connected to is left out, doubling up to [`LONGEST_EJECTION`]: short,
/// because a restart takes about as long.
const FIRST_EJECTION: Duration = Duration::from_secs(1);

/// The longest that a unit is left out before it is tried again.
const LONGEST_EJECTION: Duration = Duration::from_secs(10);

/// How many failed checks in a row leave a unit out: one may be chance, three at one a second are not.
const CHECKS_TO_EJECT: u32 = 3;

/// How long a connection may take to finish a request whose response is complete (an upload that the unit did not
/// wait for) before it is given up instead of being used again.
const SETTLE: Duration = Duration::from_secs(5);

/// One unit, for as long as it is in the table or something is in flight on it.
pub(super) struct Upstream {
    /// The unit's id as text.
    pub(super) name: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Connections for reuse.
    pub(super) pool: Pool,
    /// Whether it may be given new requests: its weight in the table is above 0.
    admitted: AtomicBool,
    in_flight: AtomicU32,
    became_idle: Notify,
    counts: Counts,
    ejection: Ejection,
    /// Whether a check is under way, so that a slow unit is not asked by many at once.
    pub(super) checking: AtomicBool,
    ended: CancellationToken,
    severed: Mutex<CancellationToken>,
}

impl Upstream {
    /// A unit out of traffic. Everything on it breaks off when `ended` is cancelled.
    pub(super) fn new(name: String, address: SocketAddr, ended: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            name,
            address,
            pool: Pool::default(),
            admitted: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            became_idle: Notify::new(),
            counts: Counts::default(),
            ejection: Ejection::new(),
            checking: AtomicBool::new(false),
            ended: ended.clone(),
            severed: Mutex::new(ended.child_token()),
        })
    }

    /// Lets it have new requests; its counts begin anew if it had none before.
    pub(super) fn admit(&self) {
        if !self.admitted.load(SeqCst) {
            self.counts.reset();
            self.ejection.clear();
            self.admitted.store(true, SeqCst);
        }
    }

    /// Lets it have no new requests from now on; those in flight go on.
    pub(super) fn dismiss(&self) {
        self.admitted.store(false, SeqCst);
        // Idle connections would only keep the unit from ending.
        self.pool.clear();
    }

    /// Whether it may have new requests.
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted.load(SeqCst)
    }

    /// Counts a new request in, unless the unit has been dismissed.
    ///
    /// Whoever chose this unit may have read a table that is replaced by now. Counting first and looking second means
    /// that either this sees the dismissal, or a drain that follows the dismissal sees this request.
    pub(super) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, SeqCst);
        let ticket = InFlight { upstream: self.clone() };
        self.is_admitted().then_some(ticket)
    }

    /// Requests being answered now.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(SeqCst)
    }

    /// Waits until nothing is in flight; false if that did not come by `deadline`.
    pub(super) async fn idle_by(&self, deadline: Instant) -> bool {
        let idle = async {
            loop {
                let mut notified = std::pin::pin!(self.became_idle.notified());
                // Listening before looking: a request that ends in between is not missed.
                notified.as_mut().enable();
                if self.in_flight() == 0 {
                    return;
                }
                notified.await;
            }
        };
        timeout_at(deadline, idle).await.is_ok()
    }

    /// Breaks off everything in flight; what comes after that is not touched.
    pub(super) fn sever(&self) {
        let mut severed = self.severed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *severed, self.ended.child_token()).cancel();
    }

    /// Opens a connection for a request.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let connection = self.probe().await?;
        self.ejection.connected();
        Ok(connection)
    }

    /// Opens a connection for a check, which is judged by its answer alone.
    pub(super) async fn probe(&self) -> io::Result<Connection> {
        let severed = self.severed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Connection::open(self.address, severed).await
    }

    /// Takes back a connection whose response is complete.
    pub(super) fn give_back(self: &Arc<Self>, mut connection: Connection) {
        if !self.is_admitted() {
            return;
        }
        if connection.is_ready() {
            return self.pool.put(connection);
        }
        let upstream = self.clone();
        tokio::spawn(async move {
            let settled = timeout(SETTLE, connection.becomes_ready()).await;
            if settled == Ok(true) && upstream.is_admitted() {
                upstream.pool.put(connection);
            }
        });
    }

    /// Leaves the unit out for a while: it could not be connected to.
    pub(super) fn unreachable(&self) {
        self.ejection.unreachable();
    }

    /// Notes the result of a check.
    pub(super) fn checked(&self, passed: bool) {
        self.ejection.checked(passed);
    }

    /// Whether it is left out for now.
    pub(super) fn is_ejected(&self) -> bool {
        self.ejection.is_out()
    }

    /// What there is to report.
    pub(super) fn stats(&self) -> UpstreamStats {
        UpstreamStats {
            in_flight: self.in_flight(),
            traffic: self.counts.read(),
            ejected: self.is_admitted() && self.is_ejected(),
        }
    }
}

/// One request in flight on a unit, until this is dropped.
pub(super) struct InFlight {
    upstream: Arc<Upstream>,
}

impl InFlight {
    /// The unit.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Counts a response whose head took this long; `failed`: its status is 5xx.
    pub(super) fn answered(&self, took: Duration, failed: bool) {
        self.upstream.counts.answered(took, failed);
    }

    /// Counts a request that the unit broke off before the response's head.
    pub(super) fn broken_before_head(&self) {
        self.upstream.counts.requests.fetch_add(1, Relaxed);
        self.upstream.counts.errors.fetch_add(1, Relaxed);
    }

    /// Counts a response, already counted as good, that the unit broke off.
    pub(super) fn broken_within(&self) {
        self.upstream.counts.errors.fetch_add(1, Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.upstream.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.upstream.became_idle.notify_waiters();
        }
    }
}

/// Number of latency buckets: each bound, and beyond the last.
const BUCKETS: usize = Traffic::BOUNDS_MS.len() + 1;

/// [`Traffic`], countable from many threads.
#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    errors: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

impl Counts {
    fn answered(&self, took: Duration, failed: bool) {
        self.requests.fetch_add(1, Relaxed);
        self.errors.fetch_add(u64::from(failed), Relaxed);
        self.latency[bucket(took)].fetch_add(1, Relaxed);
    }

    fn reset(&self) {
        for count in [&self.requests, &self.errors].into_iter().chain(&self.latency) {
            count.store(0, Relaxed);
        }
    }

    fn read(&self) -> Traffic {
        let bounds = Traffic::BOUNDS_MS.into_iter().chain([u64::MAX]);
        let counted = bounds.zip(&self.latency).map(|(bound, count)| (bound, count.load(Relaxed)));
        // Errors first: a reader between two increments must not see more errors than requests.
        let errors = self.errors.load(Relaxed);
        let latency_ms = counted.filter(|(_, count)| *count > 0).collect();
        Traffic { requests: self.requests.load(Relaxed), errors, latency_ms }
    }
}

/// The bucket of a latency: the first whose bound it does not exceed.
fn bucket(took: Duration) -> usize {
    Traffic::BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound)).unwrap_or(BUCKETS - 1)
}

/// Whether a unit is left out because it does not answer: seen by requests that cannot connect, and by checks.
struct Ejection {
    /// Instants are kept as milliseconds since then, so that they fit into an atomic.
    born: Instant,
    out_until: AtomicU64,
    strikes: AtomicU32,
    failed_checks: AtomicU32,
}

impl Ejection {
    fn new() -> Self {
        let zero = || AtomicU32::new(0);
        Self { born: Instant::now(), out_until: AtomicU64::new(0), strikes: zero(), failed_checks: zero() }
    }

    fn clear(&self) {
        self.connected();
        self.failed_checks.store(0, Relaxed);
    }

    fn connected(&self) {
        // Looked at first, so that the usual case writes nothing that other cores read.
        if self.strikes.load(Relaxed) > 0 {
            self.strikes.store(0, Relaxed);
            self.out_until.store(0, Relaxed);
        }
    }

    fn unreachable(&self) {
        let (now, seen) = (self.now(), self.out_until.load(Relaxed));
        let until = now + millis(ejection(self.strikes.load(Relaxed)));
        // Many requests fail together; they are one strike.
        if seen <= now && self.out_until.compare_exchange(seen, until, Relaxed, Relaxed).is_ok() {
            self.strikes.fetch_add(1, Relaxed);
        }
    }

    fn checked(&self, passed: bool) {
        if passed {
            self.clear();
        } else {
            self.failed_checks.fetch_add(1, Relaxed);
        }
    }

    fn is_out(&self) -> bool {
        self.failed_checks.load(Relaxed) >= CHECKS_TO_EJECT || self.out_until.load(Relaxed) > self.now()
    }

    fn now(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

/// How long a unit is left out that was found unreachable `strikes` times in a row before.
fn ejection(strikes: u32) -> Duration {
    FIRST_EJECTION.saturating_mul(1 << strikes.min(8)).min(LONGEST_EJECTION)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_chose_a_unit_by_an_old_table_cannot_enter_it_and_a_drain_sees_whoever_did() {
        let unit = Upstream::new("a".to_owned(), ([127, 0, 0, 1], 1).into(), &CancellationToken::new());
        unit.admit();
        let ticket = unit.enter().unwrap();
        unit.dismiss();
        assert!(unit.enter().is_none());
        assert_eq!(unit.in_flight(), 1);
        assert!(!unit.idle_by(Instant::now()).await);
        let waiting = unit.idle_by(Instant::now() + Duration::from_secs(20));
        let leaving = async {
            tokio::task::yield_now().await;
            drop(ticket);
        };
        assert!(tokio::join!(waiting, leaving).0);
    }

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let cases = [(0, 0), (5, 0), (6, 1), (250, 5), (251, 6), (5_000, 9), (5_001, 10), (900_000, 10)];
        for (ms, index) in cases {
            assert_eq!(bucket(Duration::from_millis(ms)), index, "{ms} ms");
        }
    }

    #[test]
    fn what_is_counted_is_what_a_gate_reads() {
        let counts = Counts::default();
        counts.answered(Duration::from_millis(3), false);
        counts.answered(Duration::from_millis(800), true);
        counts.answered(Duration::from_secs(9), false);
        let traffic = counts.read();
        assert_eq!((traffic.requests, traffic.errors, traffic.slower_than(500)), (3, 1, 2));
        assert_eq!(traffic.latency_ms.into_iter().collect::<Vec<_>>(), [(5, 1), (1_000, 1), (u64::MAX, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_unit_is_left_out_twice_as_long_each_time_and_many_failures_at_once_are_one() {
        let ejection = Ejection::new();
        for seconds in [1, 2, 4, 8, 10, 10] {
            for _ in 0..50 {
                ejection.unreachable();
            }
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(ejection.is_out(), "came back before {seconds} s");
            tokio::time::advance(Duration::from_millis(2)).await;
            assert!(!ejection.is_out(), "still out after {seconds} s");
        }
        ejection.connected();
        ejection.unreachable();
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert!(!ejection.is_out(), "a connection did not clear the record");
    }

    #[tokio::test(start_paused = true)]
    async fn three_failed_checks_leave_a_unit_out_and_one_that_passes_brings_it_back() {
        let ejection = Ejection::new();
        ejection.checked(false);
        ejection.checked(false);
        assert!(!ejection.is_out());
        ejection.checked(false);
        assert!(ejection.is_out());
        ejection.checked(true);
        assert!(!ejection.is_out());
        ejection.unreachable();
        ejection.checked(true);
        assert!(!ejection.is_out());
    }
}
