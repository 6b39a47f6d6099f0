//! Compare-and-swap, history, and many who try at once.

use super::*;
use std::sync::Barrier;

#[test]
fn a_store_that_was_never_written_is_empty_and_stays_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    assert_eq!(store.load().unwrap(), Record::empty());
    assert!(store.history().unwrap().entries.is_empty());
    assert!(!folder.path().join("record").exists());
}

#[test]
fn a_swap_needs_the_record_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let mut record = Record::empty();
    record.bad_releases.insert("bad".to_owned());
    let written = store.swap(0, record.clone()).unwrap();
    assert_eq!((written.seq, &written.bad_releases), (1, &record.bad_releases));
    assert_eq!(store.load().unwrap(), written);
    let error = store.swap(0, Record::empty()).unwrap_err();
    assert!(matches!(error, RecordError::Conflict { expected: 0, found: 1 }), "{error}");
    assert_eq!(store.load().unwrap(), written);
}

#[test]
fn the_generation_never_falls() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    store.swap(0, Record { generation: 5, ..Record::empty() }).unwrap();
    let error = store.swap(1, Record { generation: 4, ..Record::empty() }).unwrap_err();
    assert!(matches!(error, RecordError::Backwards { from: 5, to: 4 }), "{error}");
    assert_eq!(store.load().unwrap().generation, 5);
}

#[test]
fn no_write_is_lost_when_many_swap_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (threads, writes) = (6, 8);
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, barrier) = (store_in(folder.path()), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for write in 0..writes {
                    loop {
                        let mut record = store.load().unwrap();
                        record.bad_releases.insert(format!("{thread}/{write}"));
                        match store.swap(record.seq, record) {
                            Ok(_) => break,
                            Err(RecordError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    let record = store_in(folder.path()).load().unwrap();
    assert_eq!((record.seq, record.bad_releases.len()), (48, 48));
}

#[test]
fn exactly_one_of_many_gets_the_lease_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (threads, alive) = (8, Fleet::all(Liveness::Alive));
    for round in 1..=10 {
        let barrier = Barrier::new(threads);
        let tenures: Vec<_> = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..threads)
                .map(|thread| {
                    let (store, barrier, alive) = (store_in(folder.path()), &barrier, &alive);
                    scope.spawn(move || {
                        barrier.wait();
                        take(&store, holder(100 + thread as u32), alive, &stamp(10_000, 500))
                    })
                })
                .collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).collect()
        });
        let mut winners = tenures.into_iter().filter(|t| !is_held(t)).map(acquired);
        let winner = winners.next().expect("one wins");
        assert!(winners.next().is_none(), "two won round {round}");
        assert_eq!(winner.tenure.generation, round);
        release(&store_in(folder.path()), &winner.tenure).unwrap();
    }
}

#[test]
fn history_is_newest_first_and_the_same_run_is_entered_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    for entry in [finished("b", 2_000), finished("c", 10_000), finished("a", 1_000), finished("b", 2_000)] {
        store.append_history(&entry).unwrap();
    }
    let runs: Vec<_> = store.history().unwrap().entries.into_iter().map(|e| e.run).collect();
    assert_eq!(runs, ["c", "b", "a"]);
}

#[test]
fn a_run_id_cannot_lead_out_of_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let entry = finished(&format!("../../{}", "x".repeat(500)), 1);
    store.append_history(&entry).unwrap();
    assert_eq!(store.history().unwrap().entries, [entry]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
