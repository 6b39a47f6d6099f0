//! The same bundle back: what the engine says of the containers before, and what is mounted in them, is what must be there
//! after.

use crate::ground::{Ground, files_below};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};
use tests::{Generation, event_name};

/// All that makes a unit what it is: not its name, its ports or its addresses.
fn identity(container: &Value) -> Value {
    let (config, host) = (&container["Config"], &container["HostConfig"]);
    let mounts: BTreeMap<&str, Value> = container["Mounts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| {
            let source = mount["Source"].as_str().expect("a path");
            let files = contents_of(Path::new(source));
            assert!(!files.is_empty(), "nothing is mounted: {mount}");
            let mount_path = mount["Destination"].as_str().expect("a path");
            (mount_path, json!({"writable": mount["RW"], "files": files}))
        })
        .collect();
    let keys = ["Memory", "NanoCpus", "PidsLimit", "ReadonlyRootfs", "CapDrop", "SecurityOpt", "Tmpfs"];
    let limits: BTreeMap<_, _> = keys.into_iter().map(|key| (key, host[key].clone())).collect();
    json!({
        "image": container["Image"], "user": config["User"], "command": config["Cmd"],
        "entrypoint": config["Entrypoint"], "env": variables(config), "mounts": mounts, "limits": limits,
    })
}

/// Its variables but those that tell its slot apart.
fn variables(config: &Value) -> Vec<&str> {
    let all = config["Env"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let mut all: Vec<_> = all.filter(|one| !one.contains("PORT=") && !one.contains("SLOT=")).collect();
    all.sort_unstable();
    all
}

/// Path → mode, owner, bytes.
fn contents_of(folder: &Path) -> BTreeMap<String, String> {
    let contents = files_below(folder).into_iter().map(|path| {
        let (metadata, bytes) = (fs::metadata(&path).expect("a file"), fs::read(&path).expect("a file"));
        let name = path.strip_prefix(folder).expect("it is below").display().to_string();
        (name, format!("{:o} {} {}", metadata.mode(), metadata.uid(), String::from_utf8_lossy(&bytes)))
    });
    contents.collect()
}

#[test]
fn code_env_file_and_secret_come_back_with_their_sources_and_the_registry_gone() {
    for generation in Generation::ALL {
        let mut ground = Ground::new(generation);
        ground.reshape(|shape| {
            shape.api().replicas = 2;
            shape.timing("bake", "9s");
        });
        ground.run(&["deploy", crate::ground::ENVIRONMENT, "--set", "timings.bake=100ms"]).expect(0);
        let identities = |ground: &Ground| -> Vec<Value> {
            let mut all: Vec<_> =
                ground.containers().iter().map(|id| identity(&ground.inspect(id))).collect();
            all.sort_by_key(|one| one["env"].to_string());
            all
        };
        let (old, before) = (ground.containers(), identities(&ground));
        assert_eq!(before.len(), 2);
        let text = before[0]["mounts"].to_string();
        assert!(text.contains("hf_first-value-of-the-secret") && text.contains("ministers"), "{text}");
        for id in &old {
            let told = ground.inspect(id).to_string();
            assert!(!told.contains("hf_first"), "a secret that everybody reads off the container: {told}");
        }

        ground.reshape(|shape| {
            // Long enough for the last old unit to be gone, on a busy machine too.
            shape.fault("exit-after=8s");
            shape.api().env.insert("LOG_LEVEL", "DEBUG".to_owned());
        });
        ground.project.write("api.conf", "ministers = finance\n");
        ground.project.write("secret.txt", "hf_second-value-of-the-secret\n");
        ground.project.change_code("api");
        let mut run = ground.spawn_deploy();
        run.wait_for_event("the bake", |event| {
            event_name(event) == Some("decided") && event.to_string().contains("bake-began")
        });
        // Nothing of the old release may be needed again from where it once came.
        for source in ["secret.txt", "api.conf", "bin/noogh-api"] {
            fs::remove_file(ground.project.path().join(source)).expect("a source");
        }
        ground.registry.halt();
        run.wait().expect(10);

        let after = ground.containers();
        assert!(after.iter().all(|id| !old.contains(id)), "no old unit was replaced: the test shows nothing");
        assert_eq!(identities(&ground), before, "{generation:?}");
    }
}
