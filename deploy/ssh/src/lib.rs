//! Hosts over SSH, through the `ssh` program of this machine, so that its configuration, agents, jump hosts and known hosts
//! hold as they do when one types it.
//!
//! **One connection.** Everything that is done on a host goes through one connection, opened by [`Connector::connect`]:
//! commands, files and forwarded sockets are channels of it. When it ends, [`Host::lost`] says so; what was under way then
//! may have happened or not, and must be looked at again over a new one.
//!
//! **Invariant.** A command is a list of words, and arrives as that, whatever is in the words: nothing of them is read by a
//! shell. The user's login shell there must quote as POSIX says.
//!
//! **Invariant.** A key that is not known is refused, and so is one that has changed: nobody is asked, and nothing is learnt
//! by itself.

mod address;
mod command;
mod connect;
mod error;
mod files;
mod host;

pub use address::{AddressError, HostAddress};
pub use command::{Answer, OUTPUT_MAX};
pub use connect::{Connector, Options};
pub use error::{Failure, HostError};
pub use files::{FILE_MAX, Mode};
pub use host::{Host, WAIT};
