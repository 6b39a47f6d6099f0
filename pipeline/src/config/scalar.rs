//! Scalars: texts with a form of their own (a duration, a size, a share, …), checked once when they are read.
//!
//! Each has a pattern, which stands in the JSON Schema for editors. [`Form::of_pattern`] leads from the pattern back
//! to the parser, so that the one who checks a tree against the schema can say what is wrong better than "does not
//! match".

mod numbers;

use crate::image;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Why a text does not have the form: what form is expected, with examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormError(pub &'static str);

/// A form of texts.
pub struct Form {
    /// Its pattern, as it stands in the schema.
    pub pattern: &'static str,
    /// What such a text is, with an article: "a duration".
    pub what: &'static str,
    /// What is expected, with examples.
    pub expected: &'static str,
    /// Whether a text has it.
    pub accepts: fn(&str) -> bool,
}

impl Form {
    /// The form that a pattern of a schema stands for.
    pub fn of_pattern(pattern: &str) -> Option<&'static Self> {
        FORMS.iter().find(|form| form.pattern == pattern)
    }
}

/// Declares text types with a form: the type, its pattern, what it is, what is expected.
macro_rules! forms {
    ($($(#[doc = $doc:literal])+ $name:ident($inner:ty) = $pattern:literal, $what:literal, $expected:literal;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
            #[serde(try_from = "String", into = "String")]
            #[schemars(with = "String", extend("pattern" = $pattern))]
            pub struct $name($inner);

            impl TryFrom<String> for $name {
                type Error = FormError;

                fn try_from(text: String) -> Result<Self, Self::Error> {
                    text.parse()
                }
            }

            impl From<$name> for String {
                fn from(value: $name) -> Self {
                    value.to_string()
                }
            }
        )+

        const FORMS: &[Form] = &[
            $(Form {
                pattern: $pattern,
                what: $what,
                expected: $expected,
                accepts: |text| text.parse::<$name>().is_ok(),
            },)+
            Form {
                pattern: "^[a-z][a-z0-9-]{0,39}$",
                what: "a name",
                expected: "a lower-case letter, then up to 39 lower-case letters, digits or dashes",
                accepts: |text| text.parse::<crate::name::Name>().is_ok(),
            },
        ];

        $(impl $name {
            const ERROR: FormError = FormError($expected);
        })+
    };
}

forms! {
    /// A length of time: a whole number and a unit (`ms`, `s`, `m`, `h`, `d`), e.g. `250ms`, `5s`, `2m`, `1h`, `7d`.
    Span(u64) = "^[0-9]+(ms|s|m|h|d)$", "a duration",
        "a whole number and a unit, such as \"250ms\", \"5s\", \"2m\", \"1h\" or \"7d\"; at most a year";
    /// An amount of memory: a whole number and a unit (`B`, `KB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`), e.g. `512MB`, `1GiB`.
    ByteSize(u64) = "^[0-9]+(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$", "a size",
        "a whole number and a unit, such as \"512MB\" (10^6) or \"1GiB\" (2^30)";
    /// A number of units (`1`) or a share of them (`25%`, rounded up).
    Share(ShareKind) = "^([1-9][0-9]{0,4}|[1-9][0-9]?%|100%)$", "a number or share of units",
        "a number of units such as \"2\", or a share from \"1%\" to \"100%\"";
    /// Permission bits of a file in octal, e.g. `0644`.
    Mode(u32) = "^0[0-7]{3}$", "a file mode",
        "four octal digits such as \"0644\" or \"0600\"";
    /// The name of an environment variable.
    EnvName(String) = "^[A-Za-z_][A-Za-z0-9_]*$", "a name of an environment variable",
        "letters, digits and underscores, not beginning with a digit";
    /// A plain file name, without folders.
    FileName(String) = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", "a plain file name",
        "letters, digits, dots, dashes and underscores; no folders, no leading dot";
    /// The path of an HTTP request, from the root, e.g. `/ready`.
    HttpPath(String) = "^/[!-~]*$", "a path of an HTTP request",
        "a path that begins with `/` and has no spaces, such as \"/ready\"";
    /// A JSON pointer (RFC 6901), e.g. `/status`.
    JsonPointer(String) = "^(/.*)?$", "a JSON pointer",
        "a pointer that begins with `/`, such as \"/checks/database\"";
    /// A name of an HTTP header.
    HeaderName(String) = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "a name of an HTTP header",
        "letters, digits and dashes, such as \"Accept\"";
    /// An HTTP status (`200`) or a range of them (`200-299`).
    StatusRange(StatusBounds) = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$", "an HTTP status or a range of them",
        "a status such as \"200\", or a range such as \"200-299\" that does not fall";
    /// An IP address, e.g. `127.0.0.1`, `0.0.0.0` or `::`.
    Address(std::net::IpAddr) = "^[0-9a-fA-F.:]+$", "an IP address",
        "an address such as \"127.0.0.1\", \"0.0.0.0\" (every IPv4 address of this machine) or \"::\"";
    /// Where a Docker engine listens, e.g. `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`.
    EngineAddress(image::engine::Address) = "^(unix:///.+|tcp://.+:[0-9]+)$", "an address of a Docker engine",
        "a socket such as \"unix:///var/run/docker.sock\", or \"tcp://127.0.0.1:2375\"";
    /// Where images are published: a registry, and a path in it, e.g. `ghcr.io/team`, `127.0.0.1:5000`.
    ImagePrefix(super::image_prefix::Prefix) = "^[A-Za-z0-9.:-]+(/[a-z0-9._-]+)*$", "a place in a registry",
        "a registry and, if need be, a path in it, such as \"ghcr.io/team\", \"docker.io/team\" or \"127.0.0.1:5000\"";
    /// The name of a stage of a Dockerfile, of a build argument or of a build secret.
    BuildWord(image::words::Word) = "^[A-Za-z_][A-Za-z0-9_.-]{0,127}$", "a name of a stage, build argument or secret",
        "a letter or `_`, then at most 127 letters, digits, `_`, `-` and `.`";
    /// The name of a vulnerability or of a rule, e.g. `CVE-2024-0727`, `KSV017`, `private-key`.
    RuleId(String) = "^[A-Za-z][A-Za-z0-9_.:-]{1,98}[A-Za-z0-9]$", "a name of a vulnerability or rule",
        "it as the finding has it, such as \"CVE-2024-0727\", \"KSV017\" or \"private-key\"";
    /// A repository on GitHub, e.g. `team/shop`.
    GithubRepository(crate::github::Repository) = "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", "a repository on GitHub",
        "its owner and its name, such as \"team/shop\"";
    /// An address that people open, e.g. `https://shop.example`.
    WebUrl(String) = "^https?://[!-~]+$", "an address that people open",
        "an address such as \"https://shop.example\", without a login in it";
    /// A day, e.g. `2027-03-31`.
    Day(jiff::civil::Date) = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "a day",
        "year, month and day, such as \"2027-03-31\"";
    /// An operating system and architecture, e.g. `linux/arm64`.
    BuildPlatform(image::words::Platform) = "^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$", "a platform",
        "an operating system and architecture such as \"linux/amd64\" or \"linux/arm/v7\"";
}

/// Forms that something else than this module knows.
macro_rules! forms_of_others {
    ($($name:ident: $inner:ty, $getter:ident;)+) => {
        $(
            impl $name {
                /// What it says.
                pub fn $getter(&self) -> &$inner {
                    &self.0
                }
            }

            impl FromStr for $name {
                type Err = FormError;

                fn from_str(text: &str) -> Result<Self, FormError> {
                    text.parse().map(Self).map_err(|_| Self::ERROR)
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }
        )+
    };
}

forms_of_others! {
    EngineAddress: image::engine::Address, address;
    ImagePrefix: super::image_prefix::Prefix, prefix;
    BuildWord: image::words::Word, word;
    GithubRepository: crate::github::Repository, repository;
    BuildPlatform: image::words::Platform, platform;
}

/// What a [`Share`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShareKind {
    /// This many.
    Count(u16),
    /// This many of a hundred.
    Percent(u8),
}

impl ShareKind {
    /// How many of `total` that is: never more than all, and at least one if there is one.
    pub fn of(self, total: u16) -> u16 {
        match self {
            Self::Count(count) => count.min(total),
            // At most `total`, because at most 100 of a hundred.
            Self::Percent(percent) => (u32::from(total) * u32::from(percent)).div_ceil(100) as u16,
        }
    }
}

/// First and last of a range of HTTP statuses.
type StatusBounds = (u16, u16);

/// The longest [`Span`]: a year. Far beyond any wait, and sums of spans cannot overflow.
const SPAN_MAX_MS: u64 = 366 * 24 * 3_600_000;

impl Span {
    /// A span of this many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of this many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// Its length in milliseconds.
    pub fn as_millis(&self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let (number, unit) = split_unit(text).ok_or(Self::ERROR)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(Self::ERROR),
        };
        let millis = number.checked_mul(unit_ms).filter(|millis| *millis <= SPAN_MAX_MS);
        millis.map(Self).ok_or(Self::ERROR)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            // `24h`, not `1d`: people speak of a day in hours, and of longer in days.
            millis if millis % 86_400_000 == 0 && millis > 86_400_000 => {
                write!(f, "{}d", millis / 86_400_000)
            }
            millis if millis % 3_600_000 == 0 => write!(f, "{}h", millis / 3_600_000),
            millis if millis % 60_000 == 0 => write!(f, "{}m", millis / 60_000),
            millis if millis % 1_000 == 0 => write!(f, "{}s", millis / 1_000),
            millis => write!(f, "{millis}ms"),
        }
    }
}

