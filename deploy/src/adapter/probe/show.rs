//! What may be shown: texts from outside, masked, printable and short.

use crate::check::Answer;
use std::sync::Arc;

/// Replaces the secrets in a text.
pub type Mask = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The longest excerpt of a look, in bytes; [`crate::check::Look::excerpt`] promises it.
const EXCERPT_BYTES: usize = 512;

/// The longest message in an answer, in bytes: two lines of a wide terminal.
const MESSAGE_BYTES: usize = 300;

/// Makes texts from outside fit to be shown. Always masks before it cuts: half a secret is not recognised.
pub(super) struct Show {
    mask: Mask,
}

impl Show {
    /// With this mask.
    pub(super) fn new(mask: Mask) -> Self {
        Self { mask }
    }

    /// The first bytes of a body or an output.
    pub(super) fn excerpt(&self, bytes: &[u8]) -> String {
        self.text(&String::from_utf8_lossy(bytes), EXCERPT_BYTES)
    }

    /// A line of an output or a message.
    pub(super) fn message(&self, text: &str) -> String {
        self.text(text, MESSAGE_BYTES)
    }

    /// The last `count` of these lines. They are masked together, because a secret may have several lines.
    pub(super) fn last_lines(&self, lines: &[String], count: usize) -> Vec<String> {
        let masked = (self.mask)(&lines.join("\n"));
        let lines: Vec<_> = masked.lines().collect();
        lines[lines.len().saturating_sub(count)..]
            .iter()
            .map(|line| cut(&printable(line), MESSAGE_BYTES).to_owned())
            .collect()
    }

    /// An answer whose texts may be shown.
    pub(super) fn answer(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Broken(text) => Answer::Broken(self.message(&text)),
            Answer::Unexpected(text) => Answer::Unexpected(self.message(&text)),
            Answer::Certificate(text) => Answer::Certificate(self.message(&text)),
            Answer::WrongRelease(text) => Answer::WrongRelease(self.message(&text)),
            Answer::ProviderError(text) => Answer::ProviderError(self.message(&text)),
            plain @ (Answer::Pass
            | Answer::Refused
            | Answer::TimedOut
            | Answer::Status(_)
            | Answer::Slow(_)
            | Answer::CommandFailed(_)) => plain,
        }
    }

    fn text(&self, text: &str, max_bytes: usize) -> String {
        cut(&printable(&(self.mask)(text)), max_bytes).to_owned()
    }
}

/// Without control characters, which could move a terminal's cursor or hide what was printed before.
fn printable(text: &str) -> String {
    let kept = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if kept(c) { c } else { '\u{fffd}' }).collect()
}

/// The longest beginning of at most `max_bytes` bytes.
fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show() -> Show {
        Show::new(Arc::new(|text: &str| text.replace("hunter2\nhunter3", "***").replace("hunter2", "***")))
    }

    #[test]
    fn a_secret_at_the_cut_is_masked_whole() {
        for before in 500..=520 {
            let body = format!("{}hunter2", "a".repeat(before));
            let excerpt = show().excerpt(body.as_bytes());
            assert!(!excerpt.contains("hun") && excerpt.len() <= 512, "{excerpt}");
        }
        let lines = ["hunter2", "hunter3", "b"].map(str::to_owned);
        assert_eq!(show().last_lines(&lines, 2), ["***", "b"]);
    }

    #[test]
    fn escape_codes_and_broken_characters_cannot_reach_a_terminal() {
        assert_eq!(show().excerpt(b"\x1b[2Jgone\xff\ttab"), "\u{fffd}[2Jgone\u{fffd}\ttab");
        assert!(show().excerpt("é".repeat(400).as_bytes()).len() <= 512);
    }
}
