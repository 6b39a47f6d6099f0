//! A project that is deployed to this machine, and of which GitHub is told.

use crate::double::{Double, TOKEN};
use serde_json::Value;
use std::{ffi::OsStr, fs, ops::Deref, path::PathBuf};
use tests::{Background, Output, Project, Shape, processes_under, program_with_github};

/// What the run of the workflow is opened as.
pub(crate) const RUN_URL: &str = "https://github.example/team/shop/actions/runs/42";

/// The project, and its GitHub.
pub(crate) struct Ground {
    pub(crate) project: Project,
    pub(crate) github: Double,
}

impl Deref for Ground {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.project
    }
}

impl Ground {
    /// With one service, whose units are given up after two seconds.
    pub(crate) fn new() -> Self {
        let mut shape = Shape::api_only();
        shape.timing("healthy-deadline", "2s");
        Self::with(shape)
    }

    /// Of this shape.
    pub(crate) fn with(shape: Shape) -> Self {
        let github = Double::start();
        let mut project = Project::with(shape);
        project.use_program(program_with_github().to_owned());
        project.edit("fairlead.toml", |text| format!("{text}\n[github]\nrepository = \"team/shop\"\n"));
        project.edit("deploy/environments/local.toml", |text| {
            text.replacen("version = 1\n", "version = 1\ngithub = true\nurl = \"https://shop.example\"\n", 1)
        });
        project.commit();
        for (name, value) in [
            ("GITHUB_API_URL", github.url().as_str()),
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_REPOSITORY", "team/shop"),
            ("GITHUB_RUN_ID", "42"),
        ] {
            project.set_variable(name, value);
        }
        Self { project, github }
    }

    /// One on which a release stands, told.
    pub(crate) fn deployed() -> Self {
        let ground = Self::new();
        ground.deploy().expect(0);
        ground
    }

    /// The whole hash of the commit.
    pub(crate) fn commit_hash(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Background {
        self.project.spawn_with(arguments, &[("GITHUB_TOKEN", OsStr::new(TOKEN))])
    }

    /// Runs the program with the token, which is told nobody but GitHub.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.spawn(arguments).wait();
        self.project.is_seen();
        self.assert_token_is_unseen(&output);
        output
    }

    #[track_caller]
    pub(crate) fn deploy(&self) -> Output {
        self.run(&["deploy"])
    }

    /// A deploy whose new unit never gets ready.
    #[track_caller]
    pub(crate) fn fail(&self) -> Output {
        self.run(&["deploy", "--set", "services.api.env.NOOGH_FAULT=never-ready"])
    }

    /// What waits in the outbox, in its order.
    pub(crate) fn waiting(&self) -> Vec<Value> {
        let folder = self.state().join("local/github/outbox");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        files.sort();
        let read =
            |path: PathBuf| serde_json::from_slice(&fs::read(path).expect("a file")).expect("a document");
        files.into_iter().map(read).collect()
    }

    #[track_caller]
    fn assert_token_is_unseen(&self, output: &Output) {
        assert!(!output.stdout.contains(TOKEN) && !output.stderr.contains(TOKEN), "{output:?}");
        for process in processes_under(self.path()) {
            assert!(process.cmdline.iter().all(|word| !word.contains(TOKEN)), "{process:?}");
        }
        for file in files_below(&self.state()) {
            let bytes = fs::read(&file).unwrap_or_default();
            let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
            assert!(!found, "the token stands in {}", file.display());
        }
    }
}

fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                folders.push(entry.path());
            } else if kind.is_ok_and(|kind| kind.is_file()) {
                files.push(entry.path());
            }
        }
    }
    files
}
