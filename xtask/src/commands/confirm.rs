//! Confirmation: a protected environment is changed only by someone who types its name.

use crate::{
    context::Context,
    failure::Failure,
    signals::{Stops, Then},
};
use std::io::{self, BufRead};

/// Asks for the environment's name, unless the environment is not protected or `--yes` was given.
pub(super) async fn confirm(
    context: &Context,
    stops: &mut Stops,
    environment: &str,
    protected: bool,
    yes: bool,
    what: &str,
) -> Result<(), Failure> {
    if !protected || yes {
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
