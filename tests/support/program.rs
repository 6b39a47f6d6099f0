//! The program as a user runs it: a process with arguments, an environment of its own, two pipes and an exit code.

use crate::wait::{pause, wait_for};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};

/// A rollout of the tests takes seconds; whatever takes longer than this will not end.
const DEADLINE: Duration = Duration::from_secs(90);

/// After the program has ended, its pipes must end as well, or `xtask deploy | cat` would hang for ever.
const PIPE_DEADLINE: Duration = Duration::from_secs(5);

/// Whether these tests were built for a long run: then what is tested is, too.
const OPTIMISED: bool = !cfg!(debug_assertions);

/// What is tested, built.
#[derive(Debug)]
pub struct Binaries {
    /// The program.
    pub xtask: PathBuf,
    /// The reference services.
    pub noogh_api: PathBuf,
    /// The second of them.
    pub noogh_mcp: PathBuf,
}

/// Builds what is tested, once in each test run, and says where it is.
///
/// # Panics
/// If it does not build.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(build)
}

/// The root of this repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace")
}

/// Builds the program with its fail points, once in each test run, and says where it is. It has a target folder of its
/// own, so that the two builds do not take turns in throwing each other's work away.
///
/// # Panics
/// If it does not build.
pub fn program_with_fail_points() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let plain = binaries();
        if OPTIMISED {
            // Of the two builds only our own few packages differ, and nothing else is built beside them.
            let made = cargo_build(&["--bins", "-p", "xtask", "--features", "fail-points"]);
            return made.get("xtask").expect("cargo makes what it is asked for").clone();
        }
        let folder = fail_points_folder(plain);
        let made =
            cargo_build(&["--bins", "-p", "xtask", "--features", "fail-points", "--target-dir", &folder]);
        made.get("xtask").expect("cargo makes what it is asked for").clone()
    })
}

/// The target folder of builds with fail points.
fn fail_points_folder(plain: &Binaries) -> String {
    let folder = plain.xtask.parent().and_then(Path::parent).expect("it is in a target folder");
    folder.join("fail-points").to_str().expect("the repository's path is UTF-8").to_owned()
}

/// Builds the program with Docker engines, once in each test run, and says where it is.
///
/// # Panics
/// If it does not build.
pub fn program_with_engines() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let made = cargo_build(&["-p", "xtask", "--features", "docker", "--bin", "xtask-docker"]);
        made.get("xtask-docker").expect("cargo makes what it is asked for").clone()
    })
}

/// Builds the program with GitHub, once in each test run, and says where it is.
///
/// # Panics
/// If it does not build.
pub fn program_with_github() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let made = cargo_build(&["-p", "xtask", "--features", "github", "--bin", "xtask-github"]);
        made.get("xtask-github").expect("cargo makes what it is asked for").clone()
    })
}

/// The one with engines, with fail points, in the folder of [`program_with_fail_points`].
///
/// # Panics
/// If it does not build.
pub fn program_with_engines_and_fail_points() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = fail_points_folder(binaries());
        let words = ["-p", "xtask", "--features", "docker,fail-points", "--bin", "xtask-docker"];
        let made = cargo_build(&[&words[..], &["--target-dir", &folder]].concat());
        made.get("xtask-docker").expect("cargo makes what it is asked for").clone()
    })
}

/// Builds the reference services linked statically, once in each test run, and says where the one of this name is: `api`,
/// `mcp`.
///
/// # Panics
/// If they do not build, or there is none of this name.
pub fn static_service(name: &str) -> &'static Path {
    static SERVICES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let services = SERVICES.get_or_init(|| {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        // For a target that is named, flags are not for what runs in the compiler.
        let flags = format!("target.{target}.rustflags=['-C', 'target-feature=+crt-static']");
        let packages = ["-p", "noogh-api", "-p", "noogh-mcp", "--bins"];
        cargo_build(&[&packages[..], &["--target", &target, "--config", &flags]].concat())
    });
    services.get(&format!("noogh-{name}")).unwrap_or_else(|| panic!("cargo made no service `{name}`"))
}

fn build() -> Binaries {
    let made = cargo_build(&["--bins", "-p", "xtask", "-p", "noogh-api", "-p", "noogh-mcp"]);
    let find = |name: &str| made.get(name).unwrap_or_else(|| panic!("cargo made no `{name}`")).clone();
    Binaries { xtask: find("xtask"), noogh_api: find("noogh-api"), noogh_mcp: find("noogh-mcp") }
}

/// The executables that cargo makes: name → path.
fn cargo_build(arguments: &[&str]) -> BTreeMap<String, PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--message-format=json-render-diagnostics"]);
    command.args(OPTIMISED.then_some("--release")).args(arguments).current_dir(repository());
    for (name, _) in std::env::vars_os() {
        // What cargo says to tests of this package must not be heard by the build of others.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG") || name.starts_with("CARGO_MANIFEST"))
        {
            command.env_remove(&name);
        }
    }
    let output = command.stderr(Stdio::inherit()).output().expect("cargo can be started");
    assert!(output.status.success(), "what is tested does not build");
    let messages =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    messages
        .filter_map(|message: Value| {
            let executable = message["executable"].as_str()?;
            Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(executable)))
        })
        .collect()
}

