//! What happens while a registry is asked, in the past tense.

use std::{fmt, sync::Arc, time::Duration};

/// Something that happened between us and a registry. The closed list of all that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call failed in a way that may pass, and will be made again.
    Retrying {
        /// What was wanted: `read the manifest ghcr.io/team/api:1`.
        operation: String,
        /// Which attempt failed, from 1.
        attempt: u32,
        /// Why: `503 Service Unavailable`, `connection refused`.
        reason: String,
        /// How long is waited before the next.
        wait: Duration,
    },
    /// A part of a blob was lost on the way; the upload goes on where the registry has it.
    Resumed {
        /// What was wanted.
        operation: String,
        /// How many bytes the registry has.
        at: u64,
    },
}

/// Who is told of events. Called in between, and so should not block.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(Event) + Send + Sync>);

impl Tell {
    /// Tells this.
    pub fn new(told: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

/// Tells nobody.
impl Default for Tell {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell(…)")
    }
}
