//! The scribe: writes the journal of a run beside the loop, so that no rollout waits for a disk that only tells its
//! story. What a rollout is taken up from is the record, which the loop does wait for.

use super::Events;
use crate::event::Event;
use pipeline::journal::{Journal, Journaled};
use serde::Serialize;
use std::{
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
    writer: JoinHandle<()>,
}

impl Scribe {
    pub(super) fn begin(journal: Journal<Told>) -> Self {
        let (lines, told) = mpsc::channel::<Option<Told>>();
        let writer = std::thread::spawn(move || {
            while let Ok(Some(told)) = told.recv() {
                // A journal that cannot be written (disk full) must not stop a rollback.
                let _written = journal.record(&told);
            }
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

    /// Waits until everything that was told is on disk.
    pub(super) fn finish(self) {
        let _sent = self.lines.send(None);
        // It does not panic: it only writes.
        let _ended = self.writer.join();
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
