//! The texts of `--help` that clap does not make by itself.

use crate::exit::Exit;
use clap::CommandFactory as _;
use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    path::Path,
};

/// What stands for the program's name in the texts below.
const PROGRAM: &str = "{program}";

const EXAMPLES: &str = "\
Examples:
  {program} deploy                     test, build and roll out to this machine
  {program} plan production            show what a deploy would change
  {program} status                     show what stands here
  {program} rollback                   bring back what stood before
  {program} logs local api -f          follow the log of a service";

/// The end of the short help.
pub(super) fn after_help() -> String {
    format!(
        "{EXAMPLES}\n\nRun `{PROGRAM} COMMAND --help` for more on a command, `{PROGRAM} --help` for exit codes."
    )
}

pub(super) const FORMAT: &str = "\
Choose how things are told:

  auto    github under GitHub Actions, plain without a terminal, else tty
  tty     live lines, one for each stage and unit
  plain   one line for each change, no escape codes
  github  groups, annotations and a step summary for GitHub Actions
  json    one JSON object a line on standard error, documents on standard output";

pub(super) const DEPLOY: &str = "\
Examples:
  {program} deploy                              to this machine
  {program} deploy local --only api             one service, the others stay as they are
  {program} deploy production --release 3f9a1c2b4d5e --yes
  {program} deploy production --plan plan.json  exactly what was planned, or nothing";

pub(super) const BUILD: &str = "\
Examples:
  {program} build
  {program} build production --hand-over        for a machine that deploys it and cannot build it";

pub(super) const PLAN: &str = "\
Examples:
  {program} plan local
  {program} plan production --release 3f9a1c2b4d5e --out plan.json
  {program} plan local --format json | jq .services";

pub(super) const GITHUB_REPORT: &str = "\
Looks at .fairlead/reports/junit.xml and .fairlead/scans, as `test` and `scan` left them. What scans have
found goes to code scanning as well. Needs GITHUB_TOKEN with `checks: write` and `security-events: write`.

Examples:
  {program} github report";

pub(super) const GITHUB_RELEASE: &str = "\
The tag is `release-` and the release's name. The notes are the commits since the last such tag. The manifest
goes with it, and every file of .fairlead/reports/RELEASE. Needs GITHUB_TOKEN with `contents: write`.

Examples:
  {program} github release
  {program} github release 3f9a1c2b4d5e";

pub(super) const SIMULATE: &str = "\
Examples:
  {program} simulate local --fault api/1=never-ready
  {program} simulate production --plan plan.json --fail api@2 --seed 7
  {program} simulate local --fault api=exits-after:20s --against recreate";

const SIMULATE_WORDS: &str = "\
A unit is `api/1`, or `api` for all of a service; `previous:api` means what stood before, when it is
started again on the way back.

Behaviours:
  good[:DURATION]               ready after this long
  exits-after:DURATION          well until then
  out-of-memory-after:DURATION  well until then
  never-ready                   answers 503
  hangs                         accepts, and never answers
  flaps:DURATION                changes between well and 503 this often
  wrong-release                 says that it is another release
  wrong-port                    listens on another port
  fails-requests:PERCENT        answers its probes well, but fails this share of requests
  unprobeable                   the probe itself does not work

Strategies:
  recreate
  rolling[:max-surge=N,max-unavailable=N,batches=1+25%+100%]";

pub(super) const STATUS: &str = "\
Examples:
  {program} status production
  {program} status --format json | jq -r .health";

pub(super) const ROLLBACK: &str = "\
An open rollout is ended and undone. Otherwise the bundles that stood before the last change come
back as they were: code, environment, config files and secrets.

Examples:
  {program} rollback local
  {program} rollback production --to 3f9a1c2b4d5e --yes";

pub(super) const PAUSE: &str = "\
What is under way comes to its end, nothing more is begun, and the rollout stays open: `promote`
carries it on, `cancel` ends it. The `deploy` that is paused exits with 12, unless it was told to
--wait; this command exits with 0.

Examples:
  {program} pause production";

pub(super) const CANCEL: &str = "\
The process that carries the rollout out is asked to end it, and exits with 10 (12 with --hold).
Where none does (any more), the rollout is ended here. This command waits for the end, and exits
with 0 if it is the one that was asked for. Without an open rollout it exits with 3.

Examples:
  {program} cancel production
  {program} cancel production --hold    leave everything as it is, for inspection";

pub(super) const PRUNE: &str = "\
An image stays if a target of any environment of the project runs it or can return to it, if a
release that is kept here names it, if a tag that moves points to it, or if an index holds it. If a
target cannot be asked, nothing is removed. What is attached to an image goes with it.

Examples:
  {program} prune --registry production          show what goes, and why the rest stays
  {program} prune --registry production --yes    remove it";

pub(super) const REPORT: &str = "\
The folder .fairlead/reports/RELEASE gets report.html, report.md and report.json, beside what the
stages have left there: junit.xml, SARIF, CycloneDX. Nothing in it needs another file or a network.
A deploy writes it as well. The text goes to standard output, with --format json the data.

Examples:
  {program} report >> \"$GITHUB_STEP_SUMMARY\"
  {program} report 3f9a1c2b4d5e --format json | jq .rollouts";

pub(super) const LOCK: &str = "\
A rollback by hand freezes every environment but `local`: `deploy` is refused until a human types
the environment's name, or lifts the freeze.

Examples:
  {program} lock production
  {program} lock --unfreeze production";

pub(super) const LOGS: &str = "\
Examples:
  {program} logs                 the last lines of every unit here
  {program} logs local api -f    follow one service, through rotation and replacement of the file
  {program} logs local api -n 500";

/// The end of the long help: examples and exit codes.
pub(super) fn after_long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit_codes())
}

/// The end of the long help of `deploy`.
pub(super) fn deploy_long() -> String {
    format!("{DEPLOY}\n\n{}", exit_codes())
}

/// The end of the long help of `simulate`.
pub(super) fn simulate_long() -> String {
    format!("{SIMULATE_WORDS}\n\n{SIMULATE}")
}

fn exit_codes() -> String {
    let mut text = String::from("Exit codes:");
    for exit in Exit::ALL {
        write!(text, "\n  {:>2}  {}", exit.code(), exit.meaning()).expect("writing to a String cannot fail");
    }
    text
}

/// What the program is called: as people type it.
pub(crate) fn program(executable: &OsStr, cargo: Option<OsString>) -> String {
    let stem = Path::new(executable).file_stem().unwrap_or(OsStr::new("fairlead")).to_string_lossy();
    if stem == "xtask" && cargo.is_some() { "cargo xtask".to_owned() } else { stem.into_owned() }
}

/// The command line with the program's name in usage lines and examples.
pub(crate) fn with_names(program: &str) -> clap::Command {
    let name =
        |text: Option<&clap::builder::StyledStr>| text.map(|text| text.to_string().replace(PROGRAM, program));
    let rename = |mut command: clap::Command| {
        if let Some(text) = name(command.get_after_help()) {
            command = command.after_help(text);
        }
        if let Some(text) = name(command.get_after_long_help()) {
            command = command.after_long_help(text);
        }
        command
    };
    let mut command =
        rename(super::Cli::command()).display_name(program.to_owned()).bin_name(program.to_owned());
    for subcommand in command.get_subcommands_mut() {
        *subcommand = rename(std::mem::take(subcommand));
    }
    command
}
