//! Tasks. Nothing is stored: the id carries the task, so that any unit behind a router, of this release or the next,
//! can answer for a task that another one accepted.

use noogh_common::fingerprint::Fingerprint;
use serde::Deserialize;

/// The longest text, in bytes; the id of such a task still fits into a URL that every proxy takes.
const MAX_TEXT_BYTES: usize = 500;

/// Something for a minister to do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// The minister's name.
    pub(crate) minister: String,
    /// What to do.
    pub(crate) text: String,
}

impl Task {
    /// Whether the text is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.text.len() {
            0 => Err("the text is empty".to_owned()),
            length if length > MAX_TEXT_BYTES => {
                Err(format!("the text has {length} bytes; at most {MAX_TEXT_BYTES} are allowed"))
            }
            _ => Ok(()),
        }
    }

    /// Its id: a checksum, then minister and text in hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        let content = format!("{}/{}", self.minister, self.text);
        let digits: String = content.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{digits}", Fingerprint::default().update(content.as_bytes()).hex())
    }

    /// The task that has this id, if it is one.
    pub(crate) fn from_id(id: &str) -> Option<Self> {
        let (_, digits) = id.split_once('-')?;
        let bytes =
            digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        let content = String::from_utf8(bytes.collect::<Option<_>>()?).ok()?;
        let (minister, text) = content.split_once('/')?;
        let task = Self { minister: minister.to_owned(), text: text.to_owned() };
        // Only the one way of writing it counts; the checksum is compared with it.
        (task.id() == id).then_some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_task_and_no_other_text_does() {
        for text in ["teach", "a/b", "été", "line\nline"] {
            let task = Task { minister: "education".to_owned(), text: text.to_owned() };
            assert_eq!(Task::from_id(&task.id()), Some(task));
        }
        for id in ["", "-", "x-zz", "85944171f73967e8-666f6f", "0000000000000000-612f62", "é-é", "1-6"] {
            assert_eq!(Task::from_id(id), None, "{id}");
        }
    }

    #[test]
    fn a_text_is_there_and_not_too_long() {
        let check = |text: &str| Task { minister: "health".to_owned(), text: text.to_owned() }.check();
        assert!(check("a").is_ok() && check(&"a".repeat(500)).is_ok());
        assert!(check("").is_err() && check(&"a".repeat(501)).is_err());
    }
}
