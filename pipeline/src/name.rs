//! Names that a user gives to things, checked once when they are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

/// A name of a service, a target or an environment: `[a-z][a-z0-9-]*`, at most 40 characters.
///
/// Forty, because a name becomes part of container, unit and label names, which Kubernetes and DNS
/// limit to 63 characters together with a slot and a short hash.
// It is copied more often than anything else, as a part of every unit's name, so copies share the text.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", rename = "Name", extend("pattern" = "^[a-z][a-z0-9-]{0,39}$"))]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a name: use a lower-case letter, then up to 39 lower-case letters, digits or dashes"
)]
pub struct NameError {
    text: String,
}

impl Name {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 40;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Name {
    /// As texts are ordered; most that are compared are copies of one.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Name {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut chars = text.chars();
        let starts = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let goes_on = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if starts && goes_on && text.len() <= Self::MAX_LEN {
            Ok(Self(text.into()))
        } else {
            Err(NameError { text: text.chars().take(60).collect() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_texts() {
        let longest = "z".repeat(Name::MAX_LEN);
        let texts = ["a", "a-", "a0", "aa", "ab", "api", "api-2", "eightlet", "eightlets", "mcp", &longest];
        let names = texts.map(|text| text.parse::<Name>().expect("a name"));
        for (one, text) in names.iter().zip(texts) {
            assert_eq!(one.as_str(), text);
            for (other, other_text) in names.iter().zip(texts) {
                assert_eq!(one.cmp(other), text.cmp(other_text), "{text} and {other_text}");
                assert_eq!(one == other, text == other_text, "{text} and {other_text}");
            }
        }
    }

    #[test]
    fn accepts_names_and_refuses_what_could_be_an_option_or_a_path() {
        for good in ["a", "api", "noogh-api-2"] {
            assert_eq!(good.parse::<Name>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "A", "a/b", "a b", "1a", "a_b", "é", &"a".repeat(41)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
