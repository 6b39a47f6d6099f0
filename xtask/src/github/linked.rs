//! A program that speaks to GitHub.

use super::{Published, Reported, failure, says, warn};
use crate::{context::Context, failure::Failure};
use async_trait::async_trait;
use deploy::github::{Deployment, Post, Status};
use github::{Asset, CheckRun, Client, Release, Sarif, patiently};
use pipeline::{
    github::{Place, STAGE_DEADLINE, Trouble},
    name::Name,
    secret::Secret,
};
use std::{sync::Arc, time::Duration};

/// What the check run is called.
const CHECK_RUN: &str = "Fairlead";

/// Who speaks to GitHub.
#[derive(Clone)]
pub(crate) struct Tongue(Client);

impl Tongue {
    pub(crate) fn new(place: &Place, token: &Secret) -> Result<Self, Trouble> {
        Client::new(place, token).map(Self)
    }

    /// For what is told of rollouts.
    pub(crate) fn post(&self) -> Arc<dyn Post> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Post for Tongue {
    async fn deployment(&self, environment: &Name, wanted: &Deployment, look: bool) -> Result<u64, Trouble> {
        let wanted = github::Deployment {
            key: &wanted.key,
            commit: &wanted.commit,
            environment: environment.as_str(),
            release: &wanted.release,
            description: &wanted.description,
            production: wanted.production,
        };
        self.0.deployment(&wanted, look).await
    }

    async fn status(&self, number: u64, wanted: &Status, look: bool) -> Result<(), Trouble> {
        let wanted = github::Status {
            state: wanted.state.as_str(),
            description: &wanted.description,
            log_url: wanted.log_url.as_deref(),
            environment_url: wanted.environment_url.as_deref(),
        };
        self.0.status(number, &wanted, look).await
    }
}

/// Tells of each wait.
fn waits(context: &Context) -> impl Fn(&Trouble, Duration) {
    let narrator = context.narrator.clone();
    move |trouble, wait| narrator.note(&format!("{trouble}; again in {} s", wait.as_secs()))
}

/// Writes a sticky comment.
pub(crate) async fn send_comment(
    context: &Context,
    tongue: &Tongue,
    pull: u64,
    marker: &str,
    body: &str,
) -> Result<(), Trouble> {
    // It looks for its own each time.
    patiently(STAGE_DEADLINE, waits(context), async |_| tongue.0.comment(pull, marker, body).await).await
}

/// Makes a check run, and hands findings over to code scanning. Where that is not switched on, all else is done.
pub(crate) async fn send_report(
    context: &Context,
    tongue: &Tongue,
    reported: &Reported,
) -> Result<(), Failure> {
    let wanted = CheckRun {
        name: CHECK_RUN,
        commit: &reported.commit,
        key: &reported.key,
        url: reported.url.as_deref(),
        report: &reported.report,
    };
    let made =
        patiently(STAGE_DEADLINE, waits(context), async |look| tongue.0.check_run(&wanted, look).await);
    made.await.map_err(|trouble| failure(context, &trouble))?;
    let Some((commit, reference)) = &reported.scanned else { return Ok(()) };
    for document in &reported.sarif {
        let wanted = Sarif { commit, reference, document };
        let sent = patiently(STAGE_DEADLINE, waits(context), async |_| tongue.0.sarif(&wanted).await).await;
        match sent {
            Ok(()) => {}
            Err(trouble @ (Trouble::Forbidden { .. } | Trouble::NotFound { .. })) => {
                warn(context, &says::trouble("code scanning was not told", &trouble));
                return Ok(());
            }
            Err(trouble) => return Err(failure(context, &trouble)),
        }
    }
    Ok(())
}

/// Makes a release; gives where people see it.
pub(crate) async fn send_release(
    context: &Context,
    tongue: &Tongue,
    published: Published,
) -> Result<String, Failure> {
    let Published { tag, commit, name, notes, assets } = published;
    let wanted = Release { tag: &tag, commit: &commit, name: &name, notes: &notes };
    let asset = |(name, content): (String, Vec<u8>)| Asset { name, content: content.into() };
    let assets: Vec<Asset> = assets.into_iter().map(asset).collect();
    // It looks for what is there each time.
    let made = patiently(STAGE_DEADLINE, waits(context), async |_| tongue.0.release(&wanted, &assets).await);
    made.await.map_err(|trouble| failure(context, &trouble))
}
