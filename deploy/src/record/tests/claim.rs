//! Taking, renewing and losing the lease.

use super::*;

#[test]
fn the_first_claim_wins_and_the_second_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, alive, now) = (store_in(folder.path()), Fleet::all(Liveness::Alive), stamp(10_000, 500));
    let first = acquired(take(&store, holder(7), &alive, &now));
    assert_eq!((first.tenure.generation, first.taken_over), (1, None));
    let Acquisition::Held { lease, liveness, verdict } = take(&store, holder(8), &alive, &now) else {
        panic!("taken from a holder that lives");
    };
    assert_eq!((lease.holder.pid, lease.command.as_str()), (7, "deploy production"));
    assert_eq!((liveness, verdict), (Liveness::Alive, LeaseVerdict::Held { until: 10_000 + TTL }));
    assert_eq!(store.load().unwrap().seq, 1, "a refused claim writes nothing");
}

#[test]
fn a_dead_holder_is_replaced_at_once_and_its_rollout_goes_on_under_a_new_generation() {
    let folder = tempfile::tempdir().unwrap();
    let (store, fleet, now) =
        (store_in(folder.path()), Fleet::all(Liveness::Dead(Death::Gone)), stamp(10_000, 500));
    let first = acquired(take(&store, me(), &fleet, &now));
    let open = OpenRollout {
        run: "run-1".to_owned(),
        plan: "plan".to_owned(),
        state: 3,
        started_at: 1,
        actor: "ada".to_owned(),
    };
    write(&store, &first.tenure, |record| record.open = Some(open.clone())).unwrap();
    let second = acquired(take(&store, holder(8), &fleet, &now));
    assert_eq!((second.tenure.generation, second.record.open), (2, Some(open)));
    assert!(matches!(second.taken_over, Some((_, LeaseVerdict::DeadHolder))));
    assert!(fleet.ended.lock().unwrap().is_empty(), "the dead are not killed");
}

#[test]
fn an_expired_holder_that_may_wake_up_is_ended_before_the_generation_is_raised() {
    for (liveness, ended) in
        [(Liveness::Alive, vec![7]), (Liveness::Stopped, vec![7]), (Liveness::Unknown, vec![])]
    {
        let folder = tempfile::tempdir().unwrap();
        let (store, fleet) = (store_in(folder.path()), Fleet::all(liveness));
        take(&store, holder(7), &fleet, &stamp(10_000, 500));
        assert!(is_held(&take(&store, holder(8), &fleet, &stamp(99_000, 499 + TTL))));
        assert!(fleet.ended.lock().unwrap().is_empty());
        let second = acquired(take(&store, holder(8), &fleet, &stamp(1, 500 + TTL)));
        assert_eq!((second.tenure.generation, fleet.ended.lock().unwrap().clone()), (2, ended));
    }
}

#[test]
fn a_holder_that_cannot_be_ended_keeps_its_lease() {
    struct Stubborn;
    impl Processes for Stubborn {
        fn liveness(&self, _holder: &Holder) -> Liveness {
            Liveness::Stopped
        }
        fn end(&self, _holder: &Holder) -> std::io::Result<()> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    take(&store, holder(7), &Stubborn, &stamp(10_000, 500));
    let late = stamp(99_000, 99_000);
    let error =
        acquire(&store, &claim_of(holder(8)), &mut Observer::default(), &Stubborn, &late).unwrap_err();
    assert!(error.to_string().contains("process 7"), "{error}");
    assert_eq!(store.load().unwrap().lease.unwrap().holder.pid, 7);
}

#[test]
fn a_lease_stamped_in_the_future_falls_to_an_observer_that_sees_no_renewal() {
    let folder = tempfile::tempdir().unwrap();
    let (store, fleet) = (store_in(folder.path()), Fleet::all(Liveness::Unknown));
    take(&store, holder(7), &fleet, &stamp(u64::MAX / 2, 500));
    let now = Stamp { wall: 1, boot_id: "another boot".to_owned(), uptime: 5 };
    let mut observer = Observer::default();
    let mut claim = || acquire(&store, &claim_of(holder(8)), &mut observer, &fleet, &now).unwrap();
    assert!(is_held(&claim()));
    pause(Duration::from_millis(TTL / 2));
    assert!(is_held(&claim()));
    pause(Duration::from_millis(TTL / 2 + 10));
    assert!(!is_held(&claim()));
}

#[test]
fn whoever_lost_the_lease_can_neither_renew_nor_write_nor_release() {
    let folder = tempfile::tempdir().unwrap();
    let (store, fleet, now) =
        (store_in(folder.path()), Fleet::all(Liveness::Dead(Death::Gone)), stamp(10_000, 500));
    let first = acquired(take(&store, holder(7), &fleet, &now)).tenure;
    renew(&store, &first).unwrap();
    let second = acquired(take(&store, holder(8), &fleet, &now)).tenure;
    let before = store.load().unwrap();
    for error in [
        renew(&store, &first).unwrap_err(),
        write(&store, &first, |record| record.bad_releases = BTreeSet::from(["x".to_owned()])).unwrap_err(),
        release(&store, &first).unwrap_err(),
        // The same process with an old generation has lost it as well.
        renew(&store, &Tenure { generation: 1, ..second.clone() }).unwrap_err(),
    ] {
        assert!(matches!(&error, LeaseError::Lost { by: Some(by) } if by.holder.pid == 8), "{error:?}");
        assert!(error.to_string().contains("process 8"), "{error}");
    }
    assert_eq!(store.load().unwrap(), before);
    release(&store, &second).unwrap();
    assert!(matches!(renew(&store, &second), Err(LeaseError::Lost { by: None })));
    let third = acquired(take(&store, holder(9), &fleet, &now));
    assert_eq!((third.tenure.generation, third.taken_over), (3, None));
}

#[test]
fn a_lost_record_does_not_lower_the_generation_below_what_targets_have_seen() {
    let folder = tempfile::tempdir().unwrap();
    let claim = Claim { generation_floor: 41, ..claim_of(me()) };
    let fleet = Fleet::all(Liveness::Alive);
    let taken = acquire(&store_in(folder.path()), &claim, &mut Observer::default(), &fleet, &stamp(1, 1));
    assert_eq!(acquired(taken.unwrap()).tenure.generation, 42);
}
