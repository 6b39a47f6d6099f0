//! GitHub, through octocrab, in our own words: deployments and their statuses, check runs, code scanning, sticky comments,
//! releases. What is to be said is decided elsewhere; here it is sent, once, and what GitHub answers is made a
//! [`Trouble`] with what to do about it.
//!
//! Octocrab gives the connection: TLS, the token, redirects, the two addresses of a server. Its own errors do not tell
//! until when GitHub takes no more requests, and its retry repeats what may have taken hold; so status, headers and
//! patience are ours.

mod checks;
mod client;
mod comments;
mod deployments;
mod patience;
mod releases;
mod scanning;

pub use checks::CheckRun;
pub use client::Client;
pub use deployments::{Deployment, Status};
pub use patience::patiently;
pub use pipeline::github::Trouble;
pub use releases::{Asset, Release};
pub use scanning::Sarif;
