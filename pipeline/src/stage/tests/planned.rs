//! What is told of all stages before the first one runs.

use super::*;

/// What was told first, a line for each stage.
fn planned(events: &[Event]) -> Vec<String> {
    let Some(Event::StagesPlanned { stages }) = events.first() else { panic!("{events:?}") };
    assert!(!events[1..].iter().any(|event| matches!(event, Event::StagesPlanned { .. })), "told once");
    let of = |stage: &PlannedStage| stage.service.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    stages.iter().map(|stage| format!("{}{} {stage}", stage.stage, of(stage))).collect()
}

/// What was told is what came: a stage that was to run ran, and one that was to be skipped was.
fn came_true(events: &[Event]) {
    let Some(Event::StagesPlanned { stages }) = events.first() else { panic!("{events:?}") };
    for planned in stages {
        let is_it = |stage: &StageName, service: &Option<Name>| {
            *stage == planned.stage && *service == planned.service
        };
        let ran = events.iter().any(
            |event| matches!(event, Event::StageStarted { stage, service, .. } if is_it(stage, service)),
        );
        let skipped = events.iter().any(
            |event| matches!(event, Event::StageSkipped { stage, service, .. } if is_it(stage, service)),
        );
        match planned.outlook {
            Outlook::Runs => assert!(ran && !skipped, "{planned:?} {events:?}"),
            Outlook::Skipped => assert!(!ran, "{planned:?} {events:?}"),
            Outlook::Depends => {}
        }
    }
}

fn without_time(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(" since ").next().unwrap()).collect()
}

#[tokio::test]
async fn every_stage_is_told_with_its_reason_before_the_first_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (context, maker) = (context(folder.path()), Arc::new(Maker::default()));
    let stages = all_stages(folder.path(), "true");
    let (made, events) = run_all(&context, &stages, &maker, None).await;
    made.unwrap();
    assert_eq!(
        planned(&events),
        [
            "test runs: first time",
            "image cart runs: first time",
            "image web runs: first time",
            "publish web depends: on which image is made"
        ]
    );
    came_true(&events);

    let (made, events) = run_all(&context, &stages, &maker, None).await;
    made.unwrap();
    assert_eq!(
        without_time(&planned(&events)),
        [
            "test skipped: inputs unchanged",
            "image cart skipped: inputs unchanged",
            "image web skipped: inputs unchanged",
            "publish web skipped: inputs unchanged"
        ]
    );
    came_true(&events);

    let (made, events) = run_asked(&context, &stages, &maker, None, true).await;
    made.unwrap();
    let told = planned(&events);
    assert!(told.iter().all(|line| line.ends_with("runs: asked for with --force")), "{told:?}");
    came_true(&events);

    fs::write(folder.path().join("new.txt"), "1").unwrap();
    let (made, events) = run_all(&context, &stages, &maker, Some(StageName::Publish)).await;
    made.unwrap();
    let told = planned(&events);
    assert_eq!(
        without_time(&told),
        [
            "test skipped: taken as it passed last",
            "image cart skipped: taken as it passed last",
            "image web skipped: taken as it passed last",
            "publish web skipped: inputs unchanged"
        ]
    );
    came_true(&events);
}

