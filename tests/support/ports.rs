//! Stable ports: chosen outside the range from which the system takes ports for connections, so that nobody else gets
//! them between two runs of the program, and held by a lock file against other tests.

use crate::machine::try_lock;
use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the usual beginning of the ephemeral range, 32768, and above what services use.
const RANGE: Range<u16> = 10_000..20_000;

/// Ports next to each other that one call takes: `wrong-port` listens on the next one.
const STRIDE: u16 = 2;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that is this test's alone until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a port that nobody listens on.
    ///
    /// # Panics
    /// If there is none.
    #[expect(clippy::new_without_default, reason = "it takes a port")]
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join("fairlead-tests-ports");
        fs::create_dir_all(&folder).expect("a folder for lock files");
        let places = u32::from((RANGE.end - RANGE.start) / STRIDE);
        let start = std::process::id().wrapping_mul(37);
        for _ in 0..places {
            let place = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % places;
            let number = RANGE.start + u16::try_from(place).expect("a place in the range") * STRIDE;
            let Some(lock) = try_lock(&folder.join(number.to_string())) else { continue };
            if (number..number + STRIDE).all(is_free) {
                return Self { number, _lock: lock };
            }
        }
        panic!("no port of {RANGE:?} is free");
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let (first, second) = (Port::new(), Port::new());
        assert_ne!(first.number(), second.number());
        let _bound = TcpListener::bind((Ipv4Addr::LOCALHOST, first.number())).unwrap();
        assert!(!is_free(first.number()), "the check itself must be able to fail");
    }
}
