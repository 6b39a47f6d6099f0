//! The workflows as they are, run by act on this machine: each job in a work folder of its own, which is removed with it, so
//! that a job has nothing of another one but what was handed over. Instead of a machine of GitHub's there is this one, the
//! job that deploys has a folder that stays (see `machine/cargo-xtask`), and artifacts are kept by stand-ins (`actions/`).

use crate::rules::ACTIONS;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tests::{
    Actions, Advisory, Background, Engine, Generation, Output, Project, Registry, Shape, TRIVY_VERSION,
    Trivy, http, processes_under, program_with_engines, static_service, workflow_files,
};

const TRACKED: &str = "github_d5c1";
const USER: &str = "ci";
const PASSWORD: &str = "only-the-registry-may-know-this";

/// A whole run of CI/CD on a busy machine.
const RUN_DEADLINE: Duration = Duration::from_secs(240);

/// A project with the workflows in it.
struct Repository {
    project: Project,
    actions: Actions,
    folder: TempDir,
    /// Those of the repository, as somebody has set them.
    variables: Vec<(&'static str, String)>,
    /// What is in the environment of every job.
    environment: Vec<(&'static str, PathBuf)>,
}

impl Repository {
    /// One with the workflows, whose build makes what the project has in `bin`, as if it took a compiler.
    fn new(mut shape: Shape) -> Self {
        shape.api().secret = None;
        let project = Project::with(shape);
        let folder = tempfile::Builder::new().prefix("fl-act").tempdir().expect("a folder");
        let bin = project.path().join("bin");
        project.edit("fairlead.toml", |text| {
            let builds = format!("command = [\"cp\", \"-R\", {bin:?}, \".\"]\ninputs = [\"src\"]");
            text.replace("command = [\"true\"]\ninputs = [\"src\"]", &builds)
        });
        project.write(".gitignore", "/.fairlead\n/bin/\n/machine/\n/secret.txt\n");
        for file in workflow_files() {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            project.write(&format!(".github/workflows/{name}"), fs::read(&file).expect("a workflow"));
        }
        project.git(&["remote", "add", "origin", "https://github.com/team/noogh.git"]);
        project.commit();
        let environment = vec![
            ("ARTIFACTS", folder.path().join("artifacts")),
            ("MACHINE", project.path().join("machine")),
            // By which the runner of GitHub tells what a job has left behind.
            ("RUNNER_TRACKING_ID", TRACKED.into()),
        ];
        // Nothing is sent from here.
        let variables = vec![("FAIRLEAD_REPORTS", "files".to_owned())];
        Self { project, actions: Actions::new(), folder, variables, environment }
    }

    /// The machine that deploys.
    fn machine(&self) -> PathBuf {
        self.project.path().join("machine")
    }

    /// Runs CI/CD as a push does.
    fn push(&self) -> Output {
        self.act(&["push", "--workflows", ".github/workflows/ci-cd.yml"])
    }

    /// Runs the workflow of the release manager.
    fn dispatch(&self, inputs: &[&str]) -> Output {
        let inputs = inputs.iter().flat_map(|input| ["--input", *input]);
        let words = ["workflow_dispatch", "--workflows", ".github/workflows/deploy.yml"];
        self.act(&words.into_iter().chain(inputs).collect::<Vec<_>>())
    }

    fn act(&self, words: &[&str]) -> Output {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
        let secrets = self.folder.path().join("secrets");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&secrets)
            .expect("a file");
        write!(file, "DOCKER_USERNAME={USER}\nDOCKER_PASSWORD={PASSWORD}\n").expect("a file");
        let mut command = self.project.tool(&self.actions.folder().join("act"));
        command.args(words).args(["--platform", "ubuntu-latest=-self-hosted", "--no-cache-server"]);
        command.args(["--env-file", "/dev/null", "--input-file", "/dev/null", "--var-file", "/dev/null"]);
        command.arg("--secret-file").arg(secrets);
        command.arg("--action-cache-path").arg(self.folder.path().join("act"));
        // All but the checkout, which act does by itself.
        for action in &ACTIONS[1..] {
            let (name, version) = action.split_once(" #").expect("a version");
            let folder = name.split(['/', '@']).nth(1).expect("owner/name@commit");
            let of = format!("{name}={}", here.join("actions").join(folder).display());
            command.args(["--local-repository", &of]);
            assert!(version.contains('v'));
        }
        for (name, value) in &self.variables {
            command.args(["--var", &format!("{name}={value}")]);
        }
        for (name, path) in &self.environment {
            command.args(["--env", &format!("{name}={}", path.display())]);
        }
        let path = std::env::var("PATH").expect("tests have a PATH");
        command.env("PATH", format!("{}:{path}", here.join("machine").display()));
        command.env("FAIRLEAD_TESTS_PROGRAM", self.project.program());
        let output = Background::start(&mut command).wait_within(RUN_DEADLINE);
        assert!(!output.stdout.contains(PASSWORD) && !output.stderr.contains(PASSWORD), "{output:?}");
        output
    }

    /// A file of an artifact.
    fn artifact(&self, path: &str) -> String {
        let file = self.folder.path().join("artifacts").join(path);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn manifest(&self) -> Value {
        serde_json::from_str(&self.artifact("deploy/release-manifest.json")).expect("a manifest")
    }

    /// Asserts that nothing is in the artifacts that is for the machine that deploys alone.
    fn assert_nothing_is_given_away(&self) {
        let (mut folders, mut files) = (vec![self.folder.path().join("artifacts")], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                assert!(
                    !["bundles", "secrets", "key", "supervisor", "ledger.json"].contains(&&*name),
                    "{}",
                    path.display()
                );
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                let bytes = fs::read(&path).expect("a file");
                assert!(
                    !bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()),
                    "{}",
                    path.display()
                );
            }
        }
        assert!(files > 5, "{files} files");
    }

