//! The whole way.

use crate::ground::{ENVIRONMENT, Ground};
use serde_json::Value;
use std::{ffi::OsStr, path::Path};
use tests::{Generation, binaries, http};

/// The events of this name.
fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event.to_string().contains(&format!("\"event\":\"{name}\""))).collect()
}

#[test]
fn a_commit_goes_to_containers_by_its_digest_and_a_fault_is_rolled_back() {
    for generation in Generation::ALL {
        let ground = Ground::of_both_services(generation);
        ground.deploy(0);
        let release = ground.project.release();
        let first = ground.containers();
        assert_eq!(first.len(), 2, "{first:?}");
        for service in ["api", "mcp"] {
            assert_eq!(
                http::health(ground.project.port(service))["release"],
                release,
                "{generation:?} {service}"
            );
            runs_what_was_published(&ground, service, &release);
        }

        // Nothing has changed: nothing is done, and each stage says why.
        let again = ground.deploy(0);
        let skipped: Vec<_> = named(&again, "stage-skipped");
        assert_eq!(skipped.len(), 6, "test, build, and image and publish of each: {again:#?}");
        assert!(skipped.iter().all(|event| event.to_string().contains("inputs unchanged since")));
        assert_eq!(ground.containers(), first);

        // A unit that is never ready gets no traffic, and what stood before stands again.
        ground.project.edit("fairlead.toml", |text| {
            text.replacen("LOG_LEVEL = \"INFO\"", "LOG_LEVEL = \"INFO\"\nNOOGH_FAULT = \"never-ready\"", 1)
        });
        ground.project.commit();
        ground.deploy(10);
        assert_eq!(ground.project.reason(), "never-ready");
        assert_eq!(ground.containers(), first, "{generation:?}");
        for service in ["api", "mcp"] {
            assert_eq!(http::health(ground.project.port(service))["release"], release);
        }
        let logs = ground.run(&["logs", ENVIRONMENT, "api"]).expect(0);
        assert!(logs.stdout.contains("listening"), "{logs:?}");

        ground.run(&["down", ENVIRONMENT, "--yes"]).expect(0);
        assert_eq!(ground.containers(), [""; 0]);
        assert!(http::get(ground.project.port("api"), "/health").is_err(), "the port is given back");
    }
}

/// What runs is what the manifest and every tag name, as nobody in particular and on a root that cannot be written to.
fn runs_what_was_published(ground: &Ground, service: &str, release: &str) {
    let containers = ground.containers().into_iter().map(|id| ground.inspect(&id));
    let container = containers
        .into_iter()
        .find(|container| container["Config"]["Labels"]["io.fairlead.service"] == service)
        .unwrap_or_else(|| panic!("no container of {service}"));
    assert_eq!(container["Config"]["User"], "1000:1000");
    assert_eq!(container["HostConfig"]["ReadonlyRootfs"], true);
    let image = &ground.manifest()["images"][service];
    let repository = format!("{}/team/{service}", ground.registry.address());
    assert_eq!(image["repository"], repository);
    assert_eq!(image["id"], container["Image"]);
    let digest = image["digest"].as_str().expect("a digest");
    for tag in [release, "main", "latest"] {
        let pulled = ground.docker(&["pull", &format!("{repository}:{tag}")]);
        assert!(pulled.contains(digest), "{tag}: {pulled}");
    }
}

#[test]
fn a_program_without_engines_has_itself_built_with_them() {
    let mut ground = Ground::new(Generation::Docker28);
    ground.project.use_program(binaries().xtask.clone());
    let refused = ground.run(&["doctor", ENVIRONMENT]).expect(2);
    refused.says("--features docker");
    // As `cargo xtask` starts it.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("xtask");
    let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
    for (name, value) in [("CARGO_MANIFEST_DIR", folder.as_os_str()), ("CARGO", cargo.as_ref())] {
        ground.project.set_variable(name, value);
    }
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        let value = std::env::var_os(name);
        value.into_iter().for_each(|value| ground.project.set_variable(name, AsRef::<OsStr>::as_ref(&value)));
    }
    ground.deploy(0);
    assert_eq!(ground.containers().len(), 1);
}
