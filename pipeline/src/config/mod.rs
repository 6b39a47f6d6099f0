//! Configuration: from raw text to checked values, with every problem told at once and in its place.
//!
//! A file is read in four steps: [`Source`](source::Source) (bytes that are text) → [`Node`](tree::Node) (a TOML tree
//! that knows where everything stands, with overrides applied) → checked against the JSON [`Schema`](schema::Schema)
//! of its type → the type itself, then its meaning. Every step collects problems instead of stopping at the first.

mod defaults;
pub mod file;
pub mod findings;
pub mod image;
mod image_prefix;
pub mod overrides;
pub mod problem;
pub mod project;
pub mod scalar;
pub mod schema;
pub mod source;
pub mod tree;
mod walk;

pub use image_prefix::Prefix;
pub use problem::{Problem, Problems};
pub use project::Project;
use std::path::{Path, PathBuf};

/// The project file's name.
pub const PROJECT_FILE: &str = "fairlead.toml";

/// The folder that holds the project file: `start`, or the nearest folder above it.
pub fn find_root(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|folder| folder.join(PROJECT_FILE).is_file()).map(Path::to_path_buf)
}
