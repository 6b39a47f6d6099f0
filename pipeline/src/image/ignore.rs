//! Ignore files: which files of a folder belong to its build context, in the language of `.dockerignore` as Docker's
//! own client understands it.
//!
//! **The file** is `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` in the context's root. One
//! pattern a line. A line that begins with `#` is a comment (one with a space before it is not). A byte order mark,
//! white space at both ends and empty lines count for nothing.
//!
//! **A pattern** is a path from the context's root, with or without a slash at either end, cleaned of `.`, `..` and
//! double slashes. `*` and `?` stand for characters that are no slash, `[a-z]` and `[^a-z]` for one character, `**` for
//! any number of folders, a backslash takes a character as it is. What matches a folder covers everything below it. `!`
//! makes an exception. The last pattern that matches decides.
//!
//! **Proof.** `tests/dockerignore` holds a table of what the real client sends, and this module against it, file by
//! file.
//!
//! **Where the clients differ.** All this was seen by running them on the table. This follows the classic client of
//! Docker 28. That of 20.10, and its BuildKit,
//! - give `+ ( ) | { } ^` the meaning that they have in regular expressions (a defect: `a+b` did not match `a+b`);
//! - take `**name` for `**/name`, where 28 takes it for any path that ends with `name`;
//! - look at a folder above a file only at the depth that the pattern's own slashes give it, so that beside an
//!   exception in it, `**/node_modules` does not cover the files of a `node_modules` far down;
//! - ask every pattern about every folder above a file, so that the last one that matches any of them wins; 28 asks
//!   only those that can change the outcome for the folder itself, and does not ask the others again for what is below
//!   it. (`ab`, `!ab/x`, `a*`: `ab/x` is sent by 28 alone.)
//!
//! BuildKit alone looks for `<Dockerfile>.dockerignore`; this does too, for either builder. Only BuildKit sends, beside
//! a file that is excepted, the excluded folders that it is in; the classic client leaves it to the receiver to create
//! them. BuildKit sends no named pipes, and sockets as empty files. Neither looks into an excluded folder for
//! exceptions that do not begin with the folder's name: `*` and then `!**/keep` excepts nothing but a `keep` in the
//! root.
//!
//! **Refused.** Where a pattern means one thing to the client and another in its documentation (`\d`, `[*]`,
//! `[[:alpha:]]`, `^a*`) there is an error instead of a guess.

pub use super::pattern::PatternError;

use super::pattern::Pattern;
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The name of the ignore file of a context.
pub const IGNORE_FILE: &str = ".dockerignore";

/// The most bytes that an ignore file may have. Hundreds of lines are a few KiB; what is larger is something else.
pub const LARGEST_FILE: u64 = 1024 * 1024;

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    /// The file cannot be read.
    #[error("cannot read the ignore file `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than [`LARGEST_FILE`].
    #[error("the ignore file `{path}` is larger than 1 MiB: it should hold one pattern a line")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A line is not UTF-8.
    #[error("line {line} of the ignore file `{path}` is not UTF-8: save it as UTF-8")]
    Encoding {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A line is no pattern.
    #[error("line {line} of the ignore file `{path}` is no pattern: `{text}`")]
    Pattern {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// Why.
        #[source]
        source: PatternError,
    },
}

/// The rules of a context: which of its paths are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    file: Option<PathBuf>,
    /// What is sent although the file says otherwise, because the builder reads it.
    kept: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    is_exception: bool,
    pattern: Pattern,
}

/// What is known of a path, and needed to judge those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    is_excluded: bool,
    /// By rule, whether it matches the path or a folder above it.
    matched: Vec<bool>,
}

impl Judgement {
    /// Whether the path is left out.
    pub fn is_excluded(&self) -> bool {
        self.is_excluded
    }
}

impl Rules {
    /// Reads the rules of the context in `root`, for the Dockerfile at that path below it (if there is one). The
    /// Dockerfile and the ignore file itself are never left out: the builder needs them.
    ///
    /// # Errors
    /// If the ignore file cannot be read or a line of it is no pattern. That there is none is no error.
    pub fn read(root: &Path, dockerfile: Option<&Path>) -> Result<Self, IgnoreError> {
        let own = dockerfile.map(|dockerfile| {
            let mut name = OsString::from(dockerfile);
            name.push(IGNORE_FILE);
            PathBuf::from(name)
        });
        let mut rules = Self::default();
        for name in own.into_iter().chain([PathBuf::from(IGNORE_FILE)]) {
            if let Some(bytes) = read(&root.join(&name))? {
                rules = Self::parse(&bytes, &name)?;
                break;
            }
        }
        let kept = [Some(Path::new(IGNORE_FILE)), rules.file.as_deref(), dockerfile];
        for path in kept.into_iter().flatten().map(Path::to_owned).collect::<Vec<_>>() {
            rules.keep(&path);
        }
        Ok(rules)
    }

