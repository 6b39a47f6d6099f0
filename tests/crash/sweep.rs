//! One run that is cut off at one place, taken up, and judged.

use crate::{
    judge::{Standing, is_open, judge},
    scenario::{Ground, Scenario},
};
use nix::sys::signal::Signal;
use std::{
    ffi::OsStr,
    fmt, fs,
    time::{Duration, Instant},
};
use tests::{Output, Process, Project, pause, processes_under, signal, wait_for};

/// How long a process that was killed may take to vanish.
const VANISH: Duration = Duration::from_secs(5);

/// Where and how a run is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It, or its supervisor, signals itself at its own crossing with this number, counted from 1.
    Crossing(u64, Stroke),
    /// It is killed this long after its start.
    Time(Duration),
}

/// Who is hit at a crossing, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stroke {
    /// The command, by SIGKILL.
    Kill,
    /// The command, by SIGTERM.
    Term,
    /// The command, by SIGINT.
    Int,
    /// The supervisor, by SIGKILL. The command goes on, and needs another one.
    Supervisor,
}

impl Stroke {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Kill, Self::Term, Self::Int, Self::Supervisor];

    fn signal(self) -> Signal {
        match self {
            Self::Kill | Self::Supervisor => Signal::SIGKILL,
            Self::Term => Signal::SIGTERM,
            Self::Int => Signal::SIGINT,
        }
    }
}

impl fmt::Display for Stroke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => f.write_str("supervisor"),
            _ => f.write_str(&self.signal().as_str()[3..]),
        }
    }
}

/// What is done after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is carried on.
    Resume,
    /// What stood before is asked for.
    Rollback,
}

/// How a case came out; that it holds was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It came to its end before the cut.
    Uncut {
        /// How many crossings it had.
        crossings: u64,
        /// How long it took.
        took: Duration,
    },
    /// It was cut off.
    Cut {
        /// The name of the crossing, if it was one.
        at: String,
        /// What was done, and what stands: `resumed: new`.
        outcome: String,
    },
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) cut: Cut,
    pub(crate) then: Then,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cut at {:?}, then {:?}", self.scenario, self.cut, self.then)
    }
}

impl Case {
    /// Plays it in a project of its scenario, and judges.
    ///
    /// # Panics
    /// If something does not hold.
    pub(crate) fn play(&self, ground: &mut Ground) -> Ended {
        let Ground { project, other } = ground;
        self.scenario.change(project);
        let old = Standing::now(project);
        let new = match self.scenario {
            fails if fails.fails() => None,
            back if back.is_back() => other.take(),
            _ => Some(Standing::tree(project)),
        };
        let begun = Instant::now();
        let (output, crossings) = self.cut_off(project);
        let took = begun.elapsed();
        let is_cut = match self.cut {
            Cut::Crossing(number, _) => crossings.len() as u64 >= number,
            Cut::Time(_) => output.signal.is_some(),
        };
        if is_cut {
            self.check_cut(&output);
        } else {
            output.clone().expect(self.scenario.code());
        }
        let word = if is_cut { self.take_up(project, &output, &old) } else { "ended" };
        let allowed: Vec<_> = [old.clone()].into_iter().chain(new).collect();
        let stands = judge(project, &allowed);
        let is_old = *stands == old;
        self.check_side(word, is_old);
        if matches!(self.cut, Cut::Crossing(_, Stroke::Supervisor)) {
            // It would be hit by what comes next, and be it what ends the project.
            end_supervisor(project);
        }
        *other = if is_old { allowed.get(1).cloned() } else { Some(old) };
        if !is_cut {
            return Ended::Uncut { crossings: crossings.len() as u64, took };
        }
        let at = match self.cut {
            Cut::Crossing(number, _) => crossings[number as usize - 1].clone(),
            Cut::Time(_) => "a moment".to_owned(),
        };
        Ended::Cut { at, outcome: format!("{word}: {}", if is_old { "old" } else { "new" }) }
    }

