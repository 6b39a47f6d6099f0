//! Configuration of a deployment: the project file and one environment file, with overrides, made one and checked.
//!
//! [`load`] reads files; everything below it is pure.

mod defaults;
pub mod environment;
pub mod file;
mod hooks;
mod load;
mod places;
mod resolve;
mod timings;

pub use environment::{EffectiveService, Environment, ScanNeed};
pub use load::{ENVIRONMENTS_FOLDER, LoadRequest, Loaded, environment_names, load, load_texts};
pub use resolve::resolve;

use pipeline::config::{file::ProjectFile, schema::Schema};
use std::sync::LazyLock;

/// The schema of the project file, for editors and for reading it.
pub fn project_schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<ProjectFile>);
    &SCHEMA
}

/// The schema of environment files, for editors and for reading them.
pub fn environment_schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<file::EnvironmentFile>);
    &SCHEMA
}

#[cfg(test)]
mod tests;
