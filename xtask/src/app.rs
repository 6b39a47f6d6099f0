//! From arguments to an exit code.

use crate::{
    cli::{self, Cli, Command, Format},
    commands,
    context::Context,
    exit::Exit,
    failure::Failure,
    paint::Paint,
    parts, wire,
};
use clap::{ColorChoice, FromArgMatches as _};
use std::{
    backtrace::Backtrace,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::Write as _,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    process::ExitCode,
};

/// Worker threads of a deploy command: it waits, and at times hashes.
const WORKERS: usize = 2;

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let cargo = variables.get(OsStr::new("CARGO")).cloned();
    let executable = arguments.first().cloned().unwrap_or_default();
    let program = cli::program(&executable, cargo);
    panic::set_hook(Box::new(tell_bug));
    let run = AssertUnwindSafe(|| run(program, arguments, variables));
    panic::catch_unwind(run).unwrap_or(Exit::Bug).into()
}

fn run(program: String, arguments: Vec<OsString>, variables: BTreeMap<OsString, OsString>) -> Exit {
    let command_line = cli::with_names(&program).color(help_colour(&arguments));
    let is_json = wants_json(&arguments, variables.get(OsStr::new("FAIRLEAD_FORMAT")));
    let whole = arguments.clone();
    let parsed =
        command_line.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { global, command } = match parsed {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error, is_json),
    };
    // The provider is installed once in a process; a second one would be refused, which is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Command::Supervisor(background) => in_background(WORKERS, wire::supervisor(background.arguments)),
        // The router carries all traffic: as many threads as there are cores.
        Command::Router(background) => {
            let cores = std::thread::available_parallelism().map_or(WORKERS, Into::into);
            in_background(cores, wire::router(background.arguments))
        }
        command => in_foreground(program, global, variables, command, &whole),
    }
}

fn in_foreground(
    program: String,
    global: cli::Global,
    variables: BTreeMap<OsString, OsString>,
    command: Command,
    arguments: &[OsString],
) -> Exit {
    let runtime = match runtime(WORKERS) {
        Ok(runtime) => runtime,
        Err(failure) => return tell_without_reporter(&failure, global.format),
    };
    let exit = runtime.block_on(async {
        let context = Context::new(program, global, variables, command.tells());
        match commands::run(&context, command).await {
            Ok(None) => Exit::Done,
            Ok(Some(ending)) => {
                context.narrator.end(&ending);
                ending.exit
            }
            Err(failure) => {
                let failure = match failure {
                    // Whoever comes back from it has not become another program.
                    Failure::NeedsParts(needed) => parts::become_linked(&context, needed, arguments),
                    failure => failure,
                };
                context.narrator.fail(&failure);
                failure.exit()
            }
        }
    });
    // What still runs was left on purpose: its intents are written down.
    runtime.shutdown_background();
    exit
}

fn in_background(workers: usize, serve: impl Future<Output = Result<(), Failure>>) -> Exit {
    match runtime(workers).and_then(|runtime| runtime.block_on(serve)) {
        Ok(()) => Exit::Done,
        Err(failure) => tell_without_reporter(&failure, Format::Plain),
    }
}

fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    built.map_err(|error| Failure::state("cannot start the runtime").because(error))
}

/// Help is coloured before the command line is understood, so the choice is looked for by hand.
fn help_colour(arguments: &[OsString]) -> ColorChoice {
    match option(arguments, "--color") {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        Some(_) | None => ColorChoice::Auto,
    }
}

/// Whether programs read what is told: looked for by hand for a command line that is not understood.
fn wants_json(arguments: &[OsString], variable: Option<&OsString>) -> bool {
    let variable = variable.and_then(|value| value.to_str());
    option(arguments, "--format").or(variable) == Some("json")
}

