use super::*;
use crate::git;
use std::fs;

fn artifact(folder: &Path, content: &str) -> Artifact {
    let path = folder.join("program");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Artifact::of_file(&path).unwrap()
}

fn release(tree: Option<&Tree>, artifact: Artifact) -> Release {
    let parts = Parts {
        project: &"noogh".parse().unwrap(),
        tree,
        tool_version: "0.1.0",
        services: BTreeMap::from([("api".parse().unwrap(), artifact)]),
        images: BTreeMap::new(),
        stages: BTreeMap::from([("test".into(), StageVerdict::Passed)]),
        scans: Scans::default(),
    };
    Release::assemble(parts, jiff::Timestamp::UNIX_EPOCH).unwrap()
}

#[test]
fn a_release_is_named_by_its_commit_its_changes_or_its_artifacts() {
    let out = tempfile::tempdir().unwrap();
    let repository = git::tests::repository();
    let inspect = || git::inspect(repository.path()).unwrap();
    let clean = release(inspect().as_ref(), artifact(out.path(), "x"));
    let commit = clean.commit.clone().unwrap();
    assert_eq!((clean.id.0.as_str(), clean.dirty), (&commit[..12], false));

    fs::write(repository.path().join("a"), "changed").unwrap();
    let dirty = release(inspect().as_ref(), artifact(out.path(), "x"));
    let digits = dirty.id.0.strip_prefix(&format!("{}-dirty-", &commit[..12])).unwrap().to_owned();
    assert!(dirty.dirty && digits.len() == 6, "{}", dirty.id);
    fs::write(repository.path().join("a"), "changed again").unwrap();
    assert_ne!(release(inspect().as_ref(), artifact(out.path(), "x")).id, dirty.id);

    let bare = release(None, artifact(out.path(), "x"));
    assert!(bare.id.0.starts_with("tree-") && bare.id.0.len() == 17, "{}", bare.id);
    assert_eq!(release(None, artifact(out.path(), "x")).id, bare.id);
    assert_ne!(release(None, artifact(out.path(), "y")).id, bare.id);
    for made in [clean, dirty, bare] {
        assert!(made.id.is_well_formed());
    }
}

#[test]
fn an_artifact_that_was_changed_removed_or_cannot_run_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = artifact(folder.path(), "one");
    assert_eq!((first.name.as_str(), first.size_bytes), ("program", 3));
    first.verify().unwrap();
    artifact(folder.path(), "two");
    assert!(matches!(first.verify(), Err(ArtifactError::Changed { .. })));
    fs::set_permissions(&first.path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(first.verify(), Err(ArtifactError::NotExecutable { .. })));
    fs::remove_file(&first.path).unwrap();
    assert!(first.verify().unwrap_err().to_string().contains("program"));
    assert!(matches!(Artifact::of_file(folder.path()), Err(ArtifactError::NotAFile { .. })));
}

#[test]
fn what_is_kept_is_found_by_another_checkout_that_has_not_built_it() {
    let here = tempfile::tempdir().unwrap();
    let root = here.path();
    let kept = Kept::new(root, &root.join("state"));
    let made = |content| release(None, artifact(root, content).named_below(root));
    let old = made("old");
    assert_eq!(old.services.values().next().unwrap().path.to_str(), Some("program"));
    kept.keep(&old.services).unwrap();
    let new = made("new");
    kept.keep(&new.services).unwrap();
    assert_eq!(
        fs::read_dir(root.join("state/executables")).unwrap().count(),
        1,
        "the old one is kept no more"
    );

    kept.keep_only([]).unwrap();
    assert_eq!(fs::read_dir(root.join("state/executables")).unwrap().count(), 0);

    // Another machine gets that folder alone, by somebody who forgets permissions.
    let there = tempfile::tempdir().unwrap();
    let root = there.path();
    fs::create_dir_all(root.join("state/executables")).unwrap();
    let digest = new.services.values().next().unwrap().digest;
    let place = root.join("state/executables").join(digest.hex());
    fs::write(&place, "new").unwrap();
    let kept = Kept::new(root, &root.join("state"));
    let (mut found, mut missed) = (new.clone(), old.clone());
    kept.find(&mut found);
    kept.find(&mut missed);
    assert_eq!(found.services.values().next().unwrap().path, place);
    assert_eq!(missed, old);

    let executable = new.services.values().next().unwrap();
    assert!(!kept.put_back(old.services.values().next().unwrap()).unwrap());
    assert!(kept.put_back(executable).unwrap());
    assert_eq!(Artifact::of_file(&root.join("program")).unwrap().digest, digest, "and it can be run");
    assert!(!kept.put_back(executable).unwrap(), "it is there");
    for outside in ["../program", "/program"] {
        let outside = Artifact { path: outside.into(), ..executable.clone() };
        assert!(!kept.put_back(&outside).unwrap(), "nothing is written outside the project");
    }

    // What is not what it is said to be is put nowhere.
    fs::remove_file(root.join("program")).unwrap();
    fs::write(&place, "bad").unwrap();
    let error = kept.put_back(executable).unwrap_err().to_string();
    assert!(error.contains(&digest.short()), "{error}");
    assert!(!root.join("program").exists());
}

#[test]
fn manifests_come_back_by_name_and_as_the_latest() {
    let state = tempfile::tempdir().unwrap();
    let manifests = Manifests::new(&state.path().join(".fairlead"));
    assert!(manifests.latest().unwrap().is_none() && manifests.list().unwrap().is_empty());
    let one = release(None, artifact(state.path(), "one"));
    let two = release(None, artifact(state.path(), "two"));
    manifests.write(&one).unwrap();
    manifests.write(&two).unwrap();
    assert_eq!(manifests.latest().unwrap().unwrap(), two);
    assert_eq!(manifests.find(&one.id).unwrap().unwrap(), one);
    assert_eq!(manifest::read(&manifests.latest_path()).unwrap().digest(), two.digest());
    let mut ids = [one.id, two.id];
    ids.sort();
    assert_eq!(manifests.list().unwrap(), ids);
    for hostile in ["../../etc/passwd", "", "a/b", "A", "."] {
        assert!(manifests.find(&ReleaseId(hostile.into())).unwrap().is_none());
    }
}

#[test]
fn a_manifest_from_a_newer_version_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("m.json");
    fs::write(&path, r#"{"version": 4, "sbom": {}}"#).unwrap();
    let error = manifest::read(&path).unwrap_err().to_string();
    assert!(error.contains("release manifest of format version 4") && error.contains("m.json"), "{error}");
}
