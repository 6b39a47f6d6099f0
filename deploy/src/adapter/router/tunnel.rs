//! Connections that have changed their protocol: bytes both ways until one side has had enough.

use super::{answer::Lease, listen::Shared};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::copy_bidirectional;

/// Joins a client and a unit once both have changed over. The unit's place in flight is held until the tunnel closes;
/// breaking off the unit breaks it off, as does the end of the router.
pub(super) fn join(shared: &Arc<Shared>, client: OnUpgrade, unit: OnUpgrade, lease: Lease) {
    let severed = lease.connection.severed();
    shared.tasks.spawn(async move {
        let carry = async {
            let (client, unit) = tokio::try_join!(client, unit)?;
            // How a tunnel ends is between the two ends; there is nobody to tell.
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(unit)).await;
            Ok::<(), hyper::Error>(())
        };
        let _ = severed.run_until_cancelled(carry).await;
        drop(lease);
    });
}
