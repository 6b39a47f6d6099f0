use super::*;
use crate::{event::Event, secret::Secret, stage::StageName};
use std::fs;

fn passed(summary: &str) -> Event {
    Event::StagePassed { stage: StageName::Test, service: None, duration_ms: 5, summary: summary.into() }
}

fn journal(folder: &Path) -> Journal<Event> {
    let redactor = Redactor::default();
    redactor.learn(&Secret::new(b"hunter22".to_vec()));
    Journal::create(&folder.join("journal"), "run-1", "0.1.0", redactor).unwrap()
}

#[test]
fn steps_come_back_in_order_without_progress_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    journal.record(&passed("one")).unwrap();
    journal
        .record(&Event::StageOutput { stage: StageName::Test, service: None, line: "noise".into() })
        .unwrap();
    journal.record(&passed("two hunter22")).unwrap();
    let story = read::<Event>(journal.path()).unwrap();
    assert_eq!((story.header.run.as_str(), story.header.version), ("run-1", 1));
    let told: Vec<_> = story.entries.iter().map(|e| (e.number, e.event.clone())).collect();
    assert_eq!(told, [(1, passed("one")), (2, passed("two ***"))]);
    assert_eq!(story.torn_bytes, None);
    assert!(
        Journal::<Event>::create(journal.path().parent().unwrap(), "run-1", "", Redactor::default()).is_err()
    );
}

/// A crash can end the file after any byte: everything before the torn line is still told.
#[test]
fn a_torn_last_line_is_reported_and_left_out_wherever_it_was_torn() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    journal.record(&passed("one")).unwrap();
    let whole = fs::read(journal.path()).unwrap().len();
    journal.record(&passed("two")).unwrap();
    let bytes = fs::read(journal.path()).unwrap();
    for end in whole + 1..bytes.len() - 1 {
        fs::write(journal.path(), &bytes[..end]).unwrap();
        let story = read::<Event>(journal.path()).unwrap();
        assert_eq!((story.entries.len(), story.torn_bytes), (1, Some(end - whole)));
    }
    fs::write(journal.path(), &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(
        read::<Event>(journal.path()).unwrap().entries.len(),
        2,
        "a whole line that lacks its newline counts"
    );
}

#[test]
fn damage_elsewhere_and_newer_journals_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.jsonl");
    let header = r#"{"version":1,"run":"r","tool-version":"0","started-at":"2026-01-01T00:00:00Z"}"#;
    for (text, expected) in [
        ("".to_owned(), "not a journal"),
        (header[..20].to_owned(), "not a journal"),
        (format!("{header}\nnonsense\n"), "not a journal"),
        (header.replace(":1", ":2"), "format version 2, but this Fairlead reads versions up to 1"),
    ] {
        fs::write(&path, &text).unwrap();
        let error = read::<serde_json::Value>(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("j.jsonl"), "{error}");
    }
}

#[test]
fn many_tasks_can_record_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| journal.record(&passed("x")).unwrap()));
        }
    });
    let numbers: Vec<_> = read::<Event>(journal.path()).unwrap().entries.iter().map(|e| e.number).collect();
    assert_eq!(numbers, (1..=80).collect::<Vec<_>>());
}
