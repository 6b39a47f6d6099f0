use super::*;
use crate::{
    digest::Digest,
    event::Event,
    git::tests::{commit, repository},
    release::{Artifact, StageVerdict},
    secret::{Redactor, Secret},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio_util::sync::CancellationToken;

mod planned;
mod scanned;
mod testing;

const TIMEOUT: Duration = Duration::from_secs(120);

fn context(root: &Path) -> Context {
    let root = root.canonicalize().unwrap();
    let variables = std::env::vars_os().filter(|(name, _)| name != "CARGO_TARGET_DIR").collect();
    let state = root.join(".fairlead");
    Context { root, state, variables, runner: Runner::default(), answer_limit: crate::fingerprint::DEADLINE }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(String::from).collect()
}

fn script(text: &str) -> Stage {
    let command = ["sh", "-c", text].map(String::from).to_vec();
    tested(TestCommand::Own(command), &[])
}

fn tested(command: TestCommand, inputs: &[&str]) -> Stage {
    let inputs = inputs.iter().map(PathBuf::from).collect();
    Stage::Test(TestStage { command, packages: vec![], inputs, timeout: TIMEOUT })
}

fn build(command: Option<&str>, services: &[(&str, ArtifactSpec)]) -> Stage {
    let services = services.iter().map(|(name, spec)| (name.parse().unwrap(), spec.clone())).collect();
    let command = command.map(|text| ["sh", "-c", text].map(String::from).to_vec());
    Stage::Build(BuildStage {
        command,
        services,
        packages: vec![],
        inputs: vec![],
        statically: false,
        timeout: TIMEOUT,
    })
}

fn why(context: &Context, stage: &Stage) -> String {
    plan_stages(context, std::slice::from_ref(stage), false).unwrap()[0].why.to_string()
}

/// Plans and runs one stage; what it came to, and all events.
async fn go(context: &Context, stage: &Stage, force: bool) -> (Result<StageResult, StageError>, Vec<Event>) {
    let plan = plan_stages(context, std::slice::from_ref(stage), force).unwrap().remove(0);
    let events = Mutex::new(Vec::new());
    let result = run_stage(context, &plan, &|event| events.lock().unwrap().push(event)).await;
    (result, events.into_inner().unwrap())
}

fn steps(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.is_step()).collect()
}

#[tokio::test]
async fn a_stage_runs_once_for_the_same_inputs_and_says_why() {
    let repository = repository();
    let context = context(repository.path());
    let stage = script("echo 'test result: ok. 9 passed; 0 failed; 0 ignored'");
    assert_eq!(why(&context, &stage), "runs: first time");
    let (result, events) = go(&context, &stage, false).await;
    assert_eq!(result.unwrap().verdict, StageVerdict::Passed);
    assert!(matches!(&events[0], Event::StageStarted { because, .. } if because == "first time"));
    assert!(matches!(&events[1], Event::StageOutput { line, .. } if line.contains("9 passed")));
    assert!(matches!(&events[2], Event::StagePassed { summary, .. } if summary == "9 tests passed"));

    let (result, events) = go(&context, &stage, false).await;
    assert_eq!(result.unwrap().verdict, StageVerdict::SkippedUnchanged);
    assert!(
        matches!(&events[..], [Event::StageSkipped { reason, .. }] if reason.starts_with("inputs unchanged since 20"))
    );
    commit(repository.path());
    assert!(why(&context, &stage).starts_with("skipped: "), "a commit changes no input");

    let (result, events) = go(&context, &stage, true).await;
    assert_eq!(result.unwrap().verdict, StageVerdict::Passed);
    assert!(matches!(&events[0], Event::StageStarted { because, .. } if because == "asked for with --force"));
    fs::write(repository.path().join("dir/b"), "changed").unwrap();
    assert_eq!(why(&context, &stage), "runs: `dir/b` changed");
    assert_eq!(why(&context, &script("true")), "runs: the command changed, and 1 more input");
    fs::write(context.state.join("stages/test.json"), "{").unwrap();
    assert_eq!(why(&context, &stage), "runs: the record of its last run cannot be read");
}

