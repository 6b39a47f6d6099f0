//! Both linters find nothing, and every rule of our own is kept; and all of them do find what is wrong.

use crate::rules::{ACTIONS, broken};
use std::fs;
use tests::{Actions, workflow_files};

/// Each a change of ci-cd.yml, and what is said of it by our own rules.
const MISTAKES: [(&str, &str, &str); 14] = [
    ("permissions: {}\n", "", "rights that they do not ask for"),
    ("# v7.0.1", "# v7", "an unknown action"),
    ("@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0", "@v7", "an unknown action"),
    ("run: cargo xtask test", "run: cargo test", "no single command"),
    ("run: cargo xtask test", "run: cargo xtask test && true", "no single command"),
    ("run: cargo xtask test", "run: |\n          cargo xtask test", "no single command"),
    ("build \"$ENVIRONMENT\"", "build $ENVIRONMENT", "no single command"),
    ("build \"$ENVIRONMENT\"", "build \"${{ vars.X }}\"", "no single command"),
    ("    timeout-minutes: 45\n", "", "the job test has no deadline"),
    ("    permissions:\n", "    permissions: write-all\n", "the job test is given rights as a whole"),
    ("          persist-credentials: false\n", "", "leaves a token"),
    ("          retention-days: 90\n", "", "not for 90 days"),
    ("    environment: ", "    # environment: ", "the job deploy rolls out without"),
    ("      cancel-in-progress: false", "      cancel-in-progress: true", "may be ended in the middle"),
];

#[test]
fn nothing_is_found_in_the_workflows() {
    let (actions, files) = (Actions::new(), workflow_files());
    for (is_clean, text) in [actions.actionlint(&files), actions.zizmor(&files)] {
        assert!(is_clean, "{text}");
    }
    for file in files {
        let text = fs::read_to_string(&file).expect("a workflow");
        assert_eq!(broken(&text), [""; 0], "{}", file.display());
    }
}

#[test]
fn what_is_wrong_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = [folder.path().join("bad.yml")];
    let bad = "name: Bad\non: push\njobs:\n  bad:\n    runs-on: ubuntu-latest\n    steps:\n      \
               - uses: actions/checkout@v4\n      - run: echo ${{ github.event.issue.title }}\n";
    fs::write(&file[0], bad).expect("a file");
    let actions = Actions::new();
    let (is_clean, text) = actions.actionlint(&file);
    assert!(!is_clean && text.contains("potentially untrusted"), "{text}");
    let (is_clean, text) = actions.zizmor(&file);
    assert!(!is_clean, "{text}");
    for audit in ["artipacked", "excessive-permissions", "template-injection", "unpinned-uses"] {
        assert!(text.contains(audit), "{audit} is not found: {text}");
    }

    let good = workflow_files().into_iter().find(|file| file.ends_with("ci-cd.yml")).expect("the workflow");
    let good = fs::read_to_string(good).expect("a workflow");
    for (from, to, what) in MISTAKES {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?} is not there");
        let found = broken(&bad);
        assert!(found.iter().any(|one| one.contains(what)), "{from:?} to {to:?}: {found:?}");
    }
}

#[test]
fn every_action_is_pinned_to_a_whole_commit() {
    for action in ACTIONS {
        let commit = action.split(['@', ' ']).nth(1).unwrap_or_default();
        assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{action}");
    }
}
