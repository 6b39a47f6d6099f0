//! The loop on the simulated fleet, in tokio's paused time: what it writes, performs and tells, and in which order.

use super::*;
use crate::{
    bundle::{Bundle, BundleHash},
    check::{Check, Look},
    decide::End,
    ledger::Ledger,
    model::{Action, Intent},
    port::{EffectOutput, GateResult, TargetSeen},
    reason::ReasonCode,
    samples::{Shape, bundle, plan_of},
    state::Effect,
    state::Outcome,
    world::{Behaviour, Rule, World},
};
use async_trait::async_trait;
use std::sync::Mutex;
use tokio::time::Instant;

/// When the simulated rollouts begin.
const EPOCH: Millis = 1_000_000;

struct Paused(Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Millis {
        EPOCH + self.0.elapsed().as_millis() as Millis
    }

    async fn sleep_until(&self, at: Millis) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.now()))).await;
    }
}

/// What happened, in order: `swap`, then the verbs of actions.
type Story = Arc<Mutex<Vec<String>>>;

struct Fake {
    name: Name,
    world: Arc<Mutex<World>>,
    clock: Arc<Paused>,
    story: Story,
    generation: Mutex<u64>,
}

impl Fake {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds the world")
    }
}

#[async_trait]
impl Target for Fake {
    fn name(&self) -> &Name {
        &self.name
    }

    async fn observe(&self) -> Result<TargetSeen, EffectError> {
        let units = self.world().facts(self.clock.now());
        let ledger = Ledger::empty(self.name.clone(), self.name.clone());
        Ok(TargetSeen { generation: *self.generation.lock().expect("not poisoned"), ledger, units })
    }

    async fn changed(&self) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    async fn fence(&self, generation: u64) -> Result<(), EffectError> {
        *self.generation.lock().expect("not poisoned") = generation;
        Ok(())
    }

    async fn perform(&self, generation: u64, intent: &Intent) -> Result<EffectOutput, EffectError> {
        let seen = *self.generation.lock().expect("not poisoned");
        if generation < seen {
            return Err(EffectError::Fenced { generation: seen });
        }
        self.story.lock().expect("not poisoned").push(intent.action.verb().to_owned());
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.world().act(&intent.action).map(|_| EffectOutput::default())
    }

    async fn bundle(&self, _: &BundleHash) -> Result<Bundle, EffectError> {
        Err(EffectError::Passing { message: "not simulated".to_owned() })
    }

    async fn log_tail(&self, _: &UnitId, _: usize) -> Result<Vec<String>, EffectError> {
        Ok(vec!["the token is hunter22".to_owned()])
    }

    async fn resources(&self, _: &UnitId) -> Vec<(String, String)> {
        vec![("threads".to_owned(), "1".to_owned())]
    }
}

#[async_trait]
impl Prober for Fake {
    async fn look(&self, unit: &UnitFacts, _: &Check) -> Look {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let answer = self.world().probe(&unit.unit).unwrap_or(crate::check::Answer::Refused);
        Look { at: self.clock.now(), took: 5, answer, excerpt: String::new() }
    }

    async fn gate(&self, action: &Action, _: Option<&UnitFacts>) -> Result<GateResult, EffectError> {
        match self.world().act(action)? {
            Effect::Gate(result) => Ok(result),
            Effect::Done => Err(EffectError::Passing { message: "no gate".to_owned() }),
        }
    }
}

struct Kept {
    story: Story,
    swaps: Mutex<u64>,
    fails_at: Option<u64>,
}

#[async_trait]
impl RolloutRecord for Kept {
    async fn swap(&self, _: &State) -> Result<(), SwapError> {
        let mut swaps = self.swaps.lock().expect("not poisoned");
        *swaps += 1;
        if self.fails_at == Some(*swaps) {
            return Err(SwapError::Write(std::io::Error::other("no space left on device")));
        }
        self.story.lock().expect("not poisoned").push("swap".to_owned());
        Ok(())
    }
}

struct Case {
    end: Result<End, SwapError>,
    story: Vec<String>,
    events: Vec<Event>,
    world: World,
}

struct Setup {
    rule: Option<Behaviour>,
    fails_at: Option<u64>,
    fence_at: Option<Millis>,
    lose_at: Option<Millis>,
}

const GOOD: Setup = Setup { rule: None, fails_at: None, fence_at: None, lose_at: None };

