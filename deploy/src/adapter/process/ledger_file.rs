//! The ledger of a process target: `ledger.json`, and how a commit changes it.

use super::{folders::Folders, protocol::CommitEntry};
use crate::{
    bundle::BundleHash,
    ledger::{Entry, Ledger, Standing},
};
use pipeline::{
    name::Name,
    store::{self, Format, ReadError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

const FORMAT: Format = Format { what: "ledger", version: Ledger::FORMAT };

/// Why a ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// Damaged.
    #[error(
        "cannot tell what was deployed: put the file back from a copy; without one, take the environment down, remove \
         its folder and deploy anew"
    )]
    Damaged(#[source] ReadError),
    /// It cannot be opened, or was written by a newer Fairlead.
    #[error("cannot tell what was deployed")]
    Unusable(#[source] ReadError),
    /// It belongs to something else.
    #[error(
        "`{path}` is the ledger of target `{found_target}` of environment `{found}`, not of `{target}` of \
         `{environment}`: give each environment a state folder of its own"
    )]
    OtherOwner { path: PathBuf, found: Name, found_target: Name, environment: Name, target: Name },
}

/// Whose ledger it is, if there is one that can be read.
pub(crate) fn owner(folders: &Folders) -> Option<Name> {
    store::read_json_if_exists::<Ledger>(&folders.ledger(), FORMAT).ok().flatten().map(|ledger| ledger.target)
}

/// Reads the ledger; one that was never written is empty.
pub(crate) fn read(folders: &Folders, environment: &Name, target: &Name) -> Result<Ledger, LedgerError> {
    let path = folders.ledger();
    let found = store::read_json_if_exists::<Ledger>(&path, FORMAT).map_err(|error| match error {
        ReadError::Malformed { .. } => LedgerError::Damaged(error),
        ReadError::Io { .. } | ReadError::Newer { .. } => LedgerError::Unusable(error),
    })?;
    let Some(ledger) = found else {
        return Ok(Ledger::empty(environment.clone(), target.clone()));
    };
    if ledger.environment == *environment && ledger.target == *target {
        return Ok(ledger);
    }
    Err(LedgerError::OtherOwner {
        path,
        found: ledger.environment,
        found_target: ledger.target,
        environment: environment.clone(),
        target: target.clone(),
    })
}

/// Writes the ledger.
pub(crate) fn write(folders: &Folders, ledger: &Ledger) -> io::Result<()> {
    store::write_json(&folders.ledger(), ledger, store::PRIVATE)
}

/// The ledger after a commit. Committing what stands already changes nothing but the generation.
pub fn committed(
    mut ledger: Ledger,
    generation: u64,
    services: &BTreeMap<Name, Option<CommitEntry>>,
    keep: usize,
    now: jiff::Timestamp,
) -> Ledger {
    ledger.version = Ledger::FORMAT;
    ledger.generation = ledger.generation.max(generation);
    for (service, entry) in services {
        let before = ledger.services.remove(service);
        if let Some(entry) = entry {
            ledger.services.insert(service.clone(), standing(before, entry, keep, now));
        }
    }
    ledger
}

/// The bundles that the ledger needs.
pub fn needed(ledger: &Ledger) -> BTreeSet<BundleHash> {
    let entries = ledger.services.values().flat_map(|s| std::iter::once(&s.current).chain(&s.previous));
    entries.map(|entry| entry.bundle).collect()
}

