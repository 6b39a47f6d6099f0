//! Parts of the program that take minutes to compile and that not everybody needs: Docker engines and GitHub. A program
//! that was built without one has itself built anew with it when a command needs it, and becomes that program: so nobody
//! who does not need it waits for its compilation.
//!
//! **Invariant.** Nothing that is done to an environment waits for GitHub, and so not for the part that speaks to it either:
//! if that cannot be built, or not at once where something is to be brought back, the command goes on without it.

use crate::{cli::Tells, context::Context, exit::Exit, failure::Failure, github};
use deploy::config::Loaded;
use serde::Deserialize;
use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Parts of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Docker engines and image registries.
    docker: bool,
    /// GitHub.
    github: bool,
}

/// Set where the part for GitHub is not to be asked for: `1`, or `later` if it is built once the work is done.
const WITHOUT_GITHUB: &str = "FAIRLEAD_WITHOUT_GITHUB";

/// What it is set to where it is built once the work is done.
const LATER: &str = "later";

/// How long a build goes on before it is told of: longer than cargo takes to see that nothing has changed.
const QUIET: Duration = Duration::from_secs(2);

/// The longest that a build may take: on a slow machine with nothing compiled yet it takes ten minutes.
const LONGEST: Duration = Duration::from_secs(3600);

impl Parts {
    /// Docker engines alone.
    #[cfg(any(test, not(feature = "docker")))]
    pub(crate) const DOCKER: Self = Self { docker: true, github: false };

    /// GitHub alone.
    pub(crate) const GITHUB: Self = Self { docker: false, github: true };

    /// What this program has.
    const HERE: Self = Self { docker: cfg!(feature = "docker"), github: cfg!(feature = "github") };

    fn and(self, other: Self) -> Self {
        Self { docker: self.docker || other.docker, github: self.github || other.github }
    }

    fn but(self, other: Self) -> Self {
        Self { docker: self.docker && !other.docker, github: self.github && !other.github }
    }

    fn is_none(self) -> bool {
        !self.docker && !self.github
    }

    fn list(self, docker: &'static str, github: &'static str) -> Vec<&'static str> {
        let all = [(self.docker, docker), (self.github, github)];
        all.into_iter().filter_map(|(has, word)| has.then_some(word)).collect()
    }

    /// The features that it is built with.
    fn features(self) -> String {
        self.list("docker", "github").join(",")
    }

    /// The program that has them, as a target of the package.
    fn program(self) -> String {
        format!("xtask-{}", self.list("docker", "github").join("-"))
    }

    fn words(self) -> String {
        self.list("Docker engines", "GitHub").join(" and ")
    }

    /// What is wrong with a program that does not have them.
    pub(crate) fn missing(self) -> String {
        format!("this build of the program does not know {}", self.but(Self::HERE).words())
    }
}

/// Whether this program can do what an environment needs of it.
pub(crate) fn know(context: &Context, loaded: &Loaded, tells: Tells) -> Result<(), Failure> {
    let docker = loaded.environment.runs_images();
    let github = match tells {
        Tells::Nothing => false,
        Tells::Itself => true,
        Tells::Deploy | Tells::Rollback => {
            loaded.environment.github && github::has_token(context) && !is_without_github(context)
        }
    };
    let needed = Parts { docker, github };
    if needed.but(Parts::HERE).is_none() { Ok(()) } else { Err(Failure::NeedsParts(needed)) }
}

/// Whether GitHub is left alone, because somebody wants it so or because the part that speaks to it could not be built.
pub(crate) fn is_without_github(context: &Context) -> bool {
    variable(context, WITHOUT_GITHUB).is_some_and(|value| !value.is_empty())
}

/// Whether the part for GitHub is to be built now that the work is done.
pub(crate) fn is_for_later(context: &Context) -> bool {
    variable(context, WITHOUT_GITHUB).is_some_and(|value| value == LATER)
}

fn variable<'a>(context: &'a Context, name: &str) -> Option<&'a OsStr> {
    context.variables.get(OsStr::new(name)).map(OsString::as_os_str)
}

/// Builds the program that has these parts, and becomes it; without GitHub, if that is all that is in the way. Returns only
/// with why neither is possible.
pub(crate) fn become_linked(context: &Context, needed: Parts, arguments: &[OsString]) -> Failure {
    let whole = needed.and(Parts::HERE);
    let is_hurried = context.tells == Tells::Rollback && !whole.but(Parts::HERE).docker;
    let longest = if is_hurried { QUIET } else { LONGEST };
    let error = match build(context, whole, longest) {
        Ok(program) => return become_program(&program, arguments, None),
        Err(error) => error,
    };
    if context.tells == Tells::Itself || !whole.but(Parts::HERE).github {
        return error.into_failure(whole);
    }
    let rest = Parts { github: Parts::HERE.github, ..whole };
    let (later, why) = match error {
        BuildError::Late { .. } if is_hurried => {
            (LATER, "it is told once that is done, by a program that is then built".to_owned())
        }
        error => ("1", format!("it is not told for now: {}", error.words())),
    };
    context.narrator.note(&format!("nothing waits for GitHub: {why}"));
    let program = match rest.but(Parts::HERE).is_none() {
        true => std::env::current_exe().map_err(|error| error.to_string()),
        false => match build(context, rest, LONGEST) {
            Ok(program) => Ok(program),
            Err(error) => return error.into_failure(rest),
        },
    };
    match program {
        Ok(program) => become_program(&program, arguments, Some(later)),
        Err(error) => Failure::state("the program cannot go on without GitHub").because(error),
    }
}

