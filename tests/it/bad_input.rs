//! Bad input: every problem at once, with file and line, exit code 2, and nothing changed.

use tests::{Output, Project, Shape};

/// One kind of bad input: what it is called, how it comes about, and the arguments of the run.
struct Case {
    name: &'static str,
    spoil: fn(&Project),
    arguments: &'static [&'static str],
    /// What must be named: file and line where there are some.
    names: &'static [&'static str],
}

const ENVIRONMENT: &str = "deploy/environments/local.toml";

const CASES: &[Case] = &[
    Case {
        name: "unknown key",
        spoil: |project| project.edit("fairlead.toml", |text| text.replace("host-env", "host-evn")),
        arguments: &["deploy"],
        names: &["fairlead.toml:11", "host-evn", "host-env"],
    },
    Case {
        name: "wrong type",
        spoil: |project| {
            project.edit("fairlead.toml", |text| text.replace("replicas = 1", "replicas = \"many\""))
        },
        arguments: &["deploy"],
        names: &["fairlead.toml:12", "replicas"],
    },
    Case {
        name: "truncated",
        spoil: |project| {
            project.edit("fairlead.toml", |text| text[..text.find("-env").expect("a key")].to_owned())
        },
        arguments: &["deploy"],
        names: &["fairlead.toml:10"],
    },
    Case {
        name: "empty",
        spoil: |project| project.write(ENVIRONMENT, ""),
        arguments: &["deploy"],
        names: &[ENVIRONMENT, "is empty", "version = 1"],
    },
    Case {
        name: "not UTF-8",
        spoil: |project| project.write(ENVIRONMENT, b"version = 1\n# \xff\xfe\n"),
        arguments: &["deploy"],
        names: &["deploy/environments/local.toml:2", "UTF-8"],
    },
    Case {
        name: "unknown environment",
        spoil: |_| {},
        arguments: &["deploy", "locale"],
        names: &["locale", "local"],
    },
    Case {
        name: "unknown set key",
        spoil: |_| {},
        arguments: &["deploy", "--set", "services.api.replica=2"],
        names: &["--set", "replica", "replicas"],
    },
    Case {
        name: "set without a value",
        spoil: |_| {},
        arguments: &["deploy", "--set", "services.api.replicas"],
        names: &["--set", "KEY=VALUE"],
    },
    Case {
        name: "inconsistent timings",
        spoil: |project| {
            project.edit(ENVIRONMENT, |text| text.replace("healthy-for = \"300ms\"", "healthy-for = \"5s\""));
        },
        arguments: &["deploy"],
        names: &["deploy/environments/local.toml:", "healthy-for", "healthy-deadline"],
    },
    Case {
        name: "many at once",
        spoil: |project| {
            project.edit("fairlead.toml", |text| text.replace("replicas = 1", "replicas = 0\nreplcas = 2"));
            project.edit(ENVIRONMENT, |text| {
                text.replace("type = \"rolling\"", "type = \"rollin\"").replace("drain = \"5s\"", "drain = 5")
            });
        },
        arguments: &["deploy", "--set", "strategy.max-surg=2"],
        names: &["replcas", "rollin", "drain", "max-surg", "fairlead.toml:12", "fairlead.toml:13"],
    },
];

/// Standard error without what differs from one project to the next: its folder and its port.
fn normalised(project: &Project, output: &Output) -> String {
    let folder = project.path().display().to_string();
    let text = output.stderr.replace(&folder, "[project]");
    text.replace(&project.port("api").to_string(), "[port]")
}

/// Runs a case against a project where something stands, and asserts that it still stands as it did.
#[track_caller]
fn refuse(project: &Project, case: &Case) -> Output {
    (case.spoil)(project);
    let before = project.snapshot();
    let output = project.run(case.arguments).expect(2);
    for name in case.names {
        assert!(output.stderr.contains(name), "{}: `{name}` is not named\n{output:?}", case.name);
    }
    assert_eq!(output.stdout, "", "{}: stdout carries data only", case.name);
    let after = project.snapshot();
    assert_eq!(before.0.difference(&after.0), "", "{}: a file changed", case.name);
    assert_eq!(before.1, after.1, "{}: a unit changed", case.name);
    output
}

#[test]
fn bad_input_is_told_whole_and_changes_nothing() {
    let mut project = Project::with(Shape::api_only());
    project.deploy().expect(0);
    for case in CASES {
        project.reshape(|_| {}); // The files as they were.
        let output = refuse(&project, case);
        insta::assert_snapshot!(case.name.replace(' ', "-"), normalised(&project, &output));
    }
    project.reshape(|_| {});
    project.deploy().expect(0).says("nothing to do");
}

#[test]
fn three_megabytes_in_one_key_are_refused_in_a_few_lines() {
    let project = Project::with(Shape::api_only());
    let case = Case {
        name: "3 MB in one key",
        spoil: |project| {
            let huge = "a".repeat(3_000_000);
            project.edit("fairlead.toml", |text| text.replace("host-env = ", &format!("{huge} = ")));
        },
        arguments: &["deploy"],
        names: &["fairlead.toml"],
    };
    let output = refuse(&project, &case);
    assert!(output.stderr.len() < 20_000, "{} bytes of error", output.stderr.len());
    project.assert_nothing_stands();
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let project = Project::with(Shape::api_only());
    for arguments in
        [&["deplyo"][..], &["deploy", "--no-such-option"], &["deploy", "local", "production"], &[]]
    {
        project.run(arguments).expect(2);
    }
    project.assert_nothing_stands();
}

#[test]
fn programs_are_told_of_a_wrong_command_line_in_json() {
    let project = Project::with(Shape::api_only());
    let refused = project.run(&["deploy", "--no-such-option", "--format", "json"]).expect(2);
    let told: serde_json::Value = serde_json::from_str(refused.stderr.trim()).expect("one JSON object");
    assert_eq!(told["error"]["kind"], "usage", "{told}");
    assert!(told["error"]["message"].to_string().contains("--no-such-option"), "{told}");
}
