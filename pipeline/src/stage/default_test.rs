//! What tests a project whose `test` stage names no command.

use super::{Context, Stage, TestCommand};
use crate::process::Argv;
use std::time::Duration;

/// Asked for its version, a tool answers at once; a first start from a slow disk takes a second or two.
const DEADLINE: Duration = Duration::from_secs(10);

/// The stages, with what tests by default looked up where no command is given: nextest where it is installed, because it
/// runs the tests of all programs side by side, else what cargo has itself. Nothing is asked if nobody needs to know.
pub(super) async fn looked_up(context: &Context, stages: &[Stage]) -> Vec<Stage> {
    let mut stages = stages.to_vec();
    for stage in &mut stages {
        if let Stage::Test(test) = stage
            && test.command == TestCommand::Default
            && let Some(version) = nextest(context).await
        {
            test.command = TestCommand::Nextest { version };
        }
    }
    stages
}

/// The version of nextest, `cargo-nextest 0.9.143 (60fa45f63 2026-08-04)`; `None` if it cannot be run.
async fn nextest(context: &Context) -> Option<String> {
    let argv = Argv::new(context.cargo()).args(["nextest", "--version"]).folder(&context.root);
    let mut first = None;
    let mut on_line = |_, line: &str| _ = first.get_or_insert_with(|| line.to_owned());
    let finished = context.runner.run(&argv, DEADLINE, &mut on_line).await.ok()?;
    first.filter(|line| finished.success() && line.starts_with("cargo-nextest "))
}

impl TestCommand {
    /// What is run.
    pub(super) fn argv(&self, context: &Context) -> Option<Argv> {
        match self {
            Self::Own(command) => Argv::from_list(command),
            Self::Default | Self::Nextest { .. } => Some(Argv::new(context.cargo()).args(self.arguments())),
        }
    }

    /// The command as it is typed: where cargo is does not change what it does.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::Own(command) => command.clone(),
            Self::Default | Self::Nextest { .. } => {
                std::iter::once("cargo").chain(self.arguments().iter().copied()).map(str::to_owned).collect()
            }
        }
    }

    fn arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Own(_) => &[],
            Self::Default => &["test"],
            Self::Nextest { .. } => &["nextest", "run"],
        }
    }
}
