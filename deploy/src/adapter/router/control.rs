//! The router's side of the control socket.

use super::{
    RouterError,
    listen::Shared,
    protocol::{Hello, PROTOCOL, Reply, Request},
    wire::Wire,
};
use pipeline::name::Name;
use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Instant, sleep},
};

/// How long accepting rests after an error.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The furthest deadline that is obeyed, in milliseconds: a day, so that adding it to the clock cannot overflow.
const FURTHEST: u64 = 24 * 60 * 60 * 1_000;

/// A bound control socket; its file goes when this does, unless another router has put its own there.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl Control {
    /// Binds the socket, for its owner alone. One that a dead router left behind is replaced.
    pub(super) fn bind(path: &Path) -> Result<Self, RouterError> {
        let failed = |source| RouterError::Control { path: path.to_owned(), source };
        if let Err(error) = std::os::unix::net::UnixStream::connect(path) {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                fs::remove_file(path).map_err(failed)?;
            }
        } else {
            return Err(RouterError::Taken { path: path.to_owned() });
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    /// Answers whoever connects, for as long as it is polled.
    pub(super) async fn answer(&self, shared: Arc<Shared>, version: String) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, shared.clone(), version.clone()));
                }
                Err(_) => sleep(ACCEPT_REST).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // A file that stays is found dead and replaced by the next router there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// One connection to its end: it closes, breaks, or the router ends.
async fn converse(stream: UnixStream, shared: Arc<Shared>, version: String) {
    let mut wire = Wire::new(stream);
    let gone = shared.gone.clone();
    let talk = async {
        while let Some((line, files)) = wire.receive().await? {
            // The router does not end before it has answered, least of all the request to retire.
            let _unanswered = shared.tasks.token();
            let (reply, files) = perform(&shared, &version, &line, files).await;
            let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            wire.send(&reply, &borrowed).await?;
        }
        io::Result::Ok(())
    };
    // Whoever is at the other end sees it break too; nothing here depends on it.
    let _ = gone.run_until_cancelled(talk).await;
}

async fn perform(
    shared: &Arc<Shared>,
    version: &str,
    line: &[u8],
    files: Vec<OwnedFd>,
) -> (Reply, Vec<OwnedFd>) {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return (Reply::Failed(format!("the request is not understood: {error}")), Vec::new()),
    };
    let reply = match request {
        Request::Hello => {
            let hello = Hello { protocol: PROTOCOL, version: version.to_owned(), pid: std::process::id() };
            Reply::Hello(hello)
        }
        Request::AddListener { service } => add_listener(shared, service, files),
        Request::RemoveListener { service } => {
            shared.stop_listening(&service);
            Reply::Done
        }
        Request::Listeners => return listeners(shared),
        Request::Set(table) => shared.routes.set(table).map_or_else(Reply::Failed, |()| Reply::Done),
        Request::Stats => stats(shared),
        Request::Idle { upstream, deadline } => idle(shared, upstream, deadline).await,
        Request::Sever { upstream } => {
            shared.routes.find(&upstream).iter().for_each(|upstream| upstream.sever());
            Reply::Done
        }
        Request::Retire { deadline } => {
            shared.retire(after(deadline));
            Reply::Done
        }
    };
    (reply, Vec::new())
}

fn add_listener(shared: &Arc<Shared>, service: Name, files: Vec<OwnedFd>) -> Reply {
    let Ok([socket]) = <[OwnedFd; 1]>::try_from(files) else {
        return Reply::Failed("exactly one socket comes with the request to listen".to_owned());
    };
    match shared.listen(service, TcpListener::from(socket)) {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn listeners(shared: &Shared) -> (Reply, Vec<OwnedFd>) {
    match shared.sockets() {
        Ok(sockets) => {
            let (names, files) = sockets.into_iter().unzip();
            (Reply::Listeners(names), files)
        }
        Err(error) => (Reply::Failed(format!("cannot duplicate a listening socket: {error}")), Vec::new()),
    }
}

fn stats(shared: &Shared) -> Reply {
    let upstreams = shared.routes.upstreams();
    Reply::Stats(upstreams.iter().map(|upstream| (upstream.name.clone(), upstream.stats())).collect())
}

async fn idle(shared: &Shared, name: String, deadline: u64) -> Reply {
    match shared.routes.find(&name) {
        Some(upstream) if !upstream.idle_by(after(deadline)).await => {
            Reply::Stats([(name, upstream.stats())].into())
        }
        _ => Reply::Done,
    }
}

fn after(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis.min(FURTHEST))
}