#[tokio::test]
async fn a_failed_stage_quotes_what_matters_and_is_not_skipped_afterwards() {
    let repository = repository();
    let context = context(repository.path());
    let stage = script(
        "[ -e ../flag-$PPID ] && exit 0; echo noise; echo 'test a::b ... FAILED'; echo failures:; echo why; exit 101",
    );
    let (result, events) = go(&context, &stage, false).await;
    let error = result.unwrap_err();
    assert!(
        error.to_string().starts_with("the stage `test` failed: 1 test failed (a::b); `sh -c "),
        "{error}"
    );
    assert!(error.to_string().contains("ended with exit status 101"), "{error}");
    let Event::StageFailed { message, excerpt, .. } = steps(&events)[1] else { panic!("{events:?}") };
    assert_eq!((message, excerpt), (&error.to_string(), &words("failures: why")));
    assert_eq!(why(&context, &stage), "runs: it failed last time");
}

#[tokio::test]
async fn a_forced_run_that_fails_undoes_the_pass() {
    let repository = repository();
    let context = context(repository.path());
    let outside = tempfile::tempdir().unwrap();
    let stage = script(&format!("test ! -e {}/broken", outside.path().display()));
    go(&context, &stage, false).await.0.unwrap();
    assert!(why(&context, &stage).starts_with("skipped"));
    fs::write(outside.path().join("broken"), "").unwrap();
    go(&context, &stage, true).await.0.unwrap_err();
    assert_eq!(why(&context, &stage), "runs: it failed last time");
}

#[tokio::test]
async fn what_cannot_run_or_takes_too_long_fails_with_what_to_do() {
    let repository = repository();
    let context = context(repository.path());
    let test = |command: &str, timeout| {
        Stage::Test(TestStage {
            command: TestCommand::Own(words(command)),
            packages: vec![],
            inputs: vec![],
            timeout,
        })
    };
    for (stage, expected) in [
        (test("no-such-program-1", TIMEOUT), "there is no such program; install it"),
        (test("sleep 600", Duration::from_millis(100)), "raise the stage's timeout"),
        (test("", TIMEOUT), "is an empty list"),
    ] {
        let (result, events) = go(&context, &stage, false).await;
        result.unwrap_err();
        let Some(Event::StageFailed { message, .. }) = events.last() else { panic!("{events:?}") };
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn cancelling_is_no_failure_of_the_stage() {
    let repository = repository();
    let cancel = CancellationToken::new();
    let runner = Runner { cancel: cancel.clone(), redactor: Redactor::default() };
    let context = Context { runner, ..context(repository.path()) };
    let plan = plan_stages(&context, &[script("echo go; sleep 600")], false).unwrap().remove(0);
    let events = Mutex::new(Vec::new());
    let emit = |event: Event| {
        if matches!(event, Event::StageOutput { .. }) {
            cancel.cancel();
        }
        events.lock().unwrap().push(event);
    };
    let error = run_stage(&context, &plan, &emit).await.unwrap_err();
    assert!(error.is_cancelled(), "{error:?}");
    assert!(!events.lock().unwrap().iter().any(|event| matches!(event, Event::StageFailed { .. })));
    assert_eq!(why(&context, &script("echo go; sleep 600")), "runs: first time");
}

#[tokio::test]
async fn secrets_are_masked_in_events_and_errors() {
    let repository = repository();
    let context = context(repository.path());
    context.runner.redactor.learn(&Secret::new(b"s3cret-value".to_vec()));
    let (result, events) = go(&context, &script("echo $(echo s3cret)-value; exit 1"), false).await;
    let text = format!("{:?} {events:?}", result.unwrap_err());
    assert!(text.contains("***") && !text.contains("s3cret-value"), "{text}");
}

/// A cargo project with a binary `api` in package `server`, in git.
fn cargo_project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let manifest = "[package]\nname = \"server\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                    [[bin]]\nname = \"api\"\npath = \"src/api.rs\"\n[workspace]\n";
    fs::create_dir(root.join("src")).unwrap();
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    // As cargo writes it: it would put any other way right, which is a change of an input.
    let lock = "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\n\
                version = 4\n\n[[package]]\nname = \"server\"\nversion = \"0.1.0\"\n";
    fs::write(root.join("Cargo.lock"), lock).unwrap();
    fs::write(root.join("src/api.rs"), "fn main() { println!(\"1\"); }").unwrap();
    crate::git::tests::git(root, &["init", "--quiet"]);
    commit(root);
    folder
}

#[tokio::test]
async fn cargo_builds_the_binary_and_a_skip_needs_the_same_bytes_there() {
    let project = cargo_project();
    let context = context(project.path());
    let stage = build(None, &[("api", ArtifactSpec::CargoBin("api".into()))]);
    let (result, events) = go(&context, &stage, false).await;
    let result = result.unwrap();
    let artifact = result.artifacts.values().next().unwrap();
    assert_eq!((artifact.name.as_str(), artifact.path.to_str()), ("api", Some("target/release/api")));
    let executable = context.root.join(&artifact.path);
    assert_eq!(Artifact::of_file(&executable).unwrap().digest, artifact.digest);
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::StageOutput { line, .. } if line.contains("Compiling server")))
    );
    assert!(
        !events.iter().any(|e| matches!(e, Event::StageOutput { line, .. } if line.contains("\"reason\"")))
    );

    let (skipped, _) = go(&context, &stage, false).await;
    let skipped = skipped.unwrap();
    assert_eq!((skipped.verdict, &skipped.artifacts), (StageVerdict::SkippedUnchanged, &result.artifacts));
    fs::write(&executable, "overwritten by a later build").unwrap();
    assert_eq!(why(&context, &stage), format!("runs: artifact `{}` was changed", artifact.path.display()));
    fs::remove_file(&executable).unwrap();
    assert_eq!(why(&context, &stage), format!("runs: artifact `{}` is gone", artifact.path.display()));
    let again = go(&context, &stage, false).await.0.unwrap();
    assert_eq!(again.artifacts, result.artifacts);

    fs::write(project.path().join("src/api.rs"), "fn main() { let x: u8 = \"\"; }").unwrap();
    assert_eq!(why(&context, &stage), "runs: `src/api.rs` changed");
    let error = go(&context, &stage, false).await.0.unwrap_err();
    let StageError::Failed { excerpt, message, .. } = error else { panic!("{error:?}") };
    assert!(message.contains("--package server --bin api` ended with exit status 101"), "{message}");
    assert_eq!(excerpt[0], "error[E0308]: mismatched types");

    let mut variables = context.variables.clone();
    variables.insert("RUSTFLAGS".into(), "-g".into());
    let why = why(&Context { variables, ..context }, &stage);
    assert_eq!(why, "runs: the variable RUSTFLAGS was set");
}

