//! One pattern of an ignore file: from its text to what it matches. Pure.

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `!` with nothing behind it.
    #[error("`!` excepts nothing: put a pattern behind it, or a backslash before it to match the character")]
    EmptyException,
    /// `[` without its `]`.
    #[error("`[` has no `]` that closes it: put a backslash before it to match the character")]
    OpenClass,
    /// `[]`, `[^]`.
    #[error("a class of characters is empty: put a backslash before the bracket to match the character")]
    EmptyClass,
    /// A bare `-` where a character must be.
    #[error("a `-` in a class of characters stands between two of them: put a backslash before it")]
    StrayDash,
    /// A range the wrong way.
    #[error("the range `{0}-{1}` is empty: its first character comes after its last")]
    EmptyRange(char, char),
    /// Behind the last backslash there is nothing.
    #[error(
        "it ends with a backslash, which must have a character behind it (white space at an end is removed)"
    )]
    OpenEscape,
    /// A backslash before a letter or digit: a class (`\d`) or an error to the real client, the character itself by
    /// its documentation.
    #[error("`\\{0}` means one thing to Docker and another in its documentation: write `{0}`")]
    AmbiguousEscape(char),
    /// `*` or `?` in a class: the real client puts the wildcard into the class, by the documentation it is a character.
    #[error(
        "`{0}` in a class of characters means one thing to Docker and another in its documentation: write `\\{0}`"
    )]
    AmbiguousWildcard(char),
    /// `^` beside a wildcard: the start of the path to the real client, by the documentation it is a character.
    #[error("`^` beside a wildcard means one thing to Docker and another in its documentation: write `\\^`")]
    AmbiguousCaret,
    /// `[[:alpha:]]`: a named class to the real client, a set of characters by its documentation.
    #[error(
        "`[:` in a class of characters means one thing to Docker and another in its documentation: \
         write a range such as `a-z`, or put a backslash before the bracket"
    )]
    AmbiguousName,
}

/// A pattern without its `!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it is written, cleaned.
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// This character.
    Character(char),
    /// `?`: any character but a slash.
    One,
    /// `*`: any number of characters that are no slash.
    Name,
    /// `**/` and `**` before a name: nothing, or anything that ends with a slash.
    Folders,
    /// `**` at the end: anything.
    Anything,
    /// `[a-z]`: one of these, or with `^` none of them; then also a slash, as the real client has it.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Understands a cleaned pattern.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let characters: Vec<char> = text.chars().collect();
        let mut rest = &characters[..];
        let mut parts = Vec::new();
        let mut has_caret = false;
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            parts.push(match first {
                '*' if rest.first() == Some(&'*') => {
                    rest = &rest[1..];
                    rest = rest.strip_prefix(&['/']).unwrap_or(rest);
                    if rest.is_empty() { Part::Anything } else { Part::Folders }
                }
                '*' => Part::Name,
                '?' => Part::One,
                '[' => class(&mut rest)?,
                '\\' => Part::Character(escaped(&mut rest)?),
                other => {
                    has_caret |= other == '^';
                    Part::Character(other)
                }
            });
        }
        let is_plain_text = is_plain(&parts) && !text.contains(['[', ']', '\\']);
        if has_caret && !is_plain_text {
            return Err(PatternError::AmbiguousCaret);
        }
        // `**name`, with nothing else that is special, is any path that ends so: `**.log` covers `dir/a.log`.
        let is_suffix = text.strip_prefix("**").is_some_and(|name| !name.starts_with('/'))
            && parts.split_first().is_some_and(|(_, name)| is_plain(name))
            && !text.contains(['[', ']', '\\']);
        if is_suffix {
            parts[0] = Part::Anything;
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// A pattern for this path alone, whatever characters it has.
    pub(super) fn literal(path: &[char]) -> Self {
        let parts = path.iter().copied().map(Part::Character).collect();
        Self { text: path.iter().collect(), parts }
    }

    /// Whether something below this folder may match, as far as the real client looks: it compares the *text* of the
    /// pattern, so `!*/keep` does not make it look into an excluded folder, but `!dir/*` does.
    pub(super) fn begins_below(&self, folder: &str) -> bool {
        match self.text.strip_prefix(folder) {
            Some(behind) => behind.is_empty() || behind.starts_with('/'),
            None => false,
        }
    }

    /// Whether it matches the whole of a path. Takes time in proportion to the product of both lengths.
    pub(super) fn matches(&self, path: &[char]) -> bool {
        // From the last part to the first: at which places of the path the parts from there on match all that is left.
        let mut matched = vec![false; path.len() + 1];
        matched[path.len()] = true;
        for part in self.parts.iter().rev() {
            matched = part.places(path, &matched);
        }
        matched[0]
    }
}