/// How a run of the program ended.
#[derive(Clone)]
pub struct Output {
    /// What was run.
    pub command: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Output {
    /// Fails the test, with all that was said, unless the exit code is this one.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        self.expect_one_of(&[code])
    }

    /// The same where several codes are right.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn expect_one_of(self, codes: &[i32]) -> Self {
        assert!(
            self.code.is_some_and(|code| codes.contains(&code)),
            "expected exit code {codes:?}\n{self:?}"
        );
        self
    }

    /// Fails the test unless standard error has this text in it.
    ///
    /// # Panics
    /// If it has not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text) || self.stdout.contains(text),
            "expected it to say `{text}`\n{self:?}"
        );
        self
    }

    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON ({error})\n{self:?}"))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, signal, stdout, stderr, took } = self;
        write!(
            f,
            "{command}: code {code:?}, signal {signal:?}, after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---"
        )
    }
}

/// A run that goes on.
pub struct Background {
    command: String,
    child: Child,
    begun: Instant,
    stdout: Arc<Pipe>,
    stderr: Arc<Pipe>,
    status: Option<ExitStatus>,
    /// Lines of standard error that were waited for, and all before them.
    heard: usize,
}

impl Background {
    /// Starts a command with pipes, as the leader of a process group of its own.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = Pipe::follow(child.stdout.take().expect("it is piped"));
        let stderr = Pipe::follow(child.stderr.take().expect("it is piped"));
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let command = format!("xtask {}", arguments.join(" "));
        Self { command, child, begun: Instant::now(), stdout, stderr, status: None, heard: 0 }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are positive and small")
    }

    /// Sends a signal to it alone, not to what it started.
    pub fn signal(&self, signal: Signal) {
        crate::signal(self.pid(), signal);
    }

    /// Waits for a line of standard error and returns it. What was said since the last line that was waited for
    /// counts, so that a story can be followed in its order.
    ///
    /// # Panics
    /// If it ends or the deadline comes before.
    #[track_caller]
    pub fn wait_for_line(&mut self, what: &str, deadline: Duration, is_it: impl Fn(&str) -> bool) -> String {
        match self.stderr.wait_for(self.heard, deadline, is_it) {
            Some((heard, line)) => {
                self.heard = heard;
                line
            }
            None => {
                self.kill();
                let output = self.collect();
                panic!("waited {deadline:?} in vain for {what}\n{output:?}")
            }
        }
    }

    /// Waits for an event of a run with `--format json`.
    ///
    /// # Panics
    /// If it ends or the deadline comes before.
    #[track_caller]
    pub fn wait_for_event(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        let line = self.wait_for_line(what, DEADLINE, |line| parse(line).is_some_and(|event| is_it(&event)));
        parse(&line).expect("it was parsed before")
    }

    /// Waits until it has begun an action: `start`, `admit`, `drain`, `stop`, ….
    ///
    /// # Panics
    /// If it ends or the deadline comes before.
    #[track_caller]
    pub fn wait_for_action(&mut self, verb: &str) -> Value {
        self.wait_for_event(&format!("the action `{verb}`"), |event| is_action(event, "action-began", verb))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time, or something that it left behind holds its pipes open.
    #[track_caller]
    pub fn wait(self) -> Output {
        self.wait_within(DEADLINE)
    }

    /// The same for what takes longer than a rollout.
    ///
    /// # Panics
    /// As [`Background::wait`].
    #[track_caller]
    pub fn wait_within(mut self, deadline: Duration) -> Output {
        while self.status.is_none() {
            self.status = self.child.try_wait().expect("our own child");
            if self.begun.elapsed() > deadline && self.status.is_none() {
                self.kill();
                let output = self.collect();
                panic!("did not end within {deadline:?}\n{output:?}");
            }
            if self.status.is_none() {
                pause(Duration::from_millis(5));
            }
        }
        let took = self.begun.elapsed();
        let closed = self.stdout.wait_for_end(PIPE_DEADLINE) && self.stderr.wait_for_end(PIPE_DEADLINE);
        let output = Output { took, ..self.collect() };
        assert!(closed, "it ended, but something that it left behind holds its output open\n{output:?}");
        output
    }

    /// Waits for its end and then ends it by force; how it ended, if it did so by itself. Never fails the test.
    pub(crate) fn end_within(mut self, deadline: Duration) -> Option<Output> {
        let until = Instant::now() + deadline;
        while self.status.is_none() && Instant::now() < until {
            self.status = self.child.try_wait().ok()?;
            pause(Duration::from_millis(5));
        }
        self.status.is_some().then(|| self.collect())
    }

    /// Ends it at once, as a crash would, and waits until it is gone. What it started goes on.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn crash(mut self) -> Output {
        self.signal(Signal::SIGKILL);
        self.status = Some(self.child.wait().expect("our own child"));
        self.collect()
    }

    fn kill(&mut self) {
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        self.status = self.child.wait().ok();
    }

    fn collect(&self) -> Output {
        Output {
            command: self.command.clone(),
            code: self.status.and_then(|status| status.code()),
            signal: self.status.and_then(|status| status.signal()),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            took: self.begun.elapsed(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
        }
    }
}

