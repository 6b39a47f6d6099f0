//! What the engine tells by itself: whether something of this target may have changed.

use crate::{
    engine::Engine,
    place::{Kind, Place},
};
use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt;
use std::{sync::OnceLock, time::Duration};
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// The pause before a stream that ended is opened again: an engine that is just being restarted is not in a hurry.
const REOPEN_AFTER: Duration = Duration::from_millis(250);

/// Hears the engine, from when it is first asked until it is dropped.
pub(crate) struct Ear {
    engine: Engine,
    place: Place,
    changes: watch::Sender<u64>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

impl Ear {
    pub(crate) fn new(engine: Engine, place: Place) -> Self {
        Self { engine, place, changes: watch::Sender::new(0), task: OnceLock::new() }
    }

    /// How much has changed up to now.
    pub(crate) fn seen(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Returns when more has changed than was `seen`, at the latest after `longest`.
    pub(crate) async fn changed(&self, seen: u64, longest: Duration) {
        self.task.get_or_init(|| {
            let (engine, place, changes) = (self.engine.clone(), self.place.clone(), self.changes.clone());
            AbortOnDropHandle::new(tokio::spawn(hear(engine, place, changes)))
        });
        let mut changes = self.changes.subscribe();
        // At the deadline something may have changed, too.
        let _ = timeout(longest, changes.wait_for(|now| *now != seen)).await;
    }
}

async fn hear(engine: Engine, place: Place, changes: watch::Sender<u64>) {
    let change = || changes.send_modify(|count| *count += 1);
    let mut filters = place.filter(Kind::Unit);
    filters.insert("type".to_owned(), vec!["container".to_owned()]);
    loop {
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let mut events = std::pin::pin!(engine.docker().events(Some(options)));
        while let Some(Ok(_)) = events.next().await {
            change();
        }
        // An engine that is gone is a change, and so is whatever happened until it is heard again.
        change();
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}
