//! The table that requests go by, and the choice of a unit for each.

use super::{
    protocol,
    upstream::{InFlight, Upstream},
};
use arc_swap::ArcSwap;
use http::uri::PathAndQuery;
use pipeline::name::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Every route, and every unit that is in one or still answers what it was asked when it was.
pub(super) struct Routes {
    current: ArcSwap<BTreeMap<Name, Arc<Route>>>,
    known: Mutex<Known>,
    ended: CancellationToken,
}

#[derive(Default)]
struct Known {
    /// The table as it was given, to see which routes have not changed.
    table: protocol::Table,
    upstreams: BTreeMap<String, Arc<Upstream>>,
}

impl Routes {
    /// No routes. Every request breaks off when `ended` is cancelled.
    pub(super) fn new(ended: CancellationToken) -> Self {
        Self { current: ArcSwap::default(), known: Mutex::default(), ended }
    }

    /// Replaces the whole table in one step; new requests go by it when this returns.
    ///
    /// # Errors
    /// What is wrong with the table, for people; then nothing has changed.
    pub(super) fn set(&self, table: protocol::Table) -> Result<(), String> {
        let mut paths = check(&table)?;
        let mut known = self.known();
        let before = self.current.load_full();
        let mut next = BTreeMap::new();
        let mut moved = Vec::new();
        for (service, asked) in &table.0 {
            let upstreams: Vec<_> = asked
                .upstreams
                .iter()
                .map(|upstream| self.upstream(&mut known, upstream, &mut moved))
                .collect();
            // A route that stays as it is keeps its turn, so that a switch elsewhere does not disturb its shares.
            let route = match before.get(service) {
                Some(same) if known.table.0.get(service) == Some(asked) && same.is_of(&upstreams) => {
                    same.clone()
                }
                _ => Arc::new(Route::new(paths.remove(service), upstreams)),
            };
            next.insert(service.clone(), route);
        }
        let admitted: BTreeSet<String> = next.values().flat_map(|route| route.names()).collect();
        // First those who come in, then the switch, then those who go: whoever chose one of the last by the old
        // table finds it dismissed, reads the new table, and never finds nobody in between.
        next.values().flat_map(|route| &route.upstreams).for_each(|entry| entry.upstream.admit());
        self.current.store(Arc::new(next));
        let left = known.upstreams.values().filter(|upstream| !admitted.contains(&upstream.name));
        left.chain(&moved).for_each(|upstream| upstream.dismiss());
        let named: BTreeSet<&String> =
            table.0.values().flat_map(|route| &route.upstreams).map(|upstream| &upstream.name).collect();
        known.upstreams.retain(|name, upstream| named.contains(name) || upstream.in_flight() > 0);
        known.table = table;
        Ok(())
    }

    /// Chooses a unit for one request, other than those in `tried`, and counts the request in.
    pub(super) fn choose(&self, service: &Name, tried: &[Arc<Upstream>]) -> Option<InFlight> {
        loop {
            let upstream = self.current.load().get(service)?.choose(tried)?;
            if let Some(ticket) = upstream.enter() {
                return Some(ticket);
            }
            // Dismissed since the table was read: the switch has been made by then, so the next reading sees it.
        }
    }

