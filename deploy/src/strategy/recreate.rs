//! Recreate: stop all, then start all.
//!
//! ```text
//! others > 0 ──drain and stop all──▶ others = 0 ──start all──▶ serving = desired
//! ```

use super::{Allowed, Counts};

pub(super) fn allowed(counts: Counts) -> Allowed {
    Allowed { begun: if counts.others == 0 { counts.desired } else { 0 }, taken_away: counts.others_at_first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_begins_while_another_unit_stands() {
        let counts = Counts { desired: 3, serving: 0, others: 1, others_at_first: 3, batch: 0, back: false };
        assert_eq!(allowed(counts), Allowed { begun: 0, taken_away: 3 });
        assert_eq!(allowed(Counts { others: 0, ..counts }), Allowed { begun: 3, taken_away: 3 });
    }
}
