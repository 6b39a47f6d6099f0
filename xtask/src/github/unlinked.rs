//! A program that was built without.

use super::{Published, Reported};
use crate::{context::Context, failure::Failure, parts::Parts};
use deploy::github::Post;
use pipeline::{
    github::{Place, Trouble},
    secret::Secret,
};
use std::{convert::Infallible, sync::Arc};

/// Nobody.
pub(crate) struct Tongue(Infallible);

impl Tongue {
    pub(crate) fn new(_: &Place, _: &Secret) -> Result<Self, Trouble> {
        let doing = "anything".to_owned();
        let message = Parts::GITHUB.missing();
        Err(Trouble::Unavailable { doing, message, may_have_taken_hold: false })
    }

    pub(crate) fn post(&self) -> Arc<dyn Post> {
        match self.0 {}
    }
}

/// Never called: a program becomes one that speaks to GitHub before it does.
pub(crate) async fn send_comment(
    _: &Context,
    tongue: &Tongue,
    _: u64,
    _: &str,
    _: &str,
) -> Result<(), Trouble> {
    match tongue.0 {}
}

/// Never called.
pub(crate) async fn send_report(_: &Context, tongue: &Tongue, _: &Reported) -> Result<(), Failure> {
    match tongue.0 {}
}

/// Never called.
pub(crate) async fn send_release(_: &Context, tongue: &Tongue, _: Published) -> Result<String, Failure> {
    match tongue.0 {}
}
