//! JSON lines over a unix socket, with file descriptors beside them.

use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use serde::Serialize;
use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
};

/// The most file descriptors that travel with one line: the kernel's own limit (`SCM_MAX_FD`).
pub(super) const MOST_FILES: usize = 253;

/// The longest line in bytes: a table of some ten thousand units. More is a confused peer, not a fleet.
const LONGEST_LINE: usize = 4 << 20;

/// How much is read at once, in bytes: most messages whole.
const READ_SIZE: usize = 16 << 10;

/// One end of a control connection.
pub(super) struct Wire {
    stream: UnixStream,
    unread: Vec<u8>,
    files: Vec<OwnedFd>,
}

impl Wire {
    /// Speaks over a connected socket.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, unread: Vec::new(), files: Vec::new() }
    }

    /// Sends one message; `files` (at most [`MOST_FILES`]) travel with it and stay open here.
    pub(super) async fn send<M: Serialize>(
        &mut self,
        message: &M,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let beside = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let socket = self.stream.as_raw_fd();
        let send = || {
            let sent = sendmsg::<()>(socket, &[IoSlice::new(&line)], beside, MsgFlags::MSG_NOSIGNAL, None)?;
            Ok(sent)
        };
        // The descriptors go with the first part; the rest, if the line is long, is plain bytes.
        let sent = self.stream.async_io(Interest::WRITABLE, send).await?;
        self.stream.write_all(&line[sent..]).await
    }

    /// The next line without its end, and the descriptors that came with it; `None` when the peer has closed.
    ///
    /// # Errors
    /// The socket's, `UnexpectedEof` within a line, `InvalidData` for a line beyond all measure.
    pub(super) async fn receive(&mut self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.unread[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.pop();
                return Ok(Some((line, std::mem::take(&mut self.files))));
            }
            searched = self.unread.len();
            if searched > LONGEST_LINE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the line is longer than any message",
                ));
            }
            if self.read_more().await? == 0 {
                return if searched == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Returns when the peer has closed; whatever it still says is ignored.
    pub(super) async fn closed(&mut self) -> io::Result<()> {
        while self.read_more().await? > 0 {
            self.unread.clear();
            self.files.clear();
        }
        Ok(())
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        let socket = self.stream.as_raw_fd();
        let (unread, files) = (&mut self.unread, &mut self.files);
        self.stream
            .async_io(Interest::READABLE, || {
                let (bytes, came) = receive_once(socket)?;
                unread.extend_from_slice(&bytes);
                files.extend(came);
                Ok(bytes.len())
            })
            .await
    }
}

/// One `recvmsg`: bytes, and descriptors already marked close-on-exec so that no unit ever inherits one.
fn receive_once(socket: RawFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; READ_SIZE];
    let mut space = cmsg_space!([RawFd; MOST_FILES]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for beside in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = beside {
            files.extend(raw.into_iter().map(own));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    Ok((bytes, files))
}

#[expect(
    unsafe_code,
    reason = "the kernel has just made this descriptor for us, and nothing else knows its number"
)]
fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: a descriptor out of SCM_RIGHTS is open and owned by its receiver alone.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