impl Part {
    /// The places at which this part and those behind it match the rest of the path; `behind` are the places of those
    /// behind it.
    fn places(&self, path: &[char], behind: &[bool]) -> Vec<bool> {
        let mut places = vec![false; path.len() + 1];
        // Whether the part may go on from the place to the right.
        let mut goes_on = false;
        for place in (0..=path.len()).rev() {
            let next = path.get(place).copied();
            let behind_next = next.is_some() && behind[place + 1];
            places[place] = match self {
                Self::Character(character) => behind_next && next == Some(*character),
                Self::One => behind_next && next != Some('/'),
                Self::Class { negated, ranges } => {
                    behind_next
                        && next.is_some_and(|c| ranges.iter().any(|(a, b)| (a..=b).contains(&&c)) != *negated)
                }
                Self::Name => {
                    goes_on = behind[place] || (goes_on && next != Some('/'));
                    goes_on
                }
                Self::Anything => {
                    goes_on |= behind[place];
                    goes_on
                }
                Self::Folders => {
                    goes_on |= behind_next && next == Some('/');
                    goes_on || behind[place]
                }
            };
        }
        places
    }
}

fn is_plain(parts: &[Part]) -> bool {
    !parts.is_empty() && parts.iter().all(|part| matches!(part, Part::Character(_)))
}

/// A class, of which the opening bracket has been taken.
fn class(rest: &mut &[char]) -> Result<Part, PatternError> {
    let negated = rest.first() == Some(&'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    while rest.first() != Some(&']') {
        let low = member(rest)?;
        let high = match rest.first() {
            Some('-') => {
                *rest = &rest[1..];
                member(rest)?
            }
            _ => low,
        };
        if low > high {
            return Err(PatternError::EmptyRange(low, high));
        }
        ranges.push((low, high));
    }
    *rest = &rest[1..];
    if ranges.is_empty() {
        return Err(PatternError::EmptyClass);
    }
    Ok(Part::Class { negated, ranges })
}

/// One character of a class.
fn member(rest: &mut &[char]) -> Result<char, PatternError> {
    let (&first, behind) = rest.split_first().ok_or(PatternError::OpenClass)?;
    *rest = behind;
    match first {
        '\\' => escaped(rest).map_err(|e| match e {
            PatternError::OpenEscape => PatternError::OpenClass,
            other => other,
        }),
        '-' | ']' => Err(PatternError::StrayDash),
        '*' | '?' => Err(PatternError::AmbiguousWildcard(first)),
        '[' if behind.first() == Some(&':') => Err(PatternError::AmbiguousName),
        other => Ok(other),
    }
}

/// The character behind a backslash, which has been taken.
fn escaped(rest: &mut &[char]) -> Result<char, PatternError> {
    let (&first, behind) = rest.split_first().ok_or(PatternError::OpenEscape)?;
    *rest = behind;
    if first.is_ascii_alphanumeric() || !first.is_ascii() {
        return Err(PatternError::AmbiguousEscape(first));
    }
    Ok(first)
}

#[cfg(test)]
mod tests;
