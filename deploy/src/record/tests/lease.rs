//! The decision whether a lease may be taken, and how it is explained.

use super::*;
use proptest::prelude::*;

const UNPROVEN: [Liveness; 3] = [Liveness::Alive, Liveness::Stopped, Liveness::Unknown];

fn verdict(lease: &Lease, liveness: Liveness, now: &Stamp, unchanged: Millis) -> LeaseVerdict {
    judge(Some(lease), &holder(7), liveness, now, unchanged)
}

#[test]
fn a_lease_is_free_mine_or_a_dead_process() {
    let now = stamp(10_000, 500);
    assert_eq!(judge(None, &holder(7), Liveness::Unknown, &now, 0), LeaseVerdict::Free);
    let lease = lease_of(holder(7), now.clone());
    assert_eq!(verdict(&lease, Liveness::Alive, &now, 0), LeaseVerdict::Mine);
    let lease = lease_of(holder(8), now.clone());
    assert_eq!(verdict(&lease, Liveness::Dead(Death::Gone), &now, 0), LeaseVerdict::DeadHolder);
}

#[test]
fn a_holder_that_may_live_keeps_it_exactly_until_its_expiry() {
    let lease = lease_of(holder(8), stamp(10_000, 500));
    for liveness in UNPROVEN {
        let last = verdict(&lease, liveness, &stamp(10_000 + TTL - 1, 500 + TTL - 1), 0);
        assert_eq!(last, LeaseVerdict::Held { until: 10_000 + TTL });
        let over = verdict(&lease, liveness, &stamp(10_000 + TTL, 500 + TTL), 0);
        assert_eq!(over, LeaseVerdict::Expired);
    }
}

#[test]
fn after_a_restart_of_the_home_the_wall_clock_counts() {
    let lease = lease_of(holder(8), stamp(10_000, 900_000));
    let restarted = |wall| Stamp { wall, boot_id: "another boot".to_owned(), uptime: 5 };
    assert_eq!(verdict(&lease, Liveness::Unknown, &restarted(10_000 + TTL), 0), LeaseVerdict::Expired);
    let held = LeaseVerdict::Held { until: 10_000 + TTL };
    assert_eq!(verdict(&lease, Liveness::Unknown, &restarted(10_500), 0), held);
    // The wall clock was set back by hours: only what the observer itself has seen ends it.
    assert_eq!(
        verdict(&lease, Liveness::Unknown, &restarted(1), TTL - 1),
        LeaseVerdict::Held { until: 2 },
        "one millisecond is left"
    );
    assert_eq!(verdict(&lease, Liveness::Unknown, &restarted(1), TTL), LeaseVerdict::Expired);
}

#[test]
fn the_observer_counts_from_the_last_renewal_it_saw() {
    let (mut observer, start) = (Observer::default(), Instant::now());
    let at = |ms| start + Duration::from_millis(ms);
    let lease = lease_of(holder(8), stamp(10_000, 500));
    assert_eq!(observer.unchanged(Some(&lease), at(0)), 0);
    assert_eq!(observer.unchanged(Some(&lease), at(1_500)), 1_500);
    let renewed = lease_of(holder(8), stamp(10_000, 501));
    assert_eq!(observer.unchanged(Some(&renewed), at(1_600)), 0);
    assert_eq!(observer.unchanged(Some(&renewed), at(1_700)), 100);
    assert_eq!(observer.unchanged(None, at(1_800)), 0);
    assert_eq!(observer.unchanged(Some(&renewed), at(1_900)), 0);
}

proptest! {
    #[test]
    fn within_one_boot_no_wall_clock_takes_a_lease_or_keeps_it(
        renewed_wall: u64, now_wall: u64, renewed in 0..1_000_000_u64, age in 0..2 * TTL, ttl in 1..TTL,
    ) {
        let mut lease = lease_of(holder(8), stamp(renewed_wall, renewed));
        lease.ttl = ttl;
        for liveness in UNPROVEN {
            let expired = verdict(&lease, liveness, &stamp(now_wall, renewed + age), 0) == LeaseVerdict::Expired;
            prop_assert_eq!(expired, age >= ttl);
        }
    }

    #[test]
    fn no_lease_outlives_its_length_in_the_eyes_of_one_observer(
        wall: u64, uptime: u64, now_wall: u64, now_uptime: u64, same_boot: bool, ttl in 0..=TTL,
    ) {
        let mut lease = lease_of(holder(8), stamp(wall, uptime));
        lease.ttl = ttl;
        let boot_id = if same_boot { "boot" } else { "another boot" }.to_owned();
        let now = Stamp { wall: now_wall, boot_id, uptime: now_uptime };
        for liveness in UNPROVEN {
            prop_assert_eq!(verdict(&lease, liveness, &now, ttl), LeaseVerdict::Expired);
        }
    }
}

#[test]
fn people_are_told_who_holds_it_why_until_when_and_what_to_do() {
    let mut holder = holder(4242);
    (holder.user, holder.host) = ("ada".to_owned(), "build-1".to_owned());
    let mut lease = lease_of(holder, stamp(1_700_000_000_000, 500));
    lease.ttl = 60_000;
    let now = stamp(1_700_000_012_000, 12_500);
    let told = |liveness, verdict| describe(Some(&lease), liveness, verdict, &now).join("\n");
    let held = LeaseVerdict::Held { until: now.wall + 48_000 };
    insta::assert_snapshot!(told(Liveness::Stopped, held), @r"
    held by:  ada on build-1, process 4242
    for:      deploy production (run run-1, generation 1)
    since:    2023-11-14T22:13:20Z (12 s ago)
    renewed:  12 s ago
    holder:   its process is stopped (suspended)
    expiry:   expires in 48 s, unless it is renewed
    to do:    continue it with `kill -CONT 4242`, or wait until the lease has expired
    ");
    for (liveness, verdict, advice) in [
        (Liveness::Alive, held, "kill -INT 4242"),
        (Liveness::Unknown, held, "look for process 4242 on build-1"),
        (Liveness::Alive, LeaseVerdict::Expired, "ends process 4242"),
        (Liveness::Dead(Death::Gone), LeaseVerdict::DeadHolder, "takes it at once"),
    ] {
        assert!(told(liveness, verdict).contains(advice), "{advice}: {}", told(liveness, verdict));
    }
    assert_eq!(describe(None, Liveness::Unknown, LeaseVerdict::Free, &now), ["The lease is free."]);
}

#[test]
fn this_moment_can_be_read_and_never_falls() {
    let first = Stamp::now().unwrap();
    let second = Stamp::now().unwrap();
    assert!(second.uptime >= first.uptime && second.boot_id == first.boot_id && first.uptime > 0);
    assert_eq!(first.since(&second), first.uptime.saturating_sub(second.uptime));
}
