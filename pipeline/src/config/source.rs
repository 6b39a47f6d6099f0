//! Sources: the texts that configuration comes from, and places in them.

use super::problem::Problem;
use std::{fs::File, io::Read, ops::Range, path::Path, sync::Arc};

/// The largest configuration file that is read, in bytes: far above any that a person wrote, small enough that no
/// mistake (a path to an image, to a log) is parsed and printed.
pub const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// What kind of thing a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A file.
    File,
    /// An override on the command line.
    Set,
    /// An environment variable.
    Variable,
}

/// A text with its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What it came from.
    pub kind: SourceKind,
    /// What people call it: the path as shown, `--set`, or the variable.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// A text that is not a file.
    pub fn new(kind: SourceKind, name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { kind, name: name.into(), text: text.into() })
    }

    /// Reads a configuration file, which has something in it. `shown` is its path as people know it.
    pub fn read(path: &Path, shown: &str) -> Result<Arc<Self>, Problem> {
        Self::read_text(path, shown)?.not_empty()
    }

    /// Reads a file that may be empty. `shown` is its path as people know it.
    pub fn read_text(path: &Path, shown: &str) -> Result<Arc<Self>, Problem> {
        let cannot = |why: &dyn std::fmt::Display| {
            Problem::new(format!("cannot read {shown}: {why}")).at(Place::whole_file(shown))
        };
        // Looked at before it is opened: opening a named pipe would wait for a writer.
        let meta = std::fs::metadata(path).map_err(|error| cannot(&error))?;
        if !meta.is_file() {
            return Err(cannot(&"it is not a regular file"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| cannot(&error))?;
        file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
        Self::text_of_bytes(shown, bytes)
    }

    /// A configuration file of these bytes: within the size limit, UTF-8, and not empty.
    pub fn from_bytes(shown: &str, bytes: Vec<u8>) -> Result<Arc<Self>, Problem> {
        Self::text_of_bytes(shown, bytes)?.not_empty()
    }

    fn not_empty(self: Arc<Self>) -> Result<Arc<Self>, Problem> {
        if self.text.trim().is_empty() {
            let problem = Problem::new(format!("{} is empty", self.name)).at(Place::whole_file(&self.name));
            return Err(problem.help("its first line is `version = 1`"));
        }
        Ok(self)
    }

    fn text_of_bytes(shown: &str, mut bytes: Vec<u8>) -> Result<Arc<Self>, Problem> {
        let refuse = |message: String| Problem::new(message).at(Place::whole_file(shown));
        if bytes.len() as u64 > FILE_MAX_BYTES {
            let message = format!("{shown} is larger than {} KiB", FILE_MAX_BYTES / 1024);
            return Err(refuse(message).help("it was not read; is this the right file?"));
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(refuse(format!("{shown} is UTF-16")).help("save it as UTF-8"));
        }
        if bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3); // A byte order mark: some editors write it, it means nothing in UTF-8.
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(shown, &error))?;
        Ok(Self::new(SourceKind::File, shown, text))
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The nearest character boundary at or before a byte.
    pub(super) fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

fn not_utf8(shown: &str, error: &std::string::FromUtf8Error) -> Problem {
    let valid_up_to = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let text = String::from_utf8_lossy(bytes).into_owned();
    // What precedes the first bad byte is valid, so its offset is the same in the repaired text.
    let place =
        Place { source: Source::new(SourceKind::File, shown, text), span: valid_up_to..valid_up_to + 1 };
    Problem::new(format!("{shown} is not UTF-8: byte {valid_up_to} is 0x{:02x}", bytes[valid_up_to]))
        .at(place)
        .help("save it as UTF-8")
}

/// A range of a source's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// The range; may be empty.
    pub span: Range<usize>,
}

impl Place {
    /// A file as a whole, of which no text can be shown.
    pub fn whole_file(shown: &str) -> Self {
        Self { source: Source::new(SourceKind::File, shown, ""), span: 0..0 }
    }

    /// The text that stands there.
    pub fn text(&self) -> &str {
        let start = self.source.boundary(self.span.start);
        &self.source.text[start..self.source.boundary(self.span.end).max(start)]
    }

    /// The line that it begins in, from 1.
    pub fn line(&self) -> usize {
        self.source.position(self.span.start).0
    }

    /// For people, in one line: `fairlead.toml:12:3`, `--set a.b=c`, `the variable API_PORT`.
    pub fn describe(&self) -> String {
        match self.source.kind {
            SourceKind::File if self.source.text.is_empty() => self.source.name.clone(),
            SourceKind::File => {
                let (line, column) = self.source.position(self.span.start);
                format!("{}:{line}:{column}", self.source.name)
            }
            SourceKind::Set => format!("--set {}", super::problem::shorten(&self.source.text)),
            SourceKind::Variable => format!("the variable {}", self.source.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters() {
        let source = Source::new(SourceKind::File, "f", "a\nüb = 1\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(4), (2, 2));
        assert_eq!(source.position(3), (2, 1), "inside a character is that character");
        assert_eq!(source.position(9999), (3, 1));
    }

    #[test]
    fn names_the_byte_that_is_not_utf8() {
        let problem = Source::from_bytes("f.toml", b"a = 1\nb = \"\xff\"\n".to_vec()).unwrap_err();
        assert_eq!(problem.message, "f.toml is not UTF-8: byte 11 is 0xff");
        assert_eq!(problem.place.unwrap().describe(), "f.toml:2:6");
    }

    #[test]
    fn a_byte_order_mark_is_no_problem_but_utf16_is() {
        assert_eq!(Source::from_bytes("f", b"\xef\xbb\xbfa = 1".to_vec()).unwrap().text, "a = 1");
        let utf16 = Source::from_bytes("f", b"\xff\xfea\0".to_vec()).unwrap_err();
        assert_eq!(utf16.message, "f is UTF-16");
    }

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let problem = Source::read(&pipe, "pipe").unwrap_err();
        assert_eq!(problem.message, "cannot read pipe: it is not a regular file");
    }
}
