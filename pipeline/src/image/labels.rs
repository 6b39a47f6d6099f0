//! The labels by which an image says what it was made of.

use crate::release::ReleaseId;
use std::collections::BTreeMap;

/// The label that says of which release of Fairlead an image is.
pub const RELEASE_LABEL: &str = "fairlead.release";

/// What an image says of itself, as labels of the OCI's image specification (`org.opencontainers.image.*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageLabels {
    /// The release.
    pub release: Option<ReleaseId>,
    /// The commit.
    pub revision: Option<String>,
    /// Where the sources are, as a URL.
    pub source: Option<String>,
    /// The version of what is in it.
    pub version: Option<String>,
    /// When it was made. With the time of the commit, the same sources give the same image.
    pub created: Option<jiff::Timestamp>,
}

impl From<ImageLabels> for BTreeMap<String, String> {
    fn from(labels: ImageLabels) -> Self {
        let oci = |name: &str| format!("org.opencontainers.image.{name}");
        let all = [
            (RELEASE_LABEL.to_owned(), labels.release.map(|release| release.0)),
            (oci("revision"), labels.revision),
            (oci("source"), labels.source),
            (oci("version"), labels.version),
            (oci("created"), labels.created.map(|time| time.to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_said() {
        let labels = ImageLabels {
            release: Some(ReleaseId("0123456789ab".to_owned())),
            created: Some(jiff::Timestamp::from_second(1_700_000_000).unwrap()),
            ..ImageLabels::default()
        };
        let labels: BTreeMap<String, String> = labels.into();
        let told: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            told,
            ["fairlead.release=0123456789ab", "org.opencontainers.image.created=2023-11-14T22:13:20Z"]
        );
    }
}
