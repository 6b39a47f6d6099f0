//! The comment of a pull request that is written once and then kept up to date.

/// The longest comment, in bytes: GitHub takes 65,536 characters.
pub const COMMENT_MAX: usize = 60_000;

/// The hidden line by which a comment is found again, and the text of the comment with it. `about` is a word or two that
/// tell one sticky comment from another: `plan production`.
pub fn comment(about: &str, title: &str, text: &str) -> (String, String) {
    let marker = format!("<!-- fairlead: {about} -->");
    let mut end = COMMENT_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = if end < text.len() { "\n… (cut off; the whole is in the log of the run)" } else { "" };
    // A fence that the text has in it would end the block.
    let text = text[..end].replace("```", "'''");
    let body = format!("{marker}\n### {title}\n\n```text\n{}{cut}\n```\n", text.trim_end());
    (marker, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_by_its_marker_and_fits() {
        let (marker, body) = comment("plan local", "Plan", &"ä```".repeat(40_000));
        assert!(body.starts_with(&marker));
        assert!(body.len() < 65_536, "{}", body.len());
        assert_eq!(body.matches("```").count(), 2, "nothing ends the block before its end");
        assert!(body.contains("cut off"));
    }
}