    /// Asserts that what stands is left alone by the runner when a job ends.
    fn assert_stays(&self) {
        let processes = processes_under(&self.machine());
        assert!(processes.len() >= 2, "a supervisor and a router at least: {processes:?}");
        for process in processes {
            let variables = fs::read(format!("/proc/{}/environ", process.pid)).expect("it runs");
            let is_tracked = variables.windows(TRACKED.len()).any(|part| part == TRACKED.as_bytes());
            assert!(!is_tracked, "the runner would end {process:?}");
        }
    }

    /// Takes down what was deployed, on the machine that deployed it.
    fn down(&self, environment: &str) {
        let mut command = self.project.tool(self.project.program());
        command.args(["down", environment, "--yes"]).current_dir(self.machine());
        Background::start(&mut command).wait().expect(0);
    }

    #[track_caller]
    fn assert_serves(&self, release: &str) {
        for service in self.project.services() {
            assert_eq!(http::health(self.project.port(service))["release"], release, "{service}");
        }
    }
}

/// What a job of CI/CD told; where jobs run side by side, act writes their names equally wide.
fn told<'a>(output: &'a Output, job: &str) -> Vec<&'a str> {
    let of_job = |line: &&str| {
        let name = line.strip_prefix("[CI/CD/").and_then(|rest| rest.split(']').next());
        name.is_some_and(|name| name.trim_end() == job)
    };
    output.stdout.lines().filter(of_job).collect()
}

/// Whether a job of CI/CD came to its end well.
fn succeeded(output: &Output, job: &str) -> bool {
    told(output, job).iter().any(|line| line.ends_with("Job succeeded"))
}

#[track_caller]
fn assert_succeeded(output: &Output, jobs: &[&str]) {
    for job in jobs {
        assert!(succeeded(output, job), "{job}: {output:?}");
    }
}

#[track_caller]
fn assert_not_begun(output: &Output, jobs: &[&str]) {
    for job in jobs {
        assert_eq!(told(output, job), [""; 0], "{job}: {output:?}");
    }
}

#[test]
fn a_push_goes_from_test_to_reports_and_a_hand_may_take_it_back() {
    let mut repository = Repository::new(Shape::default());
    let pushed = repository.push().expect(0);
    assert_succeeded(&pushed, &["Test", "Build", "Deploy", "Reports"]);
    // No scan is configured, and nothing is told to a pull request that there is not.
    assert_not_begun(&pushed, &["Scan", "Plan"]);
    let first = repository.project.release();
    repository.assert_serves(&first);
    repository.assert_stays();
    // The tests ran in another job, and counted: nothing but what was handed over says so.
    let manifest = repository.manifest();
    assert_eq!(manifest["stages"]["test"], "skipped-unchanged", "{manifest:#}");
    assert_eq!(manifest["services"]["api"]["path"], "bin/noogh-api");
    assert!(repository.artifact("reports/junit.xml").contains("<testsuites"));
    let report = |repository: &Repository| {
        repository.artifact(&format!("reports/{}/report.md", repository.project.release()))
    };
    assert!(report(&repository).contains("**local: succeeded**"), "{}", report(&repository));
    repository.assert_nothing_is_given_away();

    // A test that fails is in the way of everything, and what stands goes on.
    let good = fs::read_to_string(repository.project.path().join("fairlead.toml")).expect("a file");
    repository.project.write("fairlead.toml", good.replace("command = [\"true\"]", "command = [\"false\"]"));
    repository.project.commit();
    let failed = repository.push().expect(1);
    assert!(!succeeded(&failed, "Test"), "{failed:?}");
    assert_not_begun(&failed, &["Build", "Deploy"]);
    assert_succeeded(&failed, &["Reports"]);
    assert!(report(&repository).contains("not made: the stage test failed"), "{}", report(&repository));
    repository.assert_serves(&first);

    // The machine knows what stands, so that the next release replaces it.
    repository.project.write("fairlead.toml", good);
    repository.project.change_code("api");
    assert_succeeded(&repository.push().expect(0), &["Deploy", "Reports"]);
    let second = repository.project.release();
    assert_eq!(http::health(repository.project.port("api"))["release"], second);

    // By hand: back, and there again by its name and in another way. Words that somebody types are words.
    repository.dispatch(&["environment=local", "operation=rollback"]).expect(0);
    assert_eq!(http::health(repository.project.port("api"))["release"], first);
    let release = format!("release={second}");
    let inputs = ["environment=local", "operation=deploy", "strategy=blue-green", &release];
    repository.dispatch(&inputs).expect(0).says("blue-green");
    assert_eq!(http::health(repository.project.port("api"))["release"], second);
    // That of a run is the one that is there already.
    repository
        .dispatch(&["environment=local", "operation=deploy", "from=1"])
        .expect(0)
        .says(&format!("nothing to do: release {second} already stands"));
    let hostile = "release=$(touch hostile)\"; touch hostile; \"";
    repository.dispatch(&["environment=local", "operation=deploy", hostile]).expect(1);
    assert!(!repository.machine().join("hostile").exists());
    assert_eq!(http::health(repository.project.port("api"))["release"], second);

    // A rollout that is rolled back is no success, and its evidence is handed over.
    repository.project.edit("fairlead.toml", |text| {
        text.replacen("LOG_LEVEL = \"INFO\"", "LOG_LEVEL = \"INFO\"\nNOOGH_FAULT = \"never-ready\"", 1)
    });
    repository.project.commit();
    let rolled_back = repository.push().expect(1).says("never-ready");
    assert_succeeded(&rolled_back, &["Test", "Build", "Reports"]);
    assert!(!succeeded(&rolled_back, "Deploy"), "{rolled_back:?}");
    assert_eq!(http::health(repository.project.port("api"))["release"], second);
    assert!(repository.folder.path().join("artifacts/deploy/local/dossier").is_dir());
    let told = report(&repository);
    assert!(told.contains("**local: rolled back (never-ready)**") && told.contains("Dossier"), "{told}");
    repository.assert_nothing_is_given_away();

    repository.down("local");
    assert!(http::get(repository.project.port("api"), "/health").is_err());
}