/// A pipe that is read to its end by a thread, line by line.
struct Pipe {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Default)]
struct Content {
    lines: Vec<String>,
    ended: bool,
}

impl Pipe {
    fn follow(reader: impl Read + Send + 'static) -> Arc<Self> {
        let pipe = Arc::new(Self { content: Mutex::default(), changed: Condvar::new() });
        let writer = pipe.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                writer.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                writer.changed.notify_all();
                line.clear();
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        });
        pipe
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn text(&self) -> String {
        self.lock().lines.concat()
    }

    fn wait_for_end(&self, deadline: Duration) -> bool {
        let wait = self.changed.wait_timeout_while(self.lock(), deadline, |content| !content.ended);
        wait.is_ok_and(|(content, _)| content.ended)
    }

    /// The first such line after so many, with the number of lines up to it.
    fn wait_for(
        &self,
        after: usize,
        deadline: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let find = |content: &Content| {
            let lines = content.lines.iter().map(|line| line.trim_end()).enumerate().skip(after);
            lines.filter(|(_, line)| is_it(line)).map(|(index, line)| (index + 1, line.to_owned())).next()
        };
        let goes_on = |content: &mut Content| !content.ended && find(content).is_none();
        let (content, _) = self.changed.wait_timeout_while(self.lock(), deadline, goes_on).ok()?;
        find(&content)
    }
}

/// The name of an event of `--format json`.
pub fn event_name(event: &Value) -> Option<&str> {
    body(event)["event"].as_str()
}

/// Whether an event is about an action with this verb.
pub fn is_action(event: &Value, name: &str, verb: &str) -> bool {
    let action = &body(event)["intent"]["action"];
    event_name(event) == Some(name) && (action.as_str() == Some(verb) || action.get(verb).is_some())
}

/// The event itself, whether it stands alone or in an envelope with its number and time.
fn body(event: &Value) -> &Value {
    if event["event"].is_object() { &event["event"] } else { event }
}

/// The program's own environment: nothing of the machine's that could change what it does.
pub(crate) fn environment(home: &Path) -> Vec<(&'static str, std::ffi::OsString)> {
    let inherited =
        ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR", "USER", "LLVM_PROFILE_FILE"];
    let mut variables: Vec<_> =
        inherited.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))).collect();
    // Tools under PATH may be shims that look for their own home.
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        if std::env::var_os(name).is_none()
            && let Some(home) = std::env::var_os("HOME")
        {
            variables.push((name, Path::new(&home).join(folder).into()));
        }
    }
    variables.extend([
        ("HOME", home.into()),
        ("LANG", "C.UTF-8".into()),
        ("TZ", "UTC".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
    ]);
    variables
}

/// Waits until a process is stopped (SIGSTOP takes hold after the signal was sent).
///
/// # Panics
/// If it is not within seconds.
pub(crate) fn wait_until_stopped(pid: i32) {
    wait_for("the process to stop", Duration::from_secs(5), || {
        crate::Process::of(pid).filter(|process| process.state == 'T')
    });
}

impl Background {
    /// Stops it where it is, until it gets SIGCONT.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        wait_until_stopped(self.pid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Background {
        Background::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn an_output_has_code_and_both_streams() {
        let output = shell("echo out; echo err >&2; exit 3").wait().expect(3).says("err");
        assert_eq!(output.stdout, "out\n");
    }

    #[test]
    fn waits_for_a_line_and_crashes_what_said_it() {
        let mut run =
            shell(r#"echo '{"event":"action-began","intent":{"action":{"drain":{}}}}' >&2; sleep 60"#);
        run.wait_for_action("drain");
        assert_eq!(run.crash().signal, Some(9));
    }

    #[test]
    fn lines_are_heard_in_their_order() {
        let mut run = shell("echo one >&2; echo two >&2; echo one >&2; sleep 60");
        let second = Duration::from_secs(5);
        run.wait_for_line("two", second, |line| line == "two");
        run.wait_for_line("the second one", second, |line| line == "one");
        assert_eq!(run.crash().stderr.lines().count(), 3);
    }

    #[test]
    #[should_panic(expected = "holds its output open")]
    fn a_pipe_that_is_left_open_is_a_failure() {
        shell("sleep 8 & exit 0").wait();
    }

    #[test]
    #[should_panic(expected = "in vain for a word")]
    fn a_line_that_does_not_come_is_a_failure() {
        shell("echo other >&2").wait_for_line("a word", Duration::from_secs(5), |line| line == "word");
    }

    #[test]
    fn an_event_in_an_envelope_is_the_same() {
        let bare = serde_json::json!({"event": "action-began", "intent": {"action": "collect"}});
        let inside = serde_json::json!({"number": 1, "event": bare.clone()});
        for event in [&bare, &inside] {
            assert!(is_action(event, "action-began", "collect") && !is_action(event, "action-began", "stop"));
        }
    }
}
