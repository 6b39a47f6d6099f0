//! Times for people: how long ago, and when exactly.

use jiff::{Timestamp, tz::TimeZone};

/// The moment and the zone in which times are told.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    /// The moment.
    pub(crate) at: Timestamp,
    /// The zone.
    pub(crate) zone: TimeZone,
}

impl Now {
    /// The machine's.
    pub(crate) fn system() -> Self {
        Self { at: Timestamp::now(), zone: TimeZone::system() }
    }

    /// `3 min ago`, `in 40 s`.
    pub(super) fn relative(&self, time: Timestamp) -> String {
        let seconds = self.at.as_second() - time.as_second();
        let span = span(seconds.unsigned_abs());
        match seconds {
            0 => "just now".to_owned(),
            1.. => format!("{span} ago"),
            _ => format!("in {span}"),
        }
    }

    /// `2026-11-24 12:03:04`, in the zone.
    pub(super) fn absolute(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// A length of time, to its largest unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
