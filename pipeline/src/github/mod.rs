//! What is said to GitHub, and how its answers are taken: where it is, what went wrong, what is tried again. Pure; whoever
//! speaks to it is the package `github`, which is linked only where it is asked for.

mod comment;
mod place;
mod report;
mod trouble;

pub use comment::{COMMENT_MAX, comment};
pub use place::{Place, PlaceError, Repository, Server, TOKEN, run_url};
pub use report::{Annotation, CheckReport, Grade, failed_tests, scan_annotations};
pub use trouble::{ATTEMPT_MAX, Next, STAGE_DEADLINE, Trouble, next};

/// The longest description of a deployment, of a status or of a commit status, in characters: GitHub's own limit.
pub const DESCRIPTION_MAX: usize = 140;

/// A text as one line that fits, with `…` where something was cut off.
pub fn fit(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let kept: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_line_and_never_longer_than_github_takes() {
        assert_eq!(fit("two\n  lines", 140), "two lines");
        assert_eq!(fit(&"ä".repeat(140), 140), "ä".repeat(140));
        let cut = fit(&"ä".repeat(141), 140);
        assert_eq!(cut.chars().count(), 140);
        assert!(cut.ends_with('…'));
    }
}
