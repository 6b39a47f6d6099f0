use super::*;
use crate::{
    decide::Reason,
    event::Event,
    plan::PlanKind,
    reason::ReasonCode,
    state::{Command, Failure, Outcome},
};
use async_trait::async_trait;
use pipeline::{github::Trouble, name::Name};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn standing(release: &str) -> Standing {
    Standing { release: release.to_owned(), commit: format!("{release}-commit") }
}

fn story(kind: PlanKind) -> Story {
    Story {
        run: "run-1".to_owned(),
        kind,
        release: standing("new"),
        before: Some(standing("old")),
        production: false,
        log_url: Some("https://github.example/run".to_owned()),
        environment_url: None,
    }
}

fn failure() -> Failure {
    Failure {
        reason: ReasonCode::NeverReady,
        unit: None,
        service: Some(name("api")),
        message: "it answers 503".to_owned(),
        at: 0,
    }
}

fn began(resumed: bool) -> Event {
    Event::RolloutBegan {
        run: "run-1".to_owned(),
        environment: name("local"),
        release: "new".to_owned(),
        kind: PlanKind::Deploy,
        services: Vec::new(),
        targets: Vec::new(),
        resumed,
    }
}

fn finished(outcome: Outcome) -> Event {
    Event::RolloutFinished {
        run: "run-1".to_owned(),
        environment: name("local"),
        release: "new".to_owned(),
        outcome,
        took: 1,
    }
}

/// In a line each: the deployment, and its state with its words.
fn lines(whats: &[What]) -> Vec<String> {
    let line = |what: &What| match what {
        What::Deployment(one) => format!("{} = {} ({})", one.key, one.commit, one.description),
        What::Status(one) => format!("{} {}: {}", one.key, one.state.as_str(), one.description),
    };
    whats.iter().map(line).collect()
}

fn told(teller: &mut Teller, events: &[Event]) -> Vec<String> {
    events.iter().flat_map(|event| lines(&teller.hear(event))).collect()
}

#[test]
fn a_rollout_in_waves_is_told_wave_by_wave() {
    let (wave, waves) = (2, 3);
    let canary = || name("canary");
    let decided = |reason| Event::Decided { reason };
    let events = [
        began(false),
        decided(Reason::WaveBegan { name: canary(), wave, waves }),
        decided(Reason::SoakBegan { name: canary(), soak: 60_000 }),
        decided(Reason::WavePaused { name: canary(), wave, waves }),
        Event::RolloutLeft { run: "run-1".to_owned(), environment: name("local"), taken_over_by: None },
        began(true),
        decided(Reason::Commanded { command: Command::Promote }),
        finished(Outcome::Succeeded),
    ];
    let mut teller = Teller::new(story(PlanKind::Deploy), None);
    assert_eq!(
        told(&mut teller, &events),
        [
            "run-1 = new-commit (release new)",
            "run-1 in_progress: rolling out release new",
            "run-1 in_progress: wave 2 of 3: canary",
            "run-1 in_progress: wave canary soaking for 1 min",
            "run-1 queued: paused after wave 2 of 3: canary",
            "run-1 = new-commit (release new)",
            "run-1 in_progress: release new: taken up again",
            "run-1 in_progress: promoted",
            "run-1 success: release new stands, healthy",
        ]
    );
}

#[test]
fn of_a_rollback_the_failed_deployment_fails_and_what_stands_again_has_its_own() {
    let mut teller = Teller::new(story(PlanKind::Deploy), Some("run-0".to_owned()));
    assert_eq!(
        told(&mut teller, &[finished(Outcome::RolledBack { cause: failure() })]),
        [
            "run-1 failure: rolled back to old: never-ready: it answers 503",
            "run-1-restored = old-commit (release old, restored after new failed)",
            "run-1-restored success: release old, restored after new failed: stands again, healthy",
        ]
    );
    assert_eq!(teller.standing(), Some("run-1-restored"));
}

#[test]
fn of_a_first_deploy_that_is_taken_away_nothing_is_said_to_stand() {
    let mut teller = Teller::new(Story { before: None, ..story(PlanKind::Deploy) }, None);
    let told = told(&mut teller, &[finished(Outcome::RolledBack { cause: failure() })]);
    assert_eq!(told, ["run-1 failure: taken away again: never-ready: it answers 503"]);
    assert_eq!(teller.standing(), None);
}

#[test]
fn only_what_stands_and_is_healthy_is_a_success() {
    let cause = failure;
    let ends = [
        (Outcome::Refused { cause: cause() }, "failure"),
        (Outcome::Held { cause: cause(), back: false }, "in_progress"),
        (Outcome::RollbackFailed { cause: cause(), failure: Box::new(cause()) }, "error"),
    ];
    for (outcome, state) in ends {
        let mut teller = Teller::new(story(PlanKind::Deploy), None);
        let told = told(&mut teller, &[finished(outcome)]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("run-1 {state}: ")), "{told:?}");
        assert_eq!(teller.standing(), None);
    }
}

#[test]
fn what_users_see_no_more_is_inactive() {
    let production = Story { production: true, ..story(PlanKind::Rollback) };
    let mut teller = Teller::new(production, Some("run-0".to_owned()));
    assert_eq!(
        told(&mut teller, &[finished(Outcome::Succeeded)]),
        ["run-1 success: release new stands again, healthy", "run-0 inactive: release new stands now"]
    );
}

