//! The `publish` stage: the image of one service, in its registry, under its tags.

use super::{
    Context, PublishStage, RunReason, StageError, StageName,
    maker::{ImageMaker, News, PublishOrder},
    record::{Last, Record},
    run::Task,
    runner::Origin,
};
use crate::{
    digest::Digest,
    event::Event,
    fingerprint::{Fingerprint, Stamps},
    image::reference::Tag,
    release::{Image, StageVerdict},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The tag of the newest image of the default branch, as everybody's tools know it.
pub(super) const LATEST: &str = "latest";

/// What the `publish` stage of one service is to do.
pub(super) struct PublishPlan {
    /// The image as it is published under these tags, and since when; or why that must be done.
    pub(super) why: Result<(Image, Timestamp), RunReason>,
    fingerprint: Fingerprint,
    tags: (Tag, Vec<Tag>),
}

/// Publishes the image of a service, unless it is there under the same tags; tells it as events.
pub(super) async fn run(
    context: &Context,
    stage: &PublishStage,
    image: &Image,
    origin: &Origin,
    maker: &dyn ImageMaker,
    force: bool,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<(StageVerdict, Image), StageError> {
    let task = Task { stage: StageName::Publish, service: Some(&stage.service), emit };
    let planned = plan(context, stage, image, origin, maker, force).await;
    let PublishPlan { why, fingerprint, tags: (first, others) } =
        planned.map_err(|error| task.failed(context, error))?;
    let reason = match why {
        Ok((published, since)) => {
            task.skipped(since);
            return Ok((StageVerdict::SkippedUnchanged, published));
        }
        Err(reason) => reason,
    };
    let started = task.started(&reason);
    let order = PublishOrder {
        image: image.id,
        repository: stage.repository.clone(),
        first,
        others,
        timeout: stage.timeout,
    };
    let published = publish(context, stage, image, &order, maker, &task).await;
    let record = Record::new(true, fingerprint, Stamps::default());
    let published = task.keep(context, started, record, published, |image| {
        format!("{}@{} ({})", image.repository, image.digest.short(), image.tags.join(", "))
    })?;
    Ok((StageVerdict::Passed, published))
}

fn fingerprint(stage: &PublishStage, image: &Image, tags: &[Tag]) -> Fingerprint {
    let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    let values = [
        ("the image", image.id.to_string()),
        ("the repository", stage.repository.to_string()),
        ("the tags", tags.join(" ")),
    ];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Fingerprint { files: BTreeMap::new(), values }
}

/// Finds out whether there is anything to do; asks the registry.
pub(super) async fn plan(
    context: &Context,
    stage: &PublishStage,
    image: &Image,
    origin: &Origin,
    maker: &dyn ImageMaker,
    force: bool,
) -> Result<PublishPlan, StageError> {
    let tags = (content_tag(image.id), tags(origin, &stage.default_branch));
    let fingerprint = fingerprint(stage, image, &tags.1);
    let at = |source| StageError::Maker { stage: StageName::Publish, service: stage.service.clone(), source };
    let last = Last::read(&context.state, StageName::Publish, Some(&stage.service));
    let why = match last.image(&fingerprint, force) {
        Ok((image, since)) => match maker.is_published(&stage.repository, image.digest).await.map_err(at)? {
            true => Ok((image.clone(), since)),
            false => Err(RunReason::Unpublished(image.digest)),
        },
        Err(reason) => Err(reason),
    };
    Ok(PublishPlan { why, fingerprint, tags })
}

async fn publish(
    context: &Context,
    stage: &PublishStage,
    image: &Image,
    order: &PublishOrder,
    maker: &dyn ImageMaker,
    task: &Task<'_>,
) -> Result<Image, StageError> {
    let news =
        News { step: &|text| task.advanced(context, &text), line: &|text| task.output(context, &text) };
    let published = tokio::select! {
        published = maker.publish(order, news) => published,
        () = context.runner.cancel.cancelled() => {
            return Err(StageError::Cancelled { stage: StageName::Publish });
        }
    };
    let digest = published.map_err(|source| StageError::Image {
        stage: StageName::Publish,
        service: stage.service.clone(),
        source,
    })?;
    let tags = std::iter::once(&order.first).chain(&order.others);
    Ok(Image {
        repository: stage.repository.to_string(),
        digest,
        tags: tags.map(|tag| tag.as_str().to_owned()).collect(),
        ..image.clone()
    })
}

/// The tag that is named by the image's content and never moved.
fn content_tag(image: Digest) -> Tag {
    format!("id-{}", image.short()).parse().expect("letters, digits and a dash")
}

/// The tags that point to an image in the end: of a clean tree the commit, the branch and perhaps `latest`; of a tree with
/// changes nothing that others might take for the commit's.
fn tags(origin: &Origin, default_branch: &str) -> Vec<Tag> {
    let Some(commit) = origin.commit.as_ref().filter(|_| !origin.dirty) else {
        return origin.release.iter().filter_map(|release| release.0.parse().ok()).collect();
    };
    let commit: String = commit.chars().take(12).collect();
    let branch = origin.branch.as_deref();
    let latest = branch.filter(|branch| *branch == default_branch).map(|_| LATEST.to_owned());
    let all = [Some(commit), branch.map(as_tag), latest];
    all.into_iter().flatten().filter_map(|tag| tag.parse().ok()).collect()
}

/// The name of a branch with what no tag can have replaced by dashes: `feature/x` → `feature-x`.
pub(super) fn as_tag(branch: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let tag: String =
        branch.chars().map(|c| if allowed(c) { c } else { '-' }).take(Tag::LENGTH_MAX).collect();
    tag.trim_start_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::ReleaseId;

    fn told(origin: &Origin) -> Vec<String> {
        tags(origin, "main").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_image_is_tagged_by_commit_and_branch_and_of_the_default_branch_as_latest() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let clean = |branch: Option<&str>| Origin {
            commit: Some(commit.to_owned()),
            branch: branch.map(str::to_owned),
            ..Origin::default()
        };
        assert_eq!(told(&clean(Some("main"))), ["0123456789ab", "main", "latest"]);
        assert_eq!(told(&clean(Some("-.feature/é x"))), ["0123456789ab", "feature---x"]);
        assert_eq!(told(&clean(None)), ["0123456789ab"]);
        let dirty = Origin {
            dirty: true,
            release: Some(ReleaseId("0123456789ab-dirty-aabbcc".to_owned())),
            ..clean(Some("main"))
        };
        assert_eq!(told(&dirty), ["0123456789ab-dirty-aabbcc"]);
        assert_eq!(told(&Origin::default()), [""; 0]);
    }
}
