//! The real components that other tests stand on: engines of both generations and a registry with a password. They are
//! what they say, they reach one another, and nothing of them is left.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tests::{Engine, Generation, Process, Registry, http, wait_for};

/// Until the kernel has taken away what it takes away by itself, on a busy machine.
const GONE: Duration = Duration::from_secs(20);

/// A program that tells itself from others by how long it sleeps.
const STAYS: &str = "/bin/busybox sleep 31535999";

/// A machine with an engine on it in a test's hands: the real client, with credentials of its own.
struct Hands<'a> {
    engine: &'a Engine,
    config: TempDir,
}

impl<'a> Hands<'a> {
    fn of(engine: &'a Engine) -> Self {
        Self { engine, config: tempfile::tempdir().expect("a folder") }
    }

    fn client(&self) -> Command {
        self.engine.client(self.config.path())
    }

    /// What the client prints for these words, without the end of the line.
    #[track_caller]
    fn run(&self, words: &str) -> String {
        let output = self.client().args(words.split_whitespace()).output().expect("the client");
        assert!(output.status.success(), "docker {words}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Imports an image that has nothing in it but one static program, and runs as a user.
    #[track_caller]
    fn import(&self, name: &str) {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("bin")).expect("a folder");
        fs::copy(self.engine.busybox(), root.path().join("bin/busybox")).expect("a program");
        let tar = Command::new("tar").arg("-c").arg("-C").arg(root.path()).arg(".").output().expect("tar");
        assert!(tar.status.success(), "{tar:?}");
        let output =
            with_input(self.client().args(["import", "--change", "USER 1000", "-", name]), &tar.stdout);
        assert!(output.status.success(), "{output:?}");
    }

    fn log_in(&self, registry: &Registry, password: &str) -> Output {
        let mut client = self.client();
        client.args(["login", "--username", registry.user(), "--password-stdin", registry.address()]);
        with_input(&mut client, password.as_bytes())
    }
}

fn with_input(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a client");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output().expect("its end")
    })
}

#[test]
fn each_engine_is_of_its_generation() {
    for (generation, api) in [(Generation::Docker20, "1.41"), (Generation::Docker28, "1.51")] {
        assert_eq!(Engine::shared(generation).api_version(), api, "{generation:?}");
    }
}

#[test]
fn an_image_from_nothing_runs_as_its_user_and_serves_at_a_port_of_the_machine() {
    for generation in Generation::ALL {
        let hands = Hands::of(Engine::shared(generation));
        hands.import("from-nothing:1");
        let told = hands.run("run --rm --read-only from-nothing:1 /bin/busybox id -u");
        assert_eq!(told, "1000", "{generation:?}");
        let serves = "from-nothing:1 /bin/busybox httpd -f -p 8080 -h /etc";
        hands.run(&format!("run --detach --name=serves --publish=127.0.0.1::8080 {serves}"));
        let address = hands.run("port serves 8080");
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
        let hosts = wait_for("an answer of the container", GONE, || http::get(port, "/hosts").ok());
        assert_eq!(hosts.status, 200, "{generation:?}");
        hands.run("rm --force serves");
    }
}

#[test]
fn what_is_pushed_with_the_password_is_pulled_by_the_other_generation() {
    let registry = Registry::shared();
    assert_every_printable_character(registry.password());
    let name = format!("{}/from/nothing:1", registry.address());
    let pushes = Hands::of(Engine::shared(Generation::Docker20));
    let pulls = Hands::of(Engine::shared(Generation::Docker28));
    for hands in [&pushes, &pulls] {
        let output = hands.log_in(registry, registry.password());
        assert!(output.status.success(), "{output:?}");
    }
    pushes.import(&name);
    pushes.run(&format!("push --quiet {name}"));
    pulls.run(&format!("pull --quiet {name}"));
    assert_eq!(pulls.run(&format!("run --rm {name} /bin/busybox echo pulled")), "pulled");
    let digest = |hands: &Hands| hands.run(&format!("inspect --format={{{{.RepoDigests}}}} {name}"));
    assert!(digest(&pulls).contains("@sha256:"), "{}", digest(&pulls));
    assert_eq!(digest(&pushes), digest(&pulls));
}

