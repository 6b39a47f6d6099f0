//! Taking over from an earlier supervisor: its stable ports, and its routers.

use super::{
    Shared,
    router::{Router, RouterError},
    state::RouterRecord,
};
use nix::sys::signal::Signal;
use pipeline::causes::in_one_line;
use pipeline::name::Name;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How long a replaced router may go on with the requests and upgraded connections that it has.
const RETIRE_DEADLINE: Duration = Duration::from_secs(600);

/// How long a router from an earlier supervisor may take to answer: less than a new one, because it has started.
const ADOPT_DEADLINE: Duration = Duration::from_secs(2);

impl Shared {
    /// Takes over the stable ports, and the router of an earlier supervisor if it still runs. One of another version
    /// gives its sockets to a new one and retires.
    pub(super) async fn adopt_router(&self) {
        self.end_half_started().await;
        let found = self.find_router().await;
        self.hold_ports().await;
        self.find_retiring().await;
        self.routes.wake();
        let Some((record, old, has)) = found else { return };
        let mut current = self.routes.pause().await;
        if record.version == self.options.version {
            match self.complete(&mut current, old.as_ref(), &has).await {
                Ok(()) => current.router = Some(old),
                Err(error) => {
                    self.log.line(format!("the router is replaced: {error}"));
                    end(&record);
                }
            }
            return;
        }
        if let Err(error) = self.bring_up(&mut current).await {
            // Rather a router of another version than none.
            self.log.line(format!("the router could not be replaced: {error}"));
            current.router = Some(old);
            return;
        }
        if let Err(error) = old.retire(RETIRE_DEADLINE).await {
            self.log.line(format!("the router of version {} is told to end: {error}", record.version));
            if let Some(process) = record.process {
                process.signal_group(Signal::SIGTERM);
            }
        }
        current.retiring.push(old);
    }

    /// Ends the router that an earlier supervisor was starting when it was killed: it never got a socket.
    async fn end_half_started(&self) {
        let mut store = self.store.lock().await;
        let Some(record) = store.state.starting.take() else { return };
        let found = self.routes.routers.find(&self.folders.supervisor(), &record.socket.to_string_lossy());
        if let Some(process) = found {
            self.log.line(format!("the router that was being started is ended: {process}"));
            end(&RouterRecord { process: found, ..record.clone() });
        }
        self.forget_socket(&record);
        self.save(&store);
    }

    /// Finds the routers again that were told to retire and have not ended yet: they must get new tables too.
    async fn find_retiring(&self) {
        let records = self.store.lock().await.state.retiring.clone();
        let folder = self.folders.supervisor();
        for record in records.into_iter().filter(|record| !record.has_ended()) {
            let socket = record.socket.to_string_lossy().into_owned();
            if let Ok(router) = self.routes.routers.connect(&folder, &socket, ADOPT_DEADLINE).await {
                self.routes.pause().await.retiring.push(router);
            }
        }
    }

    /// The router of an earlier supervisor and the services that it has sockets of, which are taken over.
    async fn find_router(&self) -> Option<(RouterRecord, Arc<dyn Router>, BTreeSet<Name>)> {
        let record = self.store.lock().await.state.router.clone()?;
        let deadline = match record.process {
            Some(process) if process.ended().is_some() => return None,
            Some(_) => ADOPT_DEADLINE,
            // Nothing tells whether it runs, but that it answers.
            None => Duration::from_millis(200),
        };
        let folder = self.folders.supervisor();
        let connect = async {
            let router =
                self.routes.routers.connect(&folder, &record.socket.to_string_lossy(), deadline).await?;
            let sockets = router.take_listeners().await?;
            Ok::<_, RouterError>((router, sockets))
        };
        match connect.await {
            Ok((router, sockets)) => {
                let has = sockets.keys().cloned().collect();
                self.listeners.adopt(sockets);
                Some((record, router, has))
            }
            Err(error) => {
                self.log.line(format!(
                    "the router of an earlier supervisor does not answer and is ended: {error}"
                ));
                end(&record);
                None
            }
        }
    }

    /// Binds the stable ports that are recorded and not held yet.
    async fn hold_ports(&self) {
        let store = self.store.lock().await;
        for (service, listening) in &store.state.listening {
            if let Err(error) = self.listeners.hold(service, listening) {
                self.log.line(in_one_line(&error));
            }
        }
    }
}

/// Ends a router by force: it does not do what it is told, or was never told anything.
fn end(record: &RouterRecord) {
    if let Some(process) = record.process {
        process.signal_group(Signal::SIGKILL);
    }
}
