//! Ctrl-C: the first time the work comes to a safe point, the second time the program leaves at once.

use crate::failure::Failure;
use std::io;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::task::AbortOnDropHandle;

/// Requests to stop: SIGINT, SIGTERM and SIGHUP alike.
pub(crate) struct Stops {
    requests: mpsc::UnboundedReceiver<()>,
    _listener: Option<AbortOnDropHandle<()>>,
}

/// What becomes of the work when the first request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It was told, and ends by itself.
    Wait,
    /// It is dropped: nothing is lost.
    Leave,
}

impl Stops {
    /// Listens from now on; the program is no longer ended by these signals.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals: io::Result<Vec<_>> = kinds.into_iter().map(signal).collect();
        let mut signals =
            signals.map_err(|error| Failure::state("cannot listen for signals").because(error))?;
        let (sender, requests) = mpsc::unbounded_channel();
        let listener = async move {
            loop {
                let next = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
                futures::future::select_all(next).await;
                if sender.send(()).is_err() {
                    return;
                }
            }
        };
        Ok(Self { requests, _listener: Some(AbortOnDropHandle::new(tokio::spawn(listener))) })
    }

    /// Returns at the next request.
    pub(crate) async fn next(&mut self) {
        if self.requests.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Does the work; `None` if it was left: at the second request, or at the first if `on_first` says so.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = T>,
        on_first: impl FnOnce() -> Then,
    ) -> Option<T> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = self.next() => {}
        }
        if on_first() == Then::Leave {
            return None;
        }
        tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = self.next() => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn stops() -> (mpsc::UnboundedSender<()>, Stops) {
        let (sender, requests) = mpsc::unbounded_channel();
        (sender, Stops { requests, _listener: None })
    }

    #[tokio::test]
    async fn work_that_is_not_disturbed_ends() {
        let (_sender, mut stops) = stops();
        assert_eq!(stops.guard(async { 7 }, || Then::Leave).await, Some(7));
    }

    #[tokio::test]
    async fn the_first_request_is_told_to_the_work_which_ends_by_itself() {
        let (sender, mut stops) = stops();
        sender.send(()).unwrap();
        let (tell, told) = oneshot::channel();
        let done = stops.guard(async { told.await.is_ok() }, || {
            tell.send(()).unwrap();
            Then::Wait
        });
        assert_eq!(done.await, Some(true));
    }

    #[tokio::test]
    async fn the_second_request_leaves_at_once() {
        let (sender, mut stops) = stops();
        sender.send(()).unwrap();
        sender.send(()).unwrap();
        assert_eq!(stops.guard(std::future::pending::<()>(), || Then::Wait).await, None);
    }

    #[tokio::test]
    async fn work_that_loses_nothing_is_left_at_the_first_request() {
        let (sender, mut stops) = stops();
        sender.send(()).unwrap();
        assert_eq!(stops.guard(std::future::pending::<()>(), || Then::Leave).await, None);
    }
}
