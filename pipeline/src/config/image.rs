//! What the image of a service is made of, checked.

use super::{
    file::{ImageCache, ImageSection, ServiceSection},
    findings::Findings,
    problem::Problem,
    project::check_secrets,
    scalar::{BuildPlatform, BuildWord},
};
use crate::{name::Name, secret::SecretRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

/// The file that describes an image unless another one is named, as with the `docker` client.
const DOCKERFILE: &str = "Dockerfile";

/// What the image of a service is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// The service's executable, linked statically, and nothing else.
    FromBinary,
    /// What a Dockerfile says.
    Dockerfile(DockerfileSource),
}

/// A Dockerfile, and what it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DockerfileSource {
    /// The folder whose files it may copy, relative to the project's root; empty for the root itself.
    pub context: PathBuf,
    /// The file, relative to `context`.
    pub dockerfile: PathBuf,
    /// The stage whose image is wanted; without one the last.
    pub target: Option<BuildWord>,
    /// Values of its `ARG`s.
    pub args: BTreeMap<BuildWord, String>,
    /// What `RUN --mount=type=secret` is given.
    pub secrets: BTreeMap<BuildWord, SecretRef>,
    /// For which platform; without one for that of the engine.
    pub platform: Option<BuildPlatform>,
    /// Where what was built is kept for other engines, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<ImageCache>,
}

impl ImageSource {
    /// What the image of a service is made of; `None` if it has neither a Dockerfile nor an executable, which
    /// [`check`] refuses.
    pub fn of(service: &ServiceSection) -> Option<Self> {
        match &service.image {
            Some(image) if image.from_binary != Some(true) => {
                Some(Self::Dockerfile(image.dockerfile_source()))
            }
            Some(_) | None => service.artifact.is_some().then_some(Self::FromBinary),
        }
    }
}

impl ImageSection {
    fn dockerfile_source(&self) -> DockerfileSource {
        let context: PathBuf = plain(self.context.as_deref().unwrap_or(Path::new("")));
        let dockerfile = match &self.dockerfile {
            None => PathBuf::from(DOCKERFILE),
            Some(path) => {
                let path = plain(path);
                path.strip_prefix(&context).map(Path::to_path_buf).unwrap_or(path)
            }
        };
        DockerfileSource {
            context,
            dockerfile,
            target: self.target.clone(),
            args: self.args.clone(),
            secrets: self.secrets.clone(),
            platform: self.platform.clone(),
            cache: self.cache,
        }
    }
}

/// Checks what a service says that it runs.
pub(super) fn check(name: &Name, service: &ServiceSection, has_registry: bool, findings: &mut Findings<'_>) {
    let path = ["services", name.as_str(), "image"];
    let at = |key: &'static str| ["services", name.as_str(), "image", key];
    let Some(image) = &service.image else {
        if service.artifact.is_none() {
            let problem = Problem::new(format!("{name} does not say what it runs"));
            let help = "name its executable, `artifact = { cargo-bin = \"NAME\" }`, or give it an `image` with a Dockerfile";
            findings.add_missing(&["services", name.as_str(), "artifact"], problem.help(help));
        }
        return;
    };
    let of_dockerfile = [
        ("dockerfile", image.dockerfile.is_some()),
        ("context", image.context.is_some()),
        ("target", image.target.is_some()),
        ("args", !image.args.is_empty()),
        ("secrets", !image.secrets.is_empty()),
        ("platform", image.platform.is_some()),
        ("cache", image.cache.is_some()),
    ];
    let given: Vec<&'static str> =
        of_dockerfile.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();
    match (image.from_binary, given.first()) {
        (Some(true), None) if service.artifact.is_none() => {
            let problem =
                Problem::new(format!("the image of {name} is made of its executable, and it has none"));
            let help = "name it: `artifact = { cargo-bin = \"NAME\" }`";
            findings.add(&at("from-binary"), problem.help(help));
        }
        (Some(true), Some(key)) => {
            let message =
                format!("the image of {name} is made of its executable, so there is no use for `{key}`");
            let problem = Problem::new(message).help("keep `from-binary`, or what is meant for a Dockerfile");
            findings.add_between(&at(key), &[(&at("from-binary"), "it is said here".to_owned())], problem);
        }
        (Some(false) | None, None) => {
            let problem = Problem::new(format!("the image of {name} does not say what it is made of"));
            let help = "`dockerfile = \"Dockerfile\"`, or `from-binary = true`";
            findings.add(&path, problem.help(help));
        }
        (Some(true), None) | (Some(false) | None, Some(_)) => {}
    }
    if image.cache == Some(ImageCache::Registry) && !has_registry {
        let problem =
            Problem::new(format!("the cache of {name} is in a registry, and the project names none"));
        findings
            .add(&at("cache"), problem.help("name it: `[registry]` with its `prefix`; or leave `cache` out"));
    }
    for (key, path) in [("dockerfile", &image.dockerfile), ("context", &image.context)] {
        let Some(path) = path else { continue };
        let is_inside =
            path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_inside || path.as_os_str().is_empty() {
            let problem =
                Problem::new(format!("the {key} of {name} is not in the project: `{}`", path.display()));
            findings.add(&at(key), problem.help("give it relative to the project's root, without `..`"));
        }
    }
    if let (Some(dockerfile), Some(context)) = (&image.dockerfile, &image.context)
        && !plain(dockerfile).starts_with(plain(context))
    {
        let message = format!("the Dockerfile of {name} is outside of its context");
        let problem =
            Problem::new(message).help("engines are sent the context alone: choose a folder that has both");
        findings.add_between(&at("dockerfile"), &[(&at("context"), "the context".to_owned())], problem);
    }
    let secrets = image.secrets.iter().map(|(id, one)| (id.word().as_str(), one));
    check_secrets(&at("secrets"), secrets, findings);
}

/// Without `.` in it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}
