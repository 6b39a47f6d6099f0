//! A context on its way to the engine: asked for on the session, or as the body of the request.

use super::{
    event::BuildEvent, failure::BuildFailure, files::Giver, request::ImageBuild, story::Story, upload::Upload,
};
use bollard::models::BuildInfo;
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use pipeline::image::context::{Context, ContextError, Times};
use std::io;
use tokio::sync::watch;

/// What the times of a context become.
pub(super) fn times(request: &ImageBuild) -> Times {
    request.source_date_epoch.map_or(Times::AS_ON_DISK, Times::CappedAt)
}

/// A context on its way to the engine.
pub(super) struct Sending {
    /// The body of the request, if it is in that.
    pub(super) body: Option<BoxStream<'static, io::Result<Bytes>>>,
    /// How many bytes the engine has taken so far.
    pub(super) taken: watch::Receiver<u64>,
    /// What came of it, once the engine has answered.
    pub(super) outcome: BoxFuture<'static, Result<(), BuildFailure>>,
}

impl Sending {
    /// As the body.
    pub(super) fn as_body(context: Context, times: Times) -> Self {
        let (upload, body) = Upload::begin(move |pipe| context.send(pipe, times));
        let taken = upload.sent.clone();
        let outcome = async {
            match upload.outcome().await {
                Some(Err(error)) => failed(error),
                Some(Ok(_)) => Ok(()),
                None => unreachable!("sending a context does not panic"),
            }
        };
        Self { body: Some(body.boxed()), taken, outcome: outcome.boxed() }
    }

    /// On the session, by what is given back too; as the body where something would be lost on that way.
    pub(super) async fn to_buildkit(
        context: Context,
        times: Times,
        api: (u32, u32),
    ) -> Result<(Self, Option<Giver>), BuildFailure> {
        let looking = tokio::task::spawn_blocking(move || (Giver::can_give(&context, times, api), context));
        let (can, context) = looking.await.expect("looking at a context does not panic");
        if !can.map_err(BuildFailure::Context)? {
            return Ok((Self::as_body(context, times), None));
        }
        let (giver, taken, failure) = Giver::new(context, times);
        let outcome = async move { failure.take().map_or(Ok(()), failed) };
        Ok((Self { body: None, taken, outcome: outcome.boxed() }, Some(giver)))
    }
}

/// That the engine took no more is told better by what it answered.
fn failed(error: ContextError) -> Result<(), BuildFailure> {
    match error {
        ContextError::Write(_) => Ok(()),
        error => Err(BuildFailure::Context(error)),
    }
}

/// Listens to an answer while the context is sent.
pub(super) async fn listen(
    answers: impl Stream<Item = Result<BuildInfo, bollard::errors::Error>>,
    taken: &mut watch::Receiver<u64>,
    story: &mut Story<'_>,
    mut hear: impl FnMut(BuildInfo, &mut Story<'_>),
) -> Result<(), bollard::errors::Error> {
    let mut answers = std::pin::pin!(answers);
    let mut is_sending = true;
    loop {
        tokio::select! {
            answer = answers.next() => match answer {
                Some(answer) => hear(answer?, story),
                None => break,
            },
            changed = taken.changed(), if is_sending => {
                let bytes = *taken.borrow_and_update();
                is_sending = changed.is_ok();
                story.tell(if is_sending { BuildEvent::Sending { bytes } } else { BuildEvent::Sent { bytes } });
            }
        }
    }
    if is_sending {
        let bytes = *taken.borrow_and_update();
        story.tell(BuildEvent::Sent { bytes });
    }
    Ok(())
}
