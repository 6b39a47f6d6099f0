//! What a unit may do, and who can read its secrets.

use crate::fixture::{SECRET, act, everywhere, name, prepare, start, stop, until};
use deploy::{
    bundle::BundleSecret,
    model::UnitPhase,
    port::{EffectError, Target},
    reason::ReasonCode,
};

/// Tells what it can do and see, and ends.
const TELLS: &str = "
b=/bin/busybox
echo uid=$($b id -u)
echo secret-mode=$($b stat -c %a:%u $TOKEN_FILE)
echo secret-known=$(( $($b wc -c < $TOKEN_FILE) ))
echo config=$($b cat $CONFIG)
$b touch /new 2>/dev/null && echo root=writable || echo root=read-only
$b touch /fairlead/secrets/new 2>/dev/null && echo bundle=writable || echo bundle=read-only
$b touch /tmp/new && echo tmp=writable
$b grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
echo files=$(ulimit -n)
echo release=$FAIRLEAD_RELEASE unit=$FAIRLEAD_UNIT
exit 7
";

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_may_do_little_and_its_secrets_are_in_one_file() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle(TELLS), "r1");
        let target = fixture.target().await;
        let unit = fixture.unit(0, hash);
        act(&target, 1, prepare(hash)).await.expect("prepared");
        act(&target, 1, start(&unit)).await.expect("started");
        let exit = until(&target, "its end", |seen| match &seen.units.first()?.phase {
            UnitPhase::Exited(exit) => Some(exit.clone()),
            _ => None,
        })
        .await;
        assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(7), None, false));
        let told = target.log_tail(&unit, 100).await.expect("the log of a unit that has ended");
        let length = SECRET.len();
        for line in [
            "uid=1000",
            "secret-mode=600:1000",
            &format!("secret-known={length}"),
            "config=mode = \"test\"",
            "root=read-only",
            "bundle=read-only",
            "tmp=writable",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "files=512",
            "release=r1 unit=api/0",
        ] {
            assert!(told.iter().any(|one| one == line), "{:?}: no `{line}` in {told:#?}", fixture.generation);
        }
        assert_eq!(target.log_tail(&unit, 2).await.expect("a log"), told[told.len() - 2..]);

        let id = fixture.raw("/containers/json?all=1");
        let ours = id
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["Labels"]["io.fairlead.unit"] == unit.to_string());
        let id = ours.expect("it is there")["Id"].as_str().expect("an id").to_owned();
        let shown = fixture.raw(&format!("/containers/{id}/json"));
        assert_eq!(shown["HostConfig"]["RestartPolicy"]["Name"], "no");
        assert_eq!(shown["HostConfig"]["Memory"], 64 << 20);
        assert!(shown["HostConfig"]["PidsLimit"].as_i64() > Some(0) && shown["HostConfig"]["Init"] == true);
        let name = shown["Name"].as_str().expect("a name");
        for part in [fixture.place.project.as_str(), "test", "here", "api.0", &hash.short()] {
            assert!(name.contains(part), "no {part} in {name}");
        }
        assert!(
            shown.to_string().contains("/fairlead/secrets/TOKEN"),
            "the check itself must be able to find"
        );
        let everything = [
            shown,
            fixture.raw("/volumes"),
            fixture.raw("/containers/json?all=1"),
            fixture.raw(&format!("/images/{}/json", fixture.image)),
        ];
        for shown in everything {
            assert!(!shown.to_string().contains(SECRET), "{:?}: {shown:#}", fixture.generation);
        }
        act(&target, 1, stop(&unit, 1_000)).await.expect("stopped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_environment_is_refused() {
    everywhere(|mut fixture| async move {
        let mut bundle = fixture.bundle("exit 0");
        bundle.secrets.values_mut().for_each(|secret: &mut BundleSecret| secret.in_env = true);
        let hash = fixture.plan(&bundle, "r1");
        let refused =
            act(&fixture.target().await, 1, prepare(hash)).await.expect_err("everybody could read it");
        let EffectError::Terminal { reason: ReasonCode::PrepareFailed, message } = refused else {
            panic!("{refused:?}")
        };
        assert!(message.contains("TOKEN_FILE") && message.contains(name("api").as_str()), "{message}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_runs_as_the_user_of_its_image_and_its_secrets_are_of_that_user() {
    everywhere(|mut fixture| async move {
        fixture.image = fixture.image_with_user().await;
        let hash = fixture.plan(&fixture.bundle(TELLS), "r1");
        let target = fixture.target().await;
        let unit = fixture.unit(0, hash);
        act(&target, 1, prepare(hash)).await.expect("prepared");
        act(&target, 1, start(&unit)).await.expect("started");
        until(&target, "its end", |seen| seen.units.first()?.address.is_none().then_some(())).await;
        let told = target.log_tail(&unit, 100).await.expect("its log");
        for line in ["uid=4711", "secret-mode=600:4711", &format!("secret-known={}", SECRET.len())] {
            assert!(told.iter().any(|one| one == line), "{:?}: no `{line}` in {told:#?}", fixture.generation);
        }
        act(&target, 1, stop(&unit, 0)).await.expect("stopped");
    })
    .await;
}
