//! Fail points: the boundaries at which tests stop or end this process, to show that it can be taken up from there.
//!
//! A boundary is marked by [`crossing!`](crate::crossing). Without the feature `fail-points` it expands to nothing, so
//! that a released binary carries neither the names nor the code. With it, each crossing has a number, counted from 1
//! in the order in which this process comes to it, and these variables decide what happens there:
//!
//! | variable | meaning |
//! |---|---|
//! | `FAIRLEAD_CROSSINGS` | a file to which each crossing is appended as `NUMBER NAME` |
//! | `FAIRLEAD_KILL_AT` | the crossing at which the process signals itself, once: its number, its name, or `NAME#2` for the second of that name |
//! | `FAIRLEAD_KILL_SIGNAL` | `KILL` (default), `TERM`, `INT` or `STOP` |
//! | `FAIRLEAD_KILL_IN` | `supervisor`: not this process is meant, but the supervisor that it starts |

/// Marks a boundary; the arguments are those of `format!` and make its name.
#[cfg(feature = "fail-points")]
#[macro_export]
macro_rules! crossing {
    ($($name:tt)+) => { $crate::failpoint::cross(&format!($($name)+)) };
}

/// Marks a boundary: in this build, nothing.
#[cfg(not(feature = "fail-points"))]
#[macro_export]
macro_rules! crossing {
    ($($name:tt)+) => {};
}

#[cfg(feature = "fail-points")]
pub use armed::{cross, handed_on, is_variable, label};

/// The variables that a supervisor is to be started with: in this build, none.
#[cfg(not(feature = "fail-points"))]
pub fn handed_on() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    std::iter::empty()
}

/// Whether a variable is read here, and no override of the configuration: in this build, none is.
#[cfg(not(feature = "fail-points"))]
pub fn is_variable(_: &str) -> bool {
    false
}

#[cfg(feature = "fail-points")]
mod armed {
    use nix::sys::signal::{Signal, raise};
    use std::{
        ffi::OsString,
        fs::{File, OpenOptions},
        io::Write,
        path::Path,
        sync::{
            LazyLock, Mutex,
            atomic::{AtomicBool, Ordering},
        },
    };

    const CROSSINGS: &str = "FAIRLEAD_CROSSINGS";
    const KILL_AT: &str = "FAIRLEAD_KILL_AT";
    const KILL_SIGNAL: &str = "FAIRLEAD_KILL_SIGNAL";
    const KILL_IN: &str = "FAIRLEAD_KILL_IN";

    const VARIABLES: [&str; 4] = [CROSSINGS, KILL_AT, KILL_SIGNAL, KILL_IN];

    static POINTS: LazyLock<Mutex<Points>> = LazyLock::new(|| Mutex::new(Points::from_environment()));

    /// What is to happen, and how far this process is.
    #[derive(Default)]
    struct Points {
        count: u64,
        list: Option<File>,
        /// `None` once it has happened.
        kill_at: Option<Place>,
        signal: Option<Signal>,
    }

    /// One crossing of a run.
    #[derive(Debug, PartialEq, Eq)]
    enum Place {
        /// By its number.
        Number(u64),
        /// By its name; after so many more of that name.
        Name(String, u64),
    }

    impl Place {
        fn parse(text: &str) -> Self {
            if let Ok(number) = text.parse() {
                return Self::Number(number);
            }
            let Some((name, number)) = text.split_once('#') else { return Self::Name(text.to_owned(), 0) };
            let number = number.parse::<u64>().ok().filter(|number| *number > 0);
            let number =
                number.unwrap_or_else(|| panic!("{KILL_AT}: `{text}` does not end in a number from 1"));
            Self::Name(name.to_owned(), number - 1)
        }

        /// Whether it is this crossing.
        fn is_reached(&mut self, count: u64, name: &str) -> bool {
            match self {
                Self::Number(number) => *number == count,
                Self::Name(wanted, _) if wanted != name => false,
                Self::Name(_, 0) => true,
                Self::Name(_, more) => {
                    *more -= 1;
                    false
                }
            }
        }
    }