#[test]
fn images_are_scanned_published_and_deployed_with_the_registrys_password_from_the_secrets() {
    let engine = Engine::shared(Generation::Docker28);
    let registry = Registry::start();
    registry.admit(USER, PASSWORD);
    let trivy = Trivy::new();
    trivy.knows(
        &[Advisory {
            distribution: "alpine 3.19",
            package: "busybox",
            id: "CVE-2023-42363",
            fixed: "1.36.1-r17",
            severity: "HIGH",
        }],
        1,
    );
    let mut repository = Repository::new(Shape::api_only());
    let project = &mut repository.project;
    project.use_program(program_with_engines().to_owned());
    project.replace_artifact("api", &fs::read(static_service("api")).expect("an executable"));
    project.add_engine("production", engine, &registry);
    project.edit("deploy/environments/production.toml", |text| {
        text.replace("protected = false", "protected = true")
    });
    project.edit("fairlead.toml", |text| {
        format!("{text}\n[stages.scan]\nversion = {TRIVY_VERSION:?}\ndatabase-repositories = [\"127.0.0.1:1/trivy-db:2\"]\n")
    });
    for script in ["common.sh", "trivy"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("components").join(script);
        let to = format!("tests/components/{script}");
        project.write(&to, fs::read(&from).expect("a script"));
        fs::set_permissions(project.path().join(&to), fs::Permissions::from_mode(0o755))
            .expect("our own file");
    }
    project.commit();
    repository
        .variables
        .extend([("FAIRLEAD_ENVIRONMENT", "production".to_owned()), ("FAIRLEAD_SCAN", "publish".to_owned())]);
    repository.environment.push(("TRIVY_CACHE_DIR", trivy.cache().to_owned()));
    // Where it is fetched to by other tests.
    let components = trivy.program().parent().expect("it is in a folder").to_owned();
    repository.environment.push(("FAIRLEAD_TESTS_COMPONENTS", components));

    let pushed = repository.push().expect(0);
    assert_succeeded(&pushed, &["Test", "Build", "Scan", "Deploy", "Reports"]);
    let release = repository.project.release();
    repository.assert_serves(&release);
    let manifest = repository.manifest();
    assert_eq!(
        manifest["stages"]["build"], "skipped-unchanged",
        "what was built was handed over: {manifest:#}"
    );
    let scanner = &manifest["scans"]["images"]["api"]["passed"]["scanner"];
    assert_eq!(*scanner, format!("Trivy {TRIVY_VERSION}"), "{manifest:#}");
    let tags = manifest["images"]["api"]["tags"].to_string();
    assert!(tags.contains(&release), "it is published: {tags}");
    repository.assert_nothing_is_given_away();

    // A scan that does not pass is in the way of a deployment, and is told of.
    repository.project.edit("fairlead.toml", |text| text.replace(TRIVY_VERSION, "0.1.0"));
    repository.project.commit();
    let stopped = repository.push().expect(1);
    assert_succeeded(&stopped, &["Test", "Build", "Reports"]);
    assert!(!succeeded(&stopped, "Scan"), "{stopped:?}");
    assert_not_begun(&stopped, &["Deploy"]);
    repository.assert_serves(&release);
    repository.down("production");
}
