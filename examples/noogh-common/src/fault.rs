//! The fault switch `NOOGH_FAULT`: a comma-separated list of ways to misbehave, for tests and drills only.
//!
//! | fault | what the service does |
//! |---|---|
//! | `exit-at-start` | logs a line and exits 1 before it listens |
//! | `exit-after=5s` | exits 1 that long after its start, whatever it is doing |
//! | `never-ready` | answers `/ready` with 503, always |
//! | `slow-start=20s` | does not listen until then |
//! | `hang` | accepts connections and never answers a request, not even `/health` |
//! | `error-rate=0.2` | answers that share of requests with 500 |
//! | `slow-rate=0.2:800ms` | delays that share of requests by that long |
//! | `memory-growth=20MB/s` | takes that much more memory, and touches it, for ever |
//! | `wrong-release` | `/health` names another release and bundle than the ones it was started with |
//! | `ignore-sigterm` | goes on after SIGTERM (SIGINT still drains it) |
//! | `wrong-port` | listens on the next port, or on any other free one if that is taken |
//! | `flap=3s` | after each such time `/ready` changes between 200 and 503, and the status in `/health` with it |
//! | `migration-fails` | `noogh-api migrate` exits 1 before it has changed anything; units run as ever |
//! | `migration-hangs` | `noogh-api migrate` never ends; units run as ever |
//!
//! Times are whole numbers with `ms`, `s` or `m`; sizes are whole numbers with `kB`, `MB` or `GB` (powers of 1000);
//! shares lie between 0 and 1. `error-rate` and `slow-rate` spare `/health`, `/ready` and `/metrics`: only who looks at
//! real traffic sees them. Their choice is evenly spaced and the same in every run: `0.2` is every fifth request.
//!
//! A fault with `@` and a number after it, such as `never-ready@1` or `exit-after=5s@1`, concerns the unit in that slot
//! alone (`FAIRLEAD_UNIT`, which Fairlead sets to `SERVICE/SLOT`): so one unit of a service can be bad among good ones.

use std::{collections::BTreeSet, time::Duration};

/// Every fault with an example of its value, in the order of the table above.
const KNOWN: [&str; 14] = [
    "exit-at-start",
    "exit-after=5s",
    "never-ready",
    "slow-start=20s",
    "hang",
    "error-rate=0.2",
    "slow-rate=0.2:800ms",
    "memory-growth=20MB/s",
    "wrong-release",
    "ignore-sigterm",
    "wrong-port",
    "flap=3s",
    "migration-fails",
    "migration-hangs",
];

/// What the service is asked to do wrong. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Exit 1 before listening.
    pub exit_at_start: bool,
    /// Exit 1 this long after the start.
    pub exit_after: Option<Duration>,
    /// Never be ready.
    pub never_ready: bool,
    /// Listen only after this time.
    pub slow_start: Option<Duration>,
    /// Never answer.
    pub hang: bool,
    /// The share of requests that are answered with 500.
    pub error_rate: Option<Share>,
    /// The share of requests that are delayed, and by how long.
    pub slow_rate: Option<(Share, Duration)>,
    /// Memory to take, in bytes a second.
    pub memory_growth: Option<u64>,
    /// Report another release and bundle.
    pub wrong_release: bool,
    /// Go on after SIGTERM.
    pub ignore_sigterm: bool,
    /// Listen on another port.
    pub wrong_port: bool,
    /// Change readiness after each such time.
    pub flap: Option<Duration>,
    /// Let the migration fail.
    pub migration_fails: bool,
    /// Let the migration never end.
    pub migration_hangs: bool,
}

/// A share of requests, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

/// Why a text is not a list of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault `{fault}`: {problem}; known faults: {}", KNOWN.join(", "))]
pub struct FaultError {
    fault: String,
    problem: String,
}

