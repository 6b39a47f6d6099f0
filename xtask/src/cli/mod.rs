//! The command line: what can be typed, and nothing else.

mod github;
mod help;

pub(crate) use github::{Github, GithubRelease, Pull, Tells};
pub(crate) use help::{program, with_names};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use pipeline::{config::scalar::Span, name::Name, stage::StageName};
use std::{ffi::OsString, path::PathBuf};

/// Take a commit to healthy production, and back
///
/// `deploy` tests and builds what has changed, replaces the running units one after the other without losing a request,
/// watches them, and brings back what stood before if they are not healthy. Without an environment it deploys to this
/// machine.
#[derive(Debug, Parser)]
#[command(version, next_line_help = false, disable_help_subcommand = true, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true, infer_long_args = false)]
#[command(after_help = help::after_help(), after_long_help = help::after_long_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Choose the output [auto, tty, plain, github, json]
    #[arg(long, global = true, value_enum, default_value_t = Format::Auto, env = "FAIRLEAD_FORMAT")]
    #[arg(
        value_name = "FORMAT",
        hide_env_values = true,
        hide_possible_values = true,
        hide_default_value = true
    )]
    #[arg(long_help = help::FORMAT)]
    pub(crate) format: Format,
    /// Choose when to use colours [auto, always, never]; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) color: Colour,
    /// Tell more: every probe and every action
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Tell less: only errors and the final line
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Read another project file than fairlead.toml
    #[arg(long, global = true, value_name = "FILE", env = "FAIRLEAD_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Override a configuration key, e.g. services.api.replicas=3 (repeatable)
    #[arg(long, global = true, value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub(crate) set: Vec<String>,
}

/// How things are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// By where it runs.
    Auto,
    /// Live lines on a terminal.
    Tty,
    /// One line for each change.
    Plain,
    /// Groups, annotations and a step summary for GitHub Actions.
    Github,
    /// One JSON object a line.
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Test, build and roll out what has changed
    #[command(after_help = help::DEPLOY, after_long_help = help::deploy_long())]
    Deploy(Deploy),
    /// Show what a deploy would change, without changing anything
    #[command(after_help = help::PLAN)]
    Plan(Plan),
    /// Show what a deploy would do if something went wrong, without changing anything
    #[command(after_help = help::SIMULATE, after_long_help = help::simulate_long())]
    Simulate(Simulate),
    /// Show what stands, and whether it is healthy
    #[command(after_help = help::STATUS)]
    Status(Environment),
    /// List past rollouts, newest first
    History(History),
    /// Bring back what stood before
    #[command(after_help = help::ROLLBACK)]
    Rollback(Rollback),
    /// Carry on an interrupted or held rollout
    Resume(Environment),
    /// Carry on a paused rollout with its next batch
    Promote(Environment),
    /// Pause a running rollout, whoever carries it out
    #[command(after_help = help::PAUSE)]
    Pause(Environment),
    /// End the open rollout, whoever carries it out, and bring back what stood before
    #[command(after_help = help::CANCEL)]
    Cancel(Cancel),
    /// Show what units have logged
    #[command(after_help = help::LOGS)]
    Logs(Logs),
    /// Show who holds the lease, and why; lift a freeze
    #[command(after_help = help::LOCK)]
    Lock(Lock),
    /// Run the project's tests, unless nothing has changed
    Test(Stage),
    /// Build the release: executables, and images where the environment runs images
    #[command(after_help = help::BUILD)]
    Build(Build),
    /// Build the release, and scan its images and the configuration
    Scan(Build),
    /// Test, build and scan the release, and publish its images
    Publish(Build),
    /// Write the report of a release: stages, tests, findings, rollouts, dossiers
    #[command(after_help = help::REPORT)]
    Report(Report),
    /// Check what an environment needs, with the fix of each problem
    Doctor(Environment),
    /// Show what nothing needs any more in the registry; remove it with --yes
    #[command(after_help = help::PRUNE)]
    Prune(Prune),
    /// Tell GitHub of checks and releases, and of what it has not heard yet
    #[command(subcommand)]
    Github(Github),
    /// Stop every unit of an environment on this machine
    Down(Down),
    #[command(name = "__supervisor", hide = true, disable_help_flag = true)]
    Supervisor(Background),
    #[command(name = "__router", hide = true, disable_help_flag = true)]
    Router(Background),
}

/// Which environment.
#[derive(Debug, Args)]
pub(crate) struct Environment {
    /// The environment: a file in deploy/environments
    #[arg(value_name = "ENV", default_value = "local")]
    pub(crate) environment: String,
}

