//! The scribe: writes the journal of a run beside the loop, so that no rollout waits for a disk that only tells its
//! story. What a rollout is taken up from is the record, which the loop does wait for.

use super::Events;
use crate::event::Event;
use pipeline::journal::Journaled;
use serde::Serialize;
use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

/// What a journal tells: the stages of the pipeline, then the rollout. Their names are different.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// Of the pipeline.
    Pipeline(pipeline::event::Event),
    /// Of the rollout.
    Deploy(Event),
}

/// Writes a journal, line by line, in the order in which it is told.
pub(super) struct Scribe {
    lines: mpsc::Sender<Option<Told>>,
    writer: JoinHandle<Lost>,
}

/// The lines that could not be written.
#[derive(Default)]
struct Lost {
    lines: u64,
    first: Option<io::Error>,
}

impl Scribe {
    /// One that has each line written by `record`.
    pub(super) fn begin(record: impl Fn(&Told) -> io::Result<()> + Send + 'static) -> Self {
        let (lines, told) = mpsc::channel::<Option<Told>>();
        let writer = std::thread::spawn(move || {
            let mut lost = Lost::default();
            while let Ok(Some(told)) = told.recv() {
                // A journal that cannot be written (disk full) must not stop a rollback; it is said at the end.
                if let Err(error) = record(&told) {
                    lost.lines += 1;
                    lost.first.get_or_insert(error);
                }
            }
            lost
        });
        Self { lines, writer }
    }

    pub(super) fn write(&self, told: Told) {
        // The writer only ends when it is told to.
        let _sent = self.lines.send(Some(told));
    }

    /// Whoever is told, with the journal told first.
    pub(super) fn before(&self, events: Events) -> Events {
        let lines = self.lines.clone();
        Arc::new(move |event: Event| {
            if event.is_step() {
                let _sent = lines.send(Some(Told::Deploy(event.clone())));
            }
            events(event);
        })
    }

    /// Waits until everything that was told is on disk. What could not be written is told, if there is any.
    pub(super) fn finish(self, events: &Events) {
        let _sent = self.lines.send(None);
        // It does not panic: it only writes.
        let Lost { lines: lost, first } = self.writer.join().unwrap_or_default();
        if let Some(first) = first {
            events(Event::JournalIncomplete { lost, why: pipeline::causes::in_one_line(&first) });
        }
    }
}

impl Journaled for Told {
    fn is_step(&self) -> bool {
        match self {
            Self::Pipeline(event) => event.is_step(),
            Self::Deploy(event) => event.is_step(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    };

    /// What is told at the end of three events, of which a full disk takes so many.
    fn told_at_the_end(taken: u64) -> Vec<Event> {
        let written = AtomicU64::new(0);
        let scribe = Scribe::begin(move |_| match written.fetch_add(1, Ordering::Relaxed) < taken {
            true => Ok(()),
            false => Err(io::Error::other("no space left")),
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let all = told.clone();
        let events: Events = Arc::new(move |event| all.lock().unwrap().push(event));
        let through = scribe.before(events.clone());
        for generation in 1..=3 {
            through(Event::LeaseAcquired { generation, took_over: None });
        }
        scribe.finish(&events);
        let told = told.lock().unwrap();
        assert_eq!(told.iter().filter(|event| matches!(event, Event::LeaseAcquired { .. })).count(), 3);
        told[3..].to_vec()
    }

    #[test]
    fn a_journal_that_could_not_be_written_stops_nothing_and_is_told_at_the_end() {
        assert_eq!(told_at_the_end(3), []);
        let why = "no space left".to_owned();
        assert_eq!(told_at_the_end(1), [Event::JournalIncomplete { lost: 2, why }]);
    }
}
