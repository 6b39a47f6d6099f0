//! Docker engines, through bollard. Heavy to compile, so it is a package of its own that the hall links only for
//! environments and stages that need it.

pub mod build;
mod connection;
mod login;
mod maker;
pub mod push;

pub use connection::{ConnectError, Connection, Facts};
pub use maker::EngineImages;
pub use pipeline::image::engine::{Address, AddressError};
