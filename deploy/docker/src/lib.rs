//! The docker target: units as containers of one engine.
//!
//! # What is where
//! All that must outlast the containers is held by the engine itself, so that every machine that reaches the engine sees
//! the same, and none needs a file of another.
//!
//! - A **unit** is a container, created from its image by id, hardened, published on the engine's loopback at a port that
//!   the engine chooses. Its name and its labels say which unit it is.
//! - A **bundle** is a volume with the config files and secrets of one service, mounted read-only. It is filled through a
//!   container that is never started, and counts only once the state names it; so a bundle that is named is whole. Its
//!   description is a label of the volume. Secrets are files of mode 0600 in it and nothing else: no label, variable or
//!   argument of a container tells one. A volume and not a tmpfs, because a rollback needs the secrets of the previous
//!   bundle long after its last container is gone, and a tmpfs cannot be filled before a container runs.
//! - The **state** (generation, ledger, bundles, stable ports, what is meant with each unit) is one document, in a label of
//!   a volume with nothing in it. Each version is a volume of its own, with its number in its name: the engine makes a
//!   volume of one name only once and answers everybody else with the labels of the first, and so whoever finds another's
//!   mark there has lost. See `store.rs`. Volumes and not containers, because they need no image, and because `docker
//!   container prune` and `docker system prune` leave volumes with a name alone.
//! - **Traffic** is shared by a router behind the port [`Routes`]: for an engine on this machine it is [`LocalRoutes`], the
//!   router of the process target.
//!
//! # Fencing
//! Every action begins with a write or a check of the state that a higher generation refuses. A write is refused by the
//! engine itself, atomically. Between a check and a container's start or end that follows it at once there is a moment that
//! no engine closes; what a stale executor does in it carries its generation as a label, and is seen by the next observation.
//!
//! # Ends
//! A unit that has ended stays a stopped container, with its log and its exit status, until it is told to stop. One that
//! somebody removed is reported as gone, because the state remembers it.
//!
//! # Limits
//! - A published port is held by the engine, which accepts connections before the unit listens: a probe over TCP passes
//!   although nothing answers. Services on this target need a probe over HTTP or by a command.
//! - A router that is killed is started again by the next action about traffic, or by the next rollout; nobody watches it in
//!   between. One of another version stays until it ends, as long as it speaks the same protocol.
//! - The log of a unit goes with its container when it is stopped.

mod bundle;
mod container;
mod engine;
mod error;
mod events;
mod image;
mod local;
mod migrate;
mod observe;
mod place;
mod platform;
mod routes;
mod state;
mod store;
mod target;
mod unit;

pub use self::{
    image::Credentials,
    local::{LaunchRouter, LocalRoutes, RouterProgram},
    place::Place,
    platform::{FindCredentials, LocalEngines, router_process},
    routes::{Route, Routes, RoutesError, Table},
    target::{DockerTarget, Options},
};
