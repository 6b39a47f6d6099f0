//! A real browser without a window, in which a page is opened and looked at. It is given a network that leads nowhere, and
//! tells of every request, every error and everything that can be seen.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than a browser takes to start, or a page of ours to be drawn, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A browser.
pub struct Browser {
    process: Child,
    input: ChildStdin,
    answers: mpsc::Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// What it told without being asked.
    told: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; the first time it is fetched.
    ///
    /// # Panics
    /// If it cannot be had or started.
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("components/browser");
        let installed = Command::new(&script).arg("install").stdin(Stdio::null()).output().expect("a script");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let folder = PathBuf::from(String::from_utf8(installed.stdout).expect("a path").trim_end());
        let profile = tempfile::tempdir().expect("a folder");
        // It speaks on the files 3 and 4, each message ended by a zero byte.
        let mut command = Command::new("bash");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "browser"]).arg(script);
        command.arg("run").arg(folder).args(["--headless", "--remote-debugging-pipe", "--no-sandbox"]);
        command.args([
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-sync",
        ]);
        command.args([
            "--disable-component-update",
            "--proxy-server=127.0.0.1:1",
            "--proxy-bypass-list=<-loopback>",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut process = command.spawn().expect("a shell");
        let (input, output) = (process.stdin.take().expect("piped"), process.stdout.take().expect("piped"));
        let (hand_over, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if hand_over.send(message).is_err() {
                    return;
                }
            }
        });
        let told = Vec::new();
        let mut browser = Self { process, input, answers, next: 0, session: None, told, _profile: profile };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a file in a window of this width and waits until all of it is there.
    ///
    /// # Panics
    /// If it does not come.
    pub fn open(&mut self, file: &Path, width: u32, dark: bool) {
        let window = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", window);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", media);
        self.told.clear();
        self.ask("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        self.hear("Page.loadEventFired");
    }

    /// What the page asked for, beside itself; errors of scripts, of its policy and of loading.
    pub fn complaints(&mut self) -> Vec<String> {
        // Whatever it still has to say comes before this answer.
        self.value("1");
        let mut complaints = Vec::new();
        let mut requests = 0;
        for event in &self.told {
            let parameters = &event["params"];
            match event["method"].as_str() {
                Some("Network.requestWillBeSent") => {
                    requests += 1;
                    if requests > 1 {
                        complaints.push(format!("it asked for {}", parameters["request"]["url"]));
                    }
                }
                Some("Runtime.exceptionThrown") => complaints.push(parameters.to_string()),
                Some("Log.entryAdded" | "Runtime.consoleAPICalled") => {
                    complaints.push(parameters.to_string())
                }
                _ => {}
            }
        }
        assert!(requests > 0, "it is not told what is asked for");
        complaints
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// If it has none.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{answer:#}");
        answer["result"]["value"].clone()
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let size = self.ask("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let asked = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let answer = self.ask("Page.captureScreenshot", asked);
        base64(answer["data"].as_str().expect("a picture"))
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let number = self.next;
        let mut message = json!({ "id": number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut text = message.to_string();
        text.write_char('\0').expect("a String takes everything");
        self.input.write_all(text.as_bytes()).expect("the browser runs");
        let answer = self.until(method, |message| message["id"] == number);
        assert!(answer["error"].is_null(), "{method}: {answer:#}");
        answer["result"].clone()
    }

    fn hear(&mut self, method: &str) {
        if self.told.iter().all(|event| event["method"] != method) {
            self.until(method, |message| message["method"] == method);
        }
    }

    fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.answers.recv_timeout(left);
            let message =
                message.unwrap_or_else(|error| panic!("the browser says nothing to {what}: {error}"));
            let found = is_it(&message);
            if message["id"].is_null() {
                self.told.push(message.clone());
            }
            if found {
                return message;
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers are in its group.
        if let Ok(group) = i32::try_from(self.process.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}

/// The bytes of a text in Base64, which is all that is needed of it here.
fn base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for group in letters.chunks(4) {
        let joined = group.iter().fold(0_u32, |joined, letter| joined << 6 | u32::from(*letter));
        let joined = joined << (6 * (4 - group.len()));
        bytes.extend_from_slice(&joined.to_be_bytes()[1..group.len()]);
    }
    bytes
}
