//! The `test` stage: what it runs by default, what it reads, and what it leaves.

use super::*;

fn report(context: &Context) -> String {
    fs::read_to_string(context.state.join("reports/junit.xml")).unwrap()
}

#[tokio::test]
async fn what_was_said_of_each_test_is_kept_whether_they_pass_or_not() {
    let repository = repository();
    let context = context(repository.path());
    let stage = script(
        "echo '     Running unittests src/lib.rs (target/debug/deps/shop-0011)' >&2; echo 'running 2 tests'; \
         echo 'test sells ... ok'; echo 'test buys ... ignored, no money'; echo 'test result: ok. 1 passed; 0 failed'",
    );
    go(&context, &stage, false).await.0.unwrap();
    let text = report(&context);
    assert!(text.contains(r#"<testcase name="sells" classname="src/lib.rs (shop)"/>"#), "{text}");
    assert!(text.contains(r#"<skipped message="no money"/>"#), "{text}");

    let stage = script("echo 'running 1 test'; echo 'test sells ... FAILED'; exit 101");
    go(&context, &stage, false).await.0.unwrap_err();
    assert!(report(&context).contains(r#"failures="1""#), "{}", report(&context));

    // Nothing is known of single tests, but that the run failed is.
    go(&context, &script("echo boom; exit 1"), false).await.0.unwrap_err();
    let text = report(&context);
    assert!(text.contains(r#"errors="1""#) && text.contains("boom") && !text.contains("sells"), "{text}");
    let slow = Stage::Test(TestStage {
        command: TestCommand::Own(words("sleep 600")),
        packages: vec![],
        inputs: vec![],
        timeout: Duration::from_millis(100),
    });
    go(&context, &slow, false).await.0.unwrap_err();
    assert!(report(&context).contains("its time limit"), "{}", report(&context));
}

#[tokio::test]
async fn no_secret_is_in_the_report() {
    let repository = repository();
    let context = context(repository.path());
    context.runner.redactor.learn(&Secret::new(b"s3cret-value".to_vec()));
    let stage = script(
        "echo 'running 1 test'; echo 'test a ... FAILED'; echo failures:; echo '---- a stdout ----'; \
         echo got $(echo s3cret)-value; exit 1",
    );
    go(&context, &stage, false).await.0.unwrap_err();
    let text = report(&context);
    assert!(text.contains("got ***") && !text.contains("s3cret-value"), "{text}");
}

#[tokio::test]
async fn tests_that_nextest_tells_of_are_named_and_quoted() {
    let repository = repository();
    let context = context(repository.path());
    let told = concat!(env!("CARGO_MANIFEST_DIR"), "/src/stage/report/testdata/nextest.txt");
    let (result, _) = go(&context, &script(&format!("cat {told} >&2; exit 100")), false).await;
    let StageError::Failed { message, excerpt, .. } = result.unwrap_err() else { panic!("it failed") };
    assert!(message.contains("3 tests failed (tests::breaks, tests::tells, fails); "), "{message}");
    assert!(excerpt.contains(&"assertion `left == right` failed: wrong".to_owned()), "{excerpt:?}");
}

/// A cargo that has this to say of nextest, writes what it is asked to run into `ran`, and passes on all else.
fn cargo(context: &mut Context, folder: &Path, nextest: &str) {
    let path = folder.join("cargo");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n'nextest --version') {nextest};;\nmetadata*) exec {} \"$@\";;\n\
         *) echo \"$*\" >> {}/ran;;\nesac\n",
        std::env::var("CARGO").unwrap(),
        folder.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    context.variables.insert("CARGO".into(), path.into());
}

/// Runs the tests as a release does; why they ran, or that they did not.
async fn run_tests(context: &Context, stage: &Stage) -> Result<Vec<String>, StageFailure> {
    let (stages, origin) = ([stage.clone()], Origin::default());
    let names = &[StageName::Test];
    let order = Order { stages: &stages, names, force: false, from: None, jobs: 1, origin, maker: None };
    let reasons = Mutex::new(Vec::new());
    let emit = |event: Event| match event {
        Event::StageStarted { because, .. } => reasons.lock().unwrap().push(because),
        Event::StageSkipped { .. } => reasons.lock().unwrap().push("skipped".to_owned()),
        _ => {}
    };
    run_stages(context, order, &emit).await?;
    Ok(reasons.into_inner().unwrap())
}

#[tokio::test]
async fn without_a_command_nextest_tests_where_it_is_and_cargo_elsewhere() {
    let (project, tools) = (cargo_project(), tempfile::tempdir().unwrap());
    let mut context = context(project.path());
    let stage = tested(TestCommand::Default, &[]);
    let ran = || fs::read_to_string(tools.path().join("ran")).unwrap();

    cargo(&mut context, tools.path(), "echo 'error: no such command: `nextest`' >&2; exit 101");
    assert_eq!(run_tests(&context, &stage).await.unwrap(), ["first time"]);
    assert_eq!(ran(), "test\n");
    assert_eq!(run_tests(&context, &stage).await.unwrap(), ["skipped"]);

    cargo(&mut context, tools.path(), "echo 'cargo-nextest 0.9.1 (a 2026-01-01)'; echo 'release: 0.9.1'");
    let told = run_tests(&context, &stage).await.unwrap();
    assert!(told[0].starts_with("the command changed from cargo test to cargo nextest run"), "{told:?}");
    assert_eq!(ran(), "test\nnextest run\n");
    assert_eq!(run_tests(&context, &stage).await.unwrap(), ["skipped"]);

    cargo(&mut context, tools.path(), "echo 'cargo-nextest 0.9.2 (b 2026-02-02)'");
    let told = run_tests(&context, &stage).await.unwrap();
    assert_eq!(
        told,
        [
            "the test runner changed from cargo-nextest 0.9.1 (a 2026-01-01) to cargo-nextest 0.9.2 (b 2026-02-02)"
        ]
    );

    fs::write(project.path().join("src/api.rs"), "fn main() {}").unwrap();
    assert_eq!(run_tests(&context, &stage).await.unwrap(), ["`src/api.rs` changed"]);
}

#[tokio::test]
async fn without_a_command_there_must_be_something_that_cargo_tests() {
    let folder = tempfile::tempdir().unwrap();
    let failure = run_tests(&context(folder.path()), &tested(TestCommand::Default, &[])).await.unwrap_err();
    assert!(
        !failure.is_told && failure.to_string().contains("give `[stages.test]` a `command`"),
        "{failure}"
    );
}

#[tokio::test]
async fn inputs_are_added_to_the_sources() {
    let project = cargo_project();
    let context = context(project.path());
    fs::write(project.path().join("data.txt"), "1").unwrap();
    for command in [TestCommand::Default, TestCommand::Own(words("true"))] {
        let stage = tested(command, &["data.txt"]);
        go(&context, &stage, true).await.0.unwrap_or_else(|error| panic!("{}", error.story()));
        assert!(why(&context, &stage).starts_with("skipped"), "{}", why(&context, &stage));
        fs::write(project.path().join("data.txt"), "2").unwrap();
        assert_eq!(why(&context, &stage), "runs: `data.txt` changed");
        fs::write(project.path().join("data.txt"), "1").unwrap();
        fs::write(project.path().join("src/api.rs"), "fn main() { }").unwrap();
        assert_eq!(why(&context, &stage), "runs: `src/api.rs` changed");
        fs::write(project.path().join("src/api.rs"), "fn main() { println!(\"1\"); }").unwrap();
    }
}
