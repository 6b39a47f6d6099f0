//! A failure says which step, what it wrote last, and what to do.

use crate::kit::{BUILDERS, ENGINES, Folder, SHELL, build, connect, was};
use docker::{
    Address, Connection,
    build::{BuildFailure, Builder},
};
use pipeline::image::context::ContextError;
use std::time::Duration;
use tests::{Engine, Generation, Registry};

#[tokio::test]
async fn the_step_that_failed_is_quoted_with_its_last_lines() {
    let step =
        "RUN i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; echo the reason >&2; exit 3";
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let folder = Folder::new(&format!("{SHELL}{step}\nRUN echo never\n"));
            let (built, events) = build(&connection, &folder.request(builder)).await;
            let error = built.unwrap_err();
            assert!(matches!(error.kind, BuildFailure::Step { code: 3 }), "{error:?}");
            assert!(error.step.as_ref().unwrap().ends_with(step), "{error:?}");
            assert_eq!(error.last_lines.len(), 30, "{error:?}");
            // Errors may be told long before what was written to the output ahead of them.
            for line in ["line 99", "line 98", "the reason"] {
                assert!(error.last_lines.iter().any(|known| known == line), "{line}: {error:?}");
            }
            assert!(error.to_string().contains("exit code 3"), "{error}");
            assert!(was(&events, "failed", step) && !was(&events, "began", "RUN echo never"), "{events:#?}");
            assert!(!error.is_retryable());
        }
    }
}

/// A Dockerfile, a stage that is asked for, what the failure must be, and what its text must say.
struct Case {
    dockerfile: String,
    target: Option<&'static str>,
    is: fn(&BuildFailure) -> bool,
    says: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let case = |dockerfile: String, target, is, says| Case { dockerfile, target, is, says };
    vec![
        case(
            "FROM scratch\n\nRUNN x\n".to_owned(),
            None,
            |kind| matches!(kind, BuildFailure::Dockerfile { line: Some(3), .. }),
            &["line 3 of `Dockerfile`", "unknown instruction: RUNN"],
        ),
        case(
            "# nothing\n".to_owned(),
            None,
            |kind| matches!(kind, BuildFailure::Dockerfile { line: None, .. }),
            &["file with no instructions"],
        ),
        case(
            SHELL.to_owned(),
            Some("nope"),
            |kind| matches!(kind, BuildFailure::NoSuchStage { stage, .. } if stage == "nope"),
            &["no stage `nope`", "FROM … AS nope"],
        ),
        case(
            "FROM scratch\nCOPY nope/file /x\n".to_owned(),
            None,
            |kind| matches!(kind, BuildFailure::NotThere { path } if path.trim_start_matches('/').starts_with("nope")),
            &["COPY nope/file /x`: there is no", "ignore file"],
        ),
        case(
            // Nobody listens at port 1.
            "FROM 127.0.0.1:1/base:1\nCOPY busybox /x\n".to_owned(),
            None,
            |kind| matches!(kind, BuildFailure::RegistryUnreachable { .. }),
            &["base image", "127.0.0.1:1", "connection refused", "try again"],
        ),
        case(
            format!("{SHELL}RUN [\"/nope\"]\n"),
            None,
            |kind| matches!(kind, BuildFailure::CannotStart { .. }),
            &["RUN [\"/nope\"]`", "cannot be started", "/nope: no such file"],
        ),
        case(
            "FROM scratch\nCOPY junk /bin/sh\nRUN x\n".to_owned(),
            None,
            |kind| matches!(kind, BuildFailure::Platform { .. }),
            &["exec format error", "platform"],
        ),
    ]
}

#[tokio::test]
async fn every_mistake_says_what_to_do() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            for case in cases() {
                let folder = Folder::new(&case.dockerfile);
                folder.write("junk", "\x7fELFjunk");
                let mut request = folder.request(builder);
                request.target = case.target.map(|target| target.parse().unwrap());
                executable(&folder.path().join("junk"));
                let error = build(&connection, &request).await.0.unwrap_err();
                let text = error.to_string();
                assert!((case.is)(&error.kind), "{generation:?} {builder:?}: {error:?}");
                for words in case.says {
                    assert!(text.contains(words), "{generation:?} {builder:?}: {words} in {text}");
                }
                let is_retryable = matches!(error.kind, BuildFailure::RegistryUnreachable { .. });
                assert_eq!(error.is_retryable(), is_retryable, "{error:?}");
            }
        }
    }
}

