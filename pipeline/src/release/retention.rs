//! Which manifests of releases are kept, and which have had their time.

use super::ReleaseId;
use jiff::Timestamp;
use std::{cmp::Reverse, collections::BTreeSet};

/// The releases whose manifests can go: those that are neither needed nor among the newest `keep`, oldest first. Of two
/// that were made in the same moment the one goes first whose name comes first. Pure.
pub fn surplus(made: &[(ReleaseId, Timestamp)], needed: &BTreeSet<ReleaseId>, keep: usize) -> Vec<ReleaseId> {
    let mut newest_first: Vec<&(ReleaseId, Timestamp)> = made.iter().collect();
    newest_first.sort_by_key(|(id, at)| Reverse((*at, id)));
    let old = newest_first.into_iter().skip(keep).rev().map(|(id, _)| id);
    old.filter(|id| !needed.contains(*id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(numbers: impl IntoIterator<Item = i64>) -> Vec<(ReleaseId, Timestamp)> {
        let at = |second| Timestamp::from_second(second).expect("a time");
        numbers.into_iter().map(|number| (id(number), at(number))).collect()
    }

    fn id(number: i64) -> ReleaseId {
        ReleaseId(format!("r{number}"))
    }

    #[test]
    fn the_newest_stay_whatever_they_are_called_and_the_oldest_go_first() {
        // By their names, `r10` would come before `r9`.
        let all = made([9, 12, 10, 11, 8]);
        assert_eq!(surplus(&all, &BTreeSet::new(), 3), [8, 9].map(id));
        assert_eq!(surplus(&all, &BTreeSet::new(), 5), []);
        assert_eq!(surplus(&all, &BTreeSet::new(), 6), []);
    }

    #[test]
    fn what_is_needed_stays_however_old_it_is_and_takes_no_place_of_a_newer_one() {
        let all = made(1..=6);
        let needed = [id(1), id(3), ReleaseId("made-elsewhere".to_owned())].into();
        assert_eq!(surplus(&all, &needed, 2), [2, 4].map(id));
    }
}
