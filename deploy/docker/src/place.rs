//! How what belongs to one target is told from everything else on an engine.

use deploy::{bundle::BundleHash, model::UnitId};
use pipeline::{digest::Digest, name::Name};
use std::collections::HashMap;

/// What every label of ours begins with.
pub(crate) const PREFIX: &str = "io.fairlead.";

/// Whose something on an engine is: several projects and environments may share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The project.
    pub project: Name,
    /// The environment.
    pub environment: Name,
    /// The target.
    pub target: Name,
}

/// What something on an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A container: a unit.
    Unit,
    /// A container: a migration.
    Migration,
    /// A container that is never started: through it a bundle is filled.
    Filler,
    /// A volume: a bundle.
    Bundle,
    /// A volume: a version of the state.
    State,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Migration => "migration",
            Self::Filler => "filler",
            Self::Bundle => "bundle",
            Self::State => "state",
        }
    }
}

/// A label's whole name.
pub(crate) fn label(name: &str) -> String {
    format!("{PREFIX}{name}")
}

impl Place {
    fn stem(&self) -> String {
        format!("fairlead.{}.{}.{}", self.project, self.environment, self.target)
    }

    /// The container of a unit.
    pub(crate) fn unit(&self, unit: &UnitId) -> String {
        format!("{}.{}", self.stem(), unit.file_stem())
    }

    /// The container of a service's migration: one name, so that no two of a service run together.
    pub(crate) fn migration(&self, service: &Name) -> String {
        format!("{}.{service}.migration", self.stem())
    }

    /// A volume for a bundle, and the container through which it is filled.
    pub(crate) fn bundle(&self, bundle: &BundleHash, nonce: &str) -> String {
        format!("{}.bundle.{}.{nonce}", self.stem(), bundle.short())
    }

    /// The volume of a version of the state.
    pub(crate) fn state(&self, number: u64) -> String {
        format!("{}.state.{number}", self.stem())
    }

    /// The tag that keeps the image of a bundle from being taken for unused. Names may end in a dash, where a tag's parts
    /// may not: hence a digest.
    pub(crate) fn image_tag(&self, bundle: &BundleHash) -> String {
        format!("{}-{}", Digest::of_bytes(self.stem()).short(), bundle.short())
    }

    /// The labels of something of this target.
    pub(crate) fn labels(&self, kind: Kind, generation: u64) -> HashMap<String, String> {
        let mut labels = self.own(kind);
        labels.insert(label("generation"), generation.to_string());
        labels
    }

    /// What selects everything of a kind of this target.
    pub(crate) fn filter(&self, kind: Kind) -> HashMap<String, Vec<String>> {
        let labels = self.own(kind).into_iter().map(|(name, value)| format!("{name}={value}"));
        HashMap::from([("label".to_owned(), labels.collect())])
    }

    fn own(&self, kind: Kind) -> HashMap<String, String> {
        let pairs = [
            ("kind", kind.word()),
            ("project", self.project.as_str()),
            ("environment", self.environment.as_str()),
            ("target", self.target.as_str()),
        ];
        pairs.into_iter().map(|(name, value)| (label(name), value.to_owned())).collect()
    }
}
