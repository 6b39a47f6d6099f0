//! A protected environment takes only what can be traced to a commit, and nothing that misbehaves on purpose.

use tests::{Project, Shape};

fn protected() -> Project {
    let shape = Shape { protected: true, ..Shape::api_only() };
    Project::with(shape)
}

/// A release of what is in the tree, tested and built; where its manifest is.
fn release(project: &Project) -> &'static str {
    project.run(&["test"]).expect(0);
    project.run(&["build"]).expect(0);
    ".fairlead/release-manifest.json"
}

#[test]
fn a_dirty_tree_is_refused() {
    let project = protected();
    project.run(&["deploy", "--yes"]).expect(3).says("--release");
    project.write("src/api.txt", "not committed\n");
    let refused = project.run(&["deploy", "--release", release(&project), "--yes"]).expect(3);
    assert!(refused.stderr.contains("commit"), "it does not say what to do: {refused:?}");
    project.assert_nothing_stands();
}

#[test]
fn a_release_of_a_clean_tree_is_taken() {
    let project = protected();
    project.run(&["deploy", "--release", release(&project), "--yes"]).expect(0);
    project.assert_serves("api", &project.release());
}

#[test]
fn a_fault_is_refused() {
    let mut project = protected();
    project.reshape(|shape| shape.fault("never-ready"));
    project.commit();
    project.run(&["deploy", "--release", release(&project), "--yes"]).expect(3).says("NOOGH_FAULT");
    project.assert_nothing_stands();
}

#[test]
fn overrides_are_refused() {
    let mut project = protected();
    let set = "services.api.replicas=2";
    project.run(&["deploy", "--release", release(&project), "--yes", "--set", set]).expect(3).says("--set");
    let manifest = release(&project);
    project.set_variable("FAIRLEAD_SERVICES__API__REPLICAS", "2");
    project
        .run(&["deploy", "--release", manifest, "--yes"])
        .expect(3)
        .says("FAIRLEAD_SERVICES__API__REPLICAS");
    project.assert_nothing_stands();
}

#[test]
fn nothing_is_done_without_a_confirmation() {
    let project = protected();
    project.run(&["deploy", "--release", release(&project)]).expect(3).says("--yes");
    project.assert_nothing_stands();
}
