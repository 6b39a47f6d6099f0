//! Errors that leave the program, or the process, as text: causes cannot follow there, so they are told along.

use std::error::Error;

/// An error and its causes in one line, the nearest first: `cannot read x: no such file`. A cause that is part of what was
/// said already is left out, because some crates repeat it in their own text.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        #[source]
        cause: io::Error,
    }

    #[test]
    fn causes_follow_and_are_not_repeated() {
        let error = |text| Told { text, cause: io::Error::other("the disk is full") };
        assert_eq!(in_one_line(&error("cannot write x")), "cannot write x: the disk is full");
        assert_eq!(
            in_one_line(&error("cannot write x: the disk is full")),
            "cannot write x: the disk is full"
        );
    }
}
