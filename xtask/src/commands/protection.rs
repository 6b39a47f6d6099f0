//! What a protected environment takes: a release of a clean tree that passed every stage, and nothing that is not in
//! the files. Pure.

use crate::failure::Failure;
use deploy::session::SessionError;
use pipeline::{
    config::overrides::Override,
    release::{Release, ScanVerdict, StageVerdict},
};

/// How the origin of a variable begins that overrides any key.
const VARIABLES: &str = "the variable FAIRLEAD_";

/// What a command asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The program as people type it.
    pub(super) program: &'a str,
    /// The environment.
    pub(super) environment: &'a str,
    /// Overrides from the command line.
    pub(super) set: &'a [String],
    /// What overrides the files, wherever it comes from.
    pub(super) overrides: &'a [Override],
    /// Whether it names a release or a plan instead of building.
    pub(super) is_made: bool,
}

/// Checks what is asked of a protected environment, before anything is built.
pub(super) fn check_request(asked: Asked<'_>) -> Result<(), SessionError> {
    let Asked { program, environment, set, overrides, is_made } = asked;
    if let Some(first) = set.first() {
        let key = first.split('=').next().unwrap_or_default();
        return Err(Failure::refused(format!("`{environment}` is protected and takes no `--set` (`{key}`)"))
            .hint(format!("write it into deploy/environments/{environment}.toml and commit it")));
    }
    // What a service's own `port-env`, `host-env` and `inherit` take from variables is said by the files.
    let general = overrides.iter().find(|one| one.origin.starts_with(VARIABLES));
    if let Some(Override { key, origin, .. }) = general {
        let text = format!("`{environment}` is protected and takes no overrides: {origin} sets `{key}`");
        return Err(Failure::refused(text).hint(format!(
            "unset it, or write `{key}` into deploy/environments/{environment}.toml and commit it"
        )));
    }
    if !is_made {
        let text =
            format!("`{environment}` is protected: it takes a release that was made before, and builds none");
        return Err(Failure::refused(text)
            .hint(format!("make one with `{program} test` and `{program} build`"))
            .hint(format!("then `{program} deploy {environment} --release RELEASE`")));
    }
    Ok(())
}

/// What a project asks of every release that is to come to a protected environment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asks {
    /// The project has a registry, which then has its images.
    pub(super) is_published: bool,
    /// The project scans its images.
    pub(super) is_scanned: bool,
}

/// Checks the release that is to come to a protected environment.
pub(super) fn check_release(environment: &str, release: &Release, asks: Asks) -> Result<(), SessionError> {
    let Asks { is_published, is_scanned } = asks;
    let id = &release.id;
    if release.dirty {
        let text =
            format!("`{environment}` is protected: release {id} is of a tree with uncommitted changes");
        return Err(Failure::refused(text).hint("commit the changes, build again, and deploy that release"));
    }
    if release.commit.is_none() {
        let text = format!("`{environment}` is protected: release {id} is of no commit");
        return Err(Failure::refused(text).hint("build it within a git work tree"));
    }
    let not_run = release.stages.iter().find(|(_, verdict)| **verdict == StageVerdict::NotRun);
    if let Some((stage, _)) = not_run {
        let text = format!("`{environment}` is protected: release {id} did not pass the stage `{stage}`");
        return Err(Failure::refused(text).hint("run the stage, build again, and deploy that release"));
    }
    if let Some((service, _)) = release.images.iter().find(|(_, image)| is_published && !image.is_published())
    {
        let text =
            format!("`{environment}` is protected: the image of {service} in release {id} is in no registry");
        return Err(Failure::refused(text).hint("publish the release, and deploy that one"));
    }
    let is_good = |service| matches!(release.scans.images.get(service), Some(ScanVerdict::Passed { .. }));
    if let Some(service) = release.images.keys().find(|service| is_scanned && !is_good(*service)) {
        let text =
            format!("`{environment}` is protected: the image of {service} in release {id} was not scanned");
        return Err(Failure::refused(text).hint("publish the release, which scans it, and deploy that one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use deploy::session::Kind;

    fn published() -> Asks {
        Asks { is_published: true, is_scanned: false }
    }

    fn asked<'a>(set: &'a [String], is_made: bool) -> Asked<'a> {
        Asked { program: "cargo xtask", environment: "production", set, overrides: &[], is_made }
    }

    #[test]
    fn it_neither_builds_nor_takes_overrides() {
        let set = ["services.api.env.TOKEN=secret".to_owned()];
        let refused = check_request(asked(&set, true)).expect_err("refused");
        assert_eq!(refused.kind, Kind::Refused);
        assert!(!refused.message.contains("secret"), "{}", refused.message);
        assert_eq!(check_request(asked(&[], false)).expect_err("refused").kind, Kind::Refused);
        assert!(check_request(asked(&[], true)).is_ok());
    }

    #[test]
    fn variables_override_nothing_but_what_the_files_allow() {
        let by = |origin: &str| Override {
            key: "services.api.replicas".to_owned(),
            value: "1".to_owned(),
            origin: origin.to_owned(),
        };
        let overrides = [by("the variable API_PORT"), by("the variable FAIRLEAD_SERVICES__API__REPLICAS")];
        let refused =
            check_request(Asked { overrides: &overrides, ..asked(&[], true) }).expect_err("refused");
        assert!(refused.message.contains("FAIRLEAD_SERVICES__API__REPLICAS"), "{}", refused.message);
        assert!(check_request(Asked { overrides: &overrides[..1], ..asked(&[], true) }).is_ok());
    }

    #[test]
    fn it_takes_a_clean_release_that_passed_every_stage() {
        let release = samples::release();
        assert!(check_release("production", &release, published()).is_ok());
        let image = pipeline::release::Image {
            repository: "localhost/noogh/api".to_owned(),
            digest: pipeline::digest::Digest::of_bytes("image"),
            id: pipeline::digest::Digest::of_bytes("image"),
            size_bytes: 1,
            tags: Vec::new(),
        };
        let images = [("api".parse().expect("a name"), image)].into();
        let unpublished = Release { images, ..release.clone() };
        assert!(check_release("production", &unpublished, Asks::default()).is_ok(), "there is no registry");
        let unfit = [
            unpublished,
            Release { dirty: true, ..release.clone() },
            Release { commit: None, ..release.clone() },
            Release { stages: [("test".to_owned(), StageVerdict::NotRun)].into(), ..release.clone() },
        ];
        for release in unfit {
            let refused = check_release("production", &release, published()).expect_err("refused");
            assert_eq!(refused.kind, Kind::Refused);
            assert!(!refused.hints.is_empty());
        }
    }
}