fn executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is our file");
}

#[tokio::test]
async fn a_base_image_that_the_registry_does_not_give_is_told_from_one_that_does_not_answer() {
    let registry = Registry::shared();
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let folder = Folder::new(&format!("FROM {}/base:1\nCOPY busybox /x\n", registry.address()));
            let error = build(&connection, &folder.request(builder)).await.0.unwrap_err();
            assert!(
                matches!(error.kind, BuildFailure::BaseImage { .. }),
                "{generation:?} {builder:?}: {error:?}"
            );
            assert!(!error.is_retryable());
        }
    }
}

#[tokio::test]
async fn what_the_classic_builder_does_not_know_is_said_to_need_buildkit() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new(&format!("{SHELL}RUN --mount=type=cache,target=/c true\n"));
        let error = build(&connection, &folder.request(Builder::Classic)).await.0.unwrap_err();
        assert!(matches!(error.kind, BuildFailure::NeedsBuildKit { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_dockerfile_or_context_that_is_not_there_is_named() {
    let connection = connect(Generation::Docker28).await;
    let folder = Folder::new(SHELL);
    let mut request = folder.request(Builder::Best);
    request.dockerfile = "docker/Dockerfile".into();
    let error = build(&connection, &request).await.0.unwrap_err();
    assert!(matches!(error.kind, BuildFailure::Context(ContextError::Dockerfile { .. })), "{error:?}");
    assert!(error.to_string().contains("cannot find the Dockerfile `docker/Dockerfile`"), "{error}");
}

#[tokio::test]
async fn a_build_ends_at_its_deadline_and_says_what_it_was_at() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let folder = Folder::new(&format!("{SHELL}RUN echo waiting; read x </dev/zero\n"));
            let mut request = folder.request(builder);
            // Enough for the step to begin on a busy machine, and it never ends by itself.
            request.deadline = Duration::from_secs(8);
            let error = build(&connection, &request).await.0.unwrap_err();
            assert!(matches!(error.kind, BuildFailure::Deadline { .. }), "{error:?}");
            assert!(error.to_string().contains("longer than 8 s"), "{error}");
            assert_eq!(error.last_lines, ["waiting"], "{error:?}");
        }
    }
}

#[tokio::test]
async fn an_engine_that_goes_away_is_worth_another_try() {
    let engine = Engine::start(Generation::Docker28);
    let connection = Connection::open(Address::Unix(engine.socket())).await.unwrap();
    let folder = Folder::new(&format!("{SHELL}RUN echo waiting; read x </dev/zero\n"));
    let request = folder.request(Builder::Best);
    let (began, begins) = tokio::sync::oneshot::channel();
    let mut began = Some(began);
    let building = connection.build(&request, |event| {
        if format!("{event:?}").contains("waiting\" }")
            && let Some(began) = began.take()
        {
            began.send(()).unwrap();
        }
    });
    let ends = async {
        begins.await.unwrap();
        tokio::task::spawn_blocking(|| engine.stop()).await.unwrap();
    };
    let (built, ()) = tokio::join!(building, ends);
    let error = built.unwrap_err();
    assert!(matches!(error.kind, BuildFailure::Gone { .. }), "{error:?}");
    assert!(error.is_retryable() && error.last_lines == ["waiting"], "{error:?}");
}

#[tokio::test]
async fn a_context_that_cannot_be_sent_is_the_reason_and_not_what_the_engine_makes_of_half_of_it() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        for builder in BUILDERS {
            let folder = Folder::new(&format!("{SHELL}COPY . /all\n"));
            let device = folder.path().join("zzz");
            let made =
                std::process::Command::new("mknod").arg(&device).args(["c", "1", "3"]).status().unwrap();
            assert!(made.success());
            let error = build(&connection, &folder.request(builder)).await.0.unwrap_err();
            assert!(matches!(error.kind, BuildFailure::Context(ContextError::Device { .. })), "{error:?}");
            assert!(error.to_string().contains("`zzz` of the build context is a device"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_from_a_program_that_fails() {
    let connection = connect(Generation::Docker28).await;
    let step = "RUN --mount=type=tmpfs,target=/t,size=65536 i=0; while echo some text >> /t/x; do i=$((i+1)); done; exit 1";
    let folder = Folder::new(&format!("{SHELL}{step}\n"));
    let error = build(&connection, &folder.request(Builder::Best)).await.0.unwrap_err();
    assert!(matches!(error.kind, BuildFailure::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("docker system df"), "{error}");
}