impl Faults {
    /// Reads the value of `NOOGH_FAULT` for the unit in `slot`; `None`: for one that is in no slot. Blanks around a fault
    /// and empty entries do not matter.
    ///
    /// # Errors
    /// The first fault that is unknown, has a bad value, or stands there twice, whichever slot it is for.
    pub fn parse(text: &str, slot: Option<u16>) -> Result<Self, FaultError> {
        let mut faults = Self::default();
        let mut seen = BTreeSet::new();
        for fault in text.split(',').map(str::trim).filter(|fault| !fault.is_empty()) {
            let fail = |problem| FaultError { fault: fault.chars().take(80).collect(), problem };
            let (fault, only) = match fault.split_once('@') {
                Some((fault, only)) => (fault, Some(number_of_slot(only).map_err(fail)?)),
                None => (fault, None),
            };
            let (name, value) =
                fault.split_once('=').map_or((fault, None), |(name, value)| (name, Some(value)));
            if !seen.insert((name, only)) {
                return Err(fail("stands there twice".to_owned()));
            }
            // What is for another unit is read all the same, so that a slip shows in every unit.
            let mut elsewhere = Self::default();
            let concerned = only.is_none() || only == slot;
            let faults = if concerned { &mut faults } else { &mut elsewhere };
            faults.set(name, value).map_err(fail)?;
        }
        Ok(faults)
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        match (name, value) {
            ("exit-at-start", None) => self.exit_at_start = true,
            ("exit-after", Some(value)) => self.exit_after = Some(time(value)?),
            ("never-ready", None) => self.never_ready = true,
            ("slow-start", Some(value)) => self.slow_start = Some(time(value)?),
            ("hang", None) => self.hang = true,
            ("error-rate", Some(value)) => self.error_rate = Some(share(value)?),
            ("slow-rate", Some(value)) => {
                let (rate, delay) =
                    value.split_once(':').ok_or("expected a share and a delay, as in `0.2:800ms`")?;
                self.slow_rate = Some((share(rate)?, time(delay)?));
            }
            ("memory-growth", Some(value)) => self.memory_growth = Some(bytes_per_second(value)?),
            ("wrong-release", None) => self.wrong_release = true,
            ("ignore-sigterm", None) => self.ignore_sigterm = true,
            ("wrong-port", None) => self.wrong_port = true,
            ("flap", Some(value)) => self.flap = Some(time(value)?),
            ("migration-fails", None) => self.migration_fails = true,
            ("migration-hangs", None) => self.migration_hangs = true,
            (name, value) => return Err(misfit(name, value)),
        }
        Ok(())
    }

    /// Whether the service is asked to flap and is in one of the times in which it is not ready, `up` after its start.
    pub fn flapped(&self, up: Duration) -> bool {
        self.flap.is_some_and(|period| (up.as_millis() / period.as_millis()) % 2 == 1)
    }
}

impl Share {
    /// Whether request `nth`, counted from 0, belongs to the share.
    ///
    /// Evenly spaced: among the first n requests there are always ⌊n · share⌋ that do, so that a small sample shows it.
    pub fn hits(self, nth: u64) -> bool {
        let chosen = |count: u128| count * u128::from(self.0) / 1_000_000;
        chosen(u128::from(nth) + 1) > chosen(u128::from(nth))
    }
}

fn number_of_slot(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is not the number of a slot such as `1`"))
}

/// Why a name and its value, or the lack of one, are no fault.
fn misfit(name: &str, value: Option<&str>) -> String {
    match (KNOWN.iter().find(|known| known.split('=').next() == Some(name)), value) {
        (Some(_), Some(_)) => "it takes no value".to_owned(),
        (Some(example), None) => format!("it needs a value, as in `{example}`"),
        (None, _) => "there is no such fault".to_owned(),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a time above zero such as `800ms`, `5s` or `2m`");
    let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(bad()),
    };
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(bad)?;
    Ok(Duration::from_millis(ms))
}

fn bytes_per_second(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a growth above zero such as `20MB/s`");
    let (number, unit) = text.strip_suffix("/s").and_then(number_and_unit).ok_or_else(bad)?;
    let unit_bytes = match unit {
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_bytes).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    Some((number.parse().ok()?, unit))
}

