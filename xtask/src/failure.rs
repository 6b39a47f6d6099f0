//! Why a command did not come to its end, and how that is told.

use crate::{
    exit::Exit,
    paint::{Paint, Tone},
    parts::Parts,
};
use deploy::session::{Kind, SessionError};
use serde_json::{Value, json};
use std::error::Error;

/// Why a command did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong before or beside a rollout.
    Session(SessionError),
    /// Something went wrong after something had begun to change: it is left half done, and can be taken up.
    Begun(SessionError),
    /// The configuration is wrong: everything at once.
    Config {
        /// For people, with the lines of the files.
        rendered: String,
        /// For machines.
        problems: Value,
    },
    /// The operator asked for the end before anything was changed.
    Stopped,
    /// The command needs parts that this program was built without. Nothing was done yet.
    NeedsParts(Parts),
    /// Nobody reads what is printed any more. Not an error.
    ClosedPipe,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> SessionError {
        SessionError::new(Kind::Usage, message)
    }

    /// Refused; nothing was changed.
    pub(crate) fn refused(message: impl Into<String>) -> SessionError {
        SessionError::new(Kind::Refused, message)
    }

    /// A file or a process is not as it should be; nothing was changed.
    pub(crate) fn state(message: impl Into<String>) -> Chain {
        Chain(SessionError::new(Kind::State, message))
    }

    /// A defect of the program.
    pub(crate) fn bug(message: impl Into<String>) -> Chain {
        Chain(SessionError::new(Kind::Bug, message))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Session(error) => Exit::of_error(error.kind),
            Self::Begun(error) => match error.kind {
                Kind::Locked | Kind::Bug => Exit::of_error(error.kind),
                Kind::Usage | Kind::Stage | Kind::Refused | Kind::State => Exit::Interrupted,
            },
            Self::Config { .. } | Self::NeedsParts(_) => Exit::Usage,
            Self::Stopped => Exit::Interrupted,
            Self::ClosedPipe => Exit::Done,
        }
    }

    /// For people; empty if there is nothing to say.
    pub(crate) fn to_text(&self, paint: Paint) -> String {
        match self {
            Self::Session(error) | Self::Begun(error) => session_text(error, paint),
            Self::Config { rendered, .. } => {
                let next = "nothing was changed: mend the lines above and run the command again";
                format!("{rendered}\n\n{}: {next}\n", paint.tone(Tone::Title, "hint"))
            }
            Self::Stopped => "interrupted: nothing was changed\n".to_owned(),
            Self::NeedsParts(parts) => format!("error: {}\n", parts.missing()),
            Self::ClosedPipe => String::new(),
        }
    }

    /// For machines: one JSON object; none if there is nothing to say.
    pub(crate) fn to_json(&self) -> Option<Value> {
        let exit_code = self.exit().code();
        let error = match self {
            Self::Session(error) | Self::Begun(error) => json!({
                "kind": kind_word(error.kind),
                "message": error.message,
                "causes": causes(error),
                "hints": error.hints,
                "exit-code": exit_code,
            }),
            Self::Config { problems, .. } => json!({
                "kind": "config",
                "message": "the configuration is wrong",
                "causes": [],
                "hints": [],
                "problems": problems,
                "exit-code": exit_code,
            }),
            Self::NeedsParts(parts) => json!({
                "kind": "usage",
                "message": parts.missing(),
                "causes": [],
                "hints": [],
                "exit-code": exit_code,
            }),
            Self::Stopped => json!({
                "kind": "interrupted",
                "message": "interrupted: nothing was changed",
                "causes": [],
                "hints": [],
                "exit-code": exit_code,
            }),
            Self::ClosedPipe => return None,
        };
        Some(json!({ "error": error }))
    }
}

/// An error of which the cause is to be added.
pub(crate) struct Chain(SessionError);

impl Chain {
    /// With its cause.
    pub(crate) fn because(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Session(self.0.because(cause))
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// The kind as documents name it.
fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Usage => "usage",
        Kind::Stage => "stage",
        Kind::Refused => "refused",
        Kind::Locked => "locked",
        Kind::State => "state",
        Kind::Bug => "bug",
    }
}

/// What caused an error, the nearest first. A cause that says what the line before has said is left out.
fn causes(error: &SessionError) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut said = error.message.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if text != said {
            causes.push(text.clone());
        }
        said = text;
        cause = error.source();
    }
    causes
}

fn session_text(error: &SessionError, paint: Paint) -> String {
    let mut text = format!("{}: {}\n", paint.tone(Tone::Bad, "error"), error.message);
    for cause in causes(error) {
        text.push_str(&format!("caused by: {cause}\n"));
    }
    if !error.hints.is_empty() {
        text.push('\n');
    }
    for hint in &error.hints {
        text.push_str(&format!("{}: {hint}\n", paint.tone(Tone::Title, "hint")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn error() -> Failure {
        let cause = io::Error::other("permission denied");
        let error =
            Failure::refused("cannot deploy to `production`: the tree has changes that the commit lacks");
        let error = error.because(cause);
        error
            .hint("commit the changes")
            .hint("or deploy a release: `cargo xtask deploy production --release R`")
            .into()
    }

    #[test]
    fn an_error_says_what_why_and_what_next() {
        insta::assert_snapshot!(error().to_text(Paint::OFF), @r"
        error: cannot deploy to `production`: the tree has changes that the commit lacks
        caused by: permission denied

        hint: commit the changes
        hint: or deploy a release: `cargo xtask deploy production --release R`
        ");
    }

    #[test]
    fn an_error_is_one_json_object() {
        insta::assert_json_snapshot!(error().to_json().unwrap(), @r#"
        {
          "error": {
            "kind": "refused",
            "message": "cannot deploy to `production`: the tree has changes that the commit lacks",
            "causes": [
              "permission denied"
            ],
            "hints": [
              "commit the changes",
              "or deploy a release: `cargo xtask deploy production --release R`"
            ],
            "exit-code": 3
          }
        }
        "#);
    }

    #[test]
    fn configuration_is_told_as_it_renders_itself() {
        let rendered = "error: unknown key `prot`\n --> fairlead.toml:3:1".to_owned();
        let failure = Failure::Config { rendered, problems: json!([]) };
        assert_eq!(failure.exit(), Exit::Usage);
        insta::assert_snapshot!(failure.to_text(Paint::OFF), @r"
        error: unknown key `prot`
         --> fairlead.toml:3:1

        hint: nothing was changed: mend the lines above and run the command again
        ");
    }

    #[test]
    fn once_a_rollout_has_begun_nothing_is_called_unchanged() {
        let exit = |kind| Failure::Begun(SessionError::new(kind, "the record could not be written")).exit();
        assert_eq!(exit(Kind::State), Exit::Interrupted);
        assert_eq!(exit(Kind::Refused), Exit::Interrupted);
        assert_eq!(exit(Kind::Locked), Exit::Locked);
        assert_eq!(exit(Kind::Bug), Exit::Bug);
    }

    #[test]
    fn a_closed_pipe_is_not_told() {
        assert_eq!(Failure::ClosedPipe.to_text(Paint::OFF), "");
        assert_eq!(Failure::ClosedPipe.to_json(), None);
    }

    #[test]
    fn only_colour_brings_escape_codes() {
        assert!(!error().to_text(Paint::OFF).contains('\u{1b}'));
        assert!(error().to_text(Paint(true)).contains('\u{1b}'));
    }
}