    /// The unit of this name, if it is in the table or something is in flight on it.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Upstream>> {
        self.known().upstreams.get(name).cloned()
    }

    /// Every unit that is known.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.known().upstreams.values().cloned().collect()
    }

    /// The units to be checked, each with its path.
    pub(super) fn to_check(&self) -> Vec<(Arc<Upstream>, PathAndQuery)> {
        let routes = self.current.load();
        let checked = routes.values().filter_map(|route| Some((route, route.health_path.as_ref()?)));
        checked.flat_map(|(r, path)| r.upstreams.iter().map(|e| (e.upstream.clone(), path.clone()))).collect()
    }

    /// The unit as it is known, or a new one. A name that has moved to another address is another process: it begins
    /// anew, and what is in flight on the old one is on its own.
    fn upstream(
        &self,
        known: &mut Known,
        asked: &protocol::Upstream,
        moved: &mut Vec<Arc<Upstream>>,
    ) -> (Arc<Upstream>, u16) {
        let same = known.upstreams.get(&asked.name).filter(|upstream| upstream.address == asked.address);
        let upstream = match same {
            Some(upstream) => upstream.clone(),
            None => {
                let new = Upstream::new(asked.name.clone(), asked.address, &self.ended);
                moved.extend(known.upstreams.insert(asked.name.clone(), new.clone()));
                new
            }
        };
        (upstream, asked.weight)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a table must be: one place for each unit, and paths that are paths, which are returned.
fn check(table: &protocol::Table) -> Result<BTreeMap<Name, PathAndQuery>, String> {
    let mut seen = BTreeSet::new();
    for upstream in table.0.values().flat_map(|route| &route.upstreams) {
        if !seen.insert(&upstream.name) {
            return Err(format!("the upstream `{}` stands in the table twice", upstream.name));
        }
    }
    let texts = table.0.iter().filter_map(|(service, route)| Some((service, route.health_path.as_ref()?)));
    texts
        .map(|(service, text)| match text.parse::<PathAndQuery>() {
            Ok(path) if text.starts_with('/') => Ok((service.clone(), path)),
            _ => Err(format!("the health path `{text}` of `{service}` is not a path: begin it with `/`")),
        })
        .collect()
}

/// The traffic of one service: the units that may be given new requests.
struct Route {
    health_path: Option<PathAndQuery>,
    upstreams: Vec<Entry>,
    /// The state of the choice: one credit for each of `upstreams`.
    credits: Mutex<Vec<i64>>,
}

struct Entry {
    upstream: Arc<Upstream>,
    weight: u16,
}

impl Route {
    fn new(health_path: Option<PathAndQuery>, upstreams: Vec<(Arc<Upstream>, u16)>) -> Self {
        let weighted = upstreams.into_iter().filter(|(_, weight)| *weight > 0);
        let upstreams: Vec<_> = weighted.map(|(upstream, weight)| Entry { upstream, weight }).collect();
        let credits = Mutex::new(vec![0; upstreams.len()]);
        Self { health_path, upstreams, credits }
    }

    fn is_of(&self, asked: &[(Arc<Upstream>, u16)]) -> bool {
        let mine = self.upstreams.iter().map(|entry| Arc::as_ptr(&entry.upstream));
        mine.eq(asked.iter().filter(|(_, weight)| *weight > 0).map(|(upstream, _)| Arc::as_ptr(upstream)))
    }

    fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.upstreams.iter().map(|entry| entry.upstream.name.clone())
    }

    /// The next unit in turn that is not left out; when all are left out, the next of all: a guess that they are
    /// alive after all costs an attempt, none at all costs the request.
    fn choose(&self, tried: &[Arc<Upstream>]) -> Option<Arc<Upstream>> {
        let untried = |entry: &Entry| !tried.iter().any(|other| Arc::ptr_eq(other, &entry.upstream));
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let fit = |entry: &Entry| untried(entry) && !entry.upstream.is_ejected();
        let chosen = self.turn(&mut credits, fit).or_else(|| self.turn(&mut credits, untried))?;
        Some(self.upstreams[chosen].upstream.clone())
    }

    fn turn(&self, credits: &mut [i64], eligible: impl Fn(&Entry) -> bool) -> Option<usize> {
        let weights = self.upstreams.iter().map(|entry| if eligible(entry) { entry.weight } else { 0 });
        next_in_turn(weights, credits)
    }
}

