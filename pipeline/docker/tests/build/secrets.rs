//! Secrets reach the step that mounts them, and nothing else.

use crate::kit::{ENGINES, Folder, SHELL, build, connect, inspect, well};
use docker::build::{BuildFailure, Builder};
use futures::StreamExt;
use pipeline::secret::Secret;

const VALUE: &str = "correct-horse-battery+staple/=";

#[tokio::test]
async fn a_step_reads_a_secret_that_is_nowhere_else() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let prints = "RUN --mount=type=secret,id=npm-token read x </run/secrets/npm-token; echo got $x; echo ${#x} > /length";
        let folder = Folder::new(&format!("{SHELL}{prints}\n"));
        let mut request = folder.request(Builder::Best);
        request.secrets.insert("npm-token".parse().unwrap(), Secret::new(VALUE.into()));
        let (image, events) = well(build(&connection, &request).await);
        let text = format!("{events:?}");
        assert!(text.contains("got ***") && !text.contains(VALUE), "{text}");
        let length =
            crate::kit::run(&connection, &image, &["/bin/sh", "-c", "read x </length; echo $x"]).await;
        assert_eq!(length, format!("{}\n", VALUE.len()), "{generation:?}");
        let id = image.id.to_string();
        let history = connection.docker().image_history(&id).await.unwrap();
        let seen = format!("{:?} {history:?}", inspect(&connection, &image).await);
        assert!(seen.contains("npm-token") && !seen.contains(VALUE), "{seen}");
        // All of it: layers, configuration, history.
        let mut export = Vec::new();
        let mut stream = connection.docker().export_image(&id);
        while let Some(piece) = stream.next().await {
            export.extend(piece.unwrap());
        }
        let holds = |needle: &str| export.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(holds("npm-token") && !holds(VALUE), "{generation:?}");
    }
}

#[tokio::test]
async fn many_builds_at_once_each_get_their_own_secret() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let builds = (0..6).map(|n| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let step =
                    format!("RUN --mount=type=secret,id=n read x </run/secrets/n; echo {n} $x > /mine");
                let folder = Folder::new(&format!("{SHELL}{step}\n"));
                let mut request = folder.request(Builder::Best);
                request.secrets.insert("n".parse().unwrap(), Secret::new(format!("value-{n}").into_bytes()));
                let (image, _) = well(build(&connection, &request).await);
                let mine =
                    crate::kit::run(&connection, &image, &["/bin/sh", "-c", "read x </mine; echo $x"]).await;
                assert_eq!(mine, format!("{n} value-{n}\n"));
            })
        });
        let ends: Vec<_> = builds.collect();
        futures::future::try_join_all(ends).await.expect("each ends well");
    }
}

#[tokio::test]
async fn a_secret_that_was_not_given_is_asked_for_by_its_name() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new(&format!("{SHELL}RUN --mount=type=secret,id=absent,required=true true\n"));
        let error = build(&connection, &folder.request(Builder::Best)).await.0.unwrap_err();
        assert!(matches!(&error.kind, BuildFailure::SecretMissing { id } if id == "absent"), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("id=absent,required=true true`: it asks for the build secret `absent`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_would_give_a_secret_away_is_refused_before_anything_is_sent() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let folder = Folder::new(SHELL);
        let with_secret = |builder| {
            let mut request = folder.request(builder);
            request.secrets.insert("token".parse().unwrap(), Secret::new(VALUE.into()));
            request
        };
        let (classic, mut in_label, mut in_arg) =
            (with_secret(Builder::Classic), with_secret(Builder::Best), with_secret(Builder::Best));
        in_label.labels.insert("label".to_owned(), format!("token={VALUE}"));
        in_arg.args.insert("TOKEN".parse().unwrap(), VALUE.to_owned());
        let cases = [
            (classic, "a build secret needs BuildKit"),
            (in_label, "the label `label`"),
            (in_arg, "the build argument `TOKEN`"),
        ];
        for (request, expected) in cases {
            let (built, events) = build(&connection, &request).await;
            let error = built.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!format!("{error:?} {error}").contains(VALUE), "{error:?}");
            assert!(events.is_empty(), "{events:?}");
        }
    }
}

#[tokio::test]
async fn a_failure_quotes_no_secret() {
    for generation in ENGINES {
        let connection = connect(generation).await;
        let step = "RUN --mount=type=secret,id=token read x </run/secrets/token; echo bad $x >&2; exit 4";
        let folder = Folder::new(&format!("{SHELL}{step}\n"));
        let mut request = folder.request(Builder::Best);
        request.secrets.insert("token".parse().unwrap(), Secret::new(VALUE.into()));
        let (built, events) = build(&connection, &request).await;
        let error = built.unwrap_err();
        assert_eq!(error.last_lines, ["bad ***"], "{error:?}");
        assert!(!format!("{error:?} {events:?}").contains(VALUE), "{error:?}");
    }
}