/// Where a release comes from.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Take this release instead of building: its name, or the path of a release-manifest.json
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    /// Run the stages even if nothing has changed
    #[arg(long, conflicts_with = "release")]
    pub(crate) force: bool,
    /// Begin with this stage: those before it are taken as they passed last, whatever has changed since
    #[arg(long, value_name = "STAGE", conflicts_with = "release")]
    pub(crate) from: Option<FromStage>,
    /// Change this service alone; the release is made whole
    #[arg(long, value_name = "SERVICE")]
    pub(crate) only: Option<Name>,
    /// There is no way back from this release: a failure is held, and nothing is rolled back across it
    #[arg(long)]
    pub(crate) irreversible: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Carry out this plan as it is, or refuse it, naming what has changed since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["release", "force", "from", "only", "irreversible"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Do not ask for confirmation
    #[arg(short, long, env = "FAIRLEAD_YES", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
    /// Leave a failed first deploy standing for inspection
    #[arg(long)]
    pub(crate) keep_failed: bool,
    /// Stay in a pause until it is promoted, at most this long [default: 24h]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "24h")]
    pub(crate) wait: Option<Span>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Write the plan to a file, for `deploy --plan`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Show the plan in a comment of a pull request on GitHub, which is kept up to date: of that of this workflow, or of
    /// this number
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, require_equals = true, default_missing_value = "this")]
    pub(crate) comment: Option<Pull>,
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The environment: a file in deploy/environments; `local` if left out
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Simulate this plan instead of one that is made from what stands
    #[arg(long, value_name = "FILE", conflicts_with_all = ["release", "force", "from", "only", "irreversible"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Let a unit exit once, at its start, in a batch or in a wave: api/1, api@2, api/1@wave:2 (repeatable)
    #[arg(long, value_name = "UNIT[@BATCH|@wave:WAVE]", action = ArgAction::Append)]
    pub(crate) fail: Vec<String>,
    /// Let a unit misbehave whenever it is started: api/1=never-ready (repeatable)
    #[arg(long, value_name = "UNIT=BEHAVIOUR", action = ArgAction::Append)]
    pub(crate) fault: Vec<String>,
    /// Let units be ready this long after their start [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) slow: Option<Span>,
    /// Let each effect take this long [default: 150ms]
    #[arg(long, value_name = "DURATION")]
    pub(crate) effects_take: Option<Span>,
    /// Cancel the rollout this long after its beginning
    #[arg(long, value_name = "DURATION")]
    pub(crate) cancel_at: Option<Span>,
    /// Spread the start times; the same number gives the same times
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Show the same under another strategy beside it: recreate, rolling:max-surge=2
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) against: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// List at most this many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The release; the one whose stages ended last if left out
    #[arg(value_name = "RELEASE")]
    pub(crate) release: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Return to this release instead of the previous one
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<String>,
    /// Do not ask for confirmation
    #[arg(short, long, env = "FAIRLEAD_YES", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Leave everything as it is instead, for inspection
    #[arg(long)]
    pub(crate) hold: bool,
    /// Do not ask for confirmation
    #[arg(short, long, env = "FAIRLEAD_YES", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Lift the freeze that a manual rollback has set
    #[arg(long)]
    pub(crate) unfreeze: bool,
    /// Do not ask for confirmation
    #[arg(short, long, env = "FAIRLEAD_YES", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// The service; all of them if left out
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Option<Name>,
    /// Keep showing new lines until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with this many last lines of each unit
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 50)]
    pub(crate) lines: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Stage {
    /// Run the stage even if nothing has changed
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// For this environment, a file in deploy/environments; for `local`, or the first that there is, if left out
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Run the stages even if nothing has changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Begin with this stage: those before it are taken as they passed last, whatever has changed since
    #[arg(long, value_name = "STAGE")]
    pub(crate) from: Option<FromStage>,
    /// Keep its executables in .fairlead/executables, for another machine that gets that folder
    #[arg(long)]
    pub(crate) hand_over: bool,
}

/// A stage to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FromStage {
    /// The executables.
    Build,
    /// The images.
    Image,
    /// The scanner.
    Scan,
    /// The registry.
    Publish,
}

impl From<FromStage> for StageName {
    fn from(stage: FromStage) -> Self {
        match stage {
            FromStage::Build => Self::Build,
            FromStage::Image => Self::Image,
            FromStage::Scan => Self::Scan,
            FromStage::Publish => Self::Publish,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Look at the images in the project's registry
    #[arg(long, required = true)]
    pub(crate) registry: bool,
    /// Only show what would be removed, and why the rest stays; this is the default
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Remove it
    // Not by FAIRLEAD_YES: what a job says of its deploys is not meant for this.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Do not ask for confirmation
    #[arg(short, long, env = "FAIRLEAD_YES", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) yes: bool,
}

/// The arguments of a process that Fairlead starts for itself; read by the process's own library.
#[derive(Debug, Args)]
pub(crate) struct Background {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::simulate_request;
