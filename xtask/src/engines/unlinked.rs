//! A program that was built without them.

use super::Needed;
use crate::{commands::Prunable, context::Context, doctor::Finding, failure::Failure, parts::Parts};
use deploy::{
    config::Loaded,
    session::{Place, Platforms, Tool},
};
use pipeline::{image::reference::Repository, stage::ImageMaker};
use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

/// None.
#[expect(clippy::unnecessary_wraps, reason = "as in a program that has them")]
pub(crate) fn platforms(_: &Context, _: &Loaded, _: &Tool) -> Result<Platforms, Failure> {
    Ok(Platforms::default())
}

/// Nothing: `doctor` becomes a program that has engines before it examines an environment that needs them.
pub(crate) async fn examine(_: &Context, _: &Loaded, _: &[Place]) -> Vec<Finding> {
    Vec::new()
}

/// None.
pub(crate) async fn router(_: &Place) -> Option<u32> {
    None
}

/// Nobody.
pub(crate) fn maker(_: &Context, _: &Loaded) -> Result<Arc<dyn ImageMaker>, Failure> {
    Err(Failure::NeedsParts(Parts::DOCKER))
}

/// Nothing that could be removed: there is none.
pub(crate) struct Removal(Infallible);

/// Nobody looks.
pub(crate) async fn look(
    _: &Context,
    _: &Loaded,
    _: &BTreeSet<Repository>,
    _: &Needed,
) -> Result<(Prunable, Removal), Failure> {
    Err(Failure::NeedsParts(Parts::DOCKER))
}

impl Removal {
    /// Never called.
    #[expect(clippy::unused_async, reason = "as in a program that has them")]
    pub(crate) async fn carry_out(&self, _: &(dyn Fn(String) + Send + Sync)) -> Result<usize, Failure> {
        match self.0 {}
    }
}
