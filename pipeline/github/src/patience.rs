//! Trying again what may pass, within a deadline.

use pipeline::github::{Next, Trouble, next};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Does something until it is done, is refused for good, or the time is used up. `attempt` is told whether what it did
/// before may have taken hold, so that it looks first; `tell` hears of each wait.
///
/// # Errors
/// The last trouble.
pub async fn patiently<T>(
    deadline: Duration,
    tell: impl Fn(&Trouble, Duration),
    mut attempt: impl AsyncFnMut(bool) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let until = Instant::now() + deadline;
    let mut number = 0;
    let mut look = false;
    loop {
        number += 1;
        let left = until.saturating_duration_since(Instant::now());
        let result = timeout(left, attempt(look)).await.unwrap_or_else(|_| {
            Err(Trouble::Unavailable {
                doing: "what was asked".to_owned(),
                message: format!("no answer within {} s in all", deadline.as_secs()),
                may_have_taken_hold: true,
            })
        });
        let trouble = match result {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        look |= trouble.may_have_taken_hold();
        match next(number, &trouble, until.saturating_duration_since(Instant::now())) {
            Next::GiveUp => return Err(trouble),
            Next::Again(wait) => {
                tell(&trouble, wait);
                sleep(wait).await;
            }
        }
    }
}