#[tokio::test]
async fn a_command_of_its_own_makes_files_or_lets_cargo_put_them_where_it_does() {
    let project = cargo_project();
    let context = context(project.path());
    let services =
        [("api", ArtifactSpec::CargoBin("api".into())), ("web", ArtifactSpec::Path("out/web".into()))];
    let makes = "cargo build --release --quiet && mkdir -p out && echo web > out/web && chmod +x out/web";
    let result = go(&context, &build(Some(makes), &services), false).await.0.unwrap();
    let paths: Vec<_> = result.artifacts.values().map(|a| a.path.as_path()).collect();
    assert_eq!(paths, [Path::new("target/release/api"), Path::new("out/web")]);

    fs::remove_file(project.path().join("out/web")).unwrap();
    let (result, events) = go(&context, &build(Some("true"), &services), false).await;
    result.unwrap_err();
    let Some(Event::StageFailed { message, .. }) = events.last() else { panic!("{events:?}") };
    assert!(
        message.starts_with("the service `web` has no artifact: the build command should have"),
        "{message}"
    );
}

#[tokio::test]
async fn files_that_nothing_builds_are_read_and_watched() {
    let repository = repository();
    let context = context(repository.path());
    let stage = build(None, &[("web", ArtifactSpec::Path("dir/web".into()))]);
    let error = plan_stages(&context, std::slice::from_ref(&stage), false).unwrap_err();
    assert!(
        error.story().contains("dir/web` is named as an input of the stage, but does not exist"),
        "{}",
        error.story()
    );
    let path = repository.path().join("dir/web");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    go(&context, &stage, false).await.0.unwrap();
    assert!(why(&context, &stage).starts_with("skipped"));
    fs::write(&path, "#!/bin/sh\nexit\n").unwrap();
    assert_eq!(why(&context, &stage), "runs: `dir/web` changed");
    let unknown = build(None, &[("api", ArtifactSpec::CargoBin("api".into()))]);
    let error = plan_stages(&context, &[unknown], false).unwrap_err();
    assert!(error.story().contains("there is no Cargo.toml"), "{}", error.story());
}

