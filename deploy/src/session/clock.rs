//! The clock of a rollout: the time of day when it began, and from then on only what has passed.

use crate::{model::Millis, port::Clock};
use async_trait::async_trait;
use std::time::{Duration, Instant, SystemTime};

/// Time that never falls: setting the machine's clock while a rollout runs changes nothing.
pub(super) struct RealClock {
    began: Instant,
    began_at: Millis,
}

impl RealClock {
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_at: since_epoch.as_millis() as Millis }
    }
}

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> Millis {
        self.began_at + self.began.elapsed().as_millis() as Millis
    }

    async fn sleep_until(&self, at: Millis) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.now()))).await;
    }
}
