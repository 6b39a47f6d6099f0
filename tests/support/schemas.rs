//! Whether what is written for other programs is what these programs read: judged by their own schemas and validators.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Asserts that GitHub's code scanning and any other reader of SARIF take a file.
///
/// # Panics
/// With what the validator says, if not.
#[track_caller]
pub fn assert_sarif(file: &Path) {
    let (accepted, told) = ask("sarif", file);
    assert!(accepted, "{}: {told}", file.display());
}

/// Asserts that Jenkins, whose schema is the strictest, reads a file of JUnit.
///
/// # Panics
/// With what is not as the schema says, if not.
#[track_caller]
pub fn assert_junit(file: &Path) {
    let (accepted, told) = ask("junit", file);
    assert!(accepted, "{}: {told}", file.display());
}

/// Asserts that a file is a bill of materials as CycloneDX describes it, in the version that it names.
///
/// # Panics
/// With what is not as the schema says, if not.
#[track_caller]
pub fn assert_cyclonedx(file: &Path) {
    let bill = document(file);
    let version = bill["specVersion"].as_str().unwrap_or_else(|| panic!("no version: {bill:#}"));
    let folder = install().join("cyclonedx");
    let schema = |name: &str| document(&folder.join(format!("{name}.SNAPSHOT.schema.json")));
    let mut registry = jsonschema::Registry::new();
    for name in ["spdx", "jsf-0.82"] {
        let address = format!("http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json");
        let resource = jsonschema::Resource::from_contents(schema(name));
        registry = registry.add(address, resource).expect("a schema");
    }
    let registry = registry.prepare().expect("schemas that know each other");
    let schema = schema(&format!("bom-{version}"));
    let validator = jsonschema::options().with_registry(&registry).build(&schema).expect("a schema");
    let wrong: Vec<String> =
        validator.iter_errors(&bill).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{}: {wrong:#?}", file.display());
}

fn document(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn ask(what: &str, file: &Path) -> (bool, String) {
    assert!(file.is_file(), "there is no {}", file.display());
    let output = script().arg(what).arg(file).stdin(Stdio::null()).output().expect("a script");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), told + &String::from_utf8_lossy(&output.stderr))
}

fn install() -> PathBuf {
    let output = script().arg("install").stdin(Stdio::null()).output().expect("a script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end())
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("components/schemas"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    /// Whether an assertion holds of a file with this content.
    fn holds(assertion: fn(&Path), content: &str) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file.sarif");
        fs::write(&file, content).expect("a file");
        catch_unwind(|| assertion(&file)).is_ok()
    }

    #[test]
    #[ignore = "fetches what it judges by; tests/all runs it"]
    fn components_that_judge_refuse_what_is_wrong() {
        let bill = r#"{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [{"type": "library", "name": "x"}]}"#;
        assert!(holds(assert_cyclonedx, bill));
        assert!(!holds(assert_cyclonedx, &bill.replace("library", "book")));
        let junit = r#"<testsuites name="t"><testsuite name="s" tests="1" failures="0" errors="0"><testcase name="c" classname="s"/></testsuite></testsuites>"#;
        assert!(holds(assert_junit, junit));
        assert!(!holds(assert_junit, &junit.replace("testcase", "case")));
        let sarif = r#"{"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
            "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": "a"}}]}]}"#;
        assert!(!holds(assert_sarif, sarif));
    }
}