async fn run(setup: Setup) -> Case {
    let plan = Arc::new(plan_of(&Shape::default()));
    let mut world = World::new(EPOCH).with_previous(&plan);
    if let Some(behaviour) = setup.rule {
        world.rules.push(Rule { bundle: Some(bundle("new")), slot: None, starts_below: None, behaviour });
    }
    let clock = Arc::new(Paused(Instant::now()));
    let (world, story) = (Arc::new(Mutex::new(world)), Story::default());
    let name: Name = "local".parse().expect("a name");
    let fake = |name: &Name| Fake {
        name: name.clone(),
        world: world.clone(),
        clock: clock.clone(),
        story: story.clone(),
        generation: Mutex::new(1),
    };
    let (target, prober) = (Arc::new(fake(&name)), Arc::new(fake(&name)));
    let events = Arc::new(Mutex::new(Vec::new()));
    let (told, lost) = (events.clone(), CancellationToken::new());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rollout = Rollout {
        stay_paused: None,
        plan: plan.clone(),
        generation: 1,
        targets: BTreeMap::from([(name, target.clone() as Arc<dyn Target>)]),
        prober,
        hooks: Arc::new(crate::adapter::hook::CommandHooks::new(
            folder.path().to_owned(),
            pipeline::secret::Redactor::default(),
            &plan,
            BTreeMap::new(),
        )),
        clock: clock.clone(),
        record: Arc::new(Kept { story: story.clone(), swaps: Mutex::new(0), fails_at: setup.fails_at }),
        events: Arc::new(move |event| told.lock().expect("not poisoned").push(event)),
        dossiers: folder.path().to_owned(),
        program: "fairlead".to_owned(),
        mask: Arc::new(|text| text.replace("hunter22", "***")),
        lost: lost.clone(),
    };
    let (_sender, commands) = mpsc::unbounded_channel();
    let disturb = async {
        if let Some(at) = setup.fence_at {
            tokio::time::sleep(Duration::from_millis(at)).await;
            target.fence(9).await.expect("a fake is always fenced");
        }
        if let Some(at) = setup.lose_at {
            tokio::time::sleep(Duration::from_millis(at)).await;
            lost.cancel();
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = rollout.run(State::new(&plan, EPOCH), false, commands) => end,
        () = disturb => unreachable!("it waits for ever"),
    };
    let (story, events) =
        (story.lock().expect("not poisoned").clone(), events.lock().expect("not poisoned").clone());
    let world = world.lock().expect("not poisoned").clone();
    Case { end, story, events, world }
}

#[tokio::test(start_paused = true)]
async fn every_action_comes_after_its_intent_was_written() {
    let case = run(GOOD).await;
    assert_eq!(case.end.expect("the record can be written"), End::Finished(Outcome::Succeeded));
    // Between two writes there may be several actions, but the first of a turn always follows a write.
    assert_eq!(case.story.first().map(String::as_str), Some("swap"));
    let actions = case.story.iter().filter(|word| *word != "swap").count();
    let begun = case.events.iter().filter(|event| matches!(event, Event::ActionBegan { .. })).count();
    // The final gate is the prober's.
    assert_eq!(actions + 1, begun);
    assert_eq!(case.world.violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_written_stops_before_anything_is_begun() {
    for fails_at in 1..12 {
        let case = run(Setup { fails_at: Some(fails_at), ..GOOD }).await;
        assert!(matches!(case.end, Err(SwapError::Write(_))), "{fails_at}");
        let swaps = case.story.iter().filter(|word| *word == "swap").count() as u64;
        assert_eq!(swaps, fails_at - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_rollout_leaves_a_dossier_with_masked_logs() {
    let case = run(Setup { rule: Some(Behaviour::NeverReady), ..GOOD }).await;
    assert!(matches!(case.end, Ok(End::Finished(Outcome::RolledBack { .. }))));
    let dossier = case.events.iter().find_map(|event| match event {
        Event::EvidenceCollected { dossier, path } => Some((dossier, path)),
        _ => None,
    });
    let (dossier, path) = dossier.expect("evidence was collected");
    assert_eq!(dossier.cause.reason, ReasonCode::NeverReady);
    let unit = dossier.unit.as_ref().expect("the failed unit was still there");
    assert_eq!(unit.log_tail, ["the token is ***"]);
    assert!(!unit.looks.is_empty());
    assert!(dossier.previous_unit.is_some());
    assert!(path.is_some());
    let stopped = case.story.iter().position(|word| word == "stop").expect("the failed unit was stopped");
    let last_start = case.story.iter().position(|word| word == "start").expect("it was started");
    assert!(last_start < stopped);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_executor_ends_and_changes_nothing_more() {
    let case = run(Setup { fence_at: Some(1_000), ..GOOD }).await;
    assert_eq!(case.end.expect("the record can be written"), End::Left(Leave::Lost { generation: 9 }));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_everything_at_once() {
    let case = run(Setup { lose_at: Some(700), ..GOOD }).await;
    assert!(matches!(case.end, Ok(End::Left(Leave::Lost { .. }))));
    assert!(matches!(case.events.last(), Some(Event::RolloutLeft { .. })));
}
