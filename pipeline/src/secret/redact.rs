//! Masks known secret values in any text.

use super::Secret;
use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    fmt::Write as _,
    sync::{Arc, RwLock, RwLockReadGuard},
};
use zeroize::Zeroizing;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// The shortest value that is masked, in bytes: masking every `1` or `abc` would make text unreadable and tell more
/// than it hides.
pub const SHORTEST_MASKED: usize = 4;

/// Masks the secret values that it has learnt, in the forms in which programs print them: as they are, in base64 (also
/// as a part of something longer), hexadecimal, percent-encoded, and escaped as JSON and as Rust's `Debug`.
///
/// Clones share what they have learnt: the journal, the runner and the reporters of one run hold clones, and a secret
/// that is resolved later is masked everywhere from then on. Each line of a value is masked by itself too, without the
/// space around it, so that text may be passed one line at a time.
#[derive(Clone, Default)]
pub struct Redactor {
    patterns: Arc<RwLock<Patterns>>,
}

impl Redactor {
    /// Learns a value; one shorter than [`SHORTEST_MASKED`] is ignored.
    pub fn learn(&self, secret: &Secret) {
        let mut patterns = self.patterns.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        patterns.learn(secret.expose());
    }

    /// The text with every known value replaced by [`MASK`].
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let patterns = self.read();
        match patterns.mask(text.as_bytes()) {
            None => Cow::Borrowed(text),
            Some(masked) => Cow::Owned(into_text(masked)),
        }
    }

    /// Bytes as masked text; what is not UTF-8 becomes U+FFFD.
    pub fn mask_bytes(&self, bytes: &[u8]) -> String {
        let masked = self.read().mask(bytes); // Before decoding, which could change a value.
        let text = masked.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), into_text);
        self.mask(&text).into_owned()
    }

    /// Masks every text in a JSON value, keys too; numbers and the structure stay.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        if self.read().is_empty() {
            return;
        }
        match value {
            serde_json::Value::String(text) => {
                if let Cow::Owned(masked) = self.mask(text) {
                    *text = masked;
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            serde_json::Value::Object(fields) => {
                let masked = std::mem::take(fields).into_iter().map(|(name, mut field)| {
                    self.mask_json(&mut field);
                    (self.mask(&name).into_owned(), field)
                });
                *fields = masked.collect();
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Patterns> {
        self.patterns.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

/// All forms of all known values.
struct Patterns {
    /// Which bytes one begins with: text without a secret is cheap to scan.
    is_first: [bool; 256],
    /// By their first bytes, which all have: a secret of ten thousand lines is cheap as well.
    by_start: HashMap<[u8; SHORTEST_MASKED], Vec<Zeroizing<Vec<u8>>>>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { is_first: [false; 256], by_start: HashMap::new() }
    }
}

impl Patterns {
    fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    fn learn(&mut self, value: &[u8]) {
        self.add_forms(value);
        value.split(|b| *b == b'\n').for_each(|line| self.add_forms(line.trim_ascii()));
    }

    fn add_forms(&mut self, value: &[u8]) {
        if value.len() < SHORTEST_MASKED {
            return;
        }
        for form in forms(value).into_iter().map(Zeroizing::new) {
            let Some(start) = form.first_chunk() else { continue };
            self.is_first[usize::from(start[0])] = true;
            let known = self.by_start.entry(*start).or_default();
            if !known.contains(&form) {
                known.push(form);
            }
        }
    }

    /// `None` if there is nothing to mask. Overlapping values are masked as one; it is repeated until none is left,
    /// for what stands on both sides of a mask may form a value with it. Each round makes the text shorter, as every
    /// pattern is longer than the mask.
    fn mask(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut masked = self.mask_once(text)?;
        while let Some(again) = self.mask_once(&masked) {
            masked = again;
        }
        Some(masked)
    }

    fn mask_once(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let mut masked = Vec::new();
        let mut kept = 0; // Everything before it is in `masked`.
        let mut covered = 0; // Everything between `kept` and it is to be masked.
        for at in 0..text.len() {
            let Some(longest) = self.longest_at(&text[at..]) else { continue };
            if at > covered || covered == 0 {
                flush(&mut masked, text, &mut kept, covered, at);
            }
            covered = covered.max(at + longest);
        }
        if covered == 0 {
            return None;
        }
        flush(&mut masked, text, &mut kept, covered, text.len());
        Some(masked)
    }

    fn longest_at(&self, text: &[u8]) -> Option<usize> {
        let start = text.first_chunk().filter(|start| self.is_first[usize::from(start[0])])?;
        let matching = self.by_start.get(start)?.iter().filter(|pattern| text.starts_with(pattern));
        matching.map(|pattern| pattern.len()).max()
    }
}

/// Writes the mask for `kept..covered`, if that is not empty, and the plain text up to `until`.
fn flush(masked: &mut Vec<u8>, text: &[u8], kept: &mut usize, covered: usize, until: usize) {
    if covered > *kept {
        masked.extend(MASK.as_bytes());
        *kept = covered;
    }
    masked.extend(&text[*kept..until]);
    *kept = until;
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The forms in which a value may be printed.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(value);
    let mut forms = vec![
        value.to_vec(),
        text.as_bytes().to_vec(),
        hex::encode(value).into_bytes(),
        hex::encode_upper(value).into_bytes(),
        percent_encoded(value, "%20", false),
        percent_encoded(value, "%20", true),
        percent_encoded(value, "+", false),
        text.escape_debug().to_string().into_bytes(),
        json_escaped(&text, false),
        json_escaped(&text, true),
    ];
    for alphabet in [BASE64, BASE64_URL] {
        forms.push(base64(value, alphabet));
        // Inside something longer (`user:password`), a value starts at any of three places in a group of four digits;
        // the digits that it shares with its neighbours are left out.
        for before in 0..3 {
            let padded = [&[0; 2][..before], value].concat();
            let digits = base64(&padded, alphabet);
            let first = (before * 8).div_ceil(6);
            let last = padded.len() * 8 / 6;
            forms.push(digits[first..last].to_vec());
        }
    }
    forms
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 without padding, which text may or may not have after it.
fn base64(value: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let digit = |group: u32, shift: u32| alphabet[(group >> shift & 63) as usize];
    let mut digits = Vec::with_capacity(value.len().div_ceil(3) * 4);
    for chunk in value.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        digits.extend([18, 12, 6, 0].map(|shift| digit(group, shift)).into_iter().take(chunk.len() + 1));
    }
    digits
}

fn percent_encoded(value: &[u8], space: &str, lower: bool) -> Vec<u8> {
    let mut encoded = String::new();
    for byte in value {
        match byte {
            b' ' => encoded.push_str(space),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(*byte))
            }
            _ if lower => write!(encoded, "%{byte:02x}").expect("writing to a String cannot fail"),
            _ => write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
    encoded.into_bytes()
}

/// As the inside of a JSON string; `ascii`: with `\uXXXX` for everything beyond ASCII, as many libraries write it.
fn json_escaped(text: &str, ascii: bool) -> Vec<u8> {
    let quoted = serde_json::to_string(text).expect("a str is always valid JSON");
    let inner = &quoted[1..quoted.len() - 1];
    if !ascii {
        return inner.as_bytes().to_vec();
    }
    let mut escaped = String::new();
    for c in inner.chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("writing to a String cannot fail");
        }
    }
    escaped.into_bytes()
}
