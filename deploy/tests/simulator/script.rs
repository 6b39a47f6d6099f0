//! Scripts: an environment and what goes wrong in it, drawn from a seed.

use crate::kind::{Kind, Place};
use std::fmt;
use tests::Shape;

/// A rollout and what goes wrong in it.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// What goes wrong; `None`: nothing.
    pub(crate) kind: Option<Kind>,
    /// Where, if it is one unit.
    pub(crate) slot: u16,
    /// How many times as long everything takes.
    pub(crate) pace: u64,
    /// How many failures are tolerated.
    pub(crate) failure_limit: u16,
    strategy: &'static str,
    replicas: u16,
    max_surge: u16,
    batches: Vec<&'static str>,
    canary_steps: Vec<u8>,
    /// Whether units are judged by synthetic requests.
    synthetic: bool,
    /// Milliseconds.
    healthy_for: u64,
    /// Milliseconds.
    bake: u64,
}

/// Numbers from a seed: splitmix64.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("it is below a usize")
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn perhaps(&mut self) -> bool {
        self.below(2) == 0
    }
}

const STRATEGIES: [&str; 4] = ["rolling", "recreate", "canary", "blue-green"];

impl Script {
    /// Draws an environment in which this can go wrong in one way only.
    pub(crate) fn draw(kind: Option<Kind>, chance: &mut Chance) -> Self {
        let place = kind.map_or(Place::Anywhere, |kind| kind.row().place);
        let strategy = chance.one_of(match place {
            Place::SecondBatch => &STRATEGIES[..1],
            Place::OnlyStop => &STRATEGIES[..2],
            _ => &STRATEGIES,
        });
        let starts_all = matches!(strategy, "recreate" | "blue-green");
        let replicas = match place {
            Place::OneByOne if starts_all => 1,
            Place::OnlyStop => 1,
            Place::SecondBatch => 2 + chance.below(2),
            _ => 1 + chance.below(3),
        };
        let replicas = u16::try_from(replicas).expect("at most three");
        let slot = match place {
            // The canary alone is in the first bake.
            Place::FirstBake if strategy == "canary" => 0,
            Place::SecondBatch => 1,
            _ => u16::try_from(chance.below(replicas.into())).expect("at most three"),
        };
        let max_surge = match place {
            Place::LongBake | Place::FirstBake => replicas,
            // With none, one old unit makes room first.
            Place::OneByOne => chance.one_of(&[0, 1]),
            Place::Anywhere => chance.one_of(&[0, 1, replicas]),
            Place::SecondBatch | Place::OnlyStop => 1,
        };
        let batches = match place {
            Place::SecondBatch => vec!["1", "100%"],
            Place::LongBake | Place::FirstBake | Place::OnlyStop => vec!["100%"],
            Place::OneByOne | Place::Anywhere => chance.one_of(&[&["100%"][..], &["1", "100%"]]).to_vec(),
        };
        let is_brief = !matches!(place, Place::LongBake | Place::FirstBake);
        let canary_steps = if is_brief && chance.perhaps() { vec![10, 50] } else { vec![20] };
        let has_budget =
            matches!(kind, Some(Kind::ExitsAtStart | Kind::NeverReady | Kind::WrongRelease | Kind::Killed));
        Self {
            kind,
            slot,
            pace: 1,
            failure_limit: u16::from(has_budget && chance.perhaps()),
            strategy,
            replicas,
            max_surge,
            batches,
            canary_steps,
            synthetic: kind == Some(Kind::FailsRequests) || chance.perhaps(),
            healthy_for: chance.one_of(&[400, 500, 600, 700]),
            bake: match place {
                Place::LongBake => 9_000,
                Place::FirstBake | Place::SecondBatch | Place::OnlyStop => 4_000,
                // Long enough for the old units to leave, so that they have done so in the same batch each time.
                Place::OneByOne | Place::Anywhere => chance.one_of(&[1_500, 2_000]),
            },
        }
    }

    /// Short where it is waited for, long where a busy machine must not reach it.
    fn healthy_deadline(&self) -> u64 {
        match self.kind {
            Some(Kind::NeverReady | Kind::NotListening | Kind::Hangs | Kind::WrongPort) => 5_000,
            // Good units, too, need more passes in a row here.
            Some(Kind::Flaps) => 8_000,
            _ => 20_000,
        }
    }

    /// The project before anything goes wrong.
    pub(crate) fn shape(&self) -> Shape {
        let mut shape = Shape {
            strategy: self.strategy,
            canary_steps: self.canary_steps.clone(),
            max_surge: self.max_surge,
            max_unavailable: u16::from(self.max_surge == 0),
            batches: self.batches.clone(),
            ..Shape::api_only()
        };
        shape.api().replicas = self.replicas;
        shape.api().lines.push("memory-max = \"150MB\"".to_owned());
        let (mut healthy_for, mut healthy_passes) = (self.healthy_for, 3);
        if self.kind == Some(Kind::Flaps) {
            // Longer than it ever stays ready.
            (healthy_for, healthy_passes) = (1_000, 5);
        }
        shape.healthy_passes = healthy_passes;
        let deadline = self.healthy_deadline();
        let times = [("healthy-for", healthy_for), ("bake", self.bake), ("healthy-deadline", deadline)];
        for (key, millis) in times.into_iter().chain([("progress-deadline", 60_000)]) {
            shape.timing(key, &format!("{}ms", millis * self.pace));
        }
        if self.kind == Some(Kind::FailsAfter) {
            // The old unit takes all of it, so that there is time to interfere.
            shape.timing("stop-grace", "2s");
            shape.fault(&format!("ignore-sigterm@{}", self.slot));
        }
        if self.synthetic {
            // No answer is slow: how long one takes on a busy machine is not what this is about.
            shape.gates = "[gates.synthetic]\npaths = { api = [\"/api/v1/ministers\"] }\nrequests = 20\n\
                           min-requests = 10\nmax-error-rate = 0.05\nmax-slow-rate = 1.0\nslow-above = \"2s\"\n"
                .to_owned();
        }
        shape
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, failure_limit, strategy, replicas, max_surge, batches, .. } = self;
        match self.kind {
            Some(kind) => write!(f, "{kind:?} in slot {slot}")?,
            None => f.write_str("nothing goes wrong")?,
        }
        write!(f, ": {strategy}, {replicas} units")?;
        match *strategy {
            "rolling" | "canary" => write!(f, ", surge {max_surge}, batches {}", batches.join(" "))?,
            _ => {}
        }
        if *strategy == "canary" {
            write!(f, ", steps {:?}", self.canary_steps)?;
        }
        write!(f, ", healthy for {} ms, bake {} ms", self.healthy_for, self.bake)?;
        if *failure_limit > 0 {
            write!(f, ", {failure_limit} failure tolerated")?;
        }
        f.write_str(if self.synthetic { ", with synthetic requests" } else { "" })?;
        if self.pace > 1 { write!(f, ", {} times as slow", self.pace) } else { Ok(()) }
    }
}
