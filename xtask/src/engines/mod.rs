//! Docker engines and registries, in a program that was built with them. One that was not has itself built anew with them
//! when an environment needs them, and becomes that program: so nobody who does not need them waits for their compilation.

#[cfg(feature = "docker")]
mod examine;
#[cfg(feature = "docker")]
mod linked;
#[cfg(feature = "docker")]
mod prune;
#[cfg(not(feature = "docker"))]
mod unlinked;

#[cfg(feature = "docker")]
pub(crate) use examine::examine;
#[cfg(feature = "docker")]
pub(crate) use linked::{maker, platforms, router};
#[cfg(feature = "docker")]
pub(crate) use prune::look;
#[cfg(not(feature = "docker"))]
pub(crate) use unlinked::{examine, look, maker, platforms, router};

use crate::failure::Failure;
use deploy::config::Loaded;
use pipeline::{digest::Digest, secret::Variables};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Images that are needed, and for what.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// By the digest of their manifest or by their id: who needs them, in words.
    pub(crate) who: BTreeMap<Digest, BTreeSet<String>>,
    /// By the name of a repository: the digests that it is asked for. No ids: a registry fails that is asked for the manifest
    /// of what is none.
    pub(crate) asked: BTreeMap<String, BTreeSet<Digest>>,
}

impl Needed {
    /// Adds an image by its digest.
    pub(crate) fn add(&mut self, repository: &str, digest: Digest, who: String) {
        self.who.entry(digest).or_default().insert(who);
        self.asked.entry(repository.to_owned()).or_default().insert(digest);
    }
}

/// The program that has them, as a target of the package.
const PROGRAM: &str = "xtask-docker";

/// The feature that it is built with.
const FEATURE: &str = "docker";

/// How long its build goes on before it is told of: longer than cargo takes to see that nothing has changed.
const QUIET: Duration = Duration::from_secs(2);

/// The longest that its build may take: on a slow machine with nothing compiled yet it takes ten minutes.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether this program can do what an environment needs.
pub(crate) fn know(loaded: &Loaded) -> Result<(), Failure> {
    if cfg!(feature = "docker") || !loaded.environment.runs_images() {
        return Ok(());
    }
    Err(Failure::NeedsEngines)
}

/// Builds the program that has them, and becomes it. Returns only with why that is not possible.
pub(crate) fn become_linked(variables: &Variables, arguments: &[OsString], tell: &dyn Fn(&str)) -> Failure {
    let variable = |name: &str| variables.get(OsStr::new(name));
    let (Some(folder), Some(cargo)) = (variable("CARGO_MANIFEST_DIR"), variable("CARGO")) else {
        let error = Failure::usage(
            "this build of the program does not know Docker engines, which the environment needs",
        );
        return error.hint(format!("build it with its feature `{FEATURE}`")).into();
    };
    let failed =
        |reason: String| Failure::state("the program could not be built with Docker engines").because(reason);
    let program = match build(cargo, Path::new(folder), tell) {
        Ok(program) => program,
        Err(reason) => return failed(reason),
    };
    // What is exported for this program by cargo holds for that one as well.
    let error = Command::new(&program).args(arguments.iter().skip(1)).exec();
    failed(format!("{}: {error}", program.display()))
}

/// What cargo says of something that it built.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn build(cargo: &OsStr, folder: &Path, tell: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--features", FEATURE, "--bin", PROGRAM]);
    command
        .arg("--message-format=json-render-diagnostics")
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"));
    let running = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut running = running.map_err(|error| format!("{}: {error}", cargo.display()))?;
    let output = running.stdout.take().expect("it is piped");
    let (hand_over, handed_over) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let built = lines.filter_map(|line| serde_json::from_str::<Message>(&line).ok()?.executable);
        // Nobody takes it any more if it came too late.
        let _ = hand_over.send(built.filter(|path| path.file_name() == Some(OsStr::new(PROGRAM))).last());
    });
    let built = handed_over.recv_timeout(QUIET).or_else(|_| {
        tell("building the program with Docker engines; the first time takes minutes");
        handed_over.recv_timeout(LONGEST)
    });
    let Ok(built) = built else {
        let _ = running.kill();
        return Err(format!("cargo was ended after {} s", LONGEST.as_secs()));
    };
    let status = running.wait().map_err(|error| error.to_string())?;
    match built {
        Some(program) if status.success() => Ok(program),
        _ => Err(format!("cargo ended with {status}; what it says stands above")),
    }
}