/// Letters are all alike to whoever mangles passwords; everything else must be there.
#[track_caller]
fn assert_every_printable_character(password: &str) {
    let missing: Vec<char> =
        (' '..='~').filter(|c| !c.is_ascii_alphabetic() && !password.contains(*c)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(
        password.contains(|c: char| c.is_ascii_lowercase()) && password.contains(|c: char| c.is_uppercase())
    );
}

#[test]
fn without_the_password_the_registry_gives_nothing() {
    let registry = Registry::shared();
    assert_eq!(http::get(registry.port(), "/v2/").expect("an answer").status, 401);
    let hands = Hands::of(Engine::shared(Generation::Docker28));
    // Every character counts, also the last.
    let cut = &registry.password()[..registry.password().len() - 1];
    for wrong in ["wrong", cut, &format!("{cut}Z")] {
        let output = hands.log_in(registry, wrong);
        assert!(!output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("401 Unauthorized"), "{output:?}");
    }
}

#[test]
fn nothing_of_an_engine_is_left() {
    let rules = firewall();
    for generation in Generation::ALL {
        let engine = Engine::start(generation);
        let folder = engine.folder().to_owned();
        let hands = Hands::of(&engine);
        hands.import("stays:1");
        let network = hands.run("network create own");
        // It ends neither when asked to nor for good.
        let container = hands.run(&format!("run --detach --restart=always --network=own stays:1 {STAYS}"));
        let place = fs::read_to_string(folder.join("place")).expect("its number");
        let bridges = [format!("fairlead-{}", place.trim()), format!("br-{}", &network[..12])];
        let left = || traces(&folder, &container, &bridges);
        // The check itself must be able to fail.
        let before = left();
        for kind in ["process", "mount", "bridge", "cgroup", "folder"] {
            assert!(before.iter().any(|trace| trace.starts_with(kind)), "no {kind} in {before:#?}");
        }
        drop(hands);
        engine.stop();
        wait_for("everything to be gone", GONE, || left().is_empty().then_some(()));
        assert_eq!(firewall(), rules, "{generation:?}");
    }
}

#[test]
fn nothing_of_a_registry_is_left() {
    let registry = Registry::start();
    let (folder, port) = (registry.folder().to_owned(), registry.port());
    assert!(!traces(&folder, "no container", &[]).is_empty(), "the check itself must be able to fail");
    drop(registry);
    assert_eq!(traces(&folder, "no container", &[]), BTreeSet::new());
    assert!(http::get(port, "/v2/").is_err(), "somebody answers");
}

/// What there is on this machine of a component with this folder, this container and these bridges.
fn traces(folder: &Path, container: &str, bridges: &[String]) -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    let names = |text: &str| text.contains(container) || text.contains(&*folder.to_string_lossy());
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for process in pids.filter_map(Process::of) {
        let command = process.cmdline.join(" ");
        if names(&command) || command == STAYS {
            traces.insert(format!("process {} {command}", process.pid));
        }
        // Of this process's namespace, which it may share with all others or with none.
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", process.pid)).unwrap_or_default();
        traces.extend(mounts.lines().filter(|line| names(line)).map(|line| format!("mount {line}")));
    }
    for bridge in bridges {
        if Path::new("/sys/class/net").join(bridge).exists() {
            traces.insert(format!("bridge {bridge}"));
        }
    }
    let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for group in groups.chain(["/sys/fs/cgroup".into()]) {
        for bridge in bridges.iter().filter(|bridge| group.join(bridge).exists()) {
            traces.insert(format!("cgroup {}/{bridge}", group.display()));
        }
    }
    if folder.exists() {
        traces.insert(format!("folder {}", folder.display()));
    }
    traces
}

/// The tables of the kernel's packet filter and what is in them, without counters.
fn firewall() -> Vec<String> {
    let tables = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    let mut rules: Vec<String> = tables.lines().map(str::to_owned).collect();
    // Where there is no such program there are no rules of it.
    if let Ok(output) = Command::new("iptables-save").output() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        rules.extend(text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned));
    }
    rules
}