/// Smooth weighted round robin: each is credited its weight, the richest (the first of equals) is chosen and pays
/// the sum. Over any run of as many turns as the weights add up to, each is chosen exactly as often as its weight
/// says, and as evenly spread as can be. Those of weight 0 take no part.
fn next_in_turn(weights: impl Iterator<Item = u16>, credits: &mut [i64]) -> Option<usize> {
    let mut total = 0;
    let mut richest: Option<usize> = None;
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0) {
        credits[index] += i64::from(weight);
        total += i64::from(weight);
        if richest.is_none_or(|best| credits[index] > credits[best]) {
            richest = Some(index);
        }
    }
    credits[richest?] -= total;
    richest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_is_chosen_exactly_as_often_as_its_weight_says(
            weights in proptest::collection::vec(0u16..40, 1..6),
            rounds in 1usize..4,
        ) {
            let total: usize = weights.iter().map(|w| usize::from(*w)).sum();
            let mut credits = vec![0; weights.len()];
            let mut chosen = vec![0usize; weights.len()];
            for _ in 0..total * rounds {
                chosen[next_in_turn(weights.iter().copied(), &mut credits).unwrap()] += 1;
            }
            let expected: Vec<_> = weights.iter().map(|w| usize::from(*w) * rounds).collect();
            prop_assert_eq!(chosen, expected);
        }
    }

    #[test]
    fn nobody_is_chosen_when_nobody_takes_part() {
        assert_eq!(next_in_turn([].into_iter(), &mut []), None);
        assert_eq!(next_in_turn([0, 0].into_iter(), &mut [0, 0]), None);
    }

    fn table(upstreams: &[(&str, u16, u16)]) -> protocol::Table {
        let one = |(name, port, weight): &(&str, u16, u16)| protocol::Upstream {
            name: (*name).to_owned(),
            address: ([127, 0, 0, 1], *port).into(),
            weight: *weight,
        };
        let route = protocol::Route { health_path: None, upstreams: upstreams.iter().map(one).collect() };
        protocol::Table([("api".parse().unwrap(), route)].into())
    }

    #[tokio::test]
    async fn a_unit_is_remembered_as_long_as_something_is_in_flight_on_it() {
        let routes = Routes::new(CancellationToken::new());
        let api = "api".parse().unwrap();
        routes.set(table(&[("old", 1, 1)])).unwrap();
        let ticket = routes.choose(&api, &[]).unwrap();
        routes.set(table(&[("new", 2, 1)])).unwrap();
        assert_eq!(routes.find("old").unwrap().in_flight(), 1);
        assert_eq!(routes.choose(&api, &[]).unwrap().upstream().name, "new");
        drop(ticket);
        routes.set(table(&[("new", 2, 1)])).unwrap();
        assert!(routes.find("old").is_none());
    }

    #[tokio::test]
    async fn counts_begin_anew_when_a_unit_is_admitted_again_and_only_then() {
        let routes = Routes::new(CancellationToken::new());
        let api = "api".parse().unwrap();
        let count = || routes.find("a").unwrap().stats().traffic.requests;
        routes.set(table(&[("a", 1, 1)])).unwrap();
        routes.choose(&api, &[]).unwrap().answered(std::time::Duration::ZERO, false);
        routes.set(table(&[("a", 1, 5), ("b", 2, 1)])).unwrap();
        assert_eq!(count(), 1);
        routes.set(table(&[("a", 1, 0), ("b", 2, 1)])).unwrap();
        assert_eq!(count(), 1);
        routes.set(table(&[("a", 1, 1), ("b", 2, 1)])).unwrap();
        assert_eq!(count(), 0);
    }

    #[tokio::test]
    async fn a_table_that_makes_no_sense_changes_nothing() {
        let routes = Routes::new(CancellationToken::new());
        let api = "api".parse().unwrap();
        routes.set(table(&[("a", 1, 1)])).unwrap();
        assert!(routes.set(table(&[("b", 1, 1), ("b", 2, 1)])).unwrap_err().contains("`b`"));
        let mut unclear = table(&[("b", 2, 1)]);
        unclear.0.values_mut().for_each(|route| route.health_path = Some("health".to_owned()));
        assert!(routes.set(unclear).unwrap_err().contains("`health`"));
        assert_eq!(routes.choose(&api, &[]).unwrap().upstream().name, "a");
    }
}
