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

/// What a project has scanned of every release that is to come to an environment where that is required.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scanned {
    /// The images.
    pub(super) images: bool,
    /// The configuration.
    pub(super) configuration: bool,
}

/// Checks that a release was scanned, whoever made it.
pub(super) fn check_scans(
    environment: &str,
    release: &Release,
    scanned: Scanned,
) -> Result<(), SessionError> {
    let is_good = |verdict: Option<&ScanVerdict>| matches!(verdict, Some(ScanVerdict::Passed { .. }));
    let scans = &release.scans;
    let image = release.images.keys().find(|service| !is_good(scans.images.get(*service)));
    let what = match image {
        Some(service) if scanned.images => format!("the image of {service}"),
        _ if scanned.configuration && !is_good(scans.configuration.as_ref()) => {
            "the configuration".to_owned()
        }
        _ => return Ok(()),
    };
    let text =
        format!("`{environment}` takes what was scanned alone: {what} of release {} was not", release.id);
    Err(Failure::refused(text).hint(
        "make it anew with the stage `scan`, as `scan`, `publish` and `deploy` do, and deploy that one",
    ))
}

/// Checks the release that is to come to a protected environment; `is_published`: the project has a registry, which then has
/// its images.
pub(super) fn check_release(
    environment: &str,
    release: &Release,
    is_published: bool,
) -> Result<(), SessionError> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use deploy::session::Kind;

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
        assert!(check_release("production", &release, true).is_ok());
        let image = pipeline::release::Image {
            repository: "localhost/noogh/api".to_owned(),
            digest: pipeline::digest::Digest::of_bytes("image"),
            id: pipeline::digest::Digest::of_bytes("image"),
            size_bytes: 1,
            tags: Vec::new(),
        };
        let images = [("api".parse().expect("a name"), image)].into();
        let unpublished = Release { images, ..release.clone() };
        assert!(check_release("production", &unpublished, false).is_ok(), "there is no registry");
        let unfit = [
            unpublished,
            Release { dirty: true, ..release.clone() },
            Release { commit: None, ..release.clone() },
            Release { stages: [("test".to_owned(), StageVerdict::NotRun)].into(), ..release.clone() },
        ];
        for release in unfit {
            let refused = check_release("production", &release, true).expect_err("refused");
            assert_eq!(refused.kind, Kind::Refused);
            assert!(!refused.hints.is_empty());
        }
    }

    #[test]
    fn what_was_not_scanned_comes_to_no_environment_that_requires_it() {
        use pipeline::release::Scans;
        let passed = || ScanVerdict::Passed {
            scanner: "Trivy 0.59.1".to_owned(),
            at: samples::now(),
            database: None,
            findings: [].into(),
            waived: Vec::new(),
        };
        let image = pipeline::release::Image {
            repository: "localhost/noogh/api".to_owned(),
            digest: pipeline::digest::Digest::of_bytes("image"),
            id: pipeline::digest::Digest::of_bytes("image"),
            size_bytes: 1,
            tags: Vec::new(),
        };
        let api = || samples::name("api");
        let release = Release { images: [(api(), image)].into(), ..samples::release() };
        let with =
            |configuration, images| Release { scans: Scans { configuration, images }, ..release.clone() };
        let all = Scanned { images: true, configuration: true };
        let refused = |release: &Release, scanned| check_scans("staging", release, scanned).err();
        assert!(refused(&release, Scanned::default()).is_none(), "nothing is scanned");
        assert!(refused(&with(Some(passed()), [(api(), passed())].into()), all).is_none());
        let not = ScanVerdict::NotScanned { why: "Trivy is not installed".to_owned() };
        for unfit in [
            release.clone(),
            with(Some(passed()), [].into()),
            with(Some(passed()), [(api(), not.clone())].into()),
            with(None, [(api(), passed())].into()),
            with(Some(not), [(api(), passed())].into()),
        ] {
            let refused = refused(&unfit, all).expect("refused");
            assert_eq!(refused.kind, Kind::Refused);
            assert!(
                refused.message.contains("`staging` takes what was scanned alone"),
                "{}",
                refused.message
            );
        }
        assert!(
            refused(&with(None, [(api(), passed())].into()), Scanned { images: true, ..Scanned::default() })
                .is_none()
        );
    }
}
