//! Looking at units that are containers of an engine: each by what the engine tells of it, in the order and at the moments
//! that it tells, so that nothing is too short to be seen.

use super::look::{Life, Look, Standing, now, standing, weights_of};
use crate::components::ask;
use engine::{bundle::BundleHash, ledger::Ledger, model::UnitId};
use pipeline::name::Name;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, ErrorKind, Read, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// What the labels begin with that the target gives to all that is its own.
const LABEL: &str = "io.fairlead.";

/// The signal that tells a unit to stop, as the engine names it.
const SIGTERM: &str = "15";

/// Hears an engine, and remembers what it said.
pub(super) struct ContainerEye {
    socket: PathBuf,
    project: String,
    environment: String,
    /// What the engine tells as it happens; `None`: it is away.
    stream: Option<Stream>,
    /// Containers that run → which unit, and whether it was told to stop.
    units: BTreeMap<String, (Life, bool)>,
    targets: BTreeMap<Name, Target>,
    /// When the last look was: none is before another.
    last: u64,
}

/// What one target wrote down.
struct Target {
    /// Its version of the state.
    number: u64,
    weights: BTreeMap<UnitId, u16>,
    standing: Standing,
}

impl ContainerEye {
    /// An eye for the units of this environment of a project.
    pub(super) fn new(socket: &Path, project: &str, environment: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            project: project.to_owned(),
            environment: environment.to_owned(),
            stream: None,
            units: BTreeMap::new(),
            targets: BTreeMap::new(),
            last: 0,
        }
    }

    /// Looks once: at every change since the last time, and at what is now.
    pub(super) fn look(&mut self) -> Vec<Look> {
        if self.stream.is_none() {
            // It is tried again at the next look.
            self.begin().unwrap_or_default();
        }
        let mut looks = Vec::new();
        while let Some(event) = self.next() {
            if self.apply(&event).is_some() {
                let at = event["timeNano"].as_u64().map_or_else(now, |nanos| nanos / 1_000_000);
                looks.push(self.picture(at));
            }
        }
        looks.push(self.picture(now()));
        looks
    }

    fn picture(&mut self, at: u64) -> Look {
        self.last = self.last.max(at);
        let mut units = BTreeMap::new();
        for (life, told_to_stop) in self.units.values() {
            // Two lives of one unit follow each other: the one that stands is meant.
            let entry = units.entry(life.clone()).or_insert(*told_to_stop);
            *entry &= told_to_stop;
        }
        let weights = self.targets.values().flat_map(|target| target.weights.clone()).collect();
        let ledgers =
            self.targets.iter().map(|(name, target)| (name.clone(), target.standing.clone())).collect();
        Look { at: self.last, units, weights, ledgers, blind: self.stream.is_none() }
    }

    /// Begins to hear, and asks for what was before.
    fn begin(&mut self) -> io::Result<()> {
        let stream = Stream::open(&self.socket)?;
        let labels = [format!("project={}", self.project), format!("environment={}", self.environment)];
        let all = |kind: &str| {
            let labels = labels.iter().cloned().chain([format!("kind={kind}")]);
            let labels: Vec<String> = labels.map(|label| format!("{LABEL}{label}")).collect();
            encoded(&json!({ "label": labels }))
        };
        let units = self.ask(&format!("/containers/json?filters={}", all("unit")))?;
        let states = self.ask(&format!("/volumes?filters={}", all("state")))?;
        self.units.clear();
        for container in units.as_array().into_iter().flatten() {
            let life = container["Id"].as_str().zip(life_of(&container["Labels"]));
            self.units.extend(life.map(|(id, life)| (id.to_owned(), (life, false))));
        }
        for volume in states["Volumes"].as_array().into_iter().flatten() {
            self.read(volume);
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn ask(&self, path: &str) -> io::Result<Value> {
        let answer = ask(&self.socket, path).map_err(|error| io::Error::other(error.to_string()))?;
        if answer.status != 200 {
            return Err(io::Error::other(answer.body));
        }
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// What the engine told next; `None`: nothing yet, or it is away.
    fn next(&mut self) -> Option<Value> {
        match self.stream.as_mut()?.next() {
            Ok(event) => event,
            Err(_) => {
                self.stream = None;
                None
            }
        }
    }

    /// Takes in what happened; `None` if that is nothing of ours.
    fn apply(&mut self, event: &Value) -> Option<()> {
        let (actor, action) = (&event["Actor"], event["Action"].as_str()?);
        let (id, attributes) = (actor["ID"].as_str()?, &actor["Attributes"]);
        match (event["Type"].as_str()?, action) {
            ("volume", "create")
                if id.starts_with(&format!("fairlead.{}.{}.", self.project, self.environment)) =>
            {
                // It may be gone again, when there is a newer one, which is told of, too.
                let volume = self.ask(&format!("/volumes/{id}")).ok()?;
                self.read(&volume)
            }
            ("container", "start") if self.is_ours(attributes) => {
                self.units.insert(id.to_owned(), (life_of(attributes)?, false));
                Some(())
            }
            ("container", "kill") if attributes["signal"] == SIGTERM => {
                self.units.get_mut(id)?.1 = true;
                Some(())
            }
            ("container", "die") => self.units.remove(id).map(drop),
            _ => None,
        }
    }

    fn is_ours(&self, labels: &Value) -> bool {
        let is = |name: &str, value: &str| labels[format!("{LABEL}{name}")] == value;
        is("project", &self.project) && is("environment", &self.environment) && is("kind", "unit")
    }

    /// Reads a version of a target's state; `None` if it is none, or an older one.
    fn read(&mut self, volume: &Value) -> Option<()> {
        let label = |name: &str| volume["Labels"][format!("{LABEL}{name}")].as_str();
        let number: u64 = label("number")?.parse().ok()?;
        let document: Value = serde_json::from_str(label("document")?).ok()?;
        let state = &document["state"];
        let ledger: Ledger = serde_json::from_value(state["ledger"].clone()).ok()?;
        let (name, standing) = standing(&ledger);
        if self.targets.get(&name).is_some_and(|known| known.number > number) {
            return None;
        }
        let target = Target { number, weights: weights_of(state)?, standing };
        self.targets.insert(name, target);
        Some(())
    }
}

/// Which unit a container is, by its labels.
fn life_of(labels: &Value) -> Option<Life> {
    let label = |name: &str| labels[format!("{LABEL}{name}")].as_str();
    Some(Life {
        service: label("service")?.parse().ok()?,
        slot: label("slot")?.parse().ok()?,
        bundle: BundleHash::new(label("bundle")?.parse().ok()?),
        target: Some(label("target")?.parse().ok()?),
    })
}

/// The events of an engine: JSON, one a line, without an end.
struct Stream {
    stream: UnixStream,
    pending: Vec<u8>,
    /// Whether the head of the answer is behind us.
    begun: bool,
}

impl Stream {
    fn open(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        let filters = encoded(&json!({"type": ["container", "volume"]}));
        write!(stream, "GET /events?filters={filters} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
        let mut opened = Self { stream, pending: Vec::new(), begun: false };
        // What is asked for afterwards is newer than what is told from here on.
        while !opened.begun {
            opened.fill()?;
        }
        opened.stream.set_nonblocking(true)?;
        Ok(opened)
    }

    /// The next one; `None`: none yet.
    fn next(&mut self) -> io::Result<Option<Value>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                    return Ok(Some(serde_json::from_slice(&line)?));
                }
                continue;
            }
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => self.pending.extend_from_slice(&buffer[..count]),
        }
        let end = b"\r\n\r\n";
        if !self.begun
            && let Some(head) = self.pending.windows(end.len()).position(|four| four == end)
        {
            self.pending.drain(..head + end.len());
            self.begun = true;
        }
        Ok(())
    }
}

/// A document as it is written into a query.
fn encoded(document: &Value) -> String {
    document.to_string().bytes().fold(String::new(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "%{byte:02X}");
        text
    })
}
