//! Images are built by real engines of both generations and both builders, and are what was asked for.

mod binaries;
mod cancelled;
mod failures;
mod images;
mod kit;
mod registry;
mod secrets;
