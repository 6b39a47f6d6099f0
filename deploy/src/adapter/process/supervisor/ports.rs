//! Which port a unit gets: the one that it had before, else one that its name leads to, so that a rollback starts
//! the same process with the same environment.

use super::state::State;
use crate::model::UnitId;
use pipeline::digest::Digest;
use std::{collections::BTreeSet, net::Ipv4Addr, net::TcpListener, path::Path};

/// Units' ports begin here: above the ports of well-known services …
const FIRST: u16 = 20_000;

/// … and there are this many: they end below the ephemeral ports of Linux (32,768) and of IANA (49,152).
const COUNT: u16 = 10_000;

/// A port for a unit; `None` if all are taken.
pub(super) fn assign(state: &State, folder: &Path, unit: &UnitId) -> Option<u16> {
    choose(state, first_choice(folder, unit), unit, is_free)
}

/// The port that a unit's name leads to; different for different environments on one machine.
fn first_choice(folder: &Path, unit: &UnitId) -> u16 {
    let hex = Digest::of_bytes(format!("{}\n{unit}", folder.display())).hex();
    let number = u64::from_str_radix(&hex[..12], 16).expect("a digest is hexadecimal");
    FIRST + u16::try_from(number % u64::from(COUNT)).expect("below COUNT")
}

/// The port that it had, if that is free; else the first from its first choice on that is free and that no other unit
/// has, or had and may want back; in need also one of the latter.
fn choose(state: &State, first: u16, unit: &UnitId, is_free: impl Fn(u16) -> bool) -> Option<u16> {
    let others = || state.units.iter().filter(|(other, _)| *other != unit);
    let live: BTreeSet<u16> = others().map(|(_, facts)| facts.port).collect();
    let remembered: BTreeSet<u16> =
        state.ports.iter().filter(|(other, _)| *other != unit).map(|(_, port)| *port).collect();
    let stable: BTreeSet<u16> = state.listening.values().map(|listening| listening.port).collect();

    let usable = |port: &u16| !live.contains(port) && !stable.contains(port) && is_free(*port);
    let own = state.ports.get(unit).copied().filter(usable);
    let around = || (0..COUNT).map(|step| FIRST + (first - FIRST + step) % COUNT);
    own.or_else(|| around().filter(|port| !remembered.contains(port)).find(usable))
        .or_else(|| around().find(usable))
}

/// Whether something could listen there now.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::BundleHash;
    use proptest::prelude::*;

    fn unit(slot: u16, bundle: u8) -> UnitId {
        UnitId {
            service: "api".parse().expect("a name"),
            target: "here".parse().expect("a name"),
            slot,
            bundle: BundleHash::new(Digest::of_bytes([bundle])),
        }
    }

    #[test]
    fn a_unit_gets_its_port_back_and_no_other_takes_it() {
        let mut state = State::default();
        let first = choose(&state, 20_500, &unit(0, 1), |_| true).expect("free");
        state.ports.insert(unit(0, 1), first);
        let second = choose(&state, 20_500, &unit(1, 1), |_| true).expect("free");
        assert_eq!((first, second), (20_500, 20_501));
        state.ports.insert(unit(1, 1), second);
        assert_eq!(choose(&state, 29_000, &unit(0, 1), |_| true), Some(first), "remembered");
        assert_eq!(choose(&state, 29_999, &unit(2, 1), |port| port != 29_999), Some(20_000), "it goes round");
        assert_eq!(choose(&state, 20_500, &unit(2, 1), |port| port == first), Some(first), "in need");
        assert_eq!(choose(&state, 20_500, &unit(2, 1), |_| false), None);
    }

    #[test]
    fn environments_do_not_lead_to_the_same_ports() {
        let units: Vec<UnitId> = (0..20).map(|slot| unit(slot, 1)).collect();
        let ports = |folder: &str| -> Vec<u16> {
            units.iter().map(|unit| first_choice(Path::new(folder), unit)).collect()
        };
        assert_eq!(ports("/a"), ports("/a"));
        assert_ne!(ports("/a"), ports("/b"));
    }

    proptest! {
        #[test]
        fn stays_within_the_range(bundle: u8, slot: u16, folder in "[a-z/]{1,20}") {
            let port = first_choice(Path::new(&folder), &unit(slot, bundle));
            prop_assert!((20_000..30_000).contains(&port));
        }
    }
}
