//! The state on the engine, read by whoever reaches it and replaced by compare-and-swap.
//!
//! Version `n` is a volume named after `n`, and the document is its label. An engine makes a volume of one name only once:
//! it answers whoever comes later with the labels of the first. So the writer of version `n + 1` puts a mark of its own
//! into a label, and has won if it gets that mark back. One that was delayed for so long that version `n + 1` was removed
//! again makes it a second time; so a writer looks for a higher version after it has written, and has lost if there is one.
//! The highest version and the one before it are never removed: an engine that lists its volumes looks at each by itself,
//! so that a reader may see neither one that was just made nor one that was just removed.

use crate::{
    engine::{Engine, label_of},
    error::{passing, terminal},
    place::{Kind, Place, label},
    state::State,
};
use bollard::models::Volume;
use deploy::{ledger::Ledger, port::EffectError, reason::ReasonCode};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use tokio::sync::Mutex;

/// The document's format: older is read, newer is refused.
const FORMAT: u32 = 1;

/// How often a writer that has lost tries again. Two executors at most act at once, and the older one is refused; more
/// losses in a row mean that something is wrong.
const TRIES: usize = 50;

/// How often a reader looks before it believes that there is no version.
const LOOKS: usize = 3;

/// The document in the label.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    version: u32,
    state: serde_json::Value,
}

/// The state of one target on its engine.
pub(crate) struct Store {
    engine: Engine,
    place: Place,
    /// Effects go side by side; they need not take each other's turn at the engine.
    turn: Mutex<()>,
}

/// A version of the state.
#[derive(Debug, Clone, Default)]
struct Found {
    number: u64,
    document: Option<String>,
    /// All versions that are there.
    all: Vec<(u64, String)>,
}

/// A text that nobody else has.
pub(crate) fn nonce() -> String {
    // Two keys that the system chose at random, and who asks when.
    let salt = (std::process::id(), std::time::SystemTime::now());
    format!("{:016x}", RandomState::new().hash_one(salt))
}

impl Store {
    pub(crate) fn new(engine: Engine, place: Place) -> Self {
        Self { engine, place, turn: Mutex::default() }
    }

    /// What is remembered.
    pub(crate) async fn read(&self) -> Result<State, EffectError> {
        let found = self.find_surely().await?;
        self.parse(&found).await
    }

    /// Replaces the state with what `change` makes of it, and returns that. It is refused when a higher generation has
    /// acted. `change` may be called several times.
    pub(crate) async fn update(
        &self,
        generation: u64,
        change: impl Fn(&mut State) -> Result<(), EffectError> + Send + Sync,
    ) -> Result<State, EffectError> {
        let _turn = self.turn.lock().await;
        for _ in 0..TRIES {
            let found = self.find_surely().await?;
            let before = self.parse(&found).await?;
            if before.generation > generation {
                return Err(EffectError::Fenced { generation: before.generation });
            }
            let mut after = before.clone();
            after.generation = generation;
            change(&mut after)?;
            if after == before || self.swap(&found, &after).await? {
                return Ok(after);
            }
        }
        Err(passing(format!(
            "the state of target {} is being changed by somebody else all the time",
            self.place.target
        )))
    }

    /// Writes the next version; says whether it is the one that counts.
    async fn swap(&self, before: &Found, after: &State) -> Result<bool, EffectError> {
        let refused = |error: crate::error::EngineError| error.effect(ReasonCode::ActionFailed);
        let number = before.number + 1;
        let (name, nonce) = (self.place.state(number), nonce());
        let state =
            serde_json::to_value(after).expect("our own types serialize: string keys, no fallible impl");
        let document = serde_json::to_string(&Document { version: FORMAT, state }).expect("as above");
        let mut labels = self.place.labels(Kind::State, after.generation);
        labels.insert(label("number"), number.to_string());
        labels.insert(label("mark"), nonce.clone());
        labels.insert(label("document"), document);
        let made = self.engine.make_volume(&name, labels).await.map_err(refused)?;
        match label_of(Some(&made.labels), "mark") {
            Some(mark) if mark == nonce => {}
            Some(_) => return Ok(false),
            // An engine that was killed in the middle has made the volume, and forgotten what was to be on it.
            None => {
                self.engine.remove_volume(&name).await.map_err(refused)?;
                return Ok(false);
            }
        }
        let now = self.find().await?;
        if now.number != number {
            // Tidiness: nobody reads it below a higher one.
            let _ = self.engine.remove_volume(&name).await;
            return Ok(false);
        }
        for (_, old) in now.all.iter().filter(|(other, _)| *other + 1 < number) {
            // What stays is removed by the next writer.
            let _ = self.engine.remove_volume(old).await;
        }
        Ok(true)
    }

    async fn find_surely(&self) -> Result<Found, EffectError> {
        for _ in 1..LOOKS {
            let found = self.find().await?;
            if found.number > 0 {
                return Ok(found);
            }
        }
        self.find().await
    }

    /// The highest version.
    async fn find(&self) -> Result<Found, EffectError> {
        let volumes = self.engine.volumes(&self.place, Kind::State).await;
        let volumes = volumes.map_err(|error| error.effect(ReasonCode::ActionFailed))?;
        let number = |volume: &Volume| label_of(Some(&volume.labels), "number")?.parse::<u64>().ok();
        let mut found = Found::default();
        for volume in volumes {
            let Some(number) = number(&volume) else { continue };
            if number > found.number {
                let document = label_of(Some(&volume.labels), "document").map(str::to_owned);
                (found.number, found.document) = (number, document);
            }
            found.all.push((number, volume.name));
        }
        Ok(found)
    }

    async fn parse(&self, found: &Found) -> Result<State, EffectError> {
        let Place { environment, target, .. } = &self.place;
        if found.number == 0 {
            self.miss().await?;
            return Ok(State::empty(environment.clone(), target.clone()));
        }
        let damaged = |why: String| {
            let name = self.place.state(found.number);
            terminal(ReasonCode::ActionFailed, format!("the state in the labels of volume `{name}` {why}"))
        };
        let document = found.document.as_deref().unwrap_or_default();
        let document: Document =
            serde_json::from_str(document).map_err(|error| damaged(format!("cannot be read: {error}")))?;
        if document.version > FORMAT {
            return Err(damaged(format!(
                "has format {}, this version knows {FORMAT}: use a newer one",
                document.version
            )));
        }
        let state: State = serde_json::from_value(document.state)
            .map_err(|error| damaged(format!("cannot be read: {error}")))?;
        if state.ledger.version > Ledger::FORMAT {
            return Err(damaged(format!(
                "has a ledger of format {}: use a newer version",
                state.ledger.version
            )));
        }
        Ok(state)
    }

    /// A state that is gone is not taken for an empty one: containers or bundles without one are nobody's.
    async fn miss(&self) -> Result<(), EffectError> {
        let refused = |error: crate::error::EngineError| error.effect(ReasonCode::ActionFailed);
        let units = self.engine.containers(&self.place, Kind::Unit).await.map_err(refused)?.len();
        let bundles = self.engine.volumes(&self.place, Kind::Bundle).await.map_err(refused)?.len();
        if units + bundles == 0 {
            return Ok(());
        }
        let Place { project, environment, target } = &self.place;
        let message = format!(
            "the state of target {target} is gone from the engine, although {units} container(s) and {bundles} bundle(s) \
             of it are there: remove them (`docker ps --all --filter label={0}target={target}`, `docker volume ls` with \
             the same filter, project {project}, environment {environment}), then deploy anew",
            crate::place::PREFIX
        );
        Err(terminal(ReasonCode::ActionFailed, message))
    }
}