    /// Understands the text of an ignore file, which errors call `file`.
    ///
    /// # Errors
    /// If a line is no pattern.
    pub fn parse(bytes: &[u8], file: &Path) -> Result<Self, IgnoreError> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let mut rules = Vec::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.starts_with(b"#") {
                continue;
            }
            let line_number = number + 1;
            let text = std::str::from_utf8(line)
                .map_err(|_| IgnoreError::Encoding { path: file.to_owned(), line: line_number })?
                .trim();
            rules.extend(rule(text).map_err(|source| IgnoreError::Pattern {
                path: file.to_owned(),
                line: line_number,
                text: text.chars().take(200).collect(),
                source,
            })?);
        }
        Ok(Self { rules, file: Some(file.to_owned()), kept: Vec::new() })
    }

    /// The file that the rules are from, below the context's root.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether a path is sent although the ignore file says otherwise, because the builder reads it.
    pub fn is_kept_for_the_builder(&self, path: &Path) -> bool {
        self.kept.iter().any(|kept| kept == path)
    }

    /// Judges a path, relative to the context's root. `folder` is the judgement of the folder that it is in; `None` if
    /// that is the root.
    pub fn judge(&self, path: &Path, folder: Option<&Judgement>) -> Judgement {
        let path = characters(path);
        let mut judgement = Judgement { is_excluded: false, matched: vec![false; self.rules.len()] };
        for (index, rule) in self.rules.iter().enumerate() {
            let covers_folder = folder.is_some_and(|folder| folder.matched[index]);
            // Like the real client: a rule that cannot change the outcome is not asked.
            let matches =
                covers_folder || (rule.is_exception == judgement.is_excluded && rule.pattern.matches(&path));
            judgement.matched[index] = matches;
            if matches {
                judgement.is_excluded = !rule.is_exception;
            }
        }
        judgement
    }

    /// Whether something below an excluded folder may be excepted, so that the folder must be looked into.
    pub fn may_except_below(&self, folder: &Path) -> bool {
        let folder: String = characters(folder).iter().collect();
        self.rules.iter().any(|rule| rule.is_exception && rule.pattern.begins_below(&folder))
    }

    /// Whether a path is left out, by the rules for it and for all folders above it.
    pub fn is_excluded(&self, path: &Path) -> bool {
        let mut judgement = None;
        let mut ancestors: Vec<_> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        ancestors.reverse();
        for path in ancestors {
            judgement = Some(self.judge(path, judgement.as_ref()));
        }
        judgement.is_some_and(|judgement| judgement.is_excluded)
    }

    /// Excepts a path if it would be left out.
    fn keep(&mut self, path: &Path) {
        if self.is_excluded(path) {
            self.rules.push(Rule { is_exception: true, pattern: Pattern::literal(&characters(path)) });
            self.kept.push(path.to_owned());
        }
    }
}

/// The bytes of an ignore file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, IgnoreError> {
    let error = |source| IgnoreError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(error(e)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(IgnoreError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(bytes))
}

/// The rule of a trimmed line; `None` if it has none.
fn rule(text: &str) -> Result<Option<Rule>, PatternError> {
    let (is_exception, text) = match text.strip_prefix('!') {
        Some(behind) => (true, behind.trim()),
        None => (false, text),
    };
    if text.is_empty() {
        return if is_exception { Err(PatternError::EmptyException) } else { Ok(None) };
    }
    let cleaned = clean(text);
    let cleaned = cleaned.strip_prefix('/').unwrap_or(&cleaned);
    match (cleaned, is_exception) {
        // The root itself, which is always sent and is no path inside.
        ("", true) => return Err(PatternError::EmptyException),
        ("", false) => return Ok(None),
        _ => {}
    }
    // Cleaning may have uncovered white space, which the real client trims of all but exceptions.
    let cleaned = if is_exception { cleaned } else { cleaned.trim() };
    Ok(Some(Rule { is_exception, pattern: Pattern::parse(cleaned)? }))
}

/// The shortest path that leads to the same place by its text alone: without `.`, `..` and double slashes.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if is_absolute => {}
            name => names.push(name),
        }
    }
    let joined = names.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The characters of a path. Each byte that is not UTF-8 is one replacement character, as it is to the real client.
fn characters(path: &Path) -> Vec<char> {
    let chunks = path.as_os_str().as_bytes().utf8_chunks();
    chunks
        .flat_map(|chunk| {
            let invalid = chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(invalid)
        })
        .collect()
}

#[cfg(test)]
mod tests;
