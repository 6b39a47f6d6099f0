//! What BuildKit says of a build: vertices of its graph, and what they write.

use super::{
    event::BuildEvent,
    story::{Index, Story},
};
use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use std::{collections::HashMap, time::Duration};

/// How the names of vertices begin that look for a cache. One that fails costs time, and no build.
const IMPORT: &str = "importing cache manifest from";

/// Which vertices are which steps.
#[derive(Default)]
pub(super) struct BuildKit {
    vertices: HashMap<String, Known>,
}

struct Known {
    index: Index,
    /// A vertex is gone through more than once: what goes into it is looked at first. All of it is its time.
    took: Duration,
    ended: bool,
}

impl BuildKit {
    /// Takes over what is new.
    pub(super) fn take(&mut self, status: StatusResponse, story: &mut Story<'_>) {
        // A program's last words come together with its end, and belong before it.
        for vertex in &status.vertexes {
            let known = self.known(&vertex.digest, &vertex.name, story);
            if vertex.started.is_some() && !vertex.cached {
                story.begin(known.index);
            }
        }
        for log in &status.logs {
            let index = self.known(&log.vertex, "", story).index;
            story.output(index, usize::from(log.stream == 2), &log.msg);
        }
        for vertex in &status.vertexes {
            self.end(vertex, story);
        }
        for warning in &status.warnings {
            let message = story.mask(&String::from_utf8_lossy(&warning.short)).into_owned();
            story.tell(BuildEvent::Warning { message });
        }
    }

    fn known(&mut self, digest: &str, name: &str, story: &mut Story<'_>) -> &mut Known {
        self.vertices.entry(digest.to_owned()).or_insert_with(|| Known {
            index: story.add(name),
            took: Duration::ZERO,
            ended: false,
        })
    }

    fn end(&mut self, vertex: &Vertex, story: &mut Story<'_>) {
        let known = self.known(&vertex.digest, &vertex.name, story);
        let Some(passed) = passed(vertex) else { return };
        if vertex.name.starts_with(IMPORT) && !vertex.error.is_empty() {
            if !std::mem::replace(&mut known.ended, true) {
                let message = format!("{}: {}", vertex.name, vertex.error);
                story.tell(BuildEvent::Warning { message: story.mask(&message).into_owned() });
            }
        } else if !vertex.error.is_empty() {
            let given_up = vertex.error.contains("context canceled");
            if !known.ended {
                story.fail(known.index, given_up);
            }
            known.ended = true;
        } else if vertex.cached {
            story.cached(known.index);
        } else {
            known.took += passed;
            story.done(known.index, known.took);
        }
    }
}

/// Between its beginning and its end, if it has come to one.
fn passed(vertex: &Vertex) -> Option<Duration> {
    let (started, completed) = (vertex.started.as_ref()?, vertex.completed.as_ref()?);
    let nanos = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let passed = nanos(completed.seconds, completed.nanos) - nanos(started.seconds, started.nanos);
    Some(Duration::from_nanos(u64::try_from(passed).unwrap_or(0)))
}