fn share(text: &str) -> Result<Share, String> {
    let bad = || format!("`{text}` is not a share from 0 to 1 such as `0.2`");
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number =
        text.parse::<f64>().ok().filter(|share| plain && (0.0..=1.0).contains(share)).ok_or_else(bad)?;
    Ok(Share((number * 1_000_000.0).round() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_known_fault() {
        let faults = Faults::parse(&KNOWN.join(", "), None).unwrap();
        assert_eq!(
            faults,
            Faults {
                exit_at_start: true,
                exit_after: Some(Duration::from_secs(5)),
                never_ready: true,
                slow_start: Some(Duration::from_secs(20)),
                hang: true,
                error_rate: Some(Share(200_000)),
                slow_rate: Some((Share(200_000), Duration::from_millis(800))),
                memory_growth: Some(20_000_000),
                wrong_release: true,
                ignore_sigterm: true,
                wrong_port: true,
                flap: Some(Duration::from_secs(3)),
                migration_fails: true,
                migration_hangs: true,
            }
        );
    }

    #[test]
    fn nothing_is_no_fault() {
        for text in ["", " ", ",", " , ,"] {
            assert_eq!(Faults::parse(text, None), Ok(Faults::default()), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know_and_lists_what_it_does() {
        for (text, problem) in [
            ("explode", "no such fault"),
            ("HANG", "no such fault"),
            ("hang=5s", "takes no value"),
            ("flap", "needs a value, as in `flap=3s`"),
            ("hang,hang", "twice"),
            ("flap=3s,flap=4s", "twice"),
            ("exit-after=", "not a time"),
            ("exit-after=5", "not a time"),
            ("exit-after=5h", "not a time"),
            ("exit-after=-5s", "not a time"),
            ("exit-after=é", "not a time"),
            ("flap=0s", "not a time"),
            ("flap=99999999999999999999s", "not a time"),
            ("flap=999999999999999999m", "not a time"),
            ("error-rate=1.1", "not a share"),
            ("error-rate=-0.1", "not a share"),
            ("error-rate=nan", "not a share"),
            ("error-rate=20%", "not a share"),
            ("slow-rate=0.2", "a share and a delay"),
            ("slow-rate=2:800ms", "not a share"),
            ("slow-rate=0.2:800", "not a time"),
            ("memory-growth=20MB", "not a growth"),
            ("memory-growth=0MB/s", "not a growth"),
            ("memory-growth=99999999999999GB/s", "not a growth"),
            ("hang@", "not the number of a slot"),
            ("hang@one", "not the number of a slot"),
            ("hang@65536", "not the number of a slot"),
            ("hang@0,hang@0", "twice"),
            ("explode@0", "no such fault"),
        ] {
            let message = Faults::parse(text, Some(1)).unwrap_err().to_string();
            assert!(message.contains(problem), "{text}: {message}");
            assert!(KNOWN.iter().all(|known| message.contains(known)), "{text}: {message}");
        }
    }

    #[test]
    fn a_fault_with_a_slot_concerns_that_unit_alone() {
        let of = |slot| Faults::parse("exit-after=2s@1, never-ready@1, hang@2, wrong-port", slot).unwrap();
        let everywhere = Faults { wrong_port: true, ..Faults::default() };
        assert_eq!(of(None), everywhere);
        assert_eq!(of(Some(0)), everywhere);
        let second =
            Faults { exit_after: Some(Duration::from_secs(2)), never_ready: true, ..everywhere.clone() };
        assert_eq!(of(Some(1)), second);
        assert_eq!(of(Some(2)), Faults { hang: true, ..everywhere });
    }

    #[test]
    fn a_share_is_evenly_spaced_and_exact_in_small_samples() {
        let hits = |text: &str, count| {
            (0..count).filter(|nth| share(text).unwrap().hits(*nth)).collect::<Vec<u64>>()
        };
        assert_eq!(hits("0.2", 15), [4, 9, 14]);
        assert_eq!(hits("0.5", 4), [1, 3]);
        assert_eq!(hits("1", 3), [0, 1, 2]);
        assert_eq!(hits("0", 1_000), [0; 0]);
        assert_eq!(hits("0.001", 3_000), [999, 1_999, 2_999]);
        assert!(!Share(1).hits(u64::MAX - 1));
    }

    #[test]
    fn flapping_starts_ready_and_changes_after_each_period() {
        let faults = Faults::parse("flap=3s", None).unwrap();
        for (up_ms, flapped) in [(0, false), (2_999, false), (3_000, true), (5_999, true), (6_000, false)] {
            assert_eq!(faults.flapped(Duration::from_millis(up_ms)), flapped, "after {up_ms} ms");
        }
        assert!(!Faults::default().flapped(Duration::from_secs(4)));
    }
}
