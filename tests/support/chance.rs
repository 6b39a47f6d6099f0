//! Samples that can be drawn again: what a variable asks for, and numbers from a seed.

use std::{str::FromStr, time::SystemTime};

/// A variable that says how much is to be done, or what is drawn.
pub fn variable<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Numbers from a seed: splitmix64.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From `SWEEP_SEED`, or else from the clock; with the seed, which whoever draws is to show.
    ///
    /// # Panics
    /// Before 1970.
    pub fn seeded() -> (Self, u64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let seed = variable("SWEEP_SEED", now.as_secs());
        (Self(seed), seed)
    }

    /// From 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
