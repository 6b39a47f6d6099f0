//! Supervisor and router as processes of their own: started, replaced, killed. The executable is this test binary
//! behind a script, so that it can play every part.

use super::fixture::{Script, free_port, name, process, script, within};
use crate::{
    adapter::{
        process::{
            Client, Launch, ProcessPlan, ProcessTarget, ensure,
            identity::Process,
            protocol::Hello,
            shutdown,
            supervisor::{Options, ROUTER_SUBCOMMAND, SUBCOMMAND, serve},
        },
        router,
    },
    bundle::{BundleHash, BundleSecret},
    model::{Action, Intent, IntentId, UnitFacts, UnitId, UnitPhase},
    port::Target,
};
use nix::sys::signal::Signal;
use pipeline::secret::SecretRef;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

/// Tells [`plays_its_part`] which part.
const PART: &str = "FAIRLEAD_TEST_PART";

/// Not a test: what the executables of the tests below are.
#[test]
#[ignore = "a part that the other tests start"]
fn plays_its_part() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<OsString> = part.split(' ').map(OsString::from).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match words[0].to_str() {
        Some(SUBCOMMAND) => {
            let options = Options::from_args(words.into_iter().skip(1)).expect("its own arguments");
            runtime.block_on(serve(options)).expect("a clean end");
        }
        Some(ROUTER_SUBCOMMAND) => {
            let (control, version) = (Path::new(&words[2]), words[4].to_str().expect("UTF-8"));
            runtime.block_on(router::serve(router::Options::new(control, version))).expect("a clean end");
        }
        Some("unit") => answer_requests(),
        other => panic!("no such part: {other:?}"),
    }
}

/// A unit that answers every connection's first request.
fn answer_requests() {
    let port: u16 = std::env::var("API_PORT").expect("its port").parse().expect("a number");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("its port is free");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|count| count > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        });
    }
}

/// A script that plays a part, given its arguments.
fn part(fixed: &str) -> String {
    let binary = std::env::current_exe().expect("this binary");
    let test = module_path!().split_once("::").expect("within the crate").1;
    format!(
        "#!/bin/sh\n{PART}=\"{fixed}$*\"\nexport {PART}\n\
         exec '{}' --ignored --exact '{test}::plays_its_part' --nocapture\n",
        binary.display()
    )
}

/// An environment whose supervisor is a process.
struct Real {
    folder: TempDir,
    target: ProcessTarget,
    bundle: BundleHash,
    port: u16,
}

impl Real {
    /// A unit that serves, admitted, behind a supervisor of version `v1`.
    async fn serving() -> (Self, UnitId) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tool = folder.path().join("tool");
        fs::write(&tool, part("")).expect("it writes");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let text: &'static str = part("unit").leak();
        let service = Script { port: free_port(), ..script(text) };
        let planned = service.planned(folder.path());
        let (bundle, port) = (planned.entry.bundle, planned.entry.port);
        let plan = ProcessPlan {
            bundles: BTreeMap::from([(bundle, planned)]),
            migrations: BTreeMap::new(),
            keep: 1,
        };
        let secrets = |_: &str, _: &SecretRef, _: &BundleSecret| Err("there are none".to_owned());
        let target =
            ProcessTarget::new(launch(folder.path(), "v1"), plan, Arc::new(secrets)).expect("a target");
        let real = Self { folder, target, bundle, port };

        let unit = UnitId { service: name("api"), target: name("here"), slot: 0, bundle };
        real.perform(Action::Prepare { target: name("here"), service: name("api"), bundle: real.bundle })
            .await;
        real.perform(Action::Start { unit: unit.clone() }).await;
        let address = real.facts(&unit).await.address.expect("it runs");
        within("the unit listens", async {
            while TcpStream::connect(address).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        real.perform(Action::Admit { unit: unit.clone(), weight: 1 }).await;
        (real, unit)
    }

    async fn perform(&self, action: Action) {
        let intent = Intent { id: IntentId(1), action };
        within("the action ends", self.target.perform(1, &intent)).await.expect("it takes hold");
    }

    async fn facts(&self, unit: &UnitId) -> UnitFacts {
        let seen = within("it observes", self.target.observe()).await.expect("an observation");
        seen.units.into_iter().find(|facts| facts.unit == *unit).expect("it is on record")
    }

    async fn exited(&self, unit: &UnitId) -> crate::model::Exit {
        within("the unit ends", async {
            loop {
                if let UnitPhase::Exited(exit) = self.facts(unit).await.phase {
                    return exit;
                }
                self.target.changed().await;
            }
        })
        .await
    }

    fn client(&self) -> Client {
        Client::new(&self.folder.path().join("state")).expect("a client")
    }

    async fn hello(&self) -> Hello {
        within("the supervisor answers", async {
            loop {
                if let Ok(Some(hello)) = self.client().hello().await {
                    return hello;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    async fn ensure(&self, version: &str) -> Hello {
        within("it is there", ensure(&launch(self.folder.path(), version))).await.expect("a supervisor");
        self.hello().await
    }

    /// One request on a connection of its own.
    fn is_served(port: u16) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
        };
        ask().unwrap_or(false)
    }
}

impl Drop for Real {
    /// No process outlives its test, even one that failed.
    fn drop(&mut self) {
        let state = self.folder.path().join("state");
        let stop = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(shutdown(&state, 0))
        });
        let _ = stop.join();
    }
}

fn launch(folder: &Path, version: &str) -> Launch {
    Launch {
        state_dir: folder.join("state"),
        environment: name("local"),
        target: name("here"),
        executable: folder.join("tool"),
        version: version.to_owned(),
    }
}

fn kill(pid: u32) {
    // Every process here leads its group or session.
    assert!(Process::of(pid).expect("it runs").signal_group(Signal::SIGKILL));
}

/// Asks again and again from another thread; the first number is of requests, the second of those that failed.
struct Load {
    ends: Arc<AtomicBool>,
    counts: Arc<[AtomicU32; 2]>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn on(port: u16) -> Self {
        let (ends, counts) = (Arc::new(AtomicBool::new(false)), Arc::new([0, 0].map(AtomicU32::new)));
        let (stop, count) = (ends.clone(), counts.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                count[0].fetch_add(1, Ordering::Relaxed);
                count[1].fetch_add(u32::from(!Real::is_served(port)), Ordering::Relaxed);
            }
        });
        Self { ends, counts, thread }
    }

