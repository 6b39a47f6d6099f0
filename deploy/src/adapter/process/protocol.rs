//! What a supervisor is asked over its control socket, and what it answers.
//!
//! One JSON document a line, one answer to each request, in order; a connection may carry many. The socket belongs to
//! the user alone (mode 0600).

use crate::{
    bundle::BundleHash,
    ledger::Ledger,
    model::{Millis, UnitFacts, UnitId},
};
use pipeline::name::Name;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// The protocol's version. A supervisor answers [`Reply::WrongProtocol`] to any other, except to [`Op::Hello`] and
/// [`Op::HandOver`], which never change their shape.
pub const PROTOCOL: u32 = 1;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// [`PROTOCOL`] of the asker.
    pub protocol: u32,
    /// The generation of the rollout that asks. Requests that change something are refused with [`Reply::Fenced`]
    /// when it is lower than the highest that the supervisor has seen; a higher one is remembered (fsynced) first.
    pub generation: u64,
    /// What is asked.
    pub op: Op,
}

/// What can be asked. All are idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Who are you? → [`Reply::Hello`].
    Hello,
    /// What stands? → [`Reply::Seen`]. Changes nothing and is never fenced.
    Observe,
    /// Answers [`Reply::Seen`] as soon as something has changed since `after`, or after `timeout`.
    Watch {
        /// [`Seen::seq`] of the last answer.
        after: u64,
        /// Milliseconds, at most 30,000.
        timeout: Millis,
    },
    /// Raises the generation and does nothing else: everything older is refused from now on.
    Fence,
    /// Holds the stable port of a service from now on (binds it; the router answers 503 while no unit is admitted).
    Listen {
        /// Which service.
        service: Name,
        /// On which address.
        host: IpAddr,
        /// The stable port.
        port: u16,
        /// The path that the router may GET to see whether a unit lives, if it speaks HTTP.
        health_path: Option<String>,
    },
    /// Starts a unit from its prepared bundle folder, out of traffic; answers when the process runs.
    Start {
        /// Which unit.
        unit: UnitId,
        /// `FAIRLEAD_RELEASE`.
        release: String,
    },
    /// Runs the migration of a release of a service from its prepared bundle folder, unless the ledger has it as run;
    /// answers when it has ended and, if it succeeded, stands in the ledger. One of this release that runs already is
    /// waited for instead, and no two of a service ever run together.
    Migrate {
        /// Which service.
        service: Name,
        /// From which bundle.
        bundle: BundleHash,
        /// Of which release: `FAIRLEAD_RELEASE`.
        release: String,
        /// What the executable gets in the place of a unit's arguments.
        args: Vec<String>,
        /// The longest that it may run, in milliseconds.
        timeout: Millis,
    },
    /// Gives a unit this share of its service's traffic; answers when the router has switched.
    Admit {
        /// Which unit.
        unit: UnitId,
        /// Its weight, above 0.
        weight: u16,
    },
    /// Takes a unit out of traffic; answers when nothing is in flight on it any more, or at the deadline (then what is
    /// still in flight is broken off when the unit is stopped).
    Drain {
        /// Which unit.
        unit: UnitId,
        /// Milliseconds.
        deadline: Millis,
    },
    /// SIGTERM to the unit's process group, SIGKILL after `grace`; answers when it is gone and forgotten.
    Stop {
        /// Which unit.
        unit: UnitId,
        /// Milliseconds.
        grace: Millis,
    },
    /// Writes the ledger: service → current bundle; `None` closes the service's port and forgets it. The bundle that
    /// was current becomes the previous one (unless it is the same). Prunes bundles that no unit, current, previous or
    /// kept entry needs.
    Commit {
        /// What is current from now on.
        services: BTreeMap<Name, Option<CommitEntry>>,
        /// How many bundles of each service to keep besides the current one.
        keep: usize,
    },
    /// Removes a bundle folder, unless a unit or the ledger needs it.
    Discard {
        /// Which bundle.
        bundle: BundleHash,
    },
    /// Becomes another executable in place (`exec`), keeping its children, sockets and state; the router is replaced
    /// by one of the new executable without losing a connection.
    HandOver {
        /// The executable.
        executable: PathBuf,
        /// Its version, as [`Hello::version`] will report it.
        version: String,
    },
    /// Stops every unit (with this grace) and the router, keeps ledger and bundles, and ends.
    Shutdown {
        /// Milliseconds for each unit.
        grace: Millis,
    },
}

/// What becomes current in a [`Op::Commit`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommitEntry {
    /// The bundle.
    pub bundle: BundleHash,
    /// The release that brought it.
    pub release: String,
    /// How many units.
    pub replicas: u16,
    /// How its units are checked, so that a later rollback can check them the same way.
    pub check: crate::check::Check,
    /// The stable port.
    pub port: u16,
    /// Whether nothing that stood before it may be brought back across it.
    #[serde(default)]
    pub irreversible: bool,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done.
    Done,
    /// To [`Op::Hello`].
    Hello(Hello),
    /// To [`Op::Observe`] and [`Op::Watch`].
    Seen(Box<Seen>),
    /// Refused: a rollout with this higher generation has been here.
    Fenced {
        /// The highest generation seen.
        generation: u64,
    },
    /// Refused: this supervisor speaks another version of the protocol.
    WrongProtocol {
        /// The version that it speaks.
        protocol: u32,
    },
    /// It could not be done.
    Failed(Failed),
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// What kind of failure, so that the engine can tell what to do.
    pub kind: FailedKind,
    /// What failed and why, for people.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedKind {
    /// The bundle folder is missing or incomplete.
    NotPrepared,
    /// The executable cannot be started (not found, wrong format, not permitted).
    CannotStart,
    /// A migration cannot be started, failed, or ran out of time.
    MigrationFailed,
    /// The stable port is held by something else.
    PortTaken,
    /// There is no such unit (any more).
    NoSuchUnit,
    /// The router does not answer.
    Router,
    /// State could not be written (disk full, read-only, …).
    State,
    /// Anything else.
    Other,
}

/// A supervisor about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    /// The protocol it speaks.
    pub protocol: u32,
    /// The version of its executable.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The router's process id, if it runs.
    pub router_pid: Option<u32>,
    /// The version of the router's executable.
    pub router_version: Option<String>,
}

/// What stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// Grows with every change.
    pub seq: u64,
    /// The highest generation seen.
    pub generation: u64,
    /// What is recorded to stand here.
    pub ledger: Ledger,
    /// Every unit that runs, stops, or ended without being told to (until it is stopped or started again).
    pub units: Vec<UnitFacts>,
    /// Stable ports that are held: service → port.
    pub ports: BTreeMap<Name, u16>,
}
