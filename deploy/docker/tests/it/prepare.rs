//! What can go wrong before anything runs, and images of a registry.

use crate::fixture::{Fixture, act, everywhere, only, prepare, start, stop};
use bollard::{auth::DockerCredentials, query_parameters::RemoveImageOptionsBuilder};
use deploy::{
    model::UnitPhase,
    port::{EffectError, Target},
    reason::ReasonCode,
};
use docker_target::Credentials;
use pipeline::digest::Digest;
use std::net::TcpListener;
use tests::Registry;

async fn refused(fixture: &Fixture, hash: deploy::bundle::BundleHash) -> (ReasonCode, String) {
    match act(&fixture.target().await, 1, prepare(hash)).await {
        Err(EffectError::Terminal { reason, message }) => (reason, message),
        other => panic!("{:?}: {other:?}", fixture.generation),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_nowhere_is_told() {
    everywhere(|mut fixture| async move {
        let mut bundle = fixture.bundle("exit 0");
        bundle.artifact.name = format!("{}/not/there", Registry::shared().address());
        bundle.artifact.digest = Digest::of_bytes("no image");
        let hash = fixture.plan(&bundle, "r1");
        let (reason, message) = refused(&fixture, hash).await;
        assert_eq!(reason, ReasonCode::PrepareFailed);
        assert!(message.contains("/not/there@sha256:"), "{message}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_reached_may_be_later() {
    everywhere(|mut fixture| async move {
        let mut bundle = fixture.bundle("exit 0");
        bundle.artifact.name = format!("127.0.0.1:{}/api", fixture.another_port());
        bundle.artifact.digest = Digest::of_bytes("no image");
        let hash = fixture.plan(&bundle, "r1");
        let error = act(&fixture.target().await, 1, prepare(hash)).await.expect_err("nobody is there");
        assert!(matches!(error, EffectError::Passing { .. }), "{:?}: {error:?}", fixture.generation);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_has_is_told_and_given_when_it_is_free() {
    everywhere(|mut fixture| async move {
        let taken = TcpListener::bind(("127.0.0.1", fixture.port)).expect("a port");
        let hash = fixture.plan(&fixture.bundle("exit 0"), "r1");
        let (reason, message) = refused(&fixture, hash).await;
        assert_eq!(reason, ReasonCode::PortTaken);
        assert!(message.contains(&fixture.port.to_string()), "{message}");
        drop(taken);
        act(&fixture.target().await, 1, prepare(hash)).await.expect("it is free");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_the_planned_one_is_refused() {
    everywhere(|mut fixture| async move {
        let mut bundle = fixture.bundle("exit 0");
        bundle.files.values_mut().for_each(|file| file.digest = Digest::of_bytes("other"));
        let hash = fixture.plan(&bundle, "r1");
        let (reason, message) = refused(&fixture, hash).await;
        assert_eq!(reason, ReasonCode::PrepareFailed);
        assert!(message.contains("api.conf") && message.contains("plan again"), "{message}");
        let target = fixture.target().await;
        target.bundle(&hash).await.expect_err("nothing half-made is to be found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_somebody_removed_is_not_taken_for_an_empty_bundle() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle("exit 0"), "r1");
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        let volumes = fixture.raw("/volumes");
        let ours = volumes["Volumes"].as_array().expect("a list").iter().find(|one| {
            one["Labels"]["io.fairlead.bundle"] == hash.to_string()
                && one["Labels"]["io.fairlead.project"] == fixture.place.project.as_str()
        });
        let name = ours.expect("it is there")["Name"].as_str().expect("a name");
        fixture
            .docker
            .remove_volume(name, None::<bollard::query_parameters::RemoveVolumeOptions>)
            .await
            .expect("removed");
        let error = act(&target, 1, start(&fixture.unit(0, hash))).await.expect_err("its secrets are gone");
        assert!(
            matches!(error, EffectError::Terminal { reason: ReasonCode::PrepareFailed, .. }),
            "{error:?}"
        );
        // Whoever has its parts brings it again.
        act(&target, 1, prepare(hash)).await.expect("brought again");
        act(&target, 1, start(&fixture.unit(0, hash))).await.expect("started");
        act(&target, 1, stop(&fixture.unit(0, hash), 0)).await.expect("stopped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_gone_is_not_taken_for_an_empty_one() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle("exit 0"), "r1");
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        let volumes = fixture.raw("/volumes");
        for one in volumes["Volumes"].as_array().expect("a list") {
            let labels = &one["Labels"];
            if labels["io.fairlead.project"] == fixture.place.project.as_str()
                && labels["io.fairlead.kind"] == "state"
            {
                let name = one["Name"].as_str().expect("a name");
                let none = None::<bollard::query_parameters::RemoveVolumeOptions>;
                fixture.docker.remove_volume(name, none).await.expect("removed");
            }
        }
        let error = target.observe().await.expect_err("something of ours is there");
        assert!(
            matches!(&error, EffectError::Terminal { message, .. } if message.contains("is gone")),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_its_digest_with_a_password() {
    everywhere(|mut fixture| async move {
        let registry = Registry::shared();
        let credentials = DockerCredentials {
            username: Some(registry.user().to_owned()),
            password: Some(registry.password().to_owned()),
            ..DockerCredentials::default()
        };
        let name = format!("{}/{}", registry.address(), fixture.place.project);
        let id = fixture.image.to_string();
        fixture.push(registry, &format!("{name}:1"));
        let found = fixture.docker.inspect_image(&format!("{name}:1")).await.expect("an image");
        let digest =
            found.repo_digests.into_iter().flatten().find_map(|one| Some(one.rsplit_once('@')?.1.to_owned()));
        let digest: Digest = digest.expect("it has a digest").parse().expect("a digest");
        let force = RemoveImageOptionsBuilder::default().force(true).build();
        fixture.docker.remove_image(&id, Some(force), None).await.expect("removed");

        let mut bundle = fixture.bundle("exec /bin/busybox sleep 31535995");
        (bundle.artifact.name, bundle.artifact.digest) = (name, digest);
        let hash = fixture.plan(&bundle, "r1");
        let (reason, message) = refused(&fixture, hash).await;
        assert_eq!(reason, ReasonCode::PrepareFailed, "without the password: {message}");
        fixture.credentials = Credentials([(registry.address().to_owned(), credentials)].into());
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("pulled");
        let unit = fixture.unit(0, hash);
        act(&target, 1, start(&unit)).await.expect("started");
        assert_eq!(only(&target).await.phase, UnitPhase::Running);
        act(&target, 1, stop(&unit, 0)).await.expect("stopped");

        let force = RemoveImageOptionsBuilder::default().force(true).build();
        fixture.docker.remove_image(&id, Some(force), None).await.expect("somebody makes room");
        act(&target, 1, start(&unit)).await.expect("it is pulled again");
        assert_eq!(only(&target).await.phase, UnitPhase::Running);
        act(&target, 1, stop(&unit, 0)).await.expect("stopped");
    })
    .await;
}
