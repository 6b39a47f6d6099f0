//! The lease beside the loop.

use super::*;
use std::fs;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_millis(50);

/// A keeper with this length of lease, and its store.
fn keeper(folder: &Path, ttl: Duration) -> (LeaseKeeper<String, u32>, Store) {
    let store = store_in(folder);
    let now = Stamp::now().unwrap();
    let taken = acquired(take(&store, me(), &Fleet::all(Liveness::Alive), &now));
    (LeaseKeeper::start(store.clone(), taken.tenure, ttl, HEARTBEAT), store)
}

/// Puts something else in the record's place while no write is under way.
fn replace(store: &Store, bytes: &[u8]) {
    let lock = fs::File::open(store.path().with_file_name("record.lock")).unwrap();
    lock.lock().unwrap();
    fs::write(store.path(), bytes).unwrap();
}

/// Waits until the record has been written more often than this.
async fn written_after(store: &Store, seq: u64) {
    let written = async {
        while store.load().unwrap().seq <= seq {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, written).await.unwrap();
}

#[tokio::test]
async fn it_renews_while_the_loop_writes_and_gives_back_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, store) = keeper(folder.path(), Duration::from_secs(2));
    let before = store.load().unwrap();
    written_after(&store, before.seq + 2).await;
    let written = keeper.write(|record| record.bad_releases.extend(["bad".to_owned()])).await.unwrap();
    written_after(&store, written.seq + 1).await;
    let after = store.load().unwrap();
    assert_eq!(after.bad_releases.len(), 1);
    assert!(after.lease.unwrap().renewed.uptime > before.lease.unwrap().renewed.uptime);
    assert!(!keeper.lost().is_cancelled() && keeper.cause().is_none());
    keeper.release().await.unwrap();
    let released = store.load().unwrap();
    assert_eq!((released.lease, released.generation), (None, 1));
}

#[tokio::test]
async fn the_last_write_and_the_release_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, store) = keeper(folder.path(), Duration::from_secs(60));
    let finished = keeper.finish(|record| record.last = Some(finished("run-1", 9))).await.unwrap();
    assert_eq!((finished.lease.is_none(), finished.last.is_some()), (true, true));
    assert_eq!(store.load().unwrap(), finished);
}

#[tokio::test]
async fn a_takeover_is_noticed_with_the_next_heartbeat_and_by_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, store) = keeper(folder.path(), Duration::from_secs(60));
    let dead = Fleet::all(Liveness::Dead(Death::Gone));
    acquired(take(&store, holder(8), &dead, &Stamp::now().unwrap()));
    timeout(LIMIT, keeper.lost().cancelled()).await.unwrap();
    let cause = keeper.cause().unwrap();
    assert!(matches!(&*cause, LeaseError::Lost { by: Some(by) } if by.holder.pid == 8), "{cause}");
    let before = store.load().unwrap();
    assert!(matches!(keeper.write(|record| record.lease = None).await, Err(LeaseError::Lost { .. })));
    drop(keeper);
    assert_eq!(store.load().unwrap(), before, "the new holder's lease is untouched");
}

#[tokio::test]
async fn what_cannot_be_renewed_is_lost_when_it_expires_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, store) = keeper(folder.path(), Duration::from_millis(800));
    let started = std::time::Instant::now();
    replace(&store, b"torn");
    timeout(LIMIT, keeper.lost().cancelled()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    let cause = keeper.cause().unwrap();
    assert!(matches!(&*cause, LeaseError::NotRenewed { source: Some(_), .. }), "{cause:?}");
}

#[tokio::test]
async fn a_failure_that_passes_does_not_lose_it() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, store) = keeper(folder.path(), Duration::from_secs(20));
    let whole = fs::read(store.path()).unwrap();
    replace(&store, b"torn");
    tokio::time::sleep(3 * HEARTBEAT).await;
    replace(&store, &whole);
    written_after(&store, store.load().unwrap().seq + 1).await;
    assert!(!keeper.lost().is_cancelled());
    keeper.release().await.unwrap();
}

#[tokio::test]
async fn dropping_it_gives_the_lease_back() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, store) = keeper(folder.path(), Duration::from_secs(60));
    drop(keeper);
    assert_eq!(store.load().unwrap().lease, None);
}
