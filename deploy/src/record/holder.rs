//! Who holds a lease: a process, told apart from every other one that ever had its number.

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User, gethostname},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    time::{Duration, Instant},
};

/// How long a killed process may take to end. It is waiting for a disk or a network file system if it takes longer.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A process, for ever: its number alone is given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Holder {
    /// Its process id …
    pub pid: u32,
    /// … its start, in clock ticks since the boot …
    pub start_time: u64,
    /// … the boot …
    pub boot_id: String,
    /// … and the process-id namespace in which it has that id: a container's process 7 is not the host's.
    pub pid_namespace: String,
    /// The machine's name, for people, and to notice its restart.
    pub host: String,
    /// The user's name, for people.
    pub user: String,
}

impl Holder {
    /// The process that asks.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn this_process() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let (_, start_time) =
            parse_stat(&stat).ok_or_else(|| io::Error::other("unknown `/proc/self/stat`"))?;
        let uid = Uid::effective();
        let user = User::from_uid(uid).ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name);
        Ok(Self {
            pid: std::process::id(),
            start_time,
            boot_id: boot_id()?,
            pid_namespace: fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned(),
            host: gethostname()?.to_string_lossy().into_owned(),
            user,
        })
    }

    /// Whether both are the same process.
    pub fn is(&self, other: &Self) -> bool {
        (self.pid, self.start_time, &self.boot_id, &self.pid_namespace)
            == (other.pid, other.start_time, &other.boot_id, &other.pid_namespace)
    }
}

/// What is known of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It is stopped, and may go on at any moment.
    Stopped,
    /// It can never act again.
    Dead(Death),
    /// It is on another machine, or in another container.
    Unknown,
}

/// How a holder is known to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Death {
    /// There is no such process.
    Gone,
    /// Its number belongs to a younger process.
    Replaced,
    /// The machine was restarted.
    Rebooted,
}

/// The processes of the machine that asks.
pub trait Processes: Send + Sync {
    /// What is known of a holder.
    fn liveness(&self, holder: &Holder) -> Liveness;

    /// Kills a holder and returns when it can do no more. A holder that is already dead is `Ok`.
    ///
    /// # Errors
    /// It is not ours to kill, or did not end.
    fn end(&self, holder: &Holder) -> io::Result<()>;
}

/// The processes of this machine, as `/proc` shows them.
#[derive(Debug, Clone)]
pub struct ThisMachine {
    me: Holder,
}

impl ThisMachine {
    /// Seen by this process.
    pub fn new(me: Holder) -> Self {
        Self { me }
    }
}

impl Processes for ThisMachine {
    fn liveness(&self, holder: &Holder) -> Liveness {
        liveness(&self.me, holder, || look_up(holder.pid))
    }

    fn end(&self, holder: &Holder) -> io::Result<()> {
        let deadline = Instant::now() + END_LIMIT;
        // Start time and boot were compared a moment ago; a number is not given again that quickly.
        if matches!(self.liveness(holder), Liveness::Alive | Liveness::Stopped) {
            match kill(raw(holder.pid)?, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        while !matches!(self.liveness(holder), Liveness::Dead(_)) {
            if Instant::now() >= deadline {
                let message = format!("it has not ended {} s after SIGKILL", END_LIMIT.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            // It is not our child, so its end is no event that could be awaited.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// What `/proc` says of a process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// There is no such process.
    Absent,
    /// There is one, which hides its data.
    Hidden,
    /// There is one.
    Present {
        /// Its state, as `/proc/PID/stat` has it.
        state: char,
        /// Its start.
        start_time: u64,
    },
}

/// What follows from what `me` sees of a holder. Pure.
pub(super) fn liveness(me: &Holder, holder: &Holder, entry: impl FnOnce() -> Entry) -> Liveness {
    if holder.boot_id != me.boot_id {
        let same_host = holder.host == me.host;
        return if same_host { Liveness::Dead(Death::Rebooted) } else { Liveness::Unknown };
    }
    if holder.pid_namespace != me.pid_namespace {
        return Liveness::Unknown;
    }
    match entry() {
        // A zombie has ended; only its parent has not noticed.
        Entry::Absent | Entry::Present { state: 'Z' | 'X' | 'x', .. } => Liveness::Dead(Death::Gone),
        Entry::Present { start_time, .. } if start_time != holder.start_time => {
            Liveness::Dead(Death::Replaced)
        }
        Entry::Present { state: 'T' | 't', .. } => Liveness::Stopped,
        Entry::Present { .. } | Entry::Hidden => Liveness::Alive,
    }
}

/// Which boot of the machine this is.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn look_up(pid: u32) -> Entry {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    match stat.as_deref().and_then(parse_stat) {
        Some((state, start_time)) => Entry::Present { state, start_time },
        // `/proc` may hide the processes of other users; the kernel still tells whether there is one.
        None if raw(pid).is_ok_and(|pid| kill(pid, None) != Err(Errno::ESRCH)) => Entry::Hidden,
        None => Entry::Absent,
    }
}

/// The process id for a signal. 0 and negative numbers would mean whole groups.
fn raw(pid: u32) -> io::Result<Pid> {
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{pid} is not the id of a holder"))),
    }
}

/// State and start time. The command's name stands before them in parentheses, and may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The start time is field 22; the state, field 3, is taken.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_cannot_forge_its_state_or_start() {
        let stat = "7 (a) Z 1 2 3) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1 1";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn only_proof_makes_a_holder_dead() {
        let me = Holder::this_process().unwrap();
        let with = |change: &dyn Fn(&mut Holder)| {
            let mut holder = me.clone();
            change(&mut holder);
            holder
        };
        let start_time = me.start_time;
        let running = Entry::Present { state: 'R', start_time };
        let cases = [
            (me.clone(), running, Liveness::Alive),
            (me.clone(), Entry::Hidden, Liveness::Alive),
            (me.clone(), Entry::Present { state: 'T', start_time }, Liveness::Stopped),
            (me.clone(), Entry::Present { state: 'Z', start_time }, Liveness::Dead(Death::Gone)),
            (me.clone(), Entry::Absent, Liveness::Dead(Death::Gone)),
            (with(&|h| h.start_time += 1), running, Liveness::Dead(Death::Replaced)),
            (with(&|h| h.boot_id = "other".to_owned()), running, Liveness::Dead(Death::Rebooted)),
            (with(&|h| h.pid_namespace = "other".to_owned()), Entry::Absent, Liveness::Unknown),
        ];
        for (holder, entry, expected) in cases {
            assert_eq!(liveness(&me, &holder, || entry), expected, "{holder:?} {entry:?}");
        }
        let elsewhere = with(&|h| (h.boot_id, h.host) = ("other".to_owned(), "other".to_owned()));
        assert_eq!(liveness(&me, &elsewhere, || Entry::Absent), Liveness::Unknown);
    }

    #[test]
    fn this_process_is_alive_and_a_made_up_one_is_not() {
        let me = Holder::this_process().unwrap();
        let machine = ThisMachine::new(me.clone());
        assert_eq!(machine.liveness(&me), Liveness::Alive);
        let younger = Holder { start_time: me.start_time + 1, ..me.clone() };
        assert_eq!(machine.liveness(&younger), Liveness::Dead(Death::Replaced));
        // It must not be killed in place of the dead one whose number it has.
        machine.end(&younger).unwrap();
    }

    #[test]
    fn a_damaged_record_cannot_make_us_kill_a_group() {
        for pid in [0, u32::MAX, 1 << 31] {
            assert!(raw(pid).is_err(), "{pid}");
        }
    }
}
