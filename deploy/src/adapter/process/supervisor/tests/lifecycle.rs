//! Units start, end, and are stopped.

use super::fixture::{DEADLINE, Fixture, SLEEPER, process, script, within};
use crate::{
    adapter::process::{
        procfs,
        protocol::{Op, PROTOCOL, Reply, Request},
    },
    model::{Action, UnitPhase},
    port::{EffectError, Target},
    reason::ReasonCode,
};
use std::{fs, time::Duration};

/// Ignores SIGTERM, and so does its child.
const STUBBORN: &str = "#!/bin/sh\ntrap '' TERM\nsleep 600 &\necho ready\nwhile :; do sleep 0.05; done\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_starts_once_and_stops_once() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    let facts = fixture.facts(&unit).await.expect("it stands");
    assert_eq!(facts.phase, UnitPhase::Running);
    assert_eq!((facts.release.as_str(), facts.weight), ("r1", 0));
    assert!(facts.address.is_some_and(|a| (20_000..30_000).contains(&a.port()) && a.ip().is_loopback()));
    assert!(process(&facts).is_alive());

    fixture.perform(Action::Start { unit: unit.clone() }).await.expect("starting it again is nothing new");
    assert_eq!(fixture.facts(&unit).await.expect("it stands").handle, facts.handle);

    fixture.stop(&unit, 5_000).await;
    assert!(fixture.seen().await.units.is_empty());
    assert!(!process(&facts).is_alive());
    fixture.stop(&unit, 5_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_starts_at_once_make_one_process() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    fixture.prepare(0).await.expect("it is prepared");
    let start = || fixture.perform(Action::Start { unit: fixture.unit(0, 0) });
    let (first, second) = tokio::join!(start(), start());
    first.and(second).expect("both are content");
    assert_eq!(fixture.seen().await.units.len(), 1);
    let log = fs::read_to_string(fixture.state_dir().join("supervisor/supervisor.log")).expect("a log");
    assert_eq!(log.matches(" started: pid").count(), 1 + 1, "one router and one unit: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_noticed_at_once_and_stays_on_record() {
    let fixture = Fixture::new(&[script("#!/bin/sh\necho tired\nexit 7\n"), script(SLEEPER)]).await;
    let short = fixture.start(0, 0).await;
    let exit = fixture.exited(&short).await;
    assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(7), None, false));
    assert_eq!(fixture.target.log_tail(&short, 5).await.expect("its log"), ["tired"]);

    let long = fixture.start(1, 1).await;
    let facts = fixture.facts(&long).await.expect("it stands");
    let Reply::Seen(seen) = fixture.ask(0, Op::Observe).await else { panic!("an observation") };
    let watch = fixture.ask(0, Op::Watch { after: seen.seq, timeout: 30_000 });
    let kill = async { process(&facts).signal_group(nix::sys::signal::Signal::SIGKILL) };
    let (reply, _) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(watch, kill) }).await.expect("at once");
    assert!(matches!(reply, Reply::Seen(later) if later.seq > seen.seq));
    assert_eq!(fixture.exited(&long).await.signal, Some(9));

    fixture.stop(&long, 0).await;
    assert!(fixture.facts(&long).await.is_none(), "stopping forgets it");
    fixture.perform(Action::Start { unit: short.clone() }).await.expect("it is started anew");
    assert_eq!(fixture.exited(&short).await.code, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_sigterm_is_killed_after_its_grace_with_all_its_children() {
    let fixture = Fixture::new(&[script(STUBBORN)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.logged(&unit, "ready").await;
    let process = process(&fixture.facts(&unit).await.expect("it stands"));
    assert!(procfs::group_members(process.pid).len() >= 2, "it has a child");

    let started = tokio::time::Instant::now();
    let stop = fixture.stop(&unit, 700);
    let look = async {
        fixture.until(&unit, |facts| facts.phase == UnitPhase::Stopping).await;
        let again = fixture.perform(Action::Start { unit: unit.clone() }).await;
        assert!(matches!(again, Err(EffectError::Passing { .. })), "not while it stops: {again:?}");
    };
    tokio::join!(stop, look);
    assert!(started.elapsed() >= Duration::from_millis(700), "not before its grace has passed");
    assert_eq!(procfs::group_members(process.pid), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_unit_leaves_behind_when_it_ends_is_ended_too() {
    let fixture = Fixture::new(&[script("#!/bin/sh\nsleep 600 &\necho $!\nexit 3\n")]).await;
    let unit = fixture.start(0, 0).await;
    assert_eq!(fixture.exited(&unit).await.code, Some(3));
    let child: u32 =
        fixture.target.log_tail(&unit, 1).await.expect("its log")[0].parse().expect("the id of its child");
    within("the child ends", async {
        while procfs::stat(child).is_some_and(|stat| !stat.is_dead()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_generation_can_do_nothing_more() {
    let mut fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    fixture.target.fence(5).await.expect("it fences");
    for action in [
        Action::Stop { unit: unit.clone(), grace: 0 },
        Action::Start { unit: fixture.unit(1, 0) },
        Action::Drain { unit: unit.clone(), deadline: 0 },
        Action::Admit { unit: unit.clone(), weight: 1 },
    ] {
        let refused = fixture.perform_as(4, action).await;
        assert_eq!(refused, Err(EffectError::Fenced { generation: 5 }));
    }
    assert_eq!(fixture.seen().await.units.len(), 1);

    fixture.kill_supervisor().await;
    fixture.serve().await;
    assert_eq!(fixture.target.fence(4).await, Err(EffectError::Fenced { generation: 5 }), "it is remembered");
    assert_eq!(fixture.seen().await.generation, 5);
    fixture.perform_as(5, Action::Stop { unit, grace: 0 }).await.expect("its own generation may");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_comes_back_with_the_same_environment_byte_for_byte() {
    let with_file_and_secrets = script(SLEEPER).with_secret("TOKEN", false).with_secret("KEY", true);
    let fixture = Fixture::new(&[with_file_and_secrets, script("#!/bin/sh\nexec sleep 601\n")]).await;
    let environ = async |slot, bundle| {
        let unit = fixture.start(slot, bundle).await;
        let facts = fixture.facts(&unit).await.expect("it stands");
        let bytes = fs::read(format!("/proc/{}/environ", process(&facts).pid)).expect("it runs");
        (unit, facts.address.expect("it listens").port(), bytes)
    };
    let (unit, port, before) = environ(0, 0).await;
    fixture.stop(&unit, 5_000).await;
    let (other, other_port, _) = environ(0, 1).await;
    assert_ne!(port, other_port, "its port waits for it");
    let (_, port_again, after) = environ(0, 0).await;
    assert_eq!(port, port_again);
    assert_eq!(before, after);
    fixture.stop(&other, 5_000).await;

    let text = String::from_utf8(after).expect("UTF-8");
    let variables: Vec<&str> = text.split_terminator('\0').collect();
    let folder = fixture.state_dir().join("bundles").join(fixture.bundles[0].short());
    let expected = [
        "API_HOST=127.0.0.1".to_owned(),
        format!("API_PORT={port}"),
        "COLOR=blue".to_owned(),
        format!("FAIRLEAD_BUNDLE={}", fixture.bundles[0]),
        "FAIRLEAD_RELEASE=r1".to_owned(),
        "FAIRLEAD_UNIT=api/0".to_owned(),
        "KEY=value of KEY".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("TOKEN_FILE={}", folder.join("secrets/TOKEN").display()),
    ];
    // The shell adds its own to what it passes on, in an order of its own.
    let mut ours: Vec<&str> =
        variables.into_iter().filter(|v| !v.starts_with("PWD=") && !v.starts_with("_=")).collect();
    ours.sort_unstable();
    assert_eq!(ours, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_above_its_memory_limit_is_ended_and_it_says_so() {
    let hungry = "#!/bin/sh\nsleep 600 &\ndata=$(head -c 80000000 /dev/zero | tr '\\0' x)\nwait\n";
    let fixture =
        Fixture::new(&[script(hungry).with(|bundle| bundle.limits.memory_max_bytes = Some(40_000_000))])
            .await;
    let unit = fixture.start(0, 0).await;
    let exit = fixture.exited(&unit).await;
    assert!(exit.out_of_memory, "{exit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_open_files_holds_from_the_start() {
    let fixture = Fixture::new(&[
        script("#!/bin/sh\nulimit -n\n").with(|bundle| bundle.limits.open_files_max = Some(123))
    ])
    .await;
    let unit = fixture.start(0, 0).await;
    fixture.logged(&unit, "123").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_log_is_rotated_while_the_unit_goes_on() {
    let talker = "#!/bin/sh\nyes 0123456789 | head -n 1000000\necho spoken\nexec sleep 600\n";
    let fixture = Fixture::new(&[script(talker)]).await;
    let unit = fixture.start(0, 0).await;
    let log = fixture.state_dir().join("logs").join(format!("{}.log", unit.file_stem()));
    let older = log.with_extension("log.1");
    within("the log is rotated", async {
        while !older.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(fixture.facts(&unit).await.expect("it stands").phase, UnitPhase::Running);
    fixture.logged(&unit, "spoken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_told_and_leaves_nothing() {
    let fixture = Fixture::new(&[script("#!/nonexistent/interpreter\n")]).await;
    let unit = fixture.unit(0, 0);
    let error = fixture.perform(Action::Start { unit: unit.clone() }).await.expect_err("not prepared");
    assert!(matches!(error, EffectError::Terminal { reason: ReasonCode::PrepareFailed, .. }), "{error}");

    fixture.prepare(0).await.expect("it is prepared");
    let error = fixture.perform(Action::Start { unit }).await.expect_err("no such interpreter");
    let EffectError::Terminal { reason, message } = error else { panic!("{error}") };
    assert_eq!(reason, ReasonCode::CannotStart);
    assert!(message.contains("api/0") && message.contains("No such file"), "{message}");
    assert!(fixture.seen().await.units.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_those_of_the_process() {
    let fixture = Fixture::new(&[script(SLEEPER)]).await;
    let unit = fixture.start(0, 0).await;
    let resources = fixture.target.resources(&unit).await;
    let value = |what: &str| resources.iter().find(|(name, _)| name == what).map(|(_, value)| value.as_str());
    assert_eq!(
        (value("processes"), value("threads"), value("listens on")),
        (Some("1"), Some("1"), Some("no port"))
    );
    assert!(value("resident memory").is_some_and(|text| text.ends_with(" MiB")), "{resources:?}");
    fixture.stop(&unit, 5_000).await;
    assert!(fixture.target.resources(&unit).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_and_nonsense_are_told_so() {
    use crate::adapter::process::socket;
    use tokio::io::{AsyncWriteExt, BufReader};
    let fixture = Fixture::new(&[]).await;
    let folder = fixture.state_dir().join("supervisor");
    let stream = socket::connect(&folder, socket::CONTROL).await.expect("it connects");
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let later = Request { protocol: PROTOCOL + 1, generation: 0, op: Op::Observe };
    let mut lines = serde_json::to_vec(&later).expect("JSON");
    lines.extend(b"\n{\"protocol\": 99, \"generation\": 0, \"op\": \"dance\"}\nnonsense\n");
    writer.write_all(&lines).await.expect("it writes");
    let mut read = async || {
        let reply = within("an answer", socket::read_document::<Reply>(&mut reader)).await;
        reply.expect("it reads").expect("an answer")
    };
    assert_eq!(read().await, Reply::WrongProtocol { protocol: PROTOCOL });
    assert_eq!(read().await, Reply::WrongProtocol { protocol: PROTOCOL });
    assert!(matches!(read().await, Reply::Failed(_)), "and the conversation goes on");
}
