//! The life of a service: it serves, then it drains; and what is in flight meanwhile.

use std::sync::Arc;
use tokio::sync::watch;

/// Knows whether the service drains and how much is in flight. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    draining: Arc<watch::Sender<bool>>,
    in_flight: Arc<watch::Sender<usize>>,
}

/// Something in flight, until it is dropped: the service does not end by itself before.
#[derive(Debug)]
pub struct InFlight(Lifecycle);

impl Lifecycle {
    /// From now on the service drains; there is no way back.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Whether the service drains.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns once the service drains.
    pub async fn draining(&self) {
        // The sender is ours, so the wait ends only when the value is there.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Counts something as in flight.
    pub fn enter(&self) -> InFlight {
        self.in_flight.send_modify(|count| *count += 1);
        InFlight(self.clone())
    }

    /// How much is in flight.
    pub fn in_flight(&self) -> usize {
        *self.in_flight.borrow()
    }

    /// Returns once nothing is in flight.
    pub async fn idle(&self) {
        let _ = self.in_flight.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn is_idle_only_when_the_last_one_left() {
        let lifecycle = Lifecycle::default();
        assert!(lifecycle.idle().now_or_never().is_some());
        let (first, second) = (lifecycle.enter(), lifecycle.enter());
        drop(first);
        assert!(lifecycle.idle().now_or_never().is_none());
        drop(second);
        assert!(lifecycle.idle().now_or_never().is_some());
    }

    #[test]
    fn drains_once_told_to() {
        let lifecycle = Lifecycle::default();
        assert!(lifecycle.draining().now_or_never().is_none());
        lifecycle.clone().drain();
        assert!(lifecycle.is_draining() && lifecycle.draining().now_or_never().is_some());
    }
}
