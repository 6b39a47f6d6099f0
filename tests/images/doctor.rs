//! What `doctor` says of engines and registries, as they come and go.

use crate::ground::{ENVIRONMENT, Ground, Host};
use serde_json::Value;
use tests::{Engine, Generation, Output, Project, Shape};

const DOCTOR: [&str; 4] = ["doctor", ENVIRONMENT, "--format", "json"];

/// The one finding of this check.
#[track_caller]
fn finding(output: &Output, check: &str) -> (String, String, String) {
    let all: Vec<Value> = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let mut found = all.iter().filter(|finding| finding["check"] == check);
    let (Some(one), None) = (found.next(), found.next()) else { panic!("{check}: {output:?}") };
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("grade"), text("found"), text("fix"))
}

#[test]
fn doctor_tells_of_engine_registry_and_ports_as_they_come_and_go() {
    let ground =
        Ground::with(Host::Own(Engine::start(Generation::Docker20)), Project::with(Shape::api_only()));
    let (socket, registry) = (ground.engine.socket().display().to_string(), ground.registry.address());
    let port = format!("port {} (api)", ground.project.port("api"));

    let up = ground.run(&DOCTOR);
    let (grade, found, _) = finding(&up, "engine");
    assert!(grade == "ok" && found.contains(&socket) && found.contains("API 1.41"), "{up:?}");
    assert!(found.contains("BuildKit"), "{up:?}");
    let (grade, found, _) = finding(&up, "registry");
    assert!(grade == "ok" && found.contains(registry) && found.contains("accepts the login"), "{up:?}");
    assert_eq!(finding(&up, &port), ("ok".to_owned(), "free".to_owned(), String::new()));
    let nobody = ground.project.run(&DOCTOR).expect(3);
    let (grade, _, fix) = finding(&nobody, "registry");
    assert!(grade == "fail" && fix.contains(&format!("docker login {registry}")), "{nobody:?}");

    ground.deploy(0);
    let (grade, found, _) = finding(&ground.run(&DOCTOR), &port);
    assert!(grade == "ok" && found.starts_with("held by our router"), "{grade}: {found}");

    ground.engine.halt();
    ground.registry.halt();
    let away = ground.run(&DOCTOR).expect(3);
    let (grade, found, fix) = finding(&away, "engine");
    assert!(grade == "fail" && found.contains(&socket) && fix.contains("start it"), "{away:?}");
    let (grade, found, _) = finding(&away, "registry");
    assert!(grade == "fail" && found.contains(registry), "{away:?}");
    assert!(!format!("{away:?}").contains(ground.registry.password()), "the password is told");
    ground.registry.go_on();
    ground.engine.go_on();
    let (grade, found, _) = finding(&ground.run(&DOCTOR), "engine");
    assert!(grade == "ok", "it answers again: {found}");
}
