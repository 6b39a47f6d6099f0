//! What is written on a thread that may block, as the body of a request: no more than a few pieces in memory.

use bytes::Bytes;
use futures::{Stream, stream};
use std::io::{self, Write};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// How many pieces may wait for the engine. Each is at most one buffer of the writer, 128 KiB for a build context.
pub(super) const PIECES: usize = 4;

/// A body that is being sent.
pub(super) struct Upload<T, E> {
    /// How many bytes the engine has taken so far.
    pub(super) sent: watch::Receiver<u64>,
    writer: JoinHandle<Result<T, E>>,
}

impl<T, E> Upload<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    /// Begins to write on a thread of its own, and gives the body. A writer that fails makes the body break off, so that
    /// no receiver takes it for a whole one. When the body is dropped, the writer is refused its next write.
    pub(super) fn begin(
        write: impl FnOnce(&mut Pipe) -> Result<T, E> + Send + 'static,
    ) -> (Self, impl Stream<Item = io::Result<Bytes>> + Send + 'static) {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let (count, sent) = watch::channel(0);
        let writer = tokio::task::spawn_blocking(move || {
            let mut pipe = Pipe { pieces };
            let result = write(&mut pipe);
            if result.is_err() {
                // Nobody may be there to hear it any more.
                drop(pipe.pieces.blocking_send(Err(io::ErrorKind::BrokenPipe.into())));
            }
            result
        });
        let body = stream::unfold((receiver, count), |(mut receiver, count)| async move {
            let piece: io::Result<Bytes> = receiver.recv().await?;
            count.send_modify(|sent| *sent += piece.as_ref().map_or(0, Bytes::len) as u64);
            Some((piece, (receiver, count)))
        });
        (Self { sent, writer }, body)
    }

    /// What came of the writing, once the body was sent or dropped. `None` if the writer panicked.
    pub(super) async fn outcome(self) -> Option<Result<T, E>> {
        self.writer.await.ok()
    }
}

/// The writer's end.
pub(super) struct Pipe {
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
