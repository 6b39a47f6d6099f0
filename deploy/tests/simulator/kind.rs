//! The kinds of faults: what each is on this machine's processes, and what it is in the simulated fleet. The table is the
//! claim that this test checks: a line of it is wrong as soon as the two halves lead to different decisions.
//!
//! What befalls the executor itself is no fault of the fleet and not in the table: its death, another one's takeover, a
//! clock that jumps, and that it asks nobody for a while.

use deploy::world::{Behaviour, EffectFault};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ExitsAtStart,
    Crashes,
    OutOfMemory,
    NeverReady,
    NotListening,
    Hangs,
    Flaps,
    WrongRelease,
    WrongPort,
    FailsRequests,
    Unprobeable,
    Killed,
    FailsBefore,
    FailsAfter,
    FailsForGood,
    Unreachable,
    SmokeFails,
}

/// What is done to local processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Real {
    /// The new unit in the slot is started with this fault switch.
    Switch(&'static str),
    /// The same, with a time in milliseconds.
    Timed(&'static str, u64),
    /// The same, with kilobytes a second.
    Growth(&'static str, u64),
    /// The new release's executable is none.
    NoExecutable,
    /// The new release is probed by a program that is not there.
    NoProbe,
    /// The new release comes with a smoke test that fails.
    SmokeTest,
    /// The new unit in the slot gets SIGKILL in the bake.
    KillUnit,
    /// The supervisor is stopped in the bake, for [`OUTAGE`] milliseconds.
    FreezeSupervisor,
    /// The supervisor cannot write its state when the unit in the slot is to be started.
    FullDisk,
    /// The supervisor gets SIGKILL while the old unit in the slot takes its time to stop.
    KillSupervisor,
}

/// What is done in the simulated fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simulated {
    /// The new unit in the slot behaves like this.
    Unit(Behaviour),
    /// All new units behave like this.
    Units(Behaviour),
    /// The start of the new unit in the slot goes wrong, the first time.
    Start(EffectFault),
    /// All starts of new units go wrong.
    Starts(EffectFault),
    /// The stop of the old unit in the slot goes wrong, the first time.
    Stop(EffectFault),
    /// The new unit in the slot is killed in the bake.
    Kill,
    /// The target cannot be reached in the bake, for [`OUTAGE`] milliseconds.
    Outage,
    /// The smoke tests do not pass.
    Verify,
}

/// What a script must be like for its fault to fall in the same place each time, however busy the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It shows after a deadline, when everything else has come to rest.
    Anywhere,
    /// It shows at once, so nothing else may be going on then: units are started one by one.
    OneByOne,
    /// It shows some seconds after the unit's start, in a bake that is long enough for it.
    LongBake,
    /// It is done in the first bake, a while after its beginning.
    FirstBake,
    /// It is done at the end of the first of two batches, to the second unit.
    SecondBatch,
    /// It is done while the only old unit stops.
    OnlyStop,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) real: Real,
    pub(crate) simulated: Simulated,
    pub(crate) place: Place,
}

/// How long a target is out of reach, in milliseconds: longer than the five seconds for which the loop waits for an
/// observation, because it notices nothing before.
pub(crate) const OUTAGE: u64 = 7_000;

/// From the beginning of a bake to what is done in it, in milliseconds: the old units have left by then, even if they
/// need all of their grace to stop.
pub(crate) const SETTLED: u64 = 1_500;

const fn row(kind: Kind, real: Real, simulated: Simulated, place: Place) -> Row {
    Row { kind, real, simulated, place }
}

use Place::{Anywhere, FirstBake, LongBake, OneByOne, OnlyStop, SecondBatch};

