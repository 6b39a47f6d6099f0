//! What every command has at hand: where it runs, what was asked for, and whom to tell.

use crate::{
    cli::{Colour, Format, Global, Tells},
    output::Output,
    paint::Paint,
    reporter::{Narrator, Style, Verbosity, stderr_is_terminal},
};
use deploy::model::Millis;
use pipeline::{
    github::TOKEN,
    secret::{Redactor, Secret, Variables},
};
use std::{ffi::OsStr, io::IsTerminal as _, os::unix::ffi::OsStrExt as _, time::Instant};

/// What every command has at hand.
pub(crate) struct Context {
    /// The program as people type it.
    pub(crate) program: String,
    /// The options of every command.
    pub(crate) global: Global,
    /// Colours on standard error.
    pub(crate) stderr_paint: Paint,
    /// Where data goes.
    pub(crate) output: Output,
    /// Who tells the story.
    pub(crate) narrator: Narrator,
    /// The environment variables of this process.
    pub(crate) variables: Variables,
    /// Masks the secrets that this process comes to know.
    pub(crate) redactor: Redactor,
    /// Whether someone is there to answer a question.
    pub(crate) is_interactive: bool,
    /// What GitHub is told by the command.
    pub(crate) tells: Tells,
    started: Instant,
}

impl Context {
    /// The context of this process.
    pub(crate) fn new(program: String, global: Global, variables: Variables, tells: Tells) -> Self {
        let is_set = |name: &str| variables.get(OsStr::new(name)).is_some_and(|value| !value.is_empty());
        let term = variables.get(OsStr::new("TERM")).and_then(|term| term.to_str());
        let is_terminal = stderr_is_terminal(term);
        // Under CI nobody watches lines redraw, even if there is a terminal.
        let is_watched = is_terminal && !is_set("CI");
        let format = Style::choose(
            global.format,
            is_set("GITHUB_ACTIONS"),
            is_watched || global.format == Format::Tty && is_terminal,
        );
        let colour = match global.color {
            Colour::Always => Some(true),
            Colour::Never => Some(false),
            Colour::Auto if is_set("NO_COLOR") => Some(false),
            Colour::Auto => None,
        };
        let style = Style {
            format,
            verbosity: match (global.quiet, global.verbose) {
                (true, _) => Verbosity::Quiet,
                (_, true) => Verbosity::Verbose,
                (false, false) => Verbosity::Normal,
            },
            paint: Paint(colour.unwrap_or(is_terminal)),
            summary: variables.get(OsStr::new("GITHUB_STEP_SUMMARY")).map(Into::into),
        };
        let is_interactive =
            is_watched && std::io::stdin().is_terminal() && matches!(format, Format::Tty | Format::Plain);
        let redactor = Redactor::default();
        // Stages and hooks see it as they see every variable, and may print it.
        if let Some(token) = variables.get(OsStr::new(TOKEN)) {
            redactor.learn(&Secret::new(token.as_bytes().trim_ascii().to_vec()));
        }
        Self {
            program,
            stderr_paint: style.paint,
            output: Output::new(global.format, colour),
            narrator: Narrator::new(&style),
            global,
            variables,
            redactor,
            is_interactive,
            tells,
            started: Instant::now(),
        }
    }

    /// How long the command has been running, in milliseconds.
    pub(crate) fn took(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// A command of this program as it is typed.
    pub(crate) fn command(&self, rest: &str) -> String {
        format!("{} {rest}", self.program)
    }
}
