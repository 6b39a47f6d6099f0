//! A program that was built without them.

use crate::{context::Context, failure::Failure};
use deploy::{
    config::Loaded,
    session::{Platforms, Tool},
};
use pipeline::stage::ImageMaker;
use std::sync::Arc;

/// None.
#[expect(clippy::unnecessary_wraps, reason = "as in a program that has them")]
pub(crate) fn platforms(_: &Context, _: &Loaded, _: &Tool) -> Result<Platforms, Failure> {
    Ok(Platforms::default())
}

/// Nobody.
pub(crate) fn maker(_: &Context, _: &Loaded) -> Result<Arc<dyn ImageMaker>, Failure> {
    Err(Failure::NeedsEngines)
}
