//! What is to be built: checked when it is read, so that nothing half-right reaches an engine.

use super::Logins;
use pipeline::{
    image::words::{Platform, Word, WordError},
    secret::Secret,
};
use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

/// How long a build may take unless something else is said: an hour. Longer than a cold release build of a large
/// workspace on two cores, short enough that a job that hangs overnight is noticed.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// The longest name of an image without its tag, in characters: what registries accept.
const NAME_MAX: usize = 255;

/// The longest tag, in characters: what registries accept.
const TAG_MAX: usize = 128;

/// An image that is to be built from a folder with a Dockerfile.
#[derive(Debug, Clone)]
pub struct ImageBuild {
    /// The build context: the folder whose files the Dockerfile may copy.
    pub context: PathBuf,
    /// The Dockerfile, below the context.
    pub dockerfile: PathBuf,
    /// The stage whose image is wanted; without one the last.
    pub target: Option<Word>,
    /// Values of the Dockerfile's `ARG`s. They are kept in the image's history, so no secret's value may be in one.
    pub args: BTreeMap<Word, String>,
    /// What `RUN --mount=type=secret,id=…` is given. Neither in the image nor in its history.
    pub secrets: BTreeMap<Word, Secret>,
    /// Where logins for the registries of base images and of caches are looked for; by default nowhere.
    pub logins: Logins,
    /// For which platform; without one for that of the engine.
    pub platform: Option<Platform>,
    /// Labels of the image, beside those that the Dockerfile gives it.
    pub labels: BTreeMap<String, String>,
    /// What the image is called once it is built. None is fine: it is known by its id.
    pub names: Vec<ImageName>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: no file of the context is sent with a later time, and a builder that
    /// can (BuildKit of engine 23 and newer) gives this one to the image and its history. Folders that a step makes by
    /// itself keep the time at which it did: BuildKit inside an engine cannot rewrite layers. So an image is the same
    /// each time if its steps only copy, into folders that are there or that come with the files.
    pub source_date_epoch: Option<u64>,
    /// Images whose inline cache may save steps (BuildKit), or that were built by the classic builder.
    pub cache_from: Vec<ImageName>,
    /// Whether the image is to carry what a later `cache_from` needs. BuildKit inside an engine can keep a cache nowhere
    /// else.
    pub inline_cache: bool,
    /// Do every step again.
    pub no_cache: bool,
    /// Which builder.
    pub builder: Builder,
    /// The longest that all of it may take.
    pub deadline: Duration,
}

impl ImageBuild {
    /// The image of the last stage of `Dockerfile` in this folder, with no other wish.
    pub fn new(context: impl Into<PathBuf>) -> Self {
        Self {
            context: context.into(),
            dockerfile: PathBuf::from("Dockerfile"),
            target: None,
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            logins: Logins::default(),
            platform: None,
            labels: BTreeMap::new(),
            names: Vec::new(),
            source_date_epoch: None,
            cache_from: Vec::new(),
            inline_cache: false,
            no_cache: false,
            builder: Builder::default(),
            deadline: DEFAULT_DEADLINE,
        }
    }
}

/// Which of an engine's builders builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Builder {
    /// BuildKit where the engine has it, else the classic one.
    #[default]
    Best,
    /// The classic one, which knows no secrets, cache mounts or inline cache.
    Classic,
}

/// The name of an image with its tag: `api:1.2`, `registry.example:5000/team/api:1.2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    repository: String,
    tag: String,
}

impl ImageName {
    /// Everything before the tag.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if none was given.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl FromStr for ImageName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let expected = "`[registry[:port]/]path[:tag]` in lower-case letters, digits and single separators `.`, `_`, `-`";
        let error = || WordError::new(text, "name of an image", expected);
        // A colon before the last slash belongs to the registry's port.
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (text, "latest"),
        };
        let (host, path) = match repository.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
            _ => (None, repository),
        };
        let is_host = host.is_none_or(is_host);
        let is_path = path.split('/').all(is_component);
        if is_host && is_path && repository.len() <= NAME_MAX && is_tag(tag) {
            return Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() });
        }
        Err(error())
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let letters = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let is_name = match name.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| letters(address, b":")),
        None => {
            name.split('.').all(|part| letters(part, b"-") && !part.starts_with('-') && !part.ends_with('-'))
        }
    };
    is_name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// A part of a path between slashes: runs of lower-case letters and digits with `.`, `_`, `__` or dashes between them.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    alphanumeric(*first)
        && alphanumeric(*last)
        && separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let starts = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    starts && tag.len() <= TAG_MAX && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_as_registries_take_them() {
        for (text, repository, tag) in [
            ("api", "api", "latest"),
            ("api:1.2", "api", "1.2"),
            ("localhost/api", "localhost/api", "latest"),
            ("127.0.0.1:5000/team/api:1_2-X", "127.0.0.1:5000/team/api", "1_2-X"),
            ("[::1]:5000/a/b__c.d--e:v1", "[::1]:5000/a/b__c.d--e", "v1"),
            ("registry.example/a", "registry.example/a", "latest"),
        ] {
            let name: ImageName = text.parse().unwrap();
            assert_eq!((name.repository(), name.tag()), (repository, tag));
        }
        let long = "a".repeat(256);
        for text in [
            "",
            "API",
            "api:",
            "api:-1",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "-a",
            "a b",
            "a@sha256:0",
            &long,
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }
}