#[tokio::test]
async fn all_stages_are_planned_before_the_first_runs() {
    let project = cargo_project();
    let context = context(project.path());
    let stages = [script("true"), build(None, &[("api", ArtifactSpec::CargoBin("api".into()))])];
    let plans = plan_stages(&context, &stages, false).unwrap();
    let told: Vec<_> = plans.iter().map(|plan| (plan.name, plan.why.to_string())).collect();
    assert_eq!(
        told,
        [(StageName::Test, "runs: first time".into()), (StageName::Build, "runs: first time".into())]
    );
    assert!(!context.state.exists(), "planning changes nothing");
    assert!(plan_stages(&context, &[], false).unwrap().is_empty());
}

/// An engine and a registry that do nothing, and remember what they were asked.
#[derive(Default)]
struct Maker {
    asked: Mutex<Vec<String>>,
    fails: bool,
    is_away: bool,
}

#[async_trait::async_trait]
impl ImageMaker for Maker {
    async fn facts(&self) -> Result<BuilderFacts, MakerError> {
        if self.is_away {
            return Err(MakerError { message: "the engine does not answer".into(), excerpt: vec![] });
        }
        let text = |text: &str| text.to_owned();
        Ok(BuilderFacts { engine: text("here"), version: text("1"), platform: text("linux/amd64") })
    }

    async fn has(&self, _: Digest) -> Result<bool, MakerError> {
        Ok(true)
    }

    async fn make(&self, order: &ImageOrder, news: News<'_>) -> Result<MadeImage, MakerError> {
        self.asked.lock().unwrap().push(format!("make {}", order.repository));
        (news.step)("[1/1] COPY".to_owned());
        if self.fails {
            return Err(MakerError { message: "no space".into(), excerpt: vec!["disk full".into()] });
        }
        Ok(MadeImage { id: Digest::of_bytes(order.repository.to_string()), size_bytes: 5 })
    }

    async fn is_published(&self, _: &Repository, _: Digest) -> Result<bool, MakerError> {
        Ok(true)
    }

    async fn publish(&self, order: &PublishOrder, _: News<'_>) -> Result<Digest, MakerError> {
        self.asked.lock().unwrap().push(format!("publish {} as {}", order.repository, order.first));
        Ok(Digest::of_bytes("manifest"))
    }

    async fn attach(&self, _: &Repository, _: Digest, _: &[u8]) -> Result<(), MakerError> {
        Ok(())
    }
}

/// Tests, and two services with a Dockerfile, of which the second is published.
fn all_stages(root: &Path, test: &str) -> Vec<Stage> {
    fs::write(root.join("Dockerfile"), "FROM scratch\n").unwrap();
    let repository = |text: &str| text.parse::<crate::image::reference::Reference>().unwrap().repository;
    let image = |service: &str| {
        Stage::Image(ImageStage {
            service: service.parse().unwrap(),
            source: ImageSource::Dockerfile(crate::config::image::DockerfileSource {
                context: PathBuf::new(),
                dockerfile: "Dockerfile".into(),
                target: None,
                args: BTreeMap::new(),
                secrets: BTreeMap::new(),
                platform: None,
                cache: None,
            }),
            has_executable: false,
            repository: repository(&format!("localhost/shop/{service}")),
            published: None,
            timeout: TIMEOUT,
        })
    };
    let publish = Stage::Publish(PublishStage {
        service: "web".parse().unwrap(),
        repository: repository("ghcr.io/shop/web"),
        default_branch: "main".into(),
        timeout: TIMEOUT,
    });
    vec![script(test), image("cart"), image("web"), publish]
}

const ALL: [StageName; 5] =
    [StageName::Test, StageName::Build, StageName::Image, StageName::Scan, StageName::Publish];

async fn run_all(
    context: &Context,
    stages: &[Stage],
    maker: &Arc<Maker>,
    from: Option<StageName>,
) -> (Result<Made, StageFailure>, Vec<Event>) {
    run_asked(context, stages, maker, from, false).await
}

async fn run_asked(
    context: &Context,
    stages: &[Stage],
    maker: &Arc<Maker>,
    from: Option<StageName>,
    force: bool,
) -> (Result<Made, StageFailure>, Vec<Event>) {
    let maker: Arc<dyn ImageMaker> = maker.clone();
    let origin = Origin::default();
    let order = Order { stages, names: &ALL, force, from, jobs: 2, origin, maker: Some(maker) };
    let events = Mutex::new(Vec::new());
    let made = run_stages(context, order, &|event| events.lock().unwrap().push(event)).await;
    (made, events.into_inner().unwrap())
}

