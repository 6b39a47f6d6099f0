//! The router: the process that holds the stable port of each service and shares its traffic among the units.
//!
//! # Life
//! The supervisor starts `EXECUTABLE __router --control PATH`; that command calls [`serve`]. Nothing is inherited but
//! the standard streams: everything comes over the control socket at `PATH`, which the router binds (mode 0600) and
//! [`RouterClient`] speaks to. The protocol is [`protocol`]: one JSON document a line, one answer to each request, in
//! order; listening sockets travel beside their line (`SCM_RIGHTS`).
//!
//! - **Start**: `connect` (waits until the new process answers), `set` the table, then `add_listener` for each
//!   service. In this order no request meets an empty table.
//! - **A new supervisor** connects to the same path and has everything: `hello`, `stats`, and with `take_listeners`
//!   the listening sockets themselves. A router whose supervisor has died goes on serving its last table.
//! - **Handover**: start the new router on another path, as above, with the *same* sockets; then `retire` the old
//!   one. Both accept from one queue in between, so that no connection is refused or lost. Until the old one has
//!   `ended`, give it every new table too, and ask both whether an upstream is idle: it still answers what comes over
//!   the connections that it has.
//! - **Drain**: `set` a table in which the unit has weight 0 (or is missing), then `idle`, and `sever` what is left
//!   at the deadline.
//!
//! A terminal's Ctrl-C and hang-up do not touch it; SIGTERM retires it within 30 s.
//!
//! # Promises
//! - A table is switched in one step. When `set` has returned, no new request goes to a unit of weight 0; a drain
//!   that follows sees every request that went there before.
//! - A request that did not leave the router is tried at other units. One that may have arrived is sent again only if
//!   it has no body, its method allows it, and no response has begun.
//! - Bodies stream both ways; nothing is buffered beyond the sockets' own measure.
//! - A retiring router closes no connection under a request: it answers with `Connection: close`, and closes those
//!   that have been idle for 5 s.

pub mod protocol;

mod answer;
mod client;
mod control;
mod forward;
mod headers;
mod listen;
mod pool;
mod table;
mod tunnel;
mod upkeep;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{RouterClient, RouterClientError};

use control::Control;
use listen::Shared;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// How long a router that was told to end by SIGTERM may still answer: the default of a drain.
const TERMINATE_DEADLINE: Duration = Duration::from_secs(30);

/// What a router is started with.
#[derive(Debug)]
pub struct Options {
    /// Where its control socket is to be. The folder must belong to the user alone.
    pub control: PathBuf,
    /// The version of its executable, as it will report it.
    pub version: String,
    /// Whether it owns its process.
    pub process: Process,
}

/// Whether a router owns the process that it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It does: it takes the process's signals, and raises the limit of open files as far as it may.
    Own,
    /// It is a guest, as in a test, and leaves both alone.
    Guest,
}

impl Options {
    /// A router of its own process with nothing but a control socket.
    pub fn new(control: &Path, version: &str) -> Self {
        let (control, version) = (control.to_owned(), version.to_owned());
        Self { control, version, process: Process::Own }
    }
}

/// Why a router could not start. Once it has started nothing ends it but being told to.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The control socket cannot be bound.
    #[error("cannot bind the router's control socket {}", path.display())]
    Control {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another router lives there.
    #[error("another router already answers on {}: retire it, or choose another path", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// The process's signals cannot be taken.
    #[error("cannot handle signals")]
    Signals {
        /// Why not.
        source: io::Error,
    },
}

/// Serves until told to retire, and then until everything is answered or the deadline has passed.
///
/// # Errors
/// Only at the start; see [`RouterError`].
pub async fn serve(options: Options) -> Result<(), RouterError> {
    let shared = Shared::new();
    let _gone = shared.gone.clone().drop_guard();
    let signals = match options.process {
        Process::Own => {
            raise_open_files();
            Some(take_signals(shared.clone()).map_err(|source| RouterError::Signals { source })?)
        }
        Process::Guest => None,
    };
    let control = Control::bind(&options.control)?;
    let _upkeep = AbortOnDropHandle::new(tokio::spawn(upkeep::keep(shared.clone())));
    tokio::select! {
        () = control.answer(shared.clone(), options.version) => {}
        () = shared.served() => {}
    }
    drop(signals);
    Ok(())
}

/// SIGTERM retires; SIGINT and SIGHUP, which a terminal sends to all of its processes, are heard and do nothing.
fn take_signals(shared: Arc<Shared>) -> io::Result<AbortOnDropHandle<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (mut interrupt, mut hangup) = (signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => shared.retire(Instant::now() + TERMINATE_DEADLINE),
                Some(()) = interrupt.recv() => {}
                Some(()) = hangup.recv() => {}
                else => return,
            }
        }
    })))
}

/// A connection is two descriptors; the usual soft limit of 1,024 is for programs that use `select`.
fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without it the router serves fewer connections, and says so to those that are too many.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
