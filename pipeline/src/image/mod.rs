//! Images: what a build of one is given.
//!
//! [`ignore`] says which files of a folder belong to its build context, [`context`] sends them.

pub mod context;
pub mod ignore;
mod pattern;
mod sender;