    /// Waits for some more requests.
    async fn goes_on(&self) {
        let wanted = self.counts[0].load(Ordering::Relaxed) + 20;
        within("requests are answered", async {
            while self.counts[0].load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn failed(self) -> u32 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.counts[1].load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_in_place_without_losing_a_request_or_a_child() {
    let (real, unit) = Real::serving().await;
    let (first, before) = (real.hello().await, real.facts(&unit).await);
    assert_eq!((first.version.as_str(), first.router_version.as_deref()), ("v1", Some("v1")));
    let load = Load::on(real.port);
    load.goes_on().await;
    for version in ["v2", "v3"] {
        let later = real.ensure(version).await;
        assert_eq!((later.version.as_str(), later.pid), (version, first.pid), "the same process");
        assert_eq!(later.router_version.as_deref(), Some(version));
        assert_ne!(later.router_pid, first.router_pid);
        load.goes_on().await;
    }
    assert_eq!(load.failed(), 0);
    within("the first router ends", async {
        while first.router_pid.and_then(Process::of).is_some_and(Process::is_alive) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    // The target still asks for v1, and gets it back.
    let after = real.facts(&unit).await;
    assert_eq!((after.handle, after.weight), (before.handle.clone(), 1));
    assert_eq!(real.hello().await.version, "v1");
    let process: Process = before.handle.parse().expect("a handle");
    process.signal_group(Signal::SIGTERM);
    assert_eq!(real.exited(&unit).await.signal, Some(15), "still its own child");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_loses_nothing_and_the_next_finds_it() {
    let (real, unit) = Real::serving().await;
    let (first, before) = (real.hello().await, real.facts(&unit).await);
    let load = Load::on(real.port);
    kill(first.pid);
    load.goes_on().await;
    let second = real.ensure("v1").await;
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.router_pid, first.router_pid, "the router went on");
    load.goes_on().await;
    assert_eq!(load.failed(), 0);
    let after = real.facts(&unit).await;
    assert_eq!((after.handle.as_str(), after.weight), (before.handle.as_str(), 1));

    kill(process(&after).pid);
    let exit = real.exited(&unit).await;
    assert_eq!((exit.code, exit.signal), (None, None), "its parent was another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_comes_back() {
    let (real, _) = Real::serving().await;
    let first = real.hello().await.router_pid.expect("it runs");
    kill(first);
    within("another router serves", async {
        while real.hello().await.router_pid.is_none_or(|pid| pid == first) || !Real::is_served(real.port) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_everything() {
    let (real, unit) = Real::serving().await;
    let (hello, facts) = (real.hello().await, real.facts(&unit).await);
    let processes = [hello.pid, hello.router_pid.expect("it runs"), process(&facts).pid]
        .map(|pid| Process::of(pid).expect("it runs"));
    processes[0].signal_group(Signal::SIGHUP);
    processes[0].signal_group(Signal::SIGINT);
    assert_eq!(real.hello().await.pid, hello.pid, "what a terminal sends is no reason to end");
    processes[0].signal_group(Signal::SIGTERM);
    within("all end", async {
        while processes.iter().any(|process| process.is_alive()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(real.client().hello().await.expect("nobody answers").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_need_a_supervisor_at_once_get_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = folder.path().join("tool");
    fs::write(&tool, part("")).expect("it writes");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let launch = launch(folder.path(), "v1");
    let (first, second) = tokio::join!(ensure(&launch), ensure(&launch));
    let (first, second) = (first.expect("a supervisor"), second.expect("a supervisor"));
    let pid = |hello: Option<Hello>| hello.expect("it runs").pid;
    assert_eq!(pid(first.hello().await.expect("it answers")), pid(second.hello().await.expect("it answers")));
    assert!(shutdown(&launch.state_dir, 0).await.expect("it shuts down"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_cannot_start_says_why_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = folder.path().join("tool");
    fs::write(&tool, "#!/bin/sh\necho 'no luck today' >&2\nexit 1\n").expect("it writes");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let error = within("an answer", ensure(&launch(folder.path(), "v1"))).await.expect_err("it cannot start");
    assert!(error.to_string().contains("no luck today"), "{error}");
    let error = ensure(&launch(folder.path(), "../v1")).await.expect_err("not a file name");
    assert!(error.to_string().contains("version"), "{error}");
}