/// Every kind, once.
pub(crate) const TABLE: [Row; 17] = [
    // Exit code 1 before it listens. Simulated time is coarser than a process's start, so it is the same moment.
    row(
        Kind::ExitsAtStart,
        Real::Switch("exit-at-start"),
        Simulated::Unit(Behaviour::ExitsAfter(0)),
        OneByOne,
    ),
    // Exit code 1 some seconds after the start: healthy long before, and the bake ends later.
    row(
        Kind::Crashes,
        Real::Timed("exit-after", 5_000),
        Simulated::Unit(Behaviour::ExitsAfter(5_000)),
        LongBake,
    ),
    // 25 MB/s reach the limit of 150 MB, less what the service has anyway, after more than five seconds.
    row(
        Kind::OutOfMemory,
        Real::Growth("memory-growth", 25_000),
        Simulated::Unit(Behaviour::OutOfMemoryAfter(5_600)),
        LongBake,
    ),
    // Both answer 503 to the probe, until the healthy deadline.
    row(Kind::NeverReady, Real::Switch("never-ready"), Simulated::Unit(Behaviour::NeverReady), Anywhere),
    // A start that takes longer than the healthy deadline: connections are refused until then.
    row(
        Kind::NotListening,
        Real::Timed("slow-start", 20_000),
        Simulated::Unit(Behaviour::Good(20_000)),
        Anywhere,
    ),
    // Both accept, and answer nothing within the probe's timeout.
    row(Kind::Hangs, Real::Switch("hang"), Simulated::Unit(Behaviour::Hangs), Anywhere),
    // Ready first, then every 400 ms the other way: never long enough to be healthy.
    row(Kind::Flaps, Real::Timed("flap", 400), Simulated::Unit(Behaviour::Flaps(400)), Anywhere),
    // Ready, but `/health` names another release. It is told after three answers.
    row(
        Kind::WrongRelease,
        Real::Switch("wrong-release"),
        Simulated::Unit(Behaviour::WrongRelease),
        OneByOne,
    ),
    // Listens, but not on the port that it was told; the target sees which.
    row(Kind::WrongPort, Real::Switch("wrong-port"), Simulated::Unit(Behaviour::WrongPort), Anywhere),
    // Half of the synthetic requests fail; probes are spared.
    row(
        Kind::FailsRequests,
        Real::Switch("error-rate=0.5"),
        Simulated::Unit(Behaviour::FailsRequests(50)),
        OneByOne,
    ),
    // The probe cannot be made, which says nothing of the unit. It belongs to the release, so all new units have it.
    row(Kind::Unprobeable, Real::NoProbe, Simulated::Units(Behaviour::Unprobeable), OneByOne),
    // A signal from somebody else.
    row(Kind::Killed, Real::KillUnit, Simulated::Kill, FirstBake),
    // A full disk: the supervisor begins nothing that it cannot write down, and says so.
    row(Kind::FailsBefore, Real::FullDisk, Simulated::Start(EffectFault::FailsBefore), SecondBatch),
    // The unit was told to stop, but who told it died before it could answer; its successor sees to it.
    row(Kind::FailsAfter, Real::KillSupervisor, Simulated::Stop(EffectFault::FailsAfter), OnlyStop),
    // The system does not run the file, and never will. It belongs to the release, so all new units have it.
    row(Kind::FailsForGood, Real::NoExecutable, Simulated::Starts(EffectFault::FailsForGood), OneByOne),
    // A supervisor that is stopped answers nothing and does nothing, while its units go on.
    row(Kind::Unreachable, Real::FreezeSupervisor, Simulated::Outage, FirstBake),
    // The last gate, on the whole rollout.
    row(Kind::SmokeFails, Real::SmokeTest, Simulated::Verify, Anywhere),
];

impl Kind {
    /// Its line.
    pub(crate) fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.kind == self).expect("every kind has a line, as a test shows")
    }
}

/// The kind that a behaviour of the simulated fleet belongs to; `None`: it is no fault. A new behaviour does not compile
/// here until it is told what it is on real processes.
pub(crate) fn kind_of(behaviour: Behaviour) -> Option<Kind> {
    Some(match behaviour {
        Behaviour::Good(after) if after < 1_000 => return None,
        Behaviour::Good(_) => Kind::NotListening,
        Behaviour::ExitsAfter(0) => Kind::ExitsAtStart,
        Behaviour::ExitsAfter(_) => Kind::Crashes,
        Behaviour::KilledAfter(_) => Kind::Killed,
        Behaviour::OutOfMemoryAfter(_) => Kind::OutOfMemory,
        Behaviour::NeverReady => Kind::NeverReady,
        Behaviour::Hangs => Kind::Hangs,
        Behaviour::Flaps(_) => Kind::Flaps,
        Behaviour::WrongRelease => Kind::WrongRelease,
        Behaviour::WrongPort => Kind::WrongPort,
        Behaviour::FailsRequests(_) => Kind::FailsRequests,
        Behaviour::Unprobeable => Kind::Unprobeable,
    })
}

/// The same for what goes wrong with an effect.
pub(crate) fn kind_of_effect(fault: EffectFault) -> Kind {
    match fault {
        EffectFault::FailsBefore => Kind::FailsBefore,
        EffectFault::FailsAfter => Kind::FailsAfter,
        EffectFault::FailsForGood => Kind::FailsForGood,
    }
}

/// A behaviour with all its times so many times as long.
pub(crate) fn paced(behaviour: Behaviour, pace: u64) -> Behaviour {
    match behaviour {
        Behaviour::Good(after) => Behaviour::Good(after * pace),
        Behaviour::ExitsAfter(after) => Behaviour::ExitsAfter(after * pace),
        Behaviour::KilledAfter(after) => Behaviour::KilledAfter(after * pace),
        Behaviour::OutOfMemoryAfter(after) => Behaviour::OutOfMemoryAfter(after * pace),
        Behaviour::Flaps(period) => Behaviour::Flaps(period * pace),
        other => other,
    }
}
