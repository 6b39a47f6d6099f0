//! The defaults of the project file, in one place, each with its reason.

use super::scalar::{Address, ByteSize, EnvName, Mode, RuleId, Span, StatusRange};
use std::net::{IpAddr, Ipv4Addr};

/// Ten releases: two weeks of a team that deploys daily, and a bounded part of the disk.
pub(in crate::config) fn keep_releases() -> u16 {
    10
}

/// Fifty: what is built is a multiple of what is deployed, and five for each of the ten releases that a target returns to are
/// some weeks of a team's work. Each keeps its images in the registry.
pub(in crate::config) fn keep_manifests() -> u16 {
    50
}

/// Ninety days: as long as GitHub keeps artifacts at most, and longer than any question of a quarter is asked after.
pub(in crate::config) fn keep_reports() -> Span {
    Span::from_secs(90 * 24 * 3_600)
}

/// One unit: the least that is a service. One that must not fall below its capacity says two.
pub(in crate::config) fn replicas() -> u16 {
    1
}

/// The loopback address: nothing is published that nobody asked to publish.
pub(in crate::config) fn host() -> Address {
    Address::new(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// `PORT`: what most platforms tell their services.
pub(in crate::config) fn port_env() -> EnvName {
    "PORT".parse().expect("PORT is letters only")
}

/// Readable for all: a config file is no secret; secrets have their own place.
pub(in crate::config) fn file_mode() -> Mode {
    Mode::PUBLIC
}

/// Every success: what a health endpoint answers when it is well.
pub(in crate::config) fn status() -> StatusRange {
    StatusRange::SUCCESS
}

/// `/release`: where our reference services report it.
pub(in crate::config) fn release_pointer() -> super::scalar::JsonPointer {
    "/release".parse().expect("it begins with a slash")
}

/// Five minutes: a change of a schema on tables of middling size. One that copies large tables says how long it takes.
pub(in crate::config) fn migration_timeout() -> Span {
    Span::from_secs(5 * 60)
}

/// Reversible: a migration that only adds leaves what stood before working. One that does not must say so.
pub(in crate::config) fn reversible() -> bool {
    true
}

/// Twenty minutes: a cold test build of a middling workspace on two cores, with room to spare.
pub(in crate::config) fn test_timeout() -> Span {
    Span::from_secs(20 * 60)
}

/// Thirty minutes: a cold optimised build takes longer than one for tests.
pub(in crate::config) fn build_timeout() -> Span {
    Span::from_secs(30 * 60)
}

/// An hour: longer than a cold release build of a large workspace on two cores inside a Dockerfile, short enough that a job
/// that hangs overnight is noticed.
pub(in crate::config) fn image_timeout() -> Span {
    Span::from_secs(60 * 60)
}

/// An hour: a large image over a slow line.
pub(in crate::config) fn publish_timeout() -> Span {
    Span::from_secs(60 * 60)
}

/// KSV012: a container that runs as root is half of every way out of one, and Trivy says medium.
pub(in crate::config) fn always() -> Vec<RuleId> {
    vec!["KSV012".parse().expect("letters and digits")]
}

/// Two days: a new database is published every six hours, so an older one means that nobody has got one for a day or two.
pub(in crate::config) fn database_age_max() -> Span {
    Span::from_secs(48 * 60 * 60)
}

/// 4 GiB: several times what a large service has with all its tools, and read in a few minutes.
pub(in crate::config) fn image_size_max() -> ByteSize {
    ByteSize::from_bytes(4 << 30)
}

/// Fifteen minutes: an image of that size on a slow disk.
pub(in crate::config) fn scan_timeout() -> Span {
    Span::from_secs(15 * 60)
}

/// `main`: what git hosts call the branch of a new repository.
pub(in crate::config) fn default_branch() -> String {
    "main".to_owned()
}

/// Four: stages mostly wait for compilers that use all cores by themselves, for engines and for registries. More would
/// only make each of them slower and their stories harder to read.
pub(in crate::config) fn jobs() -> u16 {
    4
}
