//! The image of a bundle: present by its digest, or pulled by it.

use crate::{
    engine::{Engine, if_there, within},
    error::terminal,
};
use bollard::{
    auth::DockerCredentials,
    models::ImageInspect,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder},
};
use deploy::{bundle::BundleArtifact, port::EffectError, reason::ReasonCode};
use futures::TryStreamExt;
use std::{collections::HashMap, fmt, time::Duration};

/// The longest that an image may take to be pulled: as long as a deploy without progress is waited for.
const PULL_DEADLINE: Duration = Duration::from_secs(600);

/// The longest look at an image.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);

/// Where images are tagged so that they are not taken for unused.
const KEPT: &str = "fairlead/kept";

/// Who a unit runs as where its image does not say: a user that owns nothing on any machine.
const USER: &str = "1000:1000";

/// What registries want to know before they give an image: registry as in the image's name → credentials.
#[derive(Clone, Default)]
pub struct Credentials(pub HashMap<String, DockerCredentials>);

/// The registries alone: passwords do not print.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    fn of(&self, image: &str) -> Option<DockerCredentials> {
        let (registry, _) = image.split_once('/')?;
        self.0.get(registry).cloned()
    }
}

/// An image that is on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its id on this engine.
    pub(crate) id: String,
    /// Who its containers run as.
    pub(crate) user: String,
}

impl Engine {
    /// The image that a bundle names: `name@digest` of a registry, or the id of one that is only here. It is pulled if it
    /// is neither.
    pub(crate) async fn have_image(
        &self,
        artifact: &BundleArtifact,
        platform: &str,
        credentials: &Credentials,
    ) -> Result<Image, EffectError> {
        let by_name = format!("{}@{}", artifact.name, artifact.digest);
        let by_id = artifact.digest.to_string();
        let found = match self.image(&by_id).await? {
            None => self.image(&by_name).await?,
            found => found,
        };
        let found = match found {
            Some(found) => found,
            None => {
                self.pull(&by_name, credentials.of(&artifact.name)).await?;
                self.image(&by_name).await?.ok_or_else(|| {
                    terminal(
                        ReasonCode::PrepareFailed,
                        format!("the image `{by_name}` is gone right after it was pulled"),
                    )
                })?
            }
        };
        fits(&found, &by_name, platform)?;
        let user = found.config.and_then(|config| config.user).filter(|user| !user.is_empty());
        let id = found.id.unwrap_or(by_id);
        Ok(Image { id, user: user.unwrap_or_else(|| USER.to_owned()) })
    }

    async fn image(&self, name: &str) -> Result<Option<ImageInspect>, EffectError> {
        let look = within(LOOK_DEADLINE, "look at the image", name, self.docker().inspect_image(name)).await;
        if_there(look).map_err(|error| error.effect(ReasonCode::PrepareFailed))
    }

    async fn pull(&self, name: &str, credentials: Option<DockerCredentials>) -> Result<(), EffectError> {
        let options = CreateImageOptionsBuilder::default().from_image(name).build();
        let pulled = self.docker().create_image(Some(options), None, credentials);
        let pulled = pulled.try_for_each(|_| async { Ok(()) });
        let pulled = within(PULL_DEADLINE, "pull the image", name, pulled).await;
        pulled.map_err(|error| error.effect(ReasonCode::PrepareFailed))
    }

    /// Tags an image, so that nobody who removes unused images takes it away.
    pub(crate) async fn keep_image(&self, id: &str, tag: &str) -> Result<(), EffectError> {
        let options = TagImageOptionsBuilder::default().repo(KEPT).tag(tag).build();
        let tagged =
            within(LOOK_DEADLINE, "tag the image", id, self.docker().tag_image(id, Some(options))).await;
        tagged.map_err(|error| error.effect(ReasonCode::PrepareFailed))
    }

    /// Takes the tag away again, and the image with it if nothing else names it.
    pub(crate) async fn let_image_go(&self, tag: &str) -> crate::engine::Result<()> {
        let name = format!("{KEPT}:{tag}");
        let removed = self.docker().remove_image(&name, None::<RemoveImageOptions>, None);
        if_there(within(LOOK_DEADLINE, "remove the image", &name, removed).await).map(drop)
    }
}

/// An image of another platform would start as a program that cannot be executed.
fn fits(image: &ImageInspect, name: &str, platform: &str) -> Result<(), EffectError> {
    let (Some(os), Some(architecture)) = (&image.os, &image.architecture) else { return Ok(()) };
    let made_for = format!("{os}/{architecture}");
    if made_for == platform {
        return Ok(());
    }
    let message =
        format!("the image `{name}` is made for {made_for}, and the engine is {platform}: build it for both");
    Err(terminal(ReasonCode::PrepareFailed, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_another_platform_is_refused_before_anything_runs() {
        let image = |os: Option<&str>, architecture: Option<&str>| ImageInspect {
            os: os.map(str::to_owned),
            architecture: architecture.map(str::to_owned),
            ..ImageInspect::default()
        };
        assert_eq!(fits(&image(Some("linux"), Some("amd64")), "api", "linux/amd64"), Ok(()));
        assert_eq!(fits(&image(None, None), "api", "linux/amd64"), Ok(()), "it does not say");
        let error =
            fits(&image(Some("linux"), Some("arm64")), "api", "linux/amd64").expect_err("it cannot run");
        let EffectError::Terminal { reason: ReasonCode::PrepareFailed, message } = error else {
            panic!("{error:?}")
        };
        assert!(message.contains("linux/arm64") && message.contains("linux/amd64"), "{message}");
    }

    #[test]
    fn credentials_are_given_to_their_registry_alone() {
        let credentials =
            Credentials(HashMap::from([("one.example:5000".to_owned(), DockerCredentials::default())]));
        assert!(credentials.of("one.example:5000/team/api").is_some());
        assert_eq!(format!("{credentials:?}"), "{\"one.example:5000\"}", "and no password prints");
        for other in ["two.example/team/api", "one.example/team/api", "api", "team/one.example:5000/api"] {
            assert!(credentials.of(other).is_none(), "{other}");
        }
    }
}
