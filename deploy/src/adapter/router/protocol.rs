//! What a router is asked over its control socket, and what it answers: one JSON document a line, one answer to each
//! request, in order. Listening sockets travel beside the line that speaks of them (`SCM_RIGHTS`).

use crate::model::Traffic;
use pipeline::name::Name;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};

/// The protocol's version; supervisor and router are always of the same executable, so it is only checked.
pub const PROTOCOL: u32 = 1;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Who are you? → [`Reply::Hello`]. Never changes its shape.
    Hello,
    /// Accepts connections for a service from the listening socket that comes with this line, from now on. A service
    /// that has one already changes over to the new one.
    AddListener {
        /// Which service.
        service: Name,
    },
    /// Accepts no more connections for a service; those that stand go on. The socket itself lives on wherever else it
    /// is held.
    RemoveListener {
        /// Which service.
        service: Name,
    },
    /// → [`Reply::Listeners`], with a duplicate of each listening socket.
    Listeners,
    /// Replaces the whole table in one step; answers when new requests go by it.
    Set(Table),
    /// → [`Reply::Stats`].
    Stats,
    /// Answers [`Reply::Done`] when nothing is in flight on the upstream, or [`Reply::Stats`] at the deadline.
    Idle {
        /// The upstream's name.
        upstream: String,
        /// Milliseconds.
        deadline: u64,
    },
    /// Breaks off what is still in flight on an upstream.
    Sever {
        /// The upstream's name.
        upstream: String,
    },
    /// Stops accepting, answers what is in flight (closing each connection after its answer), and ends, after
    /// `deadline` milliseconds at the latest. Another router holds the same sockets by now. Answers when it has stopped
    /// accepting; until it has ended it obeys every other request, a new table above all.
    Retire {
        /// Milliseconds.
        deadline: u64,
    },
}

/// All that a router does: service → route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(pub BTreeMap<Name, Route>);

/// The traffic of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// Path that is asked of an upstream to see whether it lives.
    pub health_path: Option<String>,
    /// Where the traffic goes.
    pub upstreams: Vec<Upstream>,
}

/// One unit behind a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Upstream {
    /// Its name: the unit's id as text.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share; 0 = no new requests.
    pub weight: u16,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done.
    Done,
    /// To [`Request::Hello`]. Never changes its shape.
    Hello(Hello),
    /// To [`Request::Listeners`]: the services, in the order of the sockets that come with this line.
    Listeners(Vec<Name>),
    /// What was counted: upstream → counts.
    Stats(BTreeMap<String, UpstreamStats>),
    /// It could not be done: why.
    Failed(String),
}

/// A router about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    /// The protocol it speaks.
    pub protocol: u32,
    /// The version of its executable, as it was told when it was started.
    pub version: String,
    /// Its process id.
    pub pid: u32,
}

/// What was counted for one upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamStats {
    /// Being answered now, upgraded connections included.
    pub in_flight: u32,
    /// Answered since it was given a weight above 0.
    pub traffic: Traffic,
    /// Whether it is left out for now because it does not answer.
    pub ejected: bool,
}
