//! Metrics in Prometheus' text format.
//!
//! A part of the service asks the [`Registry`] for a family when it starts and keeps it; `/metrics` renders all of them
//! in the order in which they were asked for. Label values must come from a small closed set (a route, not a path).

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// All families of one service. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<Vec<Arc<Family>>>>);

/// A family of numbers that only grow.
#[derive(Debug, Clone)]
pub struct Counter(Arc<Family>);

/// A family of numbers that go up and down.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    /// Label values, in the order of `labels` → the number.
    series: Mutex<BTreeMap<Vec<String>, i64>>,
}

impl Registry {
    /// A new family of counters; its name ends in `_total`.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Counter {
        Counter(self.family(name, help, "counter", labels))
    }

    /// A new family of gauges.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Gauge {
        Gauge(self.family(name, help, "gauge", labels))
    }

    /// Everything, in text format version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in lock(&self.0).iter() {
            family.render(&mut text);
        }
        text
    }

    fn family(
        &self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Family> {
        let family = Arc::new(Family { name, help, kind, labels, series: Mutex::default() });
        lock(&self.0).push(Arc::clone(&family));
        family
    }
}

impl Counter {
    /// Adds one to the series with these label values.
    pub fn increment(&self, values: &[&str]) {
        self.0.change(values, |number| *number += 1);
    }
}

impl Gauge {
    /// Adds to the series with these label values; negative to take away.
    pub fn add(&self, values: &[&str], amount: i64) {
        self.0.change(values, |number| *number += amount);
    }
}

impl Family {
    fn change(&self, values: &[&str], change: impl FnOnce(&mut i64)) {
        debug_assert_eq!(values.len(), self.labels.len(), "{} has other labels", self.name);
        let key = values.iter().map(|value| (*value).to_owned()).collect();
        change(lock(&self.series).entry(key).or_default());
    }

    fn render(&self, text: &mut String) {
        let Self { name, help, kind, labels, series } = self;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (values, number) in lock(series).iter() {
            text.push_str(name);
            for (index, (label, value)) in labels.iter().zip(values).enumerate() {
                let before = if index == 0 { '{' } else { ',' };
                let _ = write!(text, "{before}{label}=\"{}\"", escape(value));
            }
            let after = if labels.is_empty() { "" } else { "}" };
            let _ = writeln!(text, "{after} {number}");
        }
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Numbers stay numbers when a thread that held the lock has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_families_in_order_with_escaped_labels() {
        let registry = Registry::default();
        let requests = registry.counter("a_requests_total", "Requests.", &["route", "status"]);
        let active = registry.gauge("a_active", "Active now.", &[]);
        requests.increment(&["/x", "200"]);
        requests.increment(&["/x", "200"]);
        requests.increment(&["a\"\\\nb", "404"]);
        active.add(&[], 3);
        active.add(&[], -1);
        assert_eq!(
            registry.render(),
            "# HELP a_requests_total Requests.\n\
             # TYPE a_requests_total counter\n\
             a_requests_total{route=\"/x\",status=\"200\"} 2\n\
             a_requests_total{route=\"a\\\"\\\\\\nb\",status=\"404\"} 1\n\
             # HELP a_active Active now.\n\
             # TYPE a_active gauge\n\
             a_active 2\n"
        );
    }
}
