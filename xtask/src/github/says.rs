//! Words for what is wrong with telling GitHub: one line each, with what to do.

use crate::{failure::Failure, paint::Paint};
use deploy::github::Told;
use pipeline::github::Trouble;

/// What the sender tells.
pub(super) fn told(told: &Told) -> String {
    match told {
        Told::Delayed { trouble } => format!("{trouble}; it is tried again, nothing waits for it"),
        Told::Refused { about, trouble } => {
            let what = format!("warning: GitHub was not told {about}, and will not be");
            self::trouble(&what, trouble)
        }
        Told::Stopped { trouble } => self::trouble("warning: GitHub is not told", trouble),
        Told::Broken { why } => format!("warning: GitHub is not told: {why}"),
    }
}

/// A trouble with what to do.
pub(super) fn trouble(what: &str, trouble: &Trouble) -> String {
    format!("{what}: {trouble}; {}", trouble.hint())
}

/// A failure in a line.
pub(super) fn short(failure: &Failure) -> String {
    let text = failure.to_text(Paint::OFF);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let words = ["error: ", "caused by: ", "hint: "];
    let bare = |line: &str| words.iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line).to_owned();
    lines.map(bare).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_told_in_a_line_with_the_fix() {
        let trouble = Trouble::Forbidden {
            doing: "a deployment".to_owned(),
            permission: "deployments: write",
            message: "Resource not accessible by integration".to_owned(),
        };
        insta::assert_snapshot!(
            told(&Told::Stopped { trouble }),
            @"warning: GitHub is not told: GitHub does not allow a deployment: Resource not accessible by integration; give the job `permissions: deployments: write`; workflows of a pull request from a fork never have it"
        );
        let trouble = Trouble::Unavailable {
            doing: "a deployment".to_owned(),
            message: "502 Bad Gateway".to_owned(),
            may_have_taken_hold: true,
        };
        insta::assert_snapshot!(
            told(&Told::Delayed { trouble }),
            @"GitHub cannot be reached for a deployment: 502 Bad Gateway; it is tried again, nothing waits for it"
        );
    }

    #[test]
    fn a_failure_fits_in_a_line() {
        let failure = Failure::from(Failure::usage("no token").hint("set it"));
        assert_eq!(short(&failure), "no token; set it");
    }
}
