//! Images: what they are called, where they are made, and what a build of one is given.
//!
//! [`ignore`] says which files of a folder belong to its build context, [`context`] sends them.

pub mod context;
pub mod engine;
pub mod file;
pub mod ignore;
pub mod labels;
mod pattern;
pub mod reference;
mod sender;
pub mod words;
