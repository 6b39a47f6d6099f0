//! Blue-green: a whole second side, one switch, and a way back that needs no start.
//!
//! ```text
//! all new units begun ──every one healthy──▶ all admitted, all old ones out of traffic, but kept ──bake──▶ old side stopped
//!        └── one fails: nothing was switched           └── one fails in the bake: the old side takes the traffic back
//! ```
//!
//! A first deploy has no old side: it is one batch without a bake of its own to return from.

use super::{Allowed, Counts};

/// The switch under watch, then the end of the old side.
pub(super) fn batches(replaced: u32) -> usize {
    if replaced == 0 { 1 } else { 2 }
}

pub(super) fn allowed(counts: Counts) -> Allowed {
    let all_serve = counts.serving >= counts.desired;
    let switched = counts.batch > 0 || counts.replaced == 0;
    Allowed {
        begun: counts.desired,
        // On the way back every old unit that is well takes traffic again at once.
        admits: counts.back || counts.ready >= counts.desired,
        share: None,
        taken_away: if all_serve { counts.others_at_first } else { 0 },
        stops: counts.back || switched,
        bakes: !switched || counts.replaced == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Counts = Counts {
        desired: 3,
        ready: 0,
        serving: 0,
        others: 3,
        others_at_first: 3,
        replaced: 3,
        batch: 0,
        back: false,
    };

    #[test]
    fn nobody_gets_traffic_before_the_whole_side_is_healthy() {
        assert!(!allowed(Counts { ready: 2, ..START }).admits);
        assert!(allowed(Counts { ready: 3, ..START }).admits);
    }

    #[test]
    fn the_old_side_leaves_traffic_after_the_switch_and_is_kept_for_the_bake() {
        assert_eq!(allowed(Counts { ready: 3, serving: 2, ..START }).taken_away, 0);
        let switched = allowed(Counts { ready: 3, serving: 3, ..START });
        assert_eq!((switched.taken_away, switched.stops, switched.bakes), (3, false, true));
        let baked = allowed(Counts { ready: 3, serving: 3, batch: 1, ..START });
        assert_eq!((baked.stops, baked.bakes), (true, false));
    }
}
