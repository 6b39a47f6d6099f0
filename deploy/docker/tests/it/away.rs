//! An engine that is out of reach for a while, as one behind a forwarded socket is when the connection breaks.

use crate::fixture::{Guest, act, everywhere, only, prepare, start, stop, until};
use bollard::query_parameters::KillContainerOptionsBuilder;
use deploy::{
    model::UnitPhase,
    port::{EffectError, Target},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// A socket that leads to another one, until it is dropped: then every connection through it breaks.
struct Forwarded {
    at: PathBuf,
    _task: AbortOnDropHandle<()>,
}

impl Forwarded {
    fn open(at: &Path, to: PathBuf) -> Self {
        let listener = UnixListener::bind(at).expect("a socket");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = UnixStream::connect(to).await {
                        // Its end is the caller's business.
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { at: at.to_owned(), _task: AbortOnDropHandle::new(task) }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        std::fs::remove_file(&self.at).expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_an_engine_is_out_of_reach_is_seen_after_that() {
    everywhere(|mut fixture| async move {
        let hash = fixture.plan(&fixture.bundle("exec /bin/busybox sleep 31535992"), "r1");
        let unit = fixture.unit(0, hash);
        let at = fixture.folder.path().join("engine.sock");
        let open = || Forwarded::open(&at, fixture.engine.socket());
        let way = open();
        let target = fixture.target_at(&at, fixture.plan.clone(), Arc::new(Guest)).await;
        act(&target, 1, prepare(hash)).await.expect("prepared");
        act(&target, 1, start(&unit)).await.expect("started");
        let facts = only(&target).await;
        target.changed().await;

        drop(way);
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        fixture.docker.kill_container(&facts.handle, Some(options)).await.expect("killed");
        let unseen = target.observe().await;
        assert!(matches!(unseen, Err(EffectError::Passing { .. })), "{unseen:?}");
        let undone = act(&target, 1, stop(&unit, 0)).await;
        assert!(matches!(undone, Err(EffectError::Passing { .. })), "{undone:?}");

        let _way = open();
        let exit = until(&target, "the end of the unit", |seen| match &seen.units.first()?.phase {
            UnitPhase::Exited(exit) => Some(exit.clone()),
            _ => None,
        })
        .await;
        assert_eq!(exit.signal, Some(9), "{:?}", fixture.generation);
        act(&target, 1, start(&unit)).await.expect("started again");
        assert_eq!(only(&target).await.phase, UnitPhase::Running);
        act(&target, 1, stop(&unit, 0)).await.expect("stopped");
        assert!(target.observe().await.expect("it answers").units.is_empty());
    })
    .await;
}
