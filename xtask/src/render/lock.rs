//! Who holds the lease, for people.

use super::{
    status::{frozen, held},
    time::Now,
};
use crate::paint::Paint;
use deploy::session::Lock;

/// The lock as text: what it says of itself.
pub(crate) fn lock(lock: &Lock, now: &Now, paint: Paint) -> String {
    let mut text = match &lock.lease {
        Some(lease) if lock.lines.is_empty() => format!("{}\n", held(lease, now, paint)),
        None if lock.lines.is_empty() => "The lease is free.\n".to_owned(),
        Some(_) | None => lock.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect(),
    };
    if let Some(freeze) = &lock.freeze {
        text.push_str(&frozen(freeze, now, paint));
        text.push('\n');
    }
    text
}
