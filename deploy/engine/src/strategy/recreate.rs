//! Recreate: stop all, then start all.
//!
//! ```text
//! others > 0 ──drain and stop all──▶ others = 0 ──start all──▶ serving = desired
//! ```

use super::{Allowed, Counts};

pub(super) fn allowed(counts: Counts) -> Allowed {
    Allowed::plain(if counts.others == 0 { counts.desired } else { 0 }, counts.others_at_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_begins_while_another_unit_stands() {
        let counts = Counts {
            desired: 3,
            ready: 0,
            serving: 0,
            others: 1,
            others_at_first: 3,
            replaced: 3,
            batch: 0,
            back: false,
        };
        assert_eq!(allowed(counts), Allowed::plain(0, 3));
        assert_eq!(allowed(Counts { others: 0, ..counts }), Allowed::plain(3, 3));
    }
}
