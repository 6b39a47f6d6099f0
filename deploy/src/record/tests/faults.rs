//! Torn, missing and unwritable files: never taken for an empty record, never half a new one.

use super::*;
use std::{error::Error, fs};

/// A store whose record has a lease and a bad release.
fn written(folder: &Path) -> (Store, Record<String, u32>) {
    let store = store_in(folder);
    let mut record = Record::empty();
    record.generation = 3;
    record.lease = Some(lease_of(me(), stamp(10_000, 500)));
    record.bad_releases.insert("bad".to_owned());
    let record = store.swap(0, record).unwrap();
    (store, record)
}

fn whole_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_record_that_is_cut_off_anywhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = written(folder.path());
    let bytes = fs::read(store.path()).unwrap();
    // The last byte is the newline, without which it is still whole.
    for length in 0..bytes.len() - 1 {
        fs::write(store.path(), &bytes[..length]).unwrap();
        let error = store.load().unwrap_err();
        assert!(matches!(error, RecordError::Read(_)), "{length}: {error}");
        assert!(whole_text(&error).contains("record.json"), "{}", whole_text(&error));
        assert!(store.swap(0, Record::empty()).is_err() && store.swap(1, Record::empty()).is_err());
        assert_eq!(fs::read(store.path()).unwrap(), bytes[..length], "the evidence stays");
    }
}

#[test]
fn a_record_that_disappeared_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = written(folder.path());
    fs::remove_file(store.path()).unwrap();
    for error in [store.load().unwrap_err(), store.swap(0, Record::empty()).unwrap_err()] {
        assert!(matches!(error, RecordError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("record.json"), "{error}");
    }
    assert!(!store.path().exists());
}

#[test]
fn a_crash_before_the_first_record_does_not_lock_the_environment_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("record")).unwrap();
    fs::write(folder.path().join("record/record.lock"), "").unwrap();
    let store = store_in(folder.path());
    assert_eq!(store.load().unwrap(), Record::empty());
    assert_eq!(store.swap(0, Record::empty()).unwrap().seq, 1);
}

#[test]
fn what_a_crash_in_a_write_leaves_is_ignored_and_removed_by_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let (store, record) = written(folder.path());
    let left = folder.path().join("record/.record.json.Ab12.tmp");
    fs::write(&left, "{\"version\":1,\"seq\":9").unwrap();
    assert_eq!(store.load().unwrap(), record);
    store.swap(record.seq, record).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_newer_record_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = written(folder.path());
    let newer = r#"{"version":2,"something":"else"}"#;
    fs::write(store.path(), newer).unwrap();
    let error = store.load().unwrap_err();
    assert!(whole_text(&error).contains("format version 2"), "{}", whole_text(&error));
    assert!(store.swap(0, Record::empty()).is_err());
    assert_eq!(fs::read_to_string(store.path()).unwrap(), newer);
}

#[test]
fn a_state_that_could_not_be_read_again_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let store: RecordStore<(), f64> = RecordStore::open(folder.path());
    store.swap(0, Record::empty()).unwrap();
    let open =
        OpenRollout { run: String::new(), plan: (), state: f64::NAN, started_at: 0, actor: String::new() };
    let error = store.swap(1, Record { open: Some(open), ..Record::empty() }).unwrap_err();
    assert!(matches!(error, RecordError::Unreadable(_)), "{error}");
    assert_eq!(store.load().unwrap().seq, 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for folder in [file.path().join("record"), "/proc/fairlead".into()] {
        let store = Store::open(&folder);
        let error = store.swap(0, Record::empty()).unwrap_err();
        assert!(whole_text(&error).contains(folder.to_str().unwrap()), "{}", whole_text(&error));
    }
}

#[test]
fn a_lock_that_is_never_given_back_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (store, record) = written(folder.path());
    let lock = fs::File::open(folder.path().join("record/record.lock")).unwrap();
    lock.lock().unwrap();
    let store = store.with_lock_limit(Duration::from_millis(200));
    let error = store.swap(record.seq, record.clone()).unwrap_err();
    assert!(matches!(&error, RecordError::Busy { path, .. } if path.ends_with("record.lock")), "{error}");
    assert_eq!(store.load().unwrap(), record, "reading needs no lock");
    drop(lock);
    // The thread that waited for it gives it back, too.
    store.with_lock_limit(Duration::from_secs(10)).swap(record.seq, record).unwrap();
}

#[test]
fn a_damaged_history_entry_is_reported_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    store.append_history(&finished("a", 1_000)).unwrap();
    store.append_history(&finished("b", 2_000)).unwrap();
    let history = folder.path().join("record/history");
    fs::write(history.join("00000000001500-torn.json"), "{\"version\":1,").unwrap();
    fs::write(history.join(".00000000001500-c.json.x.tmp"), "{").unwrap();
    let found = store.history().unwrap();
    assert_eq!(found.entries.iter().map(|e| e.run.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(found.damaged.len(), 1);
    assert!(found.damaged[0].path.ends_with("00000000001500-torn.json"));
}
