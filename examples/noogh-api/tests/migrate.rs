//! `noogh-api migrate`, as Fairlead runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// An empty folder of this test's own.
fn data(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("migrate-{test}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn migrate(data: &Path, fault: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noogh-api"));
    command.arg("migrate").env_clear().env("API_DATA", data).env("NOOGH_FAULT", fault);
    command.env("FAIRLEAD_RELEASE", "r1").output().expect("it can be started")
}

#[test]
fn it_brings_the_data_to_its_schema_and_tells_of_each_run() {
    let data = data("schema");
    for _ in 0..2 {
        let output = migrate(&data, "");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(fs::read_to_string(data.join("schema")).expect("a version"), "1\n");
    assert_eq!(fs::read_to_string(data.join("migrations")).expect("its runs"), "r1 0 1\nr1 1 1\n");
}

#[test]
fn data_of_a_newer_version_is_left_alone() {
    let data = data("newer");
    fs::create_dir_all(&data).expect("a folder");
    fs::write(data.join("schema"), "7\n").expect("a file");
    let output = migrate(&data, "");
    let said = format!("{output:?}");
    assert!(output.status.code() == Some(1) && said.contains("schema 7"), "{said}");
    assert_eq!(fs::read_to_string(data.join("schema")).expect("a version"), "7\n");
}

#[test]
fn it_fails_when_a_fault_asks_for_it() {
    let data = data("fails");
    let output = migrate(&data, "migration-fails");
    let said = format!("{output:?}");
    assert!(output.status.code() == Some(1) && said.contains("asked to by NOOGH_FAULT"), "{said}");
    assert!(!data.exists(), "it has changed something");
}