#[tokio::test]
async fn images_are_made_of_each_service_and_nothing_is_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (context, maker) = (context(folder.path()), Arc::new(Maker::default()));
    let stages = all_stages(folder.path(), "true");
    let (made, events) = run_all(&context, &stages, &maker, None).await;
    let made = made.unwrap();
    let asked = std::mem::take(&mut *maker.asked.lock().unwrap());
    assert_eq!(asked.len(), 3, "{asked:?}");
    let place = |begins: &str| asked.iter().position(|asked| asked.starts_with(begins)).expect(begins);
    let published = place("publish ghcr.io/shop/web as id-");
    assert!(place("make localhost/shop/web") < published, "made first: {asked:?}");
    let (cart, web) = (&made.images[&"cart".parse().unwrap()], &made.images[&"web".parse().unwrap()]);
    assert_eq!((cart.repository.as_str(), cart.digest), ("localhost/shop/cart", cart.id));
    assert!(!cart.is_published() && web.is_published());
    assert_eq!((web.repository.as_str(), web.digest), ("ghcr.io/shop/web", Digest::of_bytes("manifest")));
    let of_web = |event: &&Event| matches!(event, Event::StageAdvanced { service: Some(web), .. } if web.as_str() == "web");
    assert!(events.iter().any(|event| of_web(&event)), "steps are told: {events:?}");

    let (again, events) = run_all(&context, &stages, &maker, None).await;
    assert_eq!(again.unwrap().images, made.images);
    assert_eq!(*maker.asked.lock().unwrap(), [""; 0]);
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(events[1..].iter().all(|event| matches!(event, Event::StageSkipped { .. })), "{events:?}");

    // What the context has in it is what decides, and the reason names it.
    fs::write(folder.path().join("new.txt"), "1").unwrap();
    let (_, events) = run_all(&context, &stages, &maker, None).await;
    let because = |event: &Event| match event {
        Event::StageStarted { stage: StageName::Image, because, .. } => Some(because.clone()),
        _ => None,
    };
    assert_eq!(
        events.iter().filter_map(because).collect::<Vec<_>>(),
        ["`new.txt` is new", "`new.txt` is new"]
    );
}

#[tokio::test]
async fn what_was_not_tested_is_not_published_and_a_failure_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (context, maker) = (context(folder.path()), Arc::new(Maker::default()));
    let (made, events) = run_all(&context, &all_stages(folder.path(), "exit 3"), &maker, None).await;
    assert_eq!(made.unwrap_err().stage, StageName::Test);
    assert!(!maker.asked.lock().unwrap().iter().any(|asked| asked.starts_with("publish")));
    let failed = |event: &&Event| matches!(event, Event::StageFailed { .. });
    assert_eq!(events.iter().filter(failed).count(), 1, "{events:?}");

    // Elsewhere: images may have been made before the tests failed.
    let folder = tempfile::tempdir().unwrap();
    let context = self::context(folder.path());
    let failing = Arc::new(Maker { fails: true, ..Maker::default() });
    let (made, events) = run_all(&context, &all_stages(folder.path(), "true"), &failing, None).await;
    assert!(!made.unwrap_err().error.is_cancelled());
    let told = events.iter().find_map(|event| match event {
        Event::StageFailed { stage: StageName::Image, message, excerpt, .. } => Some((message, excerpt)),
        _ => None,
    });
    let (message, excerpt) = told.expect("it is told");
    assert!(message.contains("no space"), "{message}");
    assert_eq!(*excerpt, ["disk full"]);
}

#[tokio::test]
async fn stages_before_the_one_to_begin_with_are_taken_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (context, maker) = (context(folder.path()), Arc::new(Maker::default()));
    let stages = all_stages(folder.path(), "exit 3");
    let (made, _) = run_all(&context, &stages, &maker, Some(StageName::Publish)).await;
    let failure = made.expect_err("no image was ever made");
    assert!(failure.to_string().contains("leave out `--from`"), "{failure}");
    let (made, _) = run_all(&context, &stages, &maker, Some(StageName::Image)).await;
    let made = made.expect("the tests are not run");
    assert_eq!((made.verdicts["test"], made.verdicts["image"]), (StageVerdict::NotRun, StageVerdict::Passed));
}