/// The last value of an option, apart from it or joined to it.
fn option<'a>(arguments: &'a [OsString], name: &str) -> Option<&'a str> {
    let apart = arguments.windows(2).filter(|pair| pair[0] == name).filter_map(|pair| pair[1].to_str());
    let joined = |argument: &'a OsString| argument.to_str()?.strip_prefix(name)?.strip_prefix('=');
    apart.chain(arguments.iter().filter_map(joined)).last()
}

/// `--help` and `--version` are told on standard output and are no errors.
fn tell_usage(error: &clap::Error, is_json: bool) -> Exit {
    if is_json && error.exit_code() != 0 {
        return tell_without_reporter(&usage(&error.render().to_string()), Format::Json);
    }
    // A reader that has gone away does not need the rest.
    let _ = error.print();
    if error.exit_code() == 0 { Exit::Done } else { Exit::Usage }
}

/// What clap says, as an error of ours: its first paragraph is what is wrong, the others say what to do.
fn usage(text: &str) -> Failure {
    let mut paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    let first = paragraphs.next().unwrap_or("the command line is not understood");
    let error = Failure::usage(first.strip_prefix("error: ").unwrap_or(first));
    paragraphs.fold(error, |error, paragraph| error.hint(paragraph)).into()
}

fn tell_without_reporter(failure: &Failure, format: Format) -> Exit {
    let text = match failure.to_json() {
        Some(json) if format == Format::Json => format!("{json}\n"),
        Some(_) | None => failure.to_text(Paint::OFF),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    failure.exit()
}

/// A panic is a defect of the program, whatever the user did.
fn tell_bug(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "error: this is a bug in Fairlead {version}: {message}\n\
         caused by: panic at {place}\n\n\
         hint: what was begun is written down: `status` shows what stands, `resume` or `rollback` puts it right\n\
         hint: please report these lines with the command that you ran, and the journal of the run\n\
         {}\n",
        Backtrace::capture(),
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(arguments: &[&str]) -> u8 {
        let arguments =
            std::iter::once("xtask").chain(arguments.iter().copied()).map(OsString::from).collect();
        run("cargo xtask".to_owned(), arguments, BTreeMap::new()).code()
    }

    #[test]
    fn help_is_done_and_nonsense_is_usage() {
        assert_eq!(exit(&["--help"]), 0);
        assert_eq!(exit(&["--version"]), 0);
        assert_eq!(exit(&["deploy", "--help"]), 0);
        assert_eq!(exit(&["no-such-command"]), 2);
        assert_eq!(exit(&["deploy", "--no-such-option"]), 2);
        assert_eq!(exit(&[]), 2);
    }

    #[test]
    fn a_wrong_command_line_is_told_to_programs_as_json() {
        let arguments = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let json = OsString::from("json");
        assert!(wants_json(&arguments("xtask --format json deploy --nonsense"), None));
        assert!(wants_json(&arguments("xtask deploy --nonsense --format=json"), None));
        assert!(wants_json(&arguments("xtask deploy --nonsense"), Some(&json)));
        assert!(!wants_json(&arguments("xtask deploy --format plain"), Some(&json)));
        let command_line = cli::with_names("cargo xtask");
        let error = command_line.try_get_matches_from(["xtask", "deploy", "--no-such"]).expect_err("refused");
        let failure = usage(&error.render().to_string());
        assert_eq!(failure.exit(), Exit::Usage);
        let error = &failure.to_json().expect("there is something to say")["error"];
        assert_eq!(error["kind"], "usage");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("--no-such")), "{error}");
        assert!(error["hints"].to_string().contains("--help"), "{error}");
    }

    #[test]
    fn the_colour_of_help_is_heeded() {
        let choice =
            |arguments: &[&str]| help_colour(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(choice(&["xtask", "--help"]), ColorChoice::Auto);
        assert_eq!(choice(&["xtask", "--color", "never", "--help"]), ColorChoice::Never);
        assert_eq!(choice(&["xtask", "--color=always"]), ColorChoice::Always);
    }
}
