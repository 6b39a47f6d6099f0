//! Becoming another executable in place: same process, same children, same sockets.
//!
//! **Contract between versions.** The arguments of [`Options::to_args`] and the file descriptors of [`Inherited`] never
//! change their meaning, because an older supervisor starts a newer one with them.

use super::{Options, Shared};
use command_fds::CommandFdExt;
use std::{
    convert::Infallible,
    fs::File,
    io,
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixListener, process::CommandExt},
    },
    path::Path,
    process::Command,
};

/// What the image before left open for this one.
#[derive(Debug)]
pub(super) struct Inherited {
    /// The lock, still held.
    pub(super) lock: File,
    /// The control socket.
    pub(super) control: UnixListener,
    /// The stable ports.
    pub(super) ports: Vec<TcpListener>,
}

impl Inherited {
    /// Takes over the files that [`inheritance`] numbered.
    ///
    /// # Errors
    /// When the text is not such a list, or one of the numbers is not an open file.
    pub(super) fn take(text: &str) -> io::Result<Self> {
        let mut files = Vec::new();
        for number in text.split(',') {
            let number: RawFd = number.parse().map_err(|_| bad_list(text))?;
            files.push(own(number)?);
        }
        let mut files = files.into_iter();
        let (Some(lock), Some(control)) = (files.next(), files.next()) else { return Err(bad_list(text)) };
        Ok(Self { lock: lock.into(), control: control.into(), ports: files.map(TcpListener::from).collect() })
    }
}

impl Shared {
    /// Becomes another executable; returns only if that failed.
    pub(super) async fn become_other(&self, executable: &Path, version: &str) -> io::Error {
        match self.try_become(executable, version).await {
            Err(error) => error,
        }
    }

    async fn try_become(&self, executable: &Path, version: &str) -> io::Result<Infallible> {
        // Nothing may be started while files are open for inheritance: a unit would inherit them too.
        let _routes = self.routes.pause().await;
        let store = self.store.lock().await;
        store.state.write(&self.folders)?;
        let mut files = vec![self.lock.try_clone()?.into(), self.control.as_fd().try_clone_to_owned()?];
        files.extend(self.listeners.all()?.into_values().map(OwnedFd::from));
        let options = Options {
            executable: executable.to_owned(),
            version: version.to_owned(),
            inherit: Some(inheritance(&files)),
            ..self.options.clone()
        };
        self.log.line(format!("handing over to version {version}"));
        Err(Command::new(executable).args(options.to_args()).preserved_fds(files).exec())
    }
}

/// The numbers of the files: lock, control socket, then the stable ports.
fn inheritance(files: &[OwnedFd]) -> String {
    files.iter().map(|file| file.as_raw_fd().to_string()).collect::<Vec<_>>().join(",")
}

/// Takes over a file that the image before left open.
#[expect(unsafe_code, reason = "exec hands over open files by their numbers and in no other way")]
fn own(number: RawFd) -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard streams are not inherited"));
    }
    // SAFETY: the caller is the start of a new image; the image before made these numbers for us alone, and the call
    // below fails (and the number is given up, not closed) when nothing is open there.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    if let Err(error) = fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
        std::mem::forget(file);
        return Err(error.into());
    }
    Ok(file)
}

fn bad_list(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("`{text}` is not a list of inherited files"))
}
