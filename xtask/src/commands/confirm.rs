//! Confirmation: a protected environment is changed only by someone who types its name.

use crate::{
    context::Context,
    failure::Failure,
    signals::{Stops, Then},
};
use std::io::{self, BufRead};

/// What is to be confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmation<'a> {
    /// The environment, whose name is to be typed.
    pub(super) environment: &'a str,
    /// Whether it has to be confirmed at all: it is protected.
    pub(super) needed: bool,
    /// Whether `--yes` was given, which confirms it.
    pub(super) yes: bool,
    /// What is done then: a sentence.
    pub(super) what: &'a str,
}

/// Asks for the environment's name, unless that is not needed or `--yes` was given.
pub(super) async fn confirm(
    context: &Context,
    stops: &mut Stops,
    confirmation: Confirmation<'_>,
) -> Result<(), Failure> {
    let Confirmation { environment, needed, yes, what } = confirmation;
    if !needed || yes {
        return Ok(());
    }
    if !context.is_interactive {
        let error =
            Failure::refused(format!("`{environment}` is protected, and nobody is here to confirm: {what}"));
        return Err(error.hint("add --yes once you have read the plan").into());
    }
    context.narrator.ask(&format!("{what}\nType `{environment}` to go on:"));
    let expected = environment.to_owned();
    // Reading blocks, and Ctrl-C must not have to wait for it.
    let reading = tokio::task::spawn_blocking(move || answered(&mut io::stdin().lock(), &expected));
    let answer = stops.guard(reading, || Then::Leave).await.ok_or(Failure::Stopped)?;
    answer.map_err(|error| Failure::bug("the answer could not be read").because(error))?
}

/// Reads the answer: only the very name counts.
fn answered(input: &mut impl BufRead, environment: &str) -> Result<(), Failure> {
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(|error| Failure::state("cannot read the answer").because(error))?;
    if answer.trim() == environment {
        return Ok(());
    }
    Err(Failure::refused(format!("not confirmed: the answer was not `{environment}`")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn only_the_name_confirms() {
        assert!(answered(&mut "production\n".as_bytes(), "production").is_ok());
        for answer in ["", "\n", "y\n", "yes\n", "prod\n", "Production\n"] {
            let refused = answered(&mut answer.as_bytes(), "production").expect_err(answer);
            assert_eq!(refused.exit(), Exit::Refused, "{answer:?}");
        }
    }
}