    /// Counts a crossing and does what the variables say of it. A process that kills itself does not return from here.
    ///
    /// # Panics
    /// If a variable makes no sense, or the list cannot be written: a test that sees too little must not pass.
    pub fn cross(name: &str) {
        let signal = {
            let mut points = POINTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            points.cross(name)
        };
        let Some(signal) = signal else { return };
        // To this thread, so that it is delivered before the next instruction of the program.
        raise(signal).expect("a process may signal itself");
        if signal == Signal::SIGKILL {
            loop {
                std::thread::park();
            }
        }
    }

    /// The variables that a supervisor is to be started with: those of this process, if the supervisor is meant. Only
    /// the first one that it starts gets them: another that takes its place is to live.
    pub fn handed_on() -> impl Iterator<Item = (&'static str, OsString)> {
        static IS_DONE: AtomicBool = AtomicBool::new(false);
        let is_first = supervisor_is_meant() && !IS_DONE.swap(true, Ordering::Relaxed);
        let names: &[&str] = if is_first { &VARIABLES[..3] } else { &[] };
        names.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)))
    }

    /// Whether a variable is read here, and no override of the configuration.
    pub fn is_variable(name: &str) -> bool {
        VARIABLES.contains(&name)
    }

    /// What a file is called in the name of a crossing: its own name, or that of its folder where each has another.
    pub fn label(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        if name.contains(|c: char| c.is_ascii_digit()) { folder.into_owned() } else { name.into_owned() }
    }

    fn supervisor_is_meant() -> bool {
        std::env::var(KILL_IN).is_ok_and(|role| role == "supervisor")
    }

    impl Points {
        fn from_environment() -> Self {
            if supervisor_is_meant() {
                return Self::default();
            }
            let list = std::env::var_os(CROSSINGS).map(|path| {
                let opened = OpenOptions::new().append(true).create(true).open(&path);
                opened.unwrap_or_else(|error| panic!("{CROSSINGS}: cannot open {}: {error}", path.display()))
            });
            let signal = match std::env::var(KILL_SIGNAL).as_deref() {
                Err(_) | Ok("KILL") => Signal::SIGKILL,
                Ok("TERM") => Signal::SIGTERM,
                Ok("INT") => Signal::SIGINT,
                Ok("STOP") => Signal::SIGSTOP,
                Ok(other) => panic!("{KILL_SIGNAL}: `{other}` is not KILL, TERM, INT or STOP"),
            };
            let kill_at = std::env::var(KILL_AT).ok().map(|text| Place::parse(&text));
            Self { count: 0, list, kill_at, signal: Some(signal) }
        }

        /// Counts a crossing; the signal that is due at it, if one is.
        fn cross(&mut self, name: &str) -> Option<Signal> {
            self.count += 1;
            if let Some(list) = &mut self.list {
                // One write, so that the lines of two threads cannot mix.
                let line = format!("{} {name}\n", self.count);
                list.write_all(line.as_bytes()).expect("the list of crossings can be written");
            }
            let count = self.count;
            self.kill_at.take_if(|at| at.is_reached(count, name)).and(self.signal)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn points(kill_at: &str) -> Points {
            Points {
                kill_at: Some(Place::parse(kill_at)),
                signal: Some(Signal::SIGTERM),
                ..Points::default()
            }
        }

        #[test]
        fn a_signal_is_due_once_by_number_or_by_name() {
            for (kill_at, expected) in [("2", 2), ("b", 2), ("b#2", 3), ("b#3", 5)] {
                let mut points = points(kill_at);
                let due = ["a", "b", "b", "a", "b", "b"].map(|name| points.cross(name).is_some());
                let due: Vec<_> = (1..).zip(due).filter(|(_, is_due)| *is_due).collect();
                assert_eq!(due, [(expected, true)], "{kill_at}");
            }
        }

        #[test]
        fn files_with_numbers_in_their_names_are_called_by_their_folder() {
            assert_eq!(label(Path::new("record/record.json")), "record.json");
            assert_eq!(label(Path::new("record/history/00017-run.json")), "history");
        }
    }
}
