//! Migrations: once, recorded, told when they fail.

use crate::fixture::{SECRET, act, everywhere, migrate, name, prepare, twice};
use deploy::{
    port::{EffectError, Target},
    reason::ReasonCode,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_run_once_and_recorded() {
    everywhere(|mut fixture| async move {
        fixture.plan_migration("[ \"$FAIRLEAD_MIGRATION\" = api ] && [ -r $TOKEN_FILE ]", 20_000);
        let hash = fixture.plan(&fixture.bundle("exit 0"), "r1");
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        let note = act(&target, 1, migrate(hash)).await.expect("migrated").note;
        assert!(note.contains("r1"), "{note}");
        assert!(target.observe().await.expect("it answers").ledger.has_migrated(&name("api"), "r1"));
        assert!(target.observe().await.expect("it answers").units.is_empty(), "it is no unit");

        // A migration that would fail shows that it is not run again.
        fixture.plan_migration("exit 1", 20_000);
        let again = fixture.target().await;
        twice(&again, 2, migrate(hash)).await;
        let of_release = |release: &str| {
            let mut plan = fixture.plan.clone();
            plan.bundles.values_mut().for_each(|planned| planned.entry.release = release.to_owned());
            plan
        };
        let next = fixture.target_with(of_release("r2")).await;
        act(&next, 2, migrate(hash)).await.expect_err("another release has its own");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_tells_its_last_words_without_secrets() {
    everywhere(|mut fixture| async move {
        fixture.plan_migration("echo with $(/bin/busybox cat $TOKEN_FILE); echo broken >&2; exit 4", 20_000);
        let hash = fixture.plan(&fixture.bundle("exit 0"), "r1");
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        for _ in 0..2 {
            let error = act(&target, 1, migrate(hash)).await.expect_err("it fails");
            let EffectError::Terminal { reason: ReasonCode::MigrationFailed, message } = error else {
                panic!("{error:?}")
            };
            assert!(message.contains("exit code 4") && message.contains("broken"), "{message}");
            assert!(message.contains("with ***") && !message.contains(SECRET), "{message}");
        }
        assert!(!target.observe().await.expect("it answers").ledger.has_migrated(&name("api"), "r1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_takes_too_long_is_ended() {
    everywhere(|mut fixture| async move {
        fixture.plan_migration("exec /bin/busybox sleep 31535996", 300);
        let hash = fixture.plan(&fixture.bundle("exit 0"), "r1");
        let target = fixture.target().await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        let error = act(&target, 1, migrate(hash)).await.expect_err("it takes too long");
        assert!(error.to_string().contains("longer than 300 ms"), "{error}");
        let runs = fixture.raw("/containers/json");
        let runs = runs
            .as_array()
            .expect("a list")
            .iter()
            .filter(|one| one["Labels"]["io.fairlead.project"] == fixture.place.project.as_str());
        assert_eq!(runs.count(), 0, "it was ended");
    })
    .await;
}
