//! What the program prints: documents that keep to their published schemas, text without noise, and never a secret.

use serde_json::Value;
use std::{fs, path::Path};
use tests::{Project, Shape, processes_under};

const SECRET: &str = "hf_planted-5f1c0a77-value";

fn schema(name: &str) -> jsonschema::Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let path = folder.join(format!("{name}.schema.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    jsonschema::validator_for(&serde_json::from_str(&text).expect("a schema is JSON"))
        .expect("a schema is valid")
}

/// Asserts that a document keeps to its schema, and that the schema is one that something could break.
#[track_caller]
fn assert_valid(name: &str, document: &Value) {
    let schema = schema(name);
    let errors: Vec<_> = schema.iter_errors(document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{document:#}");
    assert!(
        !schema.is_valid(&serde_json::json!({ "unheard-of": true })),
        "{name}: the schema allows anything"
    );
}

#[test]
fn documents_keep_to_their_published_schemas() {
    let mut project = Project::new();
    assert_valid("status", &project.run(&["status", "--format", "json"]).json());
    project.deploy().expect(0);
    let status = project.run(&["status", "--format", "json"]).expect(0).json();
    assert_valid("status", &status);
    assert_eq!(status["health"], "healthy", "{status:#}");

    project.change_code("api");
    let plan = project.run(&["plan", "--format", "json"]).expect(0).json();
    assert_valid("plan", &plan);
    assert_eq!(plan["services"].as_array().map(Vec::len), Some(1), "{plan:#}");

    project.reshape(|shape| shape.fault("exit-at-start"));
    project.commit();
    project.deploy().expect(10);
    let history = project.run(&["history", "--format", "json"]).expect(0).json();
    assert_valid("history", &history);
    let text = history.to_string();
    assert!(text.contains("rolled-back") && text.contains("exited-at-start"), "{history:#}");
}

#[test]
fn piped_output_has_no_escape_codes_and_stdout_carries_data_alone() {
    let mut project = Project::new();
    let mut runs = vec![project.deploy().expect(0), project.deploy().expect(0)];
    assert_eq!(runs[0].stdout, "", "{:?}", runs[0]);
    project.reshape(|shape| shape.fault("exit-at-start"));
    project.commit();
    runs.push(project.deploy().expect(10));
    for arguments in
        [&["status"][..], &["plan"], &["history"], &["lock"], &["doctor"], &["--help"], &["logs"]]
    {
        runs.push(project.run(arguments));
    }
    project.set_variable("NO_COLOR", "1");
    runs.push(project.run(&["status"]));
    for output in runs {
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "escape codes: {output:?}");
    }
}

#[test]
fn every_line_of_json_output_is_json() {
    let project = Project::new();
    let output = project.run(&["deploy", "--format", "json"]).expect(0);
    for line in output.stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert!(output.stderr.lines().count() > 5, "{output:?}");
}

#[test]
fn a_secret_stands_in_its_own_file_and_nowhere_else() {
    let mut shape = Shape::default();
    shape.timing("timeout", "500ms");
    shape.timing("healthy-deadline", "1s");
    let mut project = Project::with(shape);
    project.write("secret.txt", format!("{SECRET}\n"));
    let mut runs = vec![project.run(&["plan", "-v"]), project.run(&["deploy", "-v"]).expect(0)];
    project.reshape(|shape| shape.fault("never-ready"));
    project.commit();
    runs.push(project.run(&["plan", "--format", "json"]).expect(0));
    runs.push(project.run(&["deploy", "-v", "--format", "json"]).expect(10));
    for arguments in [&["status"][..], &["history", "--format", "json"], &["logs"], &["doctor"], &["lock"]] {
        runs.push(project.run(arguments));
    }
    for output in runs {
        assert!(!format!("{output:?}").contains(SECRET), "said aloud by {}", output.command);
    }
    for process in processes_under(project.path()) {
        assert!(!process.cmdline.concat().contains(SECRET), "{process:?}");
        assert!(!format!("{:?}", process.environ()).contains(SECRET), "in the environment of {process:?}");
    }
    let holders = files_with(&project.state(), SECRET.as_bytes());
    assert!(!holders.is_empty(), "the check must be able to find it");
    for path in holders {
        let is_its_own = path.contains("/bundles/") && path.contains("/secrets/");
        assert!(is_its_own, "written to {path}");
    }
}

/// Files with these bytes in them, without executables: these are copies of what was built before the secret was made.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() && !path.ends_with("bin") {
            found.extend(files_with(&path, needle));
        } else if path.is_file()
            && fs::read(&path).unwrap_or_default().windows(needle.len()).any(|window| window == needle)
        {
            found.push(path.display().to_string());
        }
    }
    found
}
