//! The shape of a test's project: what its two configuration files say.

use std::{collections::BTreeMap, fmt::Write as _};

/// A service of the project.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, `api` or `mcp`.
    pub name: &'static str,
    /// How many units.
    pub replicas: u16,
    /// Variables of its units.
    pub env: BTreeMap<&'static str, String>,
    /// The file of the secret `HF_TOKEN`, if it has one.
    pub secret: Option<&'static str>,
    /// The config file, if it has one.
    pub file: Option<&'static str>,
    /// Lines of its table in the project file, as they are.
    pub lines: Vec<String>,
    /// Lines of its migration's table, if it has one, as they are.
    pub migration: Option<String>,
}

/// What the configuration says. A test changes what it is about and leaves the rest.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The services.
    pub services: Vec<Service>,
    /// Targets with their addresses; none: the one target `local` without an address of its own.
    pub targets: Vec<(&'static str, &'static str)>,
    /// The waves, as they are: `[[waves]]` tables.
    pub waves: String,
    /// How many earlier bundles of each are kept.
    pub keep_releases: u16,
    /// `rolling`, `recreate`, `canary` or `blue-green`.
    pub strategy: &'static str,
    /// The canary's share at each step, in per cent.
    pub canary_steps: Vec<u8>,
    /// Batches after which the rollout is paused.
    pub pause_after: Vec<u16>,
    /// Units above the number.
    pub max_surge: u16,
    /// Units that may be missing.
    pub max_unavailable: u16,
    /// The batches.
    pub batches: Vec<&'static str>,
    /// Timings that are texts: key → value.
    pub timings: BTreeMap<&'static str, String>,
    /// Passes in a row that make a unit healthy.
    pub healthy_passes: u32,
    /// How long a lease lasts, and how often it is renewed.
    pub lease: (String, String),
    /// Whether the environment is protected.
    pub protected: bool,
    /// Tables of the environment file, as they are: gates, hooks.
    pub gates: String,
}

impl Service {
    fn new(name: &'static str) -> Self {
        let env = BTreeMap::from([("LOG_LEVEL", "INFO".to_owned())]);
        Self { name, replicas: 1, env, secret: None, file: None, lines: Vec::new(), migration: None }
    }

    /// The file name of its executable.
    pub fn artifact(&self) -> String {
        format!("noogh-{}", self.name)
    }

    fn prefix(&self) -> String {
        self.name.to_uppercase()
    }

    fn table(&self, port: u16) -> String {
        let (name, prefix, artifact) = (self.name, self.prefix(), self.artifact());
        let mut text = format!(
            "\n[services.{name}]\nartifact = {{ path = \"bin/{artifact}\" }}\nport = {port}\nport-env = \"{prefix}_PORT\"\n\
             host-env = \"{prefix}_HOST\"\nreplicas = {}\n",
            self.replicas
        );
        for line in &self.lines {
            writeln!(text, "{line}").expect("a String takes everything");
        }
        let mut table = |title: &str, lines: String| {
            write!(text, "\n[services.{name}.{title}]\n{lines}").expect("a String takes everything");
        };
        table("env", self.env.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect());
        if let Some(secret) = self.secret {
            table("secrets", format!("HF_TOKEN = {{ file = {secret:?} }}\n"));
        }
        if let Some(file) = self.file {
            table(
                &format!("files.{file:?}"),
                format!("source = {file:?}\nmode = \"0640\"\nenv = \"{prefix}_CONFIG\"\n"),
            );
        }
        if let Some(migration) = &self.migration {
            table("migration", migration.clone());
        }
        table(
            "check",
            "http = { path = \"/ready\" }\n\
             identity = { path = \"/health\", release = \"/release\", bundle = \"/bundle\" }\n"
                .to_owned(),
        );
        text
    }
}

impl Default for Shape {
    /// Two services, quick timings, one unit of each, no gates.
    fn default() -> Self {
        let timings = [
            ("interval", "100ms"),
            ("timeout", "1s"),
            ("healthy-for", "300ms"),
            ("healthy-deadline", "3s"),
            ("progress-deadline", "30s"),
            ("drain", "5s"),
            ("stop-grace", "1s"),
            ("bake", "300ms"),
        ];
        let api = Service { secret: Some("secret.txt"), file: Some("api.conf"), ..Service::new("api") };
        Self {
            services: vec![api, Service::new("mcp")],
            targets: Vec::new(),
            waves: String::new(),
            keep_releases: 10,
            strategy: "rolling",
            canary_steps: vec![10, 50],
            pause_after: Vec::new(),
            max_surge: 1,
            max_unavailable: 0,
            batches: vec!["100%"],
            timings: timings.into_iter().map(|(key, value)| (key, value.to_owned())).collect(),
            healthy_passes: 3,
            lease: ("10s".to_owned(), "1s".to_owned()),
            protected: false,
            gates: String::new(),
        }
    }
}

impl Shape {
    /// The same with the API alone: half of the processes, for tests that are about units and not about services.
    pub fn api_only() -> Self {
        let mut shape = Self::default();
        shape.services.truncate(1);
        shape
    }

    /// The API.
    ///
    /// # Panics
    /// If it was taken out.
    pub fn api(&mut self) -> &mut Service {
        self.services.iter_mut().find(|service| service.name == "api").expect("every shape has the API")
    }

    /// Makes the API's next units misbehave.
    pub fn fault(&mut self, fault: &str) {
        self.api().env.insert("NOOGH_FAULT", fault.to_owned());
    }

    /// Sets a timing.
    pub fn timing(&mut self, key: &'static str, value: &str) {
        self.timings.insert(key, value.to_owned());
    }

    /// `fairlead.toml`.
    pub(crate) fn project_file(&self, port_of: impl Fn(&str) -> u16) -> String {
        let keep = self.keep_releases;
        let mut text = format!("version = 1\n\n[project]\nname = \"noogh\"\nkeep-releases = {keep}\n");
        for service in &self.services {
            text.push_str(&service.table(port_of(service.name)));
        }
        text.push_str("\n[stages.test]\ncommand = [\"true\"]\n");
        text.push_str("\n[stages.build]\ncommand = [\"true\"]\ninputs = [\"src\"]\n");
        text
    }

    /// `deploy/environments/local.toml`.
    pub(crate) fn environment_file(&self) -> String {
        let batches: Vec<String> = self.batches.iter().map(|batch| format!("{batch:?}")).collect();
        let timings: String =
            self.timings.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        let targets: String = match self.targets.as_slice() {
            [] => "[targets.local]\nkind = \"process\"\n\n".to_owned(),
            targets => targets
                .iter()
                .map(|(name, host)| format!("[targets.{name}]\nkind = \"process\"\nhost = {host:?}\n\n"))
                .collect(),
        };
        format!(
            "version = 1\nprotected = {}\n\n{targets}{}\n[strategy]\ntype = {:?}\n\
             batches = [{}]\ncanary-steps = {:?}\npause-after = {:?}\nmax-surge = {}\nmax-unavailable = {}\n\n[timings]\n{timings}healthy-passes = {}\n\
             unhealthy-failures = 3\n\n[lease]\nttl = {:?}\nheartbeat = {:?}\n\n{}",
            self.protected,
            self.waves,
            self.strategy,
            batches.join(", "),
            self.canary_steps,
            self.pause_after,
            self.max_surge,
            self.max_unavailable,
            self.healthy_passes,
            self.lease.0,
            self.lease.1,
            self.gates
        )
    }
}
