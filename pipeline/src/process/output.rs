//! Reads what programs write: as lines, or as bytes.

use super::Stream;
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    sync::mpsc::Sender,
};
use zeroize::Zeroizing;

/// The longest line that is kept, in bytes: long enough for any message of cargo, short enough to keep.
const MAX_LINE: usize = 1024 * 1024;

/// The most bytes that are read at once.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// A part of a program's output.
pub(super) enum Chunk {
    /// A line without its ending.
    Line(Stream, Vec<u8>),
    /// Bytes as they came.
    Bytes(Zeroizing<Vec<u8>>),
}

/// A way to read an output to its end.
pub(super) type Reader<R> = fn(R, Stream, Sender<Chunk>) -> BoxFuture<'static, ()>;

/// Sends each line. An output that cannot be read any more has ended.
pub(super) fn lines<R: AsyncRead + Unpin + Send + 'static>(
    output: R,
    stream: Stream,
    sender: Sender<Chunk>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut output = BufReader::new(output);
        while let Some(line) = next_line(&mut output).await {
            if sender.send(Chunk::Line(stream, line)).await.is_err() {
                return;
            }
        }
    })
}

/// Sends the bytes as they come.
pub(super) fn bytes<R: AsyncRead + Unpin + Send + 'static>(
    mut output: R,
    _: Stream,
    sender: Sender<Chunk>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut buffer = Zeroizing::new(vec![0; READ_BYTES]);
        while let Ok(n @ 1..) = output.read(&mut buffer).await {
            if sender.send(Chunk::Bytes(Zeroizing::new(buffer[..n].to_vec()))).await.is_err() {
                return;
            }
        }
    })
}

/// The next line without its ending, cut at [`MAX_LINE`]; `None` at the end.
async fn next_line(output: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut started = false;
    loop {
        let available = output.fill_buf().await.unwrap_or_default();
        if available.is_empty() {
            return started.then(|| without_return(line));
        }
        started = true;
        let newline = available.iter().position(|b| *b == b'\n');
        let part = &available[..newline.unwrap_or(available.len())];
        line.extend(&part[..part.len().min(MAX_LINE - line.len())]);
        let used = newline.map_or(available.len(), |at| at + 1);
        output.consume(used);
        if newline.is_some() {
            return Some(without_return(line));
        }
    }
}

fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}
