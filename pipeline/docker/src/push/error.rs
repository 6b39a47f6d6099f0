//! Why an image is not published.

use super::stream::Failure;
use crate::Address;
use pipeline::digest::Digest;
use std::time::Duration;

/// Why an image is not published.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The engine does not have it.
    #[error("the engine at {engine} has no image {image}: build it there, or name the engine that built it")]
    NoImage {
        /// Which.
        image: Digest,
        /// Where.
        engine: Address,
    },
    /// The engine does not give it its name.
    #[error("the engine at {engine} does not take the name {reference}")]
    Tag {
        /// The name.
        reference: String,
        /// Where.
        engine: Address,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// The tag that should be named by its content is something else's.
    #[error(
        "{reference} is {found}, and not of the image {image} that was built now: a tag of a release is never moved; publish \
         what was built then, or make a release of its own of this"
    )]
    Taken {
        /// The tag.
        reference: String,
        /// What should go there.
        image: Digest,
        /// What is there.
        found: Digest,
    },
    /// The registry does not know who pushes.
    #[error(
        "cannot push {reference}: the registry refuses the login ({login}): {said}; log in again with `docker login`, or set \
             {} and {}",
        registry::USERNAME,
        registry::PASSWORD
    )]
    Unauthorized {
        /// What was pushed.
        reference: String,
        /// Where the login came from, never what it is.
        login: String,
        /// What the engine said.
        said: String,
    },
    /// The registry does not allow it.
    #[error(
        "cannot push {reference}: the registry does not allow it to this login ({login}): {said}; ask for the right to push"
    )]
    Denied {
        /// What was pushed.
        reference: String,
        /// Where the login came from.
        login: String,
        /// What the engine said.
        said: String,
    },
    /// The engine did not manage to.
    #[error("the engine could not push {reference}{}; what has arrived stays there, so that pushing again goes on from it",
            often(*.attempts))]
    Engine {
        /// What was pushed.
        reference: String,
        /// How often it tried.
        attempts: u32,
        /// Why, at last.
        #[source]
        source: Box<Failure>,
    },
    /// The engine said that it pushed, and there is nothing.
    #[error(
        "the engine pushed {reference}, and the registry has no such tag: did somebody remove it just now? Push again"
    )]
    Vanished {
        /// What was pushed.
        reference: String,
    },
    /// Something else is there than what was pushed.
    #[error(
        "{reference} was pushed, but is {found}, which is not what the engine pushed of the image {image}: does somebody else push \
         under this name? No other tag was moved"
    )]
    Different {
        /// What was pushed.
        reference: String,
        /// What it should be.
        image: Digest,
        /// What is there.
        found: Digest,
    },
    /// Parts of it are not there.
    #[error(
        "{reference} was pushed, but the registry lacks {} of its parts, or has them in another size, the first {}; no other tag was \
         moved. Push again, and if that does not help, have the registry's storage looked at",
        .missing.len(), .missing.first().map(Digest::to_string).unwrap_or_default()
    )]
    Incomplete {
        /// What was pushed.
        reference: String,
        /// What is not there.
        missing: Vec<Digest>,
    },
    /// A tag was moved by somebody else at the same time.
    #[error("{reference} was pointed to {digest}, but now is {}: does somebody else publish at the same time?",
            .now.map_or_else(|| "gone".to_owned(), |now| now.to_string()))]
    TagLost {
        /// The tag.
        reference: String,
        /// Where it should point to.
        digest: Digest,
        /// Where it points to.
        now: Option<Digest>,
    },
    /// It took too long.
    #[error("{reference} was not published within {} s; what has arrived stays there, so that pushing again goes on from it",
            .limit.as_secs())]
    Deadline {
        /// What was pushed.
        reference: String,
        /// The time that it had.
        limit: Duration,
    },
    /// The registry did not do what we asked it ourselves.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

fn often(attempts: u32) -> String {
    if attempts > 1 { format!(" in {attempts} attempts") } else { String::new() }
}