/// Builds the program that speaks to GitHub, and has it send what waits. Says why not.
pub(crate) fn send_with_linked(context: &Context, environment: &str) -> Result<(), String> {
    let program = build(context, Parts::HERE.and(Parts::GITHUB), LONGEST).map_err(BuildError::words)?;
    let mut command = Command::new(&program);
    command.args(["github", "send", environment, "--quiet"]).env_remove(WITHOUT_GITHUB);
    if let Some(config) = &context.global.config {
        command.arg("--config").arg(config);
    }
    let status = command.stdin(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.code() == Some(Exit::Done.code().into()) {
        return Ok(());
    }
    Err("what it says stands above".to_owned())
}

fn become_program(program: &Path, arguments: &[OsString], without_github: Option<&str>) -> Failure {
    let mut command = Command::new(program);
    // What is exported for this program by cargo holds for that one as well.
    command.args(arguments.iter().skip(1));
    if let Some(value) = without_github {
        command.env(WITHOUT_GITHUB, value);
    }
    let error = command.exec();
    Failure::state("the program could not become another").because(format!("{}: {error}", program.display()))
}

/// Why there is no such program.
enum BuildError {
    /// Nothing that could build it is known.
    NoCargo,
    /// It was not built in time.
    Late { longest: Duration },
    /// It was not built.
    Failed(String),
}

impl BuildError {
    fn words(self) -> String {
        match self {
            Self::NoCargo => "this build of the program does not know it".to_owned(),
            Self::Late { longest } => format!("cargo was ended after {} s", longest.as_secs()),
            Self::Failed(why) => why,
        }
    }

    fn into_failure(self, parts: Parts) -> Failure {
        if matches!(self, Self::NoCargo) {
            let error = Failure::usage(format!("{}, which is needed", parts.missing()));
            return error.hint(format!("build it with `--features {}`", parts.features())).into();
        }
        Failure::state(format!("the program could not be built with {}", parts.words())).because(self.words())
    }
}

/// What cargo says of something that it built.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn build(context: &Context, parts: Parts, longest: Duration) -> Result<PathBuf, BuildError> {
    let folder = variable(context, "CARGO_MANIFEST_DIR").ok_or(BuildError::NoCargo)?;
    let cargo = variable(context, "CARGO").ok_or(BuildError::NoCargo)?;
    let name = parts.program();
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--features", &parts.features(), "--bin", &name]);
    command
        .arg("--message-format=json-render-diagnostics")
        .arg("--manifest-path")
        .arg(Path::new(folder).join("Cargo.toml"));
    let running = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut running = running.map_err(|error| BuildError::Failed(format!("{}: {error}", cargo.display())))?;
    let built = wait(context, &mut running, &name, parts, longest);
    let Ok(built) = built else {
        let _ = running.kill();
        let _ = running.wait();
        return Err(BuildError::Late { longest });
    };
    let status = running.wait().map_err(|error| BuildError::Failed(error.to_string()))?;
    match built {
        Some(program) if status.success() => Ok(program),
        _ => Err(BuildError::Failed(format!("cargo ended with {status}; what it says stands above"))),
    }
}

/// The executable that cargo says it made, once it has said all.
fn wait(
    context: &Context,
    running: &mut Child,
    name: &str,
    parts: Parts,
    longest: Duration,
) -> Result<Option<PathBuf>, mpsc::RecvTimeoutError> {
    let output = running.stdout.take().expect("it is piped");
    let (hand_over, handed_over) = mpsc::channel();
    let name = name.to_owned();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let built = lines.filter_map(|line| serde_json::from_str::<Message>(&line).ok()?.executable);
        // Nobody takes it any more if it came too late.
        let _ = hand_over.send(built.filter(|path| path.file_name() == Some(OsStr::new(&name))).last());
    });
    handed_over.recv_timeout(QUIET).or_else(|error| {
        let Some(left) = longest.checked_sub(QUIET).filter(|left| !left.is_zero()) else { return Err(error) };
        let words = parts.words();
        context.narrator.note(&format!("building the program with {words}; the first time takes minutes"));
        handed_over.recv_timeout(left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_parts_is_a_program_of_its_own() {
        let both = Parts::DOCKER.and(Parts::GITHUB);
        let programs = [Parts::DOCKER, Parts::GITHUB, both].map(|parts| (parts.program(), parts.features()));
        let manifest = include_str!("../Cargo.toml");
        for (program, features) in &programs {
            let features = features.split(',').map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
            let target = format!(
                "name = \"{program}\"\npath = \"src/bin/{program}.rs\"\nrequired-features = [{features}]"
            );
            assert!(manifest.contains(&target), "{target}");
        }
        assert_eq!(both.but(Parts::GITHUB), Parts::DOCKER);
        assert!(Parts::GITHUB.but(both).is_none());
    }
}
