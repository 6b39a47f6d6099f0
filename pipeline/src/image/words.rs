//! Words of a build: names of stages, arguments and secrets, and platforms; checked when they are read, so that nothing
//! half-right reaches an engine.

use std::{fmt, str::FromStr};

/// The longest word, in characters: that of a tag.
const WORD_MAX: usize = 128;

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: expected {expected}")]
pub struct WordError {
    /// The text, or as much of it as tells which it is.
    pub text: String,
    what: &'static str,
    expected: &'static str,
}

impl WordError {
    /// That `text` is no `what`, of which something else is `expected`.
    pub fn new(text: &str, what: &'static str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, expected }
    }
}

/// The name of a stage, of a build argument or of a secret: a letter or underscore, then letters, digits, `_`, `-` and
/// `.`, at most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

impl Word {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let goes_on = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if starts && goes_on && text.len() <= WORD_MAX {
            return Ok(Self(text.to_owned()));
        }
        let expected = "a letter or `_`, then at most 127 letters, digits, `_`, `-` and `.`";
        Err(WordError::new(text, "name of a stage, build argument or secret", expected))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An operating system and architecture: `linux/arm64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(String);

impl FromStr for Platform {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let parts: Vec<&str> = text.split('/').collect();
        if matches!(parts.len(), 2 | 3) && parts.iter().all(|text| part(text)) && text.len() <= 60 {
            return Ok(Self(text.to_owned()));
        }
        Err(WordError::new(text, "platform", "`os/architecture[/variant]`, as in `linux/arm64`"))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_platforms_cannot_be_options_or_paths() {
        for text in ["npm", "NPM_TOKEN", "_x", "stage-1.b"] {
            assert_eq!(text.parse::<Word>().map(|word| word.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "-x", "1", "a b", "a=b", "a/b", "é"] {
            assert!(text.parse::<Word>().is_err(), "{text}");
        }
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert!(text.parse::<Platform>().is_ok(), "{text}");
        }
        for text in ["", "linux", "linux/", "Linux/amd64", "a/b/c/d", "linux/amd64,linux/arm64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
