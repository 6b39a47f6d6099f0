//! What is cut off in the middle: five ways to change what stands.

use crate::judge::Standing;
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
    /// Two units are replaced one after the other.
    Rolling,
    /// Two units are stopped before the new ones are started.
    Recreate,
    /// The new release never becomes ready, so that the rollout rolls back by itself.
    Failing,
    /// What stood before is asked for again.
    Back,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::First, Self::Rolling, Self::Recreate, Self::Failing, Self::Back];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Rolling => "rolling",
            Self::Recreate => "recreate",
            Self::Failing => "failing",
            Self::Back => "back",
        }
    }

    /// The command that is cut off.
    pub(crate) fn command(self) -> &'static [&'static str] {
        match self {
            Self::Back => &["rollback", "--yes"],
            _ => &["deploy"],
        }
    }

    /// Its exit code when nothing cuts it off, or once it was carried on.
    pub(crate) fn code(self) -> i32 {
        if self == Self::Failing { 10 } else { 0 }
    }

    /// Whether it can be played again in the project in which it was played.
    pub(crate) fn is_repeatable(self) -> bool {
        self != Self::First
    }

    /// A project in which everything is ready for [`Self::change`].
    pub(crate) fn ground(self) -> Ground {
        let mut project = Project::with(self.shape());
        project.is_not_judged("it is killed in the middle of its journal; what is left is judged by `judge`");
        project.use_program(tests::program_with_fail_points().to_owned());
        if self == Self::First {
            return Ground { project, other: None };
        }
        project.deploy().expect(0);
        let first = Standing::now(&project);
        match self {
            Self::Back => {
                project.change_code("api");
                project.deploy().expect(0);
            }
            Self::Failing => project.reshape(|shape| {
                shape.fault("never-ready");
                shape.timing("timeout", "500ms");
                shape.timing("healthy-deadline", "2s");
            }),
            Self::First | Self::Rolling | Self::Recreate => {}
        }
        Ground { project, other: Some(first).filter(|_| self == Self::Back) }
    }

    /// Makes the change that the command is to bring; to bring back what stood needs none.
    pub(crate) fn change(self, project: &mut Project) {
        if !matches!(self, Self::First | Self::Back) {
            project.change_code("api");
        }
    }

    fn shape(self) -> Shape {
        let mut shape = Shape::api_only();
        shape.api().replicas = 2;
        shape.batches = vec!["1", "100%"];
        shape.healthy_passes = 2;
        let timings =
            [("interval", "50ms"), ("healthy-for", "100ms"), ("healthy-deadline", "8s"), ("bake", "100ms")];
        for (key, value) in timings {
            shape.timing(key, value);
        }
        if self == Self::First {
            shape.api().replicas = 1;
            shape.batches = vec!["100%"];
        }
        if self == Self::Recreate {
            (shape.strategy, shape.max_unavailable, shape.max_surge) = ("recreate", 2, 0);
            shape.batches = vec!["100%"];
        }
        shape
    }
}
