//! A project whose images are made by an engine and go to a registry.

use crate::{Engine, Project, Registry, law::Watched};
use std::{
    ffi::OsStr,
    fs::{self, File},
};
use tempfile::TempDir;

/// A login for a registry, where clients keep theirs.
#[derive(Debug)]
pub struct Login(TempDir);

impl Login {
    /// As the real client writes it.
    ///
    /// # Panics
    /// If the registry refuses it.
    #[track_caller]
    pub fn new(engine: &Engine, registry: &Registry) -> Self {
        let login = Self(tempfile::tempdir().expect("a folder"));
        let password = login.0.path().join("password");
        fs::write(&password, registry.password()).expect("a file");
        let mut client = engine.client(login.0.path());
        client.args(["login", "--username", registry.user(), "--password-stdin", registry.address()]);
        let output = client.stdin(File::open(&password).expect("a file")).output().expect("the client");
        fs::remove_file(password).expect("our own file");
        assert!(output.status.success(), "{output:?}");
        login
    }

    /// The folder, as `DOCKER_CONFIG` names it.
    pub fn folder(&self) -> &std::path::Path {
        self.0.path()
    }

    /// The variable that says where it is.
    pub fn variable(&self) -> (&'static str, &OsStr) {
        ("DOCKER_CONFIG", self.folder().as_os_str())
    }
}

impl Project {
    /// Lets its images be made by an engine and go to a registry, and adds an environment that deploys them to that engine,
    /// under a name that no other project there has; not committed. The rollouts of that environment are judged.
    ///
    /// # Panics
    /// If it has no local environment to begin with.
    pub fn add_engine(&mut self, environment: &str, engine: &Engine, registry: &Registry) {
        let socket = format!("unix://{}", engine.socket().display());
        let prefix = format!("{}/team", registry.address());
        let name = self.name_on_engines();
        self.edit("fairlead.toml", |text| {
            let text = text.replace("name = \"noogh\"", &format!("name = {name:?}"));
            format!("{text}\n[stages.image]\nengine = {socket:?}\n\n[registry]\nprefix = {prefix:?}\n")
        });
        let local = fs::read_to_string(self.path().join("deploy/environments/local.toml"));
        let local = local.expect("the file of the local environment");
        let process = "[targets.local]\nkind = \"process\"";
        assert!(local.contains(process), "{local}");
        let docker = format!("[targets.here]\nkind = \"docker\"\nengine = {socket:?}");
        self.write(&format!("deploy/environments/{environment}.toml"), local.replace(process, &docker));
        self.is_watched(Watched::Containers {
            socket: engine.socket(),
            project: name,
            environment: environment.to_owned(),
        });
    }

    /// What it is called where several are: by a port that is its own.
    pub fn name_on_engines(&self) -> String {
        format!("noogh-{}", self.port("api"))
    }
}
