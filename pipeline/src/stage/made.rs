//! What stages come to: each task by itself, and all of them together.

use super::StageName;
use crate::{
    name::Name,
    release::{Artifact, Image, ScanVerdict, Scans, StageVerdict},
};
use std::collections::BTreeMap;

/// What all stages came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// How each stage ended.
    pub verdicts: BTreeMap<String, StageVerdict>,
    /// The executable of each service that has one, if the `build` stage was asked for.
    pub artifacts: Option<BTreeMap<Name, Artifact>>,
    /// The image of each service, as far as it was made; where it is published, as it is in the registry.
    pub images: BTreeMap<Name, Image>,
    /// What the scans came to.
    pub scans: Scans,
}

/// What one task came to.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Stage(StageVerdict, BTreeMap<Name, Artifact>),
    Image(StageVerdict, Image),
    Scan(StageVerdict, ScanVerdict),
}

impl Made {
    /// Adds what a task came to.
    pub(super) fn add(&mut self, stage: StageName, service: Option<Name>, part: Part) {
        let verdict = match part {
            Part::Stage(verdict, artifacts) => {
                if stage == StageName::Build {
                    self.artifacts = Some(artifacts);
                }
                verdict
            }
            Part::Image(verdict, image) => {
                let known = service.as_ref().and_then(|service| self.images.get(service));
                // Whichever comes last, the published one says more.
                if let Some(service) = service.filter(|_| !known.is_some_and(Image::is_published)) {
                    self.images.insert(service, image);
                }
                verdict
            }
            Part::Scan(verdict, scan) => {
                self.scans.add(service, scan);
                verdict
            }
        };
        // A stage has passed anew if any part of it has.
        let all = self.verdicts.entry(stage.to_string()).or_insert(verdict);
        *all = together(*all, verdict);
    }
}

/// What a stage came to of which one part came to this and another to that: it has not run if any has not, and has passed
/// anew if any has.
fn together(one: StageVerdict, other: StageVerdict) -> StageVerdict {
    use StageVerdict::{NotRun, Passed, SkippedUnchanged};
    match (one, other) {
        (NotRun, _) | (_, NotRun) => NotRun,
        (Passed, _) | (_, Passed) => Passed,
        (SkippedUnchanged, SkippedUnchanged) => SkippedUnchanged,
    }
}
