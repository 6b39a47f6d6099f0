//! Real processes: racing, killed, stopped, and out of disk in the middle of a write.

use super::*;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

const FOLDER: &str = "FAIRLEAD_TEST_FOLDER";
/// The role of one who holds the lease for longer than a test lasts.
const LONG: &str = "claim 600000";

const ROLE: &str = "FAIRLEAD_TEST_ROLE";

/// This test program in a process of its own, playing one of the roles of [`play`].
struct Actor {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Actor {
    fn start(folder: &Path, role: &str) -> Self {
        Self::spawn(Command::new(env::current_exe().unwrap()), folder, role)
    }

    fn spawn(mut command: Command, folder: &Path, role: &str) -> Self {
        let mut child = command
            .args(["--exact", "record::tests::processes::play", "--ignored", "--nocapture"])
            .envs([(FOLDER, folder.as_os_str()), (ROLE, role.as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What it says next.
    fn says(&mut self) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.split_once("says: ") {
                return said.trim().to_owned();
            }
            line.clear();
        }
        panic!("it ended without a word")
    }

    /// Lets it go on.
    fn cue(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The other processes' part.
#[test]
#[ignore = "started by the other tests here, in a process of its own"]
fn play() {
    let (Ok(folder), Ok(role)) = (env::var(FOLDER), env::var(ROLE)) else { return };
    let store = store_in(Path::new(&folder));
    println!("says: ready");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    match role.split_once(' ').unwrap_or((&role, "")) {
        ("claim", ttl) => match claim_for_real(&store, ttl.parse().unwrap()) {
            Acquisition::Acquired(won) => println!("says: won {}", won.tenure.generation),
            Acquisition::Held { lease, .. } => println!("says: held by {}", lease.holder.pid),
        },
        ("grow", _) => {
            let mut record = store.load().unwrap();
            record.bad_releases = (0..2_000).map(|n| format!("release {n}")).collect();
            println!("says: {}", store.swap(record.seq, record).unwrap_err());
        }
        (other, _) => panic!("no such role: {other}"),
    }
    // Until the other side goes away.
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}

fn claim_for_real(store: &Store, ttl: Millis) -> Acquisition<String, u32> {
    let (me, now) = (me(), Stamp::now().unwrap());
    let claim = Claim { ttl, ..claim_of(me.clone()) };
    acquire(store, &claim, &mut Observer::default(), &ThisMachine::new(me), &now).unwrap()
}

/// Waits until a holder is found in this condition.
fn wait_for(holder: &Holder, expected: Liveness) {
    let (machine, limit) = (ThisMachine::new(me()), Instant::now() + Duration::from_secs(20));
    while machine.liveness(holder) != expected {
        assert!(Instant::now() < limit, "{:?}, not {expected:?}", machine.liveness(holder));
        pause(Duration::from_millis(5));
    }
}

#[test]
fn exactly_one_of_many_processes_gets_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let mut actors: Vec<_> = (0..5).map(|_| Actor::start(folder.path(), LONG)).collect();
    actors.iter_mut().for_each(|actor| assert_eq!(actor.says(), "ready"));
    actors.iter_mut().for_each(Actor::cue);
    let said: Vec<_> = actors.iter_mut().map(Actor::says).collect();
    let winner = said.iter().position(|said| said == "won 1").expect("one wins");
    let held = format!("held by {}", actors[winner].child.id());
    for (actor, said) in said.iter().enumerate() {
        assert!(actor == winner || *said == held, "{said}");
    }
}

#[test]
fn a_killed_holder_is_replaced_at_once_even_before_its_parent_has_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut actor = Actor::start(folder.path(), LONG);
    actor.cue();
    assert_eq!((actor.says(), actor.says()), ("ready".to_owned(), "won 1".to_owned()));
    let store = store_in(folder.path());
    assert!(is_held(&claim_for_real(&store, TTL)));
    actor.signal(Signal::SIGKILL);
    // Its output is closed when it has ended; it is a zombie until it is waited for.
    actor.lines.read_to_end(&mut Vec::new()).unwrap();
    wait_for(&store.load().unwrap().lease.unwrap().holder, Liveness::Dead(Death::Gone));
    let taken = acquired(claim_for_real(&store, TTL));
    assert!(matches!(taken.taken_over, Some((_, LeaseVerdict::DeadHolder))), "{:?}", taken.taken_over);
}

#[test]
fn a_stopped_holder_is_replaced_after_the_expiry_and_never_wakes_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut actor = Actor::start(folder.path(), "claim 2000");
    actor.cue();
    assert_eq!((actor.says(), actor.says()), ("ready".to_owned(), "won 1".to_owned()));
    actor.signal(Signal::SIGSTOP);
    let store = store_in(folder.path());
    let lease = store.load().unwrap().lease.unwrap();
    wait_for(&lease.holder, Liveness::Stopped);
    let taken = loop {
        match claim_for_real(&store, TTL) {
            Acquisition::Acquired(taken) => break taken,
            Acquisition::Held { liveness, .. } => assert_eq!(liveness, Liveness::Stopped),
        }
        assert!(
            Stamp::now().unwrap().since(&lease.renewed) < TTL + 20_000,
            "still held long after its expiry"
        );
        pause(Duration::from_millis(50));
    };
    assert!(Stamp::now().unwrap().since(&lease.renewed) >= TTL, "taken before its expiry");
    assert!(matches!(taken.taken_over, Some((_, LeaseVerdict::Expired))));
    assert_eq!(taken.tenure.generation, 2);
    wait_for(&lease.holder, Liveness::Dead(Death::Gone));
}

/// A file size limit stands in for a full disk: the write fails half-way in the same place.
fn limited(ignore_the_signal: bool) -> Command {
    let mut command = Command::new("sh");
    let trap = if ignore_the_signal { "trap '' XFSZ; " } else { "" };
    command.args(["-c", &format!("{trap}ulimit -f 8 && exec \"$0\" \"$@\"")]);
    command.arg(env::current_exe().unwrap());
    command
}

#[test]
fn a_write_that_fails_half_way_leaves_the_old_record_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let record = store.swap(0, Record::empty()).unwrap();
    let mut actor = Actor::spawn(limited(true), folder.path(), "grow");
    actor.cue();
    assert_eq!((actor.says().as_str(), actor.says().as_str()), ("ready", "cannot write the rollout record"));
    assert_eq!(store.load().unwrap(), record);
}

#[test]
fn a_process_killed_in_the_middle_of_a_write_leaves_the_old_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let record = store.swap(0, Record::empty()).unwrap();
    let mut actor = Actor::spawn(limited(false), folder.path(), "grow");
    actor.cue();
    let status = actor.child.wait().unwrap();
    assert!(std::os::unix::process::ExitStatusExt::signal(&status).is_some(), "{status}");
    let left = |name: &str| name.starts_with(".record.json.");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(folder.path().join("record")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(names().iter().any(|name| left(name)), "it was killed in the middle: {:?}", names());
    assert_eq!(store.load().unwrap(), record);
    store.swap(record.seq, record).unwrap();
    assert!(!names().iter().any(|name| left(name)), "{:?}", names());
}
