//! Adapters: each translates one of the [`crate::port`]s into a real thing, and nothing more.

pub mod hook;
pub mod probe;
pub mod process;
pub mod router;
