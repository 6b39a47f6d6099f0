//! Where a build finds what earlier ones have done: in the images that were published last.

use super::{
    ImageStage, Published,
    publish::{LATEST, as_tag},
    runner::Origin,
};
use crate::{
    config::{file::ImageCache, image::ImageSource},
    image::reference::{Reference, Tag, Which},
};

impl ImageStage {
    /// The images that carry what earlier builds did, the likeliest first; `None` if no cache is wanted.
    pub(super) fn cache(&self, origin: &Origin) -> Option<Vec<Reference>> {
        let ImageSource::Dockerfile(source) = &self.source else { return None };
        let Some(ImageCache::Registry) = source.cache else { return None };
        let Published { repository, default_branch } = self.published.as_ref()?;
        let branches = origin.branch.iter().chain([default_branch]).map(|branch| as_tag(branch));
        let mut tags: Vec<Tag> = Vec::new();
        for tag in branches.chain([LATEST.to_owned()]).filter_map(|tag| tag.parse().ok()) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Some(tags.into_iter().map(|tag| repository.with(&Which::Tag(tag))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::image::DockerfileSource, image::reference::Repository};
    use std::{collections::BTreeMap, path::PathBuf, time::Duration};

    fn stage(cache: Option<ImageCache>) -> ImageStage {
        let repository =
            |host: &str| Repository::new(host.parse().expect("a host"), "team/api").expect("a name");
        ImageStage {
            service: "api".parse().expect("a name"),
            source: ImageSource::Dockerfile(DockerfileSource {
                context: PathBuf::new(),
                dockerfile: PathBuf::from("Dockerfile"),
                target: None,
                args: BTreeMap::new(),
                secrets: BTreeMap::new(),
                platform: None,
                cache,
            }),
            has_executable: false,
            repository: repository("localhost"),
            published: Some(Published {
                repository: repository("ghcr.io"),
                default_branch: "main".to_owned(),
            }),
            timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_build_looks_at_its_own_branch_first_and_only_where_a_cache_is_wanted() {
        let on = |branch: &str| Origin { branch: Some(branch.to_owned()), ..Origin::default() };
        let cache = |origin: &Origin| {
            let found = stage(Some(ImageCache::Registry)).cache(origin).expect("a cache");
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let main = ["ghcr.io/team/api:main", "ghcr.io/team/api:latest"];
        assert_eq!(cache(&on("main")), main);
        assert_eq!(cache(&Origin::default()), main);
        assert_eq!(cache(&on("feature/x")), ["ghcr.io/team/api:feature-x", main[0], main[1]]);
        assert_eq!(stage(None).cache(&on("main")), None);
    }
}