impl Address {
    /// An address.
    pub const fn new(address: std::net::IpAddr) -> Self {
        Self(address)
    }

    /// The address.
    pub fn ip(&self) -> std::net::IpAddr {
        self.0
    }
}

impl FromStr for Address {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        text.parse().map(Self).map_err(|_| Self::ERROR)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Day {
    /// The day.
    pub fn date(&self) -> jiff::civil::Date {
        self.0
    }
}

impl FromStr for Day {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        text.parse().ok().filter(|_| is_plain).map(Self).ok_or(Self::ERROR)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Texts that are only checked, not turned into something else.
macro_rules! checked_texts {
    ($($name:ident: $accepts:expr;)+) => {
        $(
            impl $name {
                /// The text.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl FromStr for $name {
                type Err = FormError;

                fn from_str(text: &str) -> Result<Self, FormError> {
                    let accepts: fn(&str) -> bool = $accepts;
                    if accepts(text) { Ok(Self(text.to_owned())) } else { Err(Self::ERROR) }
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.pad(&self.0)
                }
            }
        )+
    };
}

checked_texts! {
    EnvName: |text| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !text.is_empty() && text.bytes().all(is_word) && !text.as_bytes()[0].is_ascii_digit()
    };
    WebUrl: |text| {
        let rest = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && rest.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= 2000
    };
    FileName: |text| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
        (1..=100).contains(&text.len()) && text.bytes().all(good) && is_word(text.as_bytes()[0])
    };
    HttpPath: |text| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    JsonPointer: |text| text.is_empty() || (text.starts_with('/') && !text.contains(['\n', '\r']));
    RuleId: |text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        (3..=100).contains(&text.len())
            && text.bytes().all(good)
            && text.as_bytes()[0].is_ascii_alphabetic()
            && text.ends_with(|last: char| last.is_ascii_alphanumeric())
    };
    HeaderName: |text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&byte);
        !text.is_empty() && text.bytes().all(good)
    };
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_have_a_unit() {
        assert_eq!("250ms".parse::<Span>().unwrap().as_millis(), 250);
        assert_eq!("2m".parse::<Span>().unwrap().as_millis(), 120_000);
        assert_eq!("1GiB".parse::<ByteSize>().unwrap().as_bytes(), 1 << 30);
        for bad in ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999999999h", "20000h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
        for bad in ["", "512mb", "MB", "99999999999TB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_share_is_at_least_one_and_at_most_all() {
        assert_eq!("25%".parse::<Share>().unwrap().kind().of(2), 1);
        assert_eq!("100%".parse::<Share>().unwrap().kind().of(7), 7);
        assert_eq!("9".parse::<Share>().unwrap().kind().of(2), 2);
        for bad in ["0", "0%", "101%", "%", "-1", "70000", "1.5"] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_could_leave_its_folder_is_no_file_name() {
        assert!("api.conf".parse::<FileName>().is_ok());
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a\\b", "a\0"] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_pattern_of_names_is_the_one_of_their_schema() {
        let schema = schemars::schema_for!(crate::name::Name);
        let pattern = schema.get("pattern").and_then(|pattern| pattern.as_str()).unwrap();
        assert_eq!(Form::of_pattern(pattern).unwrap().what, "a name");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..SPAN_MAX_MS, bytes: u64, count in 1..=u16::MAX, mode in 0..0o1000u32) {
            prop_assert_eq!(Span(millis).to_string().parse(), Ok(Span(millis)));
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            prop_assert_eq!(Share::count(count).to_string().parse(), Ok(Share::count(count)));
            prop_assert_eq!(Mode(mode).to_string().parse(), Ok(Mode(mode)));
        }

        #[test]
        fn any_text_can_be_checked(text in "\\PC*|[0-9a-zA-Z%./:-]{0,12}") {
            for form in FORMS {
                let _ = (form.accepts)(&text);
            }
        }
    }
}
