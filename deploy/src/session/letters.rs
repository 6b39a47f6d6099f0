//! Letters: what GitHub is to be told of a rollout is put into the outbox beside the loop, which waits for no disk that
//! only tells its story. Who sends it is the command's own business.

use super::{Events, Session};
use crate::{
    event::Event,
    github::{Ending, Outbox, OutboxError, Standing, Story, Teller},
    plan::Plan,
};
use pipeline::release::{Manifests, ReleaseId};
use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

/// The digits of a commit that the name of a release begins with.
const COMMIT_DIGITS: usize = 12;

/// Puts letters into the outbox, in the order in which things happen.
pub(super) struct Letters {
    events: mpsc::Sender<Option<Event>>,
    writer: JoinHandle<()>,
}

impl Letters {
    fn begin(mut teller: Teller, outbox: Outbox, mask: Arc<dyn Fn(&str) -> String + Send + Sync>) -> Self {
        let (events, heard) = mpsc::channel::<Option<Event>>();
        let writer = std::thread::spawn(move || {
            while let Ok(Some(event)) = heard.recv() {
                let whats = teller.hear(&event);
                if whats.is_empty() {
                    continue;
                }
                let ended = matches!(event, Event::RolloutFinished { .. });
                let whats = whats.into_iter().map(|what| what.masked(&*mask));
                // An outbox that cannot be written (disk full) must not stop a rollback; the sender says so.
                let _written = outbox.add(whats).and_then(|()| {
                    let open = (!ended).then(|| teller.story().clone());
                    outbox.remember(open, teller.standing().map(str::to_owned))
                });
            }
        });
        Self { events, writer }
    }

    /// Waits until all is in the outbox.
    pub(super) fn finish(self) {
        let _sent = self.events.send(None);
        // It does not panic: it only writes.
        let _ended = self.writer.join();
    }
}

impl Session {
    /// What GitHub is to be told of this environment.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whoever is told, and the outbox before them, if GitHub is told of this environment and of this plan: what was not
    /// made of a commit cannot be.
    pub(super) fn letters(&self, plan: &Plan, events: Events) -> (Option<Letters>, Events) {
        let Some(story) = self.story(plan) else { return (None, events) };
        let standing = self.outbox.remembered().ok().and_then(|remembered| remembered.standing);
        let letters = Letters::begin(Teller::new(story, standing), self.outbox.clone(), self.mask());
        let sender = letters.events.clone();
        let before = move |event: Event| {
            if event.is_step() {
                // The writer only ends when it is told to.
                let _sent = sender.send(Some(event.clone()));
            }
            events(event);
        };
        (Some(letters), Arc::new(before))
    }

    fn story(&self, plan: &Plan) -> Option<Story> {
        let environment = &self.loaded.environment;
        if !environment.github {
            return None;
        }
        let commit = self.commit_of(&plan.release)?;
        Some(Story {
            run: plan.run.clone(),
            kind: plan.kind,
            release: Standing { release: plan.release.clone(), commit },
            before: self.stood_before(plan),
            production: environment.protected,
            log_url: self.run_url.clone(),
            environment_url: environment.url.clone(),
        })
    }

    /// What a rollback of this plan returns to. Services may stand at several releases; the commit is that of most.
    fn stood_before(&self, plan: &Plan) -> Option<Standing> {
        let mut releases: BTreeMap<&str, usize> = BTreeMap::new();
        for service in &plan.services {
            if let Some(from) = &service.from {
                *releases.entry(&from.release).or_default() += 1;
            }
        }
        let most = releases.iter().max_by_key(|(_, count)| **count).map(|(release, _)| *release)?;
        let commit = self.commit_of(most)?;
        let release = releases.keys().copied().collect::<Vec<_>>().join(", ");
        Some(Standing { release, commit })
    }

    /// By its manifest, or, of a release of another machine, by its name, which begins with the commit.
    fn commit_of(&self, release: &str) -> Option<String> {
        let manifests = Manifests::new(&self.root.join(crate::STATE_FOLDER));
        let made = manifests.find(&ReleaseId(release.to_owned())).ok().flatten();
        if let Some(commit) = made.and_then(|release| release.commit) {
            return Some(commit);
        }
        let digits = release.split('-').next()?;
        let is_commit = digits.len() == COMMIT_DIGITS
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_commit.then(|| digits.to_owned())
    }

    /// Tells the end of a story that nobody has told: the process was ended between the end of the rollout and that.
    ///
    /// # Errors
    /// The outbox cannot be used.
    pub fn finish_story(&self) -> Result<(), OutboxError> {
        let remembered = self.outbox.remembered()?;
        let Some(story) = remembered.open else { return Ok(()) };
        let history = self.store().history()?;
        let Some(entry) = history.entries.into_iter().find(|entry| entry.run == story.run) else {
            return Ok(());
        };
        // One that goes on tells its end itself.
        if self.store().load().is_ok_and(|record| record.open.is_some_and(|open| open.run == story.run)) {
            return Ok(());
        }
        let reason = entry.reasons.first().map(ToString::to_string);
        let words = [reason, entry.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let Some(ending) = Ending::of_entry(&entry.outcome, &words) else { return Ok(()) };
        let mut teller = Teller::new(story, remembered.standing);
        let mask = self.mask();
        let whats = teller.end(&ending).into_iter().map(|what| what.masked(&*mask));
        self.outbox.add(whats.collect::<Vec<_>>())?;
        Ok(self.outbox.remember(None, teller.standing().map(str::to_owned))?)
    }
}