#[test]
fn an_end_that_was_only_written_down_is_told_like_one_that_was_seen() {
    for (word, outcome) in [
        ("succeeded", Outcome::Succeeded),
        ("rolled-back", Outcome::RolledBack { cause: failure() }),
        ("refused", Outcome::Refused { cause: failure() }),
        ("held", Outcome::Held { cause: failure(), back: true }),
    ] {
        let read = Ending::of_entry(word, "never-ready: it answers 503").expect("a known word");
        assert_eq!(read, Ending::of(&outcome));
    }
    assert_eq!(Ending::of_entry("of a later version", ""), None);
}

#[test]
fn secrets_are_masked_before_anything_is_cut_off() {
    let secret = "s".repeat(100);
    let status = Status {
        key: "run-1".to_owned(),
        state: State::Failure,
        description: format!("{}{secret}", "x".repeat(60)),
        log_url: None,
        environment_url: None,
    };
    let What::Status(masked) = What::Status(status).masked(&|text| text.replace(&secret, "***")) else {
        unreachable!("it stays what it is")
    };
    assert_eq!(masked.description, format!("{}***", "x".repeat(60)));
}

/// A GitHub that answers as it is told, and then takes everything.
#[derive(Default)]
struct Script {
    troubles: Mutex<VecDeque<Trouble>>,
    taken: Mutex<Vec<String>>,
}

impl Script {
    fn answer(&self, request: String, look: bool) -> Result<(), Trouble> {
        match self.troubles.lock().expect("no panic").pop_front() {
            Some(trouble) => Err(trouble),
            None => {
                let look = if look { " (looked)" } else { "" };
                self.taken.lock().expect("no panic").push(format!("{request}{look}"));
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Post for Script {
    async fn deployment(&self, _: &Name, wanted: &Deployment, look: bool) -> Result<u64, Trouble> {
        self.answer(wanted.key.clone(), look).map(|()| 7)
    }

    async fn status(&self, number: u64, wanted: &Status, look: bool) -> Result<(), Trouble> {
        self.answer(format!("{number} {}", wanted.state.as_str()), look)
    }
}

fn unavailable(may_have_taken_hold: bool) -> Trouble {
    let (doing, message) = ("a deployment".to_owned(), "502".to_owned());
    Trouble::Unavailable { doing, message, may_have_taken_hold }
}

/// What is taken of a rollout and what is told, where GitHub first answers with these troubles.
async fn sent(folder: &Path, troubles: &[Trouble], in_time: Duration) -> (Vec<String>, Vec<Told>, Left) {
    let outbox = Outbox::new(folder, name("local"));
    let script = Arc::new(Script::default());
    script.troubles.lock().expect("no panic").extend(troubles.iter().cloned());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let tell = Arc::new(move |one| tell.lock().expect("no panic").push(one));
    let sender = Sender::begin(outbox.clone(), script.clone(), tell);
    tokio::task::yield_now().await;
    let left = sender.finish(in_time).await;
    let taken = script.taken.lock().expect("no panic").clone();
    let told = told.lock().expect("no panic").clone();
    (taken, told, left)
}

fn fill(folder: &Path) {
    let mut teller = Teller::new(story(PlanKind::Deploy), None);
    let whats = [began(false), finished(Outcome::Succeeded)]
        .iter()
        .flat_map(|one| teller.hear(one))
        .collect::<Vec<_>>();
    Outbox::new(folder, name("local")).add(whats).expect("written");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_and_the_order_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path());
    let (taken, _, left) = sent(folder.path(), &[unavailable(true), unavailable(true)], END_DEADLINE).await;
    assert_eq!(taken, ["run-1 (looked)", "7 in_progress (looked)", "7 success (looked)"]);
    assert_eq!(left.waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_in_time_waits_for_the_next_command() {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path());
    let (taken, _, left) = sent(folder.path(), &vec![unavailable(false); 50], END_DEADLINE).await;
    assert_eq!((taken.len(), left.waiting), (0, 3));
    let (taken, told, left) = sent(folder.path(), &[], END_DEADLINE).await;
    assert_eq!(taken, ["run-1 (looked)", "7 in_progress (looked)", "7 success (looked)"]);
    assert_eq!((told, left.waiting), (Vec::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_accepted_is_told_once_and_everything_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path());
    let trouble = Trouble::Unauthorised { message: "Bad credentials".to_owned() };
    let (taken, told, left) = sent(folder.path(), &[trouble.clone(), trouble.clone()], END_DEADLINE).await;
    assert_eq!((taken.len(), left.waiting), (0, 3));
    assert_eq!(told, [Told::Stopped { trouble }]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_does_not_stand_in_the_way_of_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path());
    let invalid =
        Trouble::Invalid { doing: String::new(), message: "No ref found".to_owned(), errors: Vec::new() };
    let (taken, told, left) = sent(folder.path(), &[invalid], END_DEADLINE).await;
    assert_eq!((taken.len(), left.waiting), (0, 0), "its statuses go with it");
    assert!(matches!(told.as_slice(), [Told::Refused { .. }]), "it is told once: {told:?}");
    fill(folder.path());
    let (taken, _, left) = sent(folder.path(), &[], END_DEADLINE).await;
    assert_eq!((taken.len(), left.waiting), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_lasts_longer_than_the_command_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path());
    let limit = Trouble::RateLimited { wait: Duration::from_secs(3600), message: String::new() };
    let began = tokio::time::Instant::now();
    let (_, _, left) = sent(folder.path(), &[limit], END_DEADLINE).await;
    assert_eq!(left.waiting, 3);
    assert!(began.elapsed() <= END_DEADLINE, "{:?}", began.elapsed());
}
