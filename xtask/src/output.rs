//! Standard output: data only. Whoever closes the pipe early has seen enough; that is no error.

use crate::{cli::Format, failure::Failure, paint::Paint};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write as _};

/// Where the data of a command goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether documents are printed as JSON.
    pub(crate) json: bool,
    /// Colours of tables.
    pub(crate) paint: Paint,
}

impl Output {
    /// As the user asked for, where `colour` says what `auto` means on a terminal.
    pub(crate) fn new(format: Format, colour: Option<bool>) -> Self {
        let colour = colour.unwrap_or_else(|| io::stdout().is_terminal());
        let json = format == Format::Json;
        Self { json, paint: Paint(colour && !json && format != Format::Plain) }
    }

    /// Prints a document: as JSON, or as `text` makes it for people.
    pub(crate) fn document(
        self,
        document: &impl Serialize,
        text: impl FnOnce(Paint) -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return self.text(&text(self.paint));
        }
        let mut json = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::bug("cannot write the document as JSON").because(error))?;
        json.push('\n');
        self.text(&json)
    }

    /// Prints a text as it is.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        checked(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }
}

fn checked(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(error) => Err(Failure::state("cannot write to standard output").because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_closed_pipe_is_a_quiet_success() {
        let closed = checked(Err(io::ErrorKind::BrokenPipe.into())).expect_err("told apart");
        assert_eq!(closed.exit(), Exit::Done);
        let full = checked(Err(io::ErrorKind::StorageFull.into())).expect_err("an error");
        assert_eq!(full.exit(), Exit::Refused);
    }
}
