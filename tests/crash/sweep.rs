//! One run that is cut off at one place, taken up, and judged.

use crate::{
    judge::{Standing, is_open, judge},
    scenario::{Ground, Scenario},
};
use nix::sys::signal::Signal;
use std::{ffi::OsStr, fmt, fs, time::Duration};
use tests::{Output, Process, Project, pause, processes_under, signal, wait_for};

/// How long a process that was killed may take to vanish.
const VANISH: Duration = Duration::from_secs(5);

/// Where and how a run is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It signals itself at this crossing, counted from 1.
    Crossing(u64, Signal),
    /// Its supervisor kills itself at its own crossing with this number.
    Supervisor(u64),
    /// It is killed this long after its start.
    Time(Duration),
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
    /// It came to its end before the cut, after so many crossings.
    Uncut(u64),
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
        write!(f, "{} cut at {:?}, then {:?}", self.scenario.name(), self.cut, self.then)
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
            Scenario::Failing => None,
            Scenario::Back => other.take(),
            _ => Some(Standing::tree(project)),
        };
        let (output, crossings) = self.cut_off(project);
        let is_cut = match self.cut {
            Cut::Crossing(number, _) | Cut::Supervisor(number) => crossings.len() as u64 >= number,
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
        *other = if is_old { allowed.get(1).cloned() } else { Some(old) };
        if !is_cut {
            return Ended::Uncut(crossings.len() as u64);
        }
        let at = match self.cut {
            Cut::Crossing(number, _) | Cut::Supervisor(number) => crossings[number as usize - 1].clone(),
            Cut::Time(_) => "a moment".to_owned(),
        };
        Ended::Cut { at, outcome: format!("{word}: {}", if is_old { "old" } else { "new" }) }
    }

    /// Runs the command until it ends, one way or the other; the names of its crossings.
    fn cut_off(&self, project: &Project) -> (Output, Vec<String>) {
        let list = tempfile::NamedTempFile::new().expect("a file for the crossings");
        let (number, signal) = match self.cut {
            Cut::Crossing(number, signal) => (number, signal),
            Cut::Supervisor(number) => (number, Signal::SIGKILL),
            Cut::Time(_) => (u64::MAX, Signal::SIGKILL),
        };
        let number = number.to_string();
        let role = if matches!(self.cut, Cut::Supervisor(_)) { "supervisor" } else { "deploy" };
        let variables: [(&str, &OsStr); 4] = [
            ("FAIRLEAD_CROSSINGS", list.path().as_os_str()),
            ("FAIRLEAD_KILL_AT", number.as_ref()),
            ("FAIRLEAD_KILL_SIGNAL", signal.as_str().trim_start_matches("SIG").as_ref()),
            ("FAIRLEAD_KILL_IN", role.as_ref()),
        ];
        if matches!(self.cut, Cut::Supervisor(_)) {
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
            Cut::Crossing(_, Signal::SIGKILL) | Cut::Time(_) => {
                assert_eq!(output.signal, Some(9), "{output:?}");
            }
            // The rollout goes on beside a supervisor that is killed: it starts another one.
            Cut::Supervisor(_) => drop(output.clone().expect_one_of(&[self.scenario.code()])),
            Cut::Crossing(_, signal) if output.signal.is_some() => {
                assert_eq!(output.signal, Some(signal as i32), "{output:?}");
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
        if self.scenario != Scenario::Back || Standing::now(project) == *old {
            let again = project.run(self.scenario.command()).expect_one_of(&[code, 0]);
            assert!(again.code == Some(code) || self.scenario == Scenario::Failing, "{again:?}");
        }
        "not begun, or ended"
    }

    /// Whether what was done leads to what stands.
    fn check_side(&self, word: &str, is_old: bool) {
        match (self.scenario, word) {
            (Scenario::Failing, _) => assert!(is_old),
            (_, "resumed" | "ended") => assert!(!is_old, "it was carried on, but what stood before stands"),
            (Scenario::Back, _) | (_, "rolled back") => {}
            (_, _) => assert!(!is_old, "it was deployed again, but what stood before stands"),
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
