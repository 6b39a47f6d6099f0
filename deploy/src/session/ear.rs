//! How an executor hears its operators: those at its own terminal, and those who leave requests from other processes.

use super::Events;
use crate::{
    event::Event,
    port::{Request, Requests},
    state::Command,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How often requests are looked for: quick for a human who waits, and the cost of listing an empty folder.
const LOOK: Duration = Duration::from_millis(200);

/// Listens until it is dropped.
pub(super) struct Ear {
    ended_by: Arc<Mutex<Option<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Ear {
    /// Listens for the executor of this run and generation; what is heard comes out of the receiver, with what
    /// `operator` holds already first.
    pub(super) fn begin(
        requests: Arc<dyn Requests>,
        run: String,
        generation: u64,
        mut operator: mpsc::UnboundedReceiver<Command>,
        events: Events,
    ) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, heard) = mpsc::unbounded_channel();
        while let Ok(command) = operator.try_recv() {
            commands.send(command).expect("the receiver is held right here");
        }
        let ended_by = Arc::default();
        let inbox = Inbox {
            requests,
            run,
            generation,
            commands,
            events,
            ended_by: Arc::clone(&ended_by),
            seen: BTreeSet::new(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(listen(inbox, operator)));
        (Self { ended_by, _task: task }, heard)
    }

    /// Who asked for the end of the rollout from another process, if anyone did.
    pub(super) fn ended_by(&self) -> Option<String> {
        self.ended_by.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The requests of one executor.
struct Inbox {
    requests: Arc<dyn Requests>,
    run: String,
    generation: u64,
    commands: mpsc::UnboundedSender<Command>,
    events: Events,
    ended_by: Arc<Mutex<Option<String>>>,
    /// Requests that were heard, lest one that cannot be removed be heard again and again.
    seen: BTreeSet<String>,
}

async fn listen(mut inbox: Inbox, mut operator: mpsc::UnboundedReceiver<Command>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(command) = operator.recv() => {
                // If nobody receives, the rollout has just ended.
                let _sent = inbox.commands.send(command);
            }
            _ = looks.tick() => inbox.look().await,
        }
    }
}

impl Inbox {
    /// Takes what was left for this executor, and removes what was left for one that is no more. What cannot be read is
    /// removed too: nobody could ever take it. A folder that cannot be read now is looked into again.
    async fn look(&mut self) {
        for (id, request) in self.requests.all().await.unwrap_or_default() {
            if request.as_ref().is_some_and(|request| request.generation > self.generation) {
                // It is for whoever has taken over from us.
                continue;
            }
            if let Some(request) = request.filter(|request| self.is_for_us(request))
                && !self.seen.contains(&id)
                && !self.take(request)
            {
                // The rollout was left at this very moment: whoever asked finds that out, and the request untaken.
                continue;
            }
            self.seen.insert(id.clone());
            // Told first, then removed: whoever sees that it is gone can rely on it.
            let _removed = self.requests.remove(&id).await;
        }
    }

    fn is_for_us(&self, request: &Request) -> bool {
        request.run == self.run && request.generation == self.generation
    }

    /// Hands a request to the loop; says whether that still listens.
    fn take(&self, request: Request) -> bool {
        let Request { command, actor, .. } = request;
        if self.commands.send(command).is_err() {
            return false;
        }
        if command == Command::Cancel {
            *self.ended_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor.clone());
        }
        (self.events)(Event::Requested { command, by: actor });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Plan, record::RecordStore, state::State};

    fn request(id: &str, run: &str, generation: u64, command: Command) -> Request {
        let (id, run, actor) = (id.to_owned(), run.to_owned(), "ann@laptop".to_owned());
        Request { version: Request::FORMAT, id, run, generation, command, actor }
    }

    struct Desk {
        _folder: tempfile::TempDir,
        requests: Arc<dyn Requests>,
        told: Arc<Mutex<Vec<Event>>>,
    }

    impl Desk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let requests = Arc::new(RecordStore::<Plan, State>::open(folder.path()).requests());
            Self { _folder: folder, requests, told: Arc::default() }
        }

        fn listen(
            &self,
            operator: mpsc::UnboundedReceiver<Command>,
        ) -> (Ear, mpsc::UnboundedReceiver<Command>) {
            let told = self.told.clone();
            let events: Events = Arc::new(move |event| told.lock().unwrap().push(event));
            Ear::begin(self.requests.clone(), "run-2".to_owned(), 5, operator, events)
        }

        /// Waits until requests were dealt with, all but those that are expected to stay.
        async fn until_only(&self, stay: &[&str]) {
            let gone = async {
                loop {
                    let all = self.requests.all().await.unwrap();
                    if all.iter().map(|(id, _)| id.as_str()).eq(stay.iter().copied()) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), gone).await.expect("they are dealt with");
        }
    }

    #[tokio::test]
    async fn a_request_is_heard_once_and_told() {
        let desk = Desk::new();
        let (_operator, receiver) = mpsc::unbounded_channel();
        let (ear, mut heard) = desk.listen(receiver);
        desk.requests.leave(&request("1", "run-2", 5, Command::Cancel)).await.unwrap();
        assert_eq!(heard.recv().await, Some(Command::Cancel));
        desk.until_only(&[]).await;
        assert!(heard.try_recv().is_err(), "it was heard twice");
        assert_eq!(ear.ended_by().as_deref(), Some("ann@laptop"));
        let by = "ann@laptop".to_owned();
        assert_eq!(*desk.told.lock().unwrap(), [Event::Requested { command: Command::Cancel, by }]);
    }

    #[tokio::test]
    async fn what_was_left_for_another_is_not_heard() {
        let desk = Desk::new();
        for stale in [
            request("1-run", "run-1", 4, Command::Cancel),
            request("2-generation", "run-2", 4, Command::Cancel),
            request("3-name", "run-1", 5, Command::Hold),
            request("4-later", "run-2", 6, Command::Cancel),
            request("5-ours", "run-2", 5, Command::Pause),
        ] {
            desk.requests.leave(&stale).await.unwrap();
        }
        let (_operator, receiver) = mpsc::unbounded_channel();
        let (ear, mut heard) = desk.listen(receiver);
        assert_eq!(heard.recv().await, Some(Command::Pause));
        desk.until_only(&["4-later"]).await;
        assert!(heard.try_recv().is_err(), "a stale request was heard");
        assert_eq!(ear.ended_by(), None);
    }

    #[tokio::test]
    async fn a_loop_that_has_ended_takes_nothing() {
        let desk = Desk::new();
        let (operator, receiver) = mpsc::unbounded_channel();
        let (ear, heard) = desk.listen(receiver);
        drop(heard);
        desk.requests.leave(&request("0-stale", "run-1", 4, Command::Cancel)).await.unwrap();
        desk.requests.leave(&request("1-ours", "run-2", 5, Command::Cancel)).await.unwrap();
        desk.until_only(&["1-ours"]).await;
        assert_eq!(ear.ended_by(), None);
        assert!(desk.told.lock().unwrap().is_empty());
        drop(operator);
    }

    #[tokio::test]
    async fn what_the_operator_asked_for_before_is_there_at_once() {
        let desk = Desk::new();
        let (operator, receiver) = mpsc::unbounded_channel();
        operator.send(Command::Promote).unwrap();
        let (_ear, mut heard) = desk.listen(receiver);
        assert_eq!(heard.try_recv(), Ok(Command::Promote));
        operator.send(Command::Interrupt).unwrap();
        assert_eq!(heard.recv().await, Some(Command::Interrupt));
    }
}