    /// Runs the command until it ends, one way or the other; the names of its crossings.
    fn cut_off(&self, project: &Project) -> (Output, Vec<String>) {
        let list = tempfile::NamedTempFile::new().expect("a file for the crossings");
        let (number, stroke) = match self.cut {
            Cut::Crossing(number, stroke) => (number, stroke),
            Cut::Time(_) => (u64::MAX, Stroke::Kill),
        };
        let number = number.to_string();
        let role = if stroke == Stroke::Supervisor { "supervisor" } else { "deploy" };
        let variables: [(&str, &OsStr); 4] = [
            ("FAIRLEAD_CROSSINGS", list.path().as_os_str()),
            ("FAIRLEAD_KILL_AT", number.as_ref()),
            ("FAIRLEAD_KILL_SIGNAL", stroke.signal().as_str().trim_start_matches("SIG").as_ref()),
            ("FAIRLEAD_KILL_IN", role.as_ref()),
        ];
        if stroke == Stroke::Supervisor {
            end_supervisor(project);
        }
        let run = project.spawn_with(self.scenario.command(), &variables);
        if let Cut::Time(after) = self.cut {
            pause(after);
            run.signal(Signal::SIGKILL);
        }
        let output = run.wait();
        let lines = fs::read_to_string(list.path()).expect("the crossings");
        let names = lines.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
        (output, names.collect())
    }

    /// A run that was cut off ends as a signal ends it, or as it ends by itself.
    fn check_cut(&self, output: &Output) {
        match self.cut {
            Cut::Crossing(_, Stroke::Kill) | Cut::Time(_) => {
                assert_eq!(output.signal, Some(9), "{output:?}");
            }
            // The rollout goes on beside a supervisor that is killed: it starts another one.
            Cut::Crossing(_, Stroke::Supervisor) => drop(output.clone().expect(self.scenario.code())),
            Cut::Crossing(_, stroke) if output.signal.is_some() => {
                assert_eq!(output.signal, Some(stroke.signal() as i32), "{output:?}");
            }
            Cut::Crossing(..) => drop(output.clone().expect_one_of(&[self.scenario.code(), 14])),
        }
    }

    /// Takes up what was cut off: what was done.
    fn take_up(&self, project: &Project, output: &Output, old: &Standing) -> &'static str {
        let code = self.scenario.code();
        if is_open(project) {
            return match self.then {
                Then::Resume => {
                    project.run(&["resume"]).expect(code);
                    "resumed"
                }
                Then::Rollback => {
                    let back = project.run(&["rollback", "--yes"]);
                    if self.scenario == Scenario::First && back.code == Some(3) {
                        // It was past the point where it could be undone: it has ended, and before it was nothing.
                        back.says("no earlier release");
                        return "ended";
                    }
                    back.expect(0);
                    "rolled back"
                }
            };
        }
        if output.code == Some(code) {
            return "ended";
        }
        project.run(&["resume"]).expect(3).says("no rollout is open");
        // It had not begun, or had just ended. To ask for the rollback again would then bring the other one.
        if !self.scenario.is_back() || Standing::now(project) == *old {
            let again = project.run(self.scenario.command()).expect_one_of(&[code, 0]);
            assert!(again.code == Some(code) || self.scenario.fails(), "{again:?}");
        }
        "not begun, or ended"
    }

    /// Whether what was done leads to what stands.
    fn check_side(&self, word: &str, is_old: bool) {
        match word {
            _ if self.scenario.fails() => assert!(is_old),
            "resumed" | "ended" => assert!(!is_old, "it was carried on, but what stood before stands"),
            "rolled back" => {}
            _ if self.scenario.is_back() => {}
            _ => assert!(!is_old, "it was deployed again, but what stood before stands"),
        }
    }
}

/// Ends the supervisor, so that the next command starts one that has fail points. Its units and its router go on.
fn end_supervisor(project: &Project) {
    let is_it = |process: &Process| process.cmdline.iter().any(|argument| argument == "__supervisor");
    for supervisor in processes_under(project.path()).into_iter().filter(is_it) {
        signal(supervisor.pid, Signal::SIGKILL);
        wait_for("the supervisor to end", VANISH, || (!supervisor.lives()).then_some(()));
    }
}
