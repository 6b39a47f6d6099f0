//! The stories of past rollouts, read from their journals: for reports, never to decide.

use crate::event::Event;
use jiff::Timestamp;
use pipeline::{causes::in_one_line, journal, name::Name, store};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The story of one run, over all executors that carried it out.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The environment.
    pub environment: Name,
    /// The run.
    pub run: String,
    /// What happened, in its order, and when.
    pub events: Vec<(Timestamp, Event)>,
}

/// Stories that were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stories {
    /// Those of the release, oldest first.
    pub stories: Vec<Story>,
    /// Why journals are left out that cannot be read, a sentence each.
    pub unreadable: Vec<String>,
}

/// Where a run's events are gathered: its environment and its name.
type Runs = BTreeMap<(Name, String), Vec<(Timestamp, Event)>>;

/// The rollouts that were to make `release` stand, in any environment that has a folder in this state folder, whether or
/// not it still has a file of its own.
///
/// # Errors
/// If the folders cannot be read. A journal that cannot be read is left out and named.
pub fn of_release(state: &Path, release: &str) -> io::Result<Stories> {
    let mut told = Stories::default();
    let mut runs = Runs::new();
    for folder in entries(state)? {
        let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let Some(environment) = name else { continue };
        for path in entries(&folder.join("journal"))? {
            // Most journals are of other releases: these need not be understood.
            let is_of = |bytes: &[u8]| bytes.windows(release.len()).any(|part| part == release.as_bytes());
            let read = match store::read(&path) {
                Ok(bytes) if !is_of(&bytes) => continue,
                Ok(_) => journal::read::<serde_json::Value>(&path).map_err(|error| in_one_line(&error)),
                Err(error) => Err(in_one_line(&error)),
            };
            match read {
                Ok(journal) => take(&mut runs, &environment, journal.entries, release),
                Err(why) => told.unreadable.push(why),
            }
        }
    }
    told.stories =
        runs.into_iter().map(|((environment, run), events)| Story { environment, run, events }).collect();
    for story in &mut told.stories {
        story.events.sort_by_key(|(at, _)| *at);
    }
    told.stories.sort_by_key(|story| story.events.first().map(|(at, _)| *at));
    Ok(told)
}

/// Takes the rollout out of a journal: what was told before it began is of the stages.
fn take(runs: &mut Runs, environment: &Name, entries: Vec<journal::Entry<serde_json::Value>>, release: &str) {
    let mut current = None;
    for entry in entries {
        // What an older or newer version told in other words is left out.
        let Ok(event) = serde_json::from_value::<Event>(entry.event) else { continue };
        if let Event::RolloutBegan { run, release: of, .. } = &event {
            current = (of == release).then(|| (environment.clone(), run.clone()));
        }
        if let Some(key) = &current {
            runs.entry(key.clone()).or_default().push((entry.at, event));
        }
    }
}

/// What is in a folder, by name; nothing if there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(store::FileError::wrap("read", folder, error)),
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanKind;
    use pipeline::{journal::Journal, secret::Redactor};

    /// An event of a journal, whatever it tells.
    #[derive(serde::Serialize)]
    #[serde(untagged)]
    enum Told {
        Deploy(Event),
        Other(serde_json::Value),
    }

    impl journal::Journaled for Told {
        fn is_step(&self) -> bool {
            true
        }
    }

    fn began(run: &str, release: &str) -> Told {
        Told::Deploy(Event::RolloutBegan {
            run: run.to_owned(),
            environment: "local".parse().unwrap(),
            release: release.to_owned(),
            kind: PlanKind::Deploy,
            services: Vec::new(),
            targets: Vec::new(),
            resumed: false,
        })
    }

    fn lease(generation: u64) -> Told {
        Told::Deploy(Event::LeaseAcquired { generation, took_over: None })
    }

    fn write(state: &Path, environment: &str, file: &str, events: Vec<Told>) {
        let folder = state.join(environment).join("journal");
        let journal = Journal::create(&folder, file, "0.1.0", Redactor::default()).unwrap();
        events.iter().for_each(|event| journal.record(event).unwrap());
    }

    #[test]
    fn a_run_is_told_over_all_its_executors_and_without_the_stages_before_it() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let stage =
            serde_json::json!({ "event": "stage-passed", "stage": "test", "duration-ms": 1, "summary": "" });
        write(state, "local", "b-g1", vec![Told::Other(stage), began("b", "r1"), lease(1)]);
        write(state, "local", "a-g2", vec![began("a", "r2"), lease(2)]);
        write(state, "local", "b-g3", vec![lease(3), began("b", "r1"), lease(4)]);
        write(state, "staging", "c-g1", vec![began("c", "r1")]);
        std::fs::write(state.join("local/journal/d-g1.jsonl"), "r1 is no journal\n").unwrap();
        std::fs::create_dir_all(state.join("stages")).unwrap();

        let told = of_release(state, "r1").unwrap();
        let runs: Vec<(&str, usize)> =
            told.stories.iter().map(|story| (story.run.as_str(), story.events.len())).collect();
        assert_eq!(runs, [("b", 4), ("c", 1)]);
        assert_eq!(told.stories[1].environment.as_str(), "staging");
        assert!(told.unreadable[0].contains("d-g1.jsonl"), "{:?}", told.unreadable);
        assert_eq!(of_release(state, "r3").unwrap(), Stories::default());
        assert_eq!(of_release(&state.join("none"), "r1").unwrap(), Stories::default());
    }
}
