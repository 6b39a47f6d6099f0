//! Migrations run once for each release, one at a time, and their end is written down before it is told.

use super::fixture::{Fixture, Script, name, script, within};
use crate::{
    adapter::process::protocol::{Op, Reply},
    model::Action,
    port::{EffectError, EffectOutput, Target},
    reason::ReasonCode,
};
use std::{fs, path::Path, time::Duration};

/// Leaves a line for each run, and waits in it until the file `go` is there.
const WAITS: &str = "#!/bin/sh
echo \"$@\" >> $DATA/runs
while [ ! -e $DATA/go ]; do sleep 0.02; done
";

/// Tells all that it was given, and fails as long as the file `broken` is there.
const TELLS: &str = "#!/bin/sh
echo \"$@\" >> $DATA/runs
env > $DATA/env
pwd > $DATA/pwd
echo token is $(cat $TOKEN_FILE)
[ ! -e $DATA/broken ] || exit 7
";

const SLEEPS: &str = "#!/bin/sh\necho about to sleep\nexec sleep 600\n";

fn with_data(text: &'static str, data: &Path) -> Script {
    let data = data.to_str().expect("a temporary folder has a plain path").to_owned();
    script(text).with_secret("TOKEN", false).with(|bundle| drop(bundle.env.insert("DATA".to_owned(), data)))
}

fn runs(data: &Path) -> usize {
    fs::read_to_string(data.join("runs")).unwrap_or_default().lines().count()
}

async fn begun(data: &Path) {
    within("the migration begins", async {
        while runs(data) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

impl Fixture {
    async fn migrate(&self, bundle: usize) -> Result<EffectOutput, EffectError> {
        let bundle = self.bundles[bundle];
        self.perform(Action::Migrate { target: name("here"), service: name("api"), bundle }).await
    }

    async fn migrated(&self) -> Vec<String> {
        self.seen().await.ledger.migrated.get(&name("api")).cloned().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_once_for_a_release_with_what_a_unit_has() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let fixture = Fixture::new(&[with_data(TELLS, data.path())]).await;
    fixture.prepare(0).await.expect("it is prepared");
    fixture.migrate(0).await.expect("it is run");
    assert_eq!(fixture.migrated().await, ["r1"]);
    fixture.migrate(0).await.expect("it was run");
    fixture.commit(1, Some(0)).await;
    assert_eq!(fixture.migrated().await, ["r1"], "a commit keeps it");
    fixture.migrate(0).await.expect("it was run");

    assert_eq!(fs::read_to_string(data.path().join("runs")).expect("it ran"), "migrate --all\n");
    let env = fs::read_to_string(data.path().join("env")).expect("it told its variables");
    for line in ["COLOR=blue", "FAIRLEAD_RELEASE=r1", "FAIRLEAD_MIGRATION=api"] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(!env.contains("API_PORT") && !env.contains("value of TOKEN"), "{env}");
    let pwd = fs::read_to_string(data.path().join("pwd")).expect("it told its folder");
    assert!(pwd.contains(&fixture.bundles[0].short()), "{pwd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_says_why_without_a_secret_and_is_run_again_when_asked() {
    let data = tempfile::tempdir().expect("a temporary folder");
    fs::write(data.path().join("broken"), "").expect("it writes");
    let fixture = Fixture::new(&[with_data(TELLS, data.path())]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let error = fixture.migrate(0).await.expect_err("it fails");
    let EffectError::Terminal { reason: ReasonCode::MigrationFailed, message } = error else {
        panic!("{error:?}")
    };
    assert!(message.contains("exit code 7") && message.contains("token is ***"), "{message}");
    assert!(!message.contains("value of TOKEN"), "{message}");
    assert_eq!(fixture.migrated().await, Vec::<String>::new());

    fs::remove_file(data.path().join("broken")).expect("it was there");
    fixture.migrate(0).await.expect("it is run again");
    assert_eq!((runs(data.path()), fixture.migrated().await.len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_ask_at_once_wait_for_one_run() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let fixture = Fixture::new(&[with_data(WAITS, data.path())]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let go = async {
        begun(data.path()).await;
        fs::write(data.path().join("go"), "").expect("it writes");
    };
    let (first, second, ()) = tokio::join!(fixture.migrate(0), fixture.migrate(0), go);
    first.and(second).expect("both are content");
    assert_eq!(runs(data.path()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_asker_is_gone_goes_on_and_is_waited_for() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let fixture = Fixture::new(&[with_data(WAITS, data.path())]).await;
    fixture.prepare(0).await.expect("it is prepared");
    tokio::select! {
        _ = fixture.migrate(0) => panic!("it waits"),
        () = begun(data.path()) => {}
    }
    tokio::select! {
        _ = fixture.migrate(0) => panic!("it waits for the first"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    fs::write(data.path().join("go"), "").expect("it writes");
    fixture.migrate(0).await.expect("the first one's end is its own");
    assert_eq!((runs(data.path()), fixture.migrated().await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_runs_while_the_supervisor_is_killed_is_found_again() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut fixture = Fixture::new(&[with_data(WAITS, data.path())]).await;
    fixture.prepare(0).await.expect("it is prepared");
    tokio::select! {
        _ = fixture.migrate(0) => panic!("it waits"),
        () = begun(data.path()) => {}
    }
    fixture.kill_supervisor().await;
    fixture.serve().await;
    tokio::select! {
        _ = fixture.migrate(0) => panic!("it waits for the first"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    fs::write(data.path().join("go"), "").expect("it writes");
    fixture.migrate(0).await.expect("the first one's end is its own");
    assert_eq!((runs(data.path()), fixture.migrated().await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_too_long_is_ended_and_a_stale_executor_begins_none() {
    let fixture = Fixture::new(&[script(SLEEPS)]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let ask = |release: &str, timeout| Op::Migrate {
        service: name("api"),
        bundle: fixture.bundles[0],
        release: release.to_owned(),
        args: vec!["migrate".to_owned()],
        timeout,
    };
    let Reply::Failed(failed) = fixture.ask(1, ask("r1", 200)).await else { panic!("it sleeps too long") };
    assert!(failed.message.contains("time limit"), "{failed:?}");
    assert!(failed.message.contains("about to sleep"), "{failed:?}");

    fixture.target.fence(2).await.expect("it is fenced");
    assert_eq!(fixture.ask(1, ask("r1", 200)).await, Reply::Fenced { generation: 2 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_ends_leaves_none_behind() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut fixture = Fixture::new(&[with_data(WAITS, data.path())]).await;
    fixture.prepare(0).await.expect("it is prepared");
    tokio::select! {
        _ = fixture.migrate(0) => panic!("it waits"),
        () = begun(data.path()) => {}
    }
    assert_eq!(fixture.ask(1, Op::Shutdown { grace: 5_000 }).await, Reply::Done);
    fixture.ended().await;
    let bundles = fixture.state_dir().join("bundles");
    assert_eq!(crate::adapter::process::procfs::processes_under(&bundles), Vec::<u32>::new());
    let seen = fixture.onlooker().observe().await.expect("what is on record");
    assert!(seen.ledger.migrated.is_empty(), "it was broken off");
}