fn standing(before: Option<Standing>, entry: &CommitEntry, keep: usize, now: jiff::Timestamp) -> Standing {
    let mut current = Entry {
        bundle: entry.bundle,
        release: entry.release.clone(),
        replicas: entry.replicas,
        check: entry.check.clone(),
        port: entry.port,
        at: now,
        irreversible: entry.irreversible,
    };
    let Some(Standing { current: last, previous }) = before else {
        return Standing { current, previous: Vec::new() };
    };
    if last.bundle == current.bundle {
        current.at = last.at;
    }
    // What brings a bundle back does not know what it was when it was brought for the first time.
    let known = std::iter::once(&last).chain(&previous).find(|entry| entry.bundle == current.bundle);
    current.irreversible |= known.is_some_and(|entry| entry.irreversible);
    let previous =
        std::iter::once(last).chain(previous).filter(|e| e.bundle != current.bundle).take(keep).collect();
    Standing { current, previous }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Check, Probe};
    use pipeline::digest::Digest;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn entry(number: u8) -> CommitEntry {
        CommitEntry {
            bundle: BundleHash::new(Digest::of_bytes([number])),
            release: format!("r{number}"),
            replicas: 2,
            check: Check {
                probe: Probe::Tcp,
                identity: None,
                interval: 1,
                timeout: 1,
                healthy_passes: 1,
                healthy_for: 1,
                healthy_deadline: 1,
                unhealthy_failures: 1,
                provider_error_limit: 1,
            },
            port: 8000,
            irreversible: false,
        }
    }

    fn commit(ledger: Ledger, generation: u64, number: Option<u8>, keep: usize) -> Ledger {
        let services = BTreeMap::from([(name("api"), number.map(entry))]);
        let now = jiff::Timestamp::from_second(i64::try_from(generation).expect("small")).expect("in range");
        committed(ledger, generation, &services, keep, now)
    }

    fn releases(ledger: &Ledger) -> Vec<String> {
        let standing = &ledger.services[&name("api")];
        std::iter::once(&standing.current).chain(&standing.previous).map(|e| e.release.clone()).collect()
    }

    fn empty() -> Ledger {
        Ledger::empty(name("local"), name("here"))
    }

    #[test]
    fn what_was_current_becomes_previous_and_going_back_does_not_double_it() {
        let first = commit(empty(), 1, Some(1), 2);
        assert_eq!(releases(&first), ["r1"]);
        let third = commit(commit(first, 2, Some(2), 2), 3, Some(3), 2);
        assert_eq!(releases(&third), ["r3", "r2", "r1"]);
        let back = commit(third.clone(), 4, Some(2), 2);
        assert_eq!(releases(&back), ["r2", "r3", "r1"]);
        let fourth = commit(third, 5, Some(4), 2);
        assert_eq!(releases(&fourth), ["r4", "r3", "r2"], "no more than are kept");
        assert!(commit(fourth, 6, None, 2).services.is_empty());
    }

    #[test]
    fn committing_what_stands_changes_the_generation_only() {
        let once = commit(commit(empty(), 1, Some(1), 3), 2, Some(2), 3);
        let twice = commit(once.clone(), 9, Some(2), 3);
        assert_eq!(twice.generation, 9);
        assert_eq!(twice.services, once.services);
    }

    #[test]
    fn refuses_what_is_damaged_newer_or_of_another_environment() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folders = Folders::new(folder.path()).expect("a path");
        let text = |environment: &str| {
            let result = read(&folders, &name(environment), &name("here"));
            result.map(|ledger| ledger.generation).map_err(|e| pipeline::causes::in_one_line(&e))
        };
        assert_eq!(text("local"), Ok(0), "none was written yet");

        write(&folders, &commit(empty(), 7, Some(1), 1)).expect("it writes");
        assert_eq!(text("local"), Ok(7));
        assert!(text("live").expect_err("another's").contains("environment `local`"));

        std::fs::write(folders.ledger(), "{\"version\": 1, \"env").expect("it writes");
        let damaged = text("local").expect_err("damaged");
        assert!(damaged.contains("ledger.json") && damaged.contains("damaged"), "{damaged}");

        std::fs::write(folders.ledger(), "{\"version\": 99}").expect("it writes");
        let newer = text("local").expect_err("newer");
        assert!(newer.contains("ledger.json") && newer.contains("version 99"), "{newer}");
    }

    proptest! {
        #[test]
        fn holds_each_bundle_once_and_what_was_current_right_behind(
            numbers in proptest::collection::vec(0u8..6, 1..20), keep in 1usize..5,
        ) {
            let mut ledger = empty();
            let mut last = None;
            for (generation, number) in (1u64..).zip(&numbers) {
                ledger = commit(ledger, generation, Some(*number), keep);
                let releases = releases(&ledger);
                let distinct: BTreeSet<_> = releases.iter().collect();
                prop_assert_eq!(distinct.len(), releases.len());
                prop_assert!(releases.len() <= keep + 1);
                prop_assert_eq!(&releases[0], &format!("r{number}"));
                if let Some(last) = last.filter(|last| last != number) {
                    prop_assert_eq!(&releases[1], &format!("r{last}"));
                }
                last = Some(*number);
            }
        }
    }
}
