//! Logs: one JSON object a line, on standard error.

use serde::Serializer;
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

/// How much a line matters; a service writes the lines of its level and of those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What an operator wants to know: started, draining, stopped.
    Info,
    /// Every request.
    Debug,
}

impl Level {
    const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("`{text}` is not a level: use ERROR, WARN, INFO or DEBUG"))
    }
}

/// Writes the lines of one service.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    service: &'static str,
    level: Level,
}

impl Log {
    /// A log that writes lines of `level` and above.
    pub fn new(service: &'static str, level: Level) -> Self {
        Self { service, level }
    }

    /// Whether lines of this level are written; asked where it is dear to make the fields.
    pub fn writes(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes a line. A standard error that is closed does not stop the service.
    pub fn write(&self, level: Level, message: &str, fields: &[(&str, Value)]) {
        if self.writes(level) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let _ = io::stderr().lock().write_all(&self.line(now.as_millis(), level, message, fields));
        }
    }

    /// Writes a line of level INFO.
    pub fn info(&self, message: &str, fields: &[(&str, Value)]) {
        self.write(Level::Info, message, fields);
    }

    /// Writes a line of level WARN.
    pub fn warn(&self, message: &str, fields: &[(&str, Value)]) {
        self.write(Level::Warn, message, fields);
    }

    /// Writes a line of level ERROR.
    pub fn error(&self, message: &str, fields: &[(&str, Value)]) {
        self.write(Level::Error, message, fields);
    }

    /// The line, with its end: `ts` is in seconds since the Unix epoch.
    fn line(&self, now_ms: u128, level: Level, message: &str, fields: &[(&str, Value)]) -> Vec<u8> {
        let head = [
            ("ts", json!(now_ms as f64 / 1_000.0)),
            ("level", json!(level.name())),
            ("service", json!(self.service)),
            ("message", json!(message)),
        ];
        let mut line = Vec::with_capacity(200);
        // A map made pair by pair keeps this order, which is the one that people read in.
        serde_json::Serializer::new(&mut line)
            .collect_map(head.iter().chain(fields).map(|(key, value)| (key, value)))
            .expect("text and JSON values can be written to memory");
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_the_message() {
        let log = Log::new("noogh-api", Level::Info);
        let line = log.line(1_764_000_000_250, Level::Warn, "two\n\"lines\"", &[("port", json!(8000))]);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"ts\":1764000000.25,\"level\":\"WARN\",\"service\":\"noogh-api\",\"message\":\"two\\n\\\"lines\\\"\",\"port\":8000}\n"
        );
    }

    #[test]
    fn levels_are_read_in_any_case_and_honoured() {
        assert_eq!("warn".parse(), Ok(Level::Warn));
        assert!("LOUD".parse::<Level>().unwrap_err().contains("ERROR, WARN, INFO or DEBUG"));
        let log = Log::new("noogh-api", Level::Warn);
        assert!(log.writes(Level::Error) && log.writes(Level::Warn) && !log.writes(Level::Info));
    }
}
