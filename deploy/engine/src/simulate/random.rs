//! A tiny source of numbers that look random and are the same for the same seed: splitmix64 (Steele, Lea and Flood,
//! "Fast splittable pseudorandom number generators", 2014). Good enough to spread start times; not for secrets.

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// The sequence of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number: a counter with an odd step (2^64 divided by the golden ratio), its bits mixed.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A length between half and one and a half of `middle`, both included.
    pub(super) fn around(&mut self, middle: u64) -> u64 {
        middle - middle / 2 + self.next() % (middle / 2 * 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_numbers() {
        // The first numbers of seed 1234567 in the authors' reference.
        let mut sequence = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| sequence.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn spreads_around_the_middle_and_no_further() {
        let mut sequence = SplitMix64::new(7);
        let all: Vec<u64> = (0..1_000).map(|_| sequence.around(1_000)).collect();
        assert!(all.iter().all(|one| (500..=1_500).contains(one)));
        assert!(all.iter().any(|one| *one < 600) && all.iter().any(|one| *one > 1_400));
        assert_eq!(sequence.around(0), 0);
    }
}