#[tokio::test]
async fn an_image_depends_on_a_build_that_runs_and_is_certain_after_one_that_is_skipped() {
    let repository = repository();
    let (context, maker) = (context(repository.path()), Arc::new(Maker::default()));
    let makes = "mkdir -p .fairlead && cp dir/b .fairlead/api && chmod +x .fairlead/api";
    let artifact = [("api", ArtifactSpec::Path(".fairlead/api".into()))];
    let image = Stage::Image(ImageStage {
        service: "api".parse().unwrap(),
        source: ImageSource::FromBinary,
        has_executable: true,
        repository: "localhost/shop/api".parse::<crate::image::reference::Reference>().unwrap().repository,
        timeout: TIMEOUT,
        published: None,
    });
    let stages = [build(Some(makes), &artifact), image];
    let (made, events) = run_all(&context, &stages, &maker, None).await;
    made.unwrap();
    assert_eq!(planned(&events), ["build runs: first time", "image api depends: on what build makes"]);

    let (made, events) = run_all(&context, &stages, &maker, None).await;
    made.unwrap();
    let told = planned(&events);
    assert_eq!(
        without_time(&told),
        ["build skipped: inputs unchanged", "image api skipped: inputs unchanged"]
    );
    came_true(&events);

    // The build runs and makes the same as before, so no image is made: that is why nothing else was foretold.
    fs::write(repository.path().join("elsewhere"), "1").unwrap();
    let (made, events) = run_all(&context, &stages, &maker, None).await;
    made.unwrap();
    assert_eq!(
        planned(&events),
        ["build runs: `elsewhere` is new", "image api depends: on what build makes"]
    );
    assert!(matches!(events.last(), Some(Event::StageSkipped { stage: StageName::Image, .. })), "{events:?}");
}

#[tokio::test]
async fn tests_that_are_left_out_are_not_told_as_passed() {
    let folder = tempfile::tempdir().unwrap();
    let (context, maker) = (context(folder.path()), Arc::new(Maker::default()));
    let stages = all_stages(folder.path(), "true");
    let (made, events) = run_all(&context, &stages, &maker, Some(StageName::Image)).await;
    assert_eq!(made.unwrap().verdicts["test"], StageVerdict::NotRun);
    assert_eq!(planned(&events)[0], "test skipped: left out, though it has not passed");
}

#[tokio::test]
async fn what_the_engine_does_not_answer_is_left_open_and_fails_in_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let away = Arc::new(Maker { is_away: true, ..Maker::default() });
    let context = context(folder.path());
    let (made, events) = run_all(&context, &all_stages(folder.path(), "true"), &away, None).await;
    assert_eq!(
        planned(&events)[1],
        "image cart depends: on what cannot be told yet: the stage `image` cannot be planned for `cart`: \
         the engine does not answer"
    );
    assert_eq!(made.unwrap_err().stage, StageName::Image);
}

/// A cargo workspace, and a program in the place of cargo or rustc that never answers.
fn hanging(variable: &str) -> (tempfile::TempDir, Context) {
    let project = cargo_project();
    let program = project.path().join("hangs");
    fs::write(&program, "#!/bin/sh\ntouch asked\nsleep 600\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut context = context(project.path());
    context.variables.insert(variable.into(), program.into());
    (project, context)
}

#[tokio::test]
async fn a_cargo_or_a_compiler_that_does_not_answer_is_ended_and_named() {
    for (variable, what) in [("CARGO", "`cargo metadata`"), ("RUSTC", "`rustc -vV`")] {
        let (project, mut context) = hanging(variable);
        // Long enough for the program to begin, and for the real cargo to answer before rustc is asked.
        context.answer_limit = Duration::from_secs(4);
        let error = plan_stages(&context, &[script("true")], false).unwrap_err();
        let story = error.story();
        let limit = format!("{what} did not answer within {} s", context.answer_limit.as_secs_f32());
        assert!(story.contains(&limit), "{story}");
        assert!(story.contains(&context.root.display().to_string()), "{story}");
        assert!(story.contains("run it there yourself"), "{story}");
        assert!(!error.is_cancelled() && project.path().join("asked").exists());
    }
}

#[tokio::test]
async fn a_cargo_that_does_not_answer_is_ended_with_the_run() {
    let (project, context) = hanging("CARGO");
    let (asked, cancel) = (project.path().join("asked"), context.runner.cancel.clone());
    let stages = [script("true")];
    let planning = tokio::task::spawn_blocking(move || plan_stages(&context, &stages, false));
    let begun = async {
        while !asked.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, begun).await.expect("cargo is asked");
    cancel.cancel();
    let error = tokio::time::timeout(TIMEOUT, planning).await.expect("it ends").unwrap().unwrap_err();
    assert!(error.is_cancelled(), "{}", error.story());
}
