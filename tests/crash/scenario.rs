//! What is cut off in the middle: the first deploy, and for every strategy the way forward and two ways back.

use crate::judge::Standing;
use std::fmt;
use tests::{Project, Shape};

/// Where a scenario is played.
pub(crate) struct Ground {
    /// The project.
    pub(crate) project: Project,
    /// What does not stand and would be brought back.
    pub(crate) other: Option<Standing>,
}

/// One way to change what stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// The first deploy: before it stands nothing.
    First,
    /// Two units are replaced.
    Replace(Strategy, Way),
}

/// How units are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strategy {
    /// Both old ones are stopped before the new ones are started.
    Recreate,
    /// One after the other.
    Rolling,
    /// One new one takes half of the traffic, then both are replaced.
    Canary,
    /// Two new ones take the traffic at once, and the old ones are kept meanwhile.
    BlueGreen,
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// To a new release.
    Forward,
    /// To a new release whose units end in the first bake, so that the rollout rolls back by itself: from half of the
    /// units, from both, from the canary's share, from the new side.
    Fails,
    /// To what stood before, which is asked for again.
    Back,
}

impl Strategy {
    const ALL: [Self; 4] = [Self::Recreate, Self::Rolling, Self::Canary, Self::BlueGreen];

    /// What the configuration calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Recreate => "recreate",
            Self::Rolling => "rolling",
            Self::Canary => "canary",
            Self::BlueGreen => "blue-green",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (strategy, way) = match self {
            Self::First => ("first", ""),
            Self::Replace(strategy, Way::Forward) => (strategy.name(), ""),
            Self::Replace(strategy, Way::Fails) => (strategy.name(), "-fails"),
            Self::Replace(strategy, Way::Back) => (strategy.name(), "-back"),
        };
        write!(f, "{strategy}{way}")
    }
}

impl Scenario {
    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        let ways = |strategy| [Way::Forward, Way::Fails, Way::Back].map(|way| Self::Replace(strategy, way));
        [Self::First].into_iter().chain(Strategy::ALL.into_iter().flat_map(ways)).collect()
    }

    /// Whether the new release is rolled back by itself.
    pub(crate) fn fails(self) -> bool {
        matches!(self, Self::Replace(_, Way::Fails))
    }

    /// Whether what stood before is asked for.
    pub(crate) fn is_back(self) -> bool {
        matches!(self, Self::Replace(_, Way::Back))
    }

    /// The command that is cut off.
    pub(crate) fn command(self) -> &'static [&'static str] {
        if self.is_back() { &["rollback", "--yes"] } else { &["deploy"] }
    }

    /// Its exit code when nothing cuts it off, or once it was carried on.
    pub(crate) fn code(self) -> i32 {
        if self.fails() { 10 } else { 0 }
    }

    /// Whether it can be played again in the project in which it was played.
    pub(crate) fn is_repeatable(self) -> bool {
        self != Self::First
    }

    /// A project in which everything is ready for [`Self::change`].
    pub(crate) fn ground(self) -> Ground {
        self.ground_with(["800ms", "1s"], |_| ())
    }

    /// The same with something else in its shape, and with the time after which a unit that fails ends, and the bake in
    /// which it does.
    pub(crate) fn ground_with(self, [life, bake]: [&str; 2], change: impl FnOnce(&mut Shape)) -> Ground {
        let mut shape = self.shape();
        change(&mut shape);
        let mut project = Project::with(shape);
        project.is_not_judged("it is killed in the middle of its journal; what is left is judged by `judge`");
        project.use_program(tests::program_with_fail_points().to_owned());
        if self == Self::First {
            return Ground { project, other: None };
        }
        project.deploy().expect(0);
        let first = Standing::now(&project);
        if self.is_back() {
            project.change_code("api");
            project.deploy().expect(0);
        }
        if self.fails() {
            project.reshape(|shape| {
                // They become healthy, get their traffic, and end under watch: at the latest there.
                shape.fault(&format!("exit-after={life}"));
                shape.timing("bake", bake);
            });
        }
        Ground { project, other: Some(first).filter(|_| self.is_back()) }
    }

    /// Makes the change that the command is to bring; to bring back what stood needs none.
    pub(crate) fn change(self, project: &mut Project) {
        if self != Self::First && !self.is_back() {
            project.change_code("api");
        }
    }

    fn shape(self) -> Shape {
        let mut shape = quick_shape();
        match self {
            Self::First => {
                shape.api().replicas = 1;
                shape.batches = vec!["100%"];
            }
            Self::Replace(strategy, _) => {
                shape.strategy = strategy.name();
                if strategy == Strategy::Recreate {
                    (shape.max_unavailable, shape.max_surge) = (2, 0);
                }
                if strategy != Strategy::Rolling {
                    shape.batches = vec!["100%"];
                }
                shape.canary_steps = vec![50];
            }
        }
        shape
    }
}

/// Two units of one service, with timings that are as short as a busy machine allows.
fn quick_shape() -> Shape {
    let mut shape = Shape::api_only();
    shape.api().replicas = 2;
    shape.batches = vec!["1", "100%"];
    shape.healthy_passes = 2;
    // So few that every rollout removes one.
    shape.keep_releases = 2;
    let timings =
        [("interval", "50ms"), ("healthy-for", "60ms"), ("healthy-deadline", "8s"), ("bake", "60ms")];
    for (key, value) in timings {
        shape.timing(key, value);
    }
    // So that these effects are there too.
    shape.gates = "[gates.synthetic]\npaths = { api = [\"/health\"] }\nrequests = 2\nmin-requests = 2\n\n\
                   [gates.smoke]\ncommand = [\"true\"]\n"
        .to_owned();
    shape
}
