//! Documents and events for tests: one of each, with everything in it.

use crate::commands::{GoingImage, Prunable, PrunableRepository, StayingImage};
use deploy::{
    bundle::{Bundle, BundleArtifact, BundleHash, BundleSource},
    check::{Answer, Check, HttpProbe, Identity, Look, Probe},
    decide::{Reason, Subject, Waiting},
    dossier::{Dossier, UnitEvidence},
    event::{ActionResult, Event},
    model::{Action, Exit, Intent, IntentId, UnitId, UnitPhase},
    plan::{Change, OnFailure, Override, Plan, PlanKind, Policy, Precondition, Risk, ServicePlan, Side},
    port::GateResult,
    reason::ReasonCode,
    state::{Failure, Step},
    status::{
        FreezeStatus, HistoryEntry, LeaseStatus, OpenRollout, ServiceStatus, Standing, Status, UnitStatus,
    },
    strategy::{BatchSize, Rolling, Strategy},
};
use jiff::Timestamp;
use pipeline::{
    digest::Digest,
    name::Name,
    release::{Artifact, Release, ReleaseId, StageVerdict},
};
use std::collections::BTreeMap;

/// The moment at which the samples are looked at.
pub(crate) fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_secs(seconds)
}

pub(crate) fn millis(seconds: i64) -> u64 {
    u64::try_from(ago(-seconds).as_millisecond()).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn bundle(service: &str, word: &str) -> Bundle {
    Bundle {
        service: name(service),
        artifact: BundleArtifact { name: format!("noogh-{service}"), digest: Digest::of_bytes(word) },
        args: Vec::new(),
        env: BTreeMap::from([("LOG_LEVEL".to_owned(), "INFO".to_owned())]),
        port_env: "API_PORT".to_owned(),
        host_env: None,
        host: "0.0.0.0".parse().unwrap(),
        port: 8000,
        files: BTreeMap::new(),
        secrets: BTreeMap::new(),
        limits: deploy::bundle::Limits::default(),
    }
}

fn hash(service: &str, word: &str) -> BundleHash {
    bundle(service, word).hash()
}

pub(crate) fn unit(service: &str, slot: u16, word: &str) -> UnitId {
    UnitId { service: name(service), target: name("local"), slot, bundle: hash(service, word) }
}

/// A failure of a unit of this service, with the reason of this code.
pub(crate) fn failure(service: &str, code: &str) -> Failure {
    let reason = ReasonCode::ALL.iter().copied().find(|reason| reason.code() == code).unwrap();
    Failure {
        reason,
        unit: Some(unit(service, 0, "new")),
        service: Some(name(service)),
        message: "not healthy within 30 s: answered 503".to_owned(),
        at: millis(31),
    }
}

pub(crate) fn check() -> Check {
    Check {
        probe: Probe::Http(HttpProbe {
            path: "/ready".to_owned(),
            tls: None,
            headers: BTreeMap::new(),
            status: (200, 200),
            body_contains: None,
            json: BTreeMap::from([("/ready".to_owned(), serde_json::json!(true))]),
            expect_headers: BTreeMap::new(),
            latency_max_ms: Some(2_000),
        }),
        identity: Some(Identity {
            path: "/health".to_owned(),
            release_pointer: "/release".to_owned(),
            bundle_pointer: None,
        }),
        interval: 250,
        timeout: 2_000,
        healthy_passes: 3,
        healthy_for: 1_000,
        healthy_deadline: 30_000,
        unhealthy_failures: 3,
        provider_error_limit: 4,
    }
}

fn side(service: &str, word: &str, release: &str, port: u16) -> Side {
    Side {
        bundle: hash(service, word),
        release: release.to_owned(),
        replicas: 2,
        check: check(),
        host: "0.0.0.0".parse().unwrap(),
        port,
        absent: std::collections::BTreeSet::new(),
    }
}

fn change(field: &str, from: Option<&str>, to: Option<&str>) -> Change {
    Change { field: field.to_owned(), from: from.map(str::to_owned), to: to.map(str::to_owned) }
}

pub(crate) fn plan() -> Plan {
    let rolling = Strategy::Rolling(Rolling {
        batches: vec![BatchSize::Count(1), BatchSize::Percent(100)],
        max_surge: 1,
        max_unavailable: 0,
    });
    let service =
        |service: &str, from: Option<Side>, to: Side, changes: Vec<Change>, depends_on: Vec<Name>| {
            ServicePlan {
                service: name(service),
                depends_on,
                targets: vec![name("local")],
                strategy: if from.is_some() { rolling.clone() } else { Strategy::Recreate },
                from,
                to: Some(to),
                changes,
                migration: None,
                synthetic: None,
                bake: 2_000,
                drain: 10_000,
                stop_grace: 5_000,
            }
        };
    let api = service(
        "api",
        Some(side("api", "old", "0d1f5a77c9e2", 8000)),
        side("api", "new", "3f9a1c2b4d5e", 8000),
        vec![
            change("artifact", Some("noogh-api 5e1f"), Some("noogh-api 77b0")),
            change("env LOG_LEVEL", Some("INFO"), Some("DEBUG")),
            change("secret HF_TOKEN", None, Some("another value")),
        ],
        Vec::new(),
    );
    let mcp = service("mcp", None, side("mcp", "new", "3f9a1c2b4d5e", 8001), Vec::new(), vec![name("api")]);
    let source =
        BundleSource { artifact: "/project/api".into(), files: BTreeMap::new(), secrets: BTreeMap::new() };
    Plan {
        services: vec![api, mcp],
        unchanged: vec![name("web")],
        overrides: vec![Override {
            key: "services.api.env.LOG_LEVEL".to_owned(),
            value: "DEBUG".to_owned(),
            origin: "--set".to_owned(),
        }],
        risks: vec![
            Risk {
                service: Some(name("mcp")),
                message: "all units are stopped before the new ones start".to_owned(),
            },
            Risk { service: None, message: "the release is of a tree with uncommitted changes".to_owned() },
        ],
        preconditions: vec![Precondition {
            field: "target local: service api: current bundle".to_owned(),
            value: hash("api", "old").to_string(),
        }],
        bundles: BTreeMap::from([(hash("api", "new"), bundle("api", "new"))]),
        sources: BTreeMap::from([(hash("api", "new"), source)]),
        ..empty_plan()
    }
}

pub(crate) fn empty_plan() -> Plan {
    Plan {
        version: Plan::FORMAT,
        run: "20261124-120000-1f2e".to_owned(),
        project: name("noogh"),
        environment: name("local"),
        kind: PlanKind::Deploy,
        release: "3f9a1c2b4d5e".to_owned(),
        tool_version: "0.1.0".to_owned(),
        created_at: now(),
        expires_at: ago(-86_400),
        overrides: Vec::new(),
        risks: Vec::new(),
        services: Vec::new(),
        waves: Vec::new(),
        irreversible: false,
        unchanged: vec![name("api"), name("mcp")],
        policy: Policy {
            failure_limit: 0,
            on_failure: OnFailure::RollBack,
            progress_deadline: 120_000,
            smoke: None,
            synthetic: None,
            traffic: None,
            pause_after: std::collections::BTreeSet::new(),
            hooks: BTreeMap::new(),
            keep: 10,
        },
        preconditions: Vec::new(),
        bundles: BTreeMap::new(),
        sources: BTreeMap::new(),
    }
}

pub(crate) fn release() -> Release {
    let artifact = Artifact {
        name: "noogh-api".to_owned(),
        digest: Digest::of_bytes("api"),
        size_bytes: 3,
        path: "/project/target/release/noogh-api".into(),
    };
    Release {
        version: Release::FORMAT,
        project: name("noogh"),
        id: ReleaseId("3f9a1c2b4d5e".to_owned()),
        commit: Some("3f9a1c2b4d5e".to_owned()),
        branch: Some("main".to_owned()),
        dirty: false,
        created_at: now(),
        tool_version: "0.1.0".to_owned(),
        services: BTreeMap::from([(name("api"), artifact)]),
        images: BTreeMap::new(),
        stages: BTreeMap::from([
            ("build".to_owned(), StageVerdict::Passed),
            ("test".to_owned(), StageVerdict::SkippedUnchanged),
        ]),
        scans: pipeline::release::Scans::default(),
    }
}

pub(crate) fn status() -> Status {
    let unit = |slot: u16, phase: UnitPhase, answer: Option<Answer>| UnitStatus {
        unit: unit("api", slot, "old").label(),
        target: name("local"),
        current: true,
        phase,
        answer,
        weight: 100,
        address: Some(format!("127.0.0.1:2100{slot}")),
        handle: format!("pid 41{slot}"),
        started_at: ago(7_300),
    };
    let exit = Exit { code: Some(1), signal: None, out_of_memory: false, at: millis(-5) };
    let api = ServiceStatus {
        service: name("api"),
        health: Standing::Degraded,
        release: Some("0d1f5a77c9e2".to_owned()),
        bundle: Some(hash("api", "old").short()),
        since: Some(ago(7_400)),
        previous_release: Some("77aa00bb11cc".to_owned()),
        port: Some(8000),
        wanted: 2,
        units: vec![unit(0, UnitPhase::Running, Some(Answer::Pass)), unit(1, UnitPhase::Exited(exit), None)],
    };
    let mcp = ServiceStatus {
        service: name("mcp"),
        health: Standing::Absent,
        release: None,
        bundle: None,
        since: None,
        previous_release: None,
        port: None,
        wanted: 0,
        units: Vec::new(),
    };
    Status {
        health: Standing::Degraded,
        generation: 7,
        services: vec![api, mcp],
        rollout: Some(OpenRollout {
            run: "20261124-115800-1f2e".to_owned(),
            release: "3f9a1c2b4d5e".to_owned(),
            phase: "rolling out".to_owned(),
            held: Some("no-evidence: no answer to judge by within 30 s".to_owned()),
            started_at: ago(120),
        }),
        lease: Some(lease()),
        freeze: Some(freeze()),
        next: vec!["cargo xtask resume local".to_owned(), "cargo xtask rollback local".to_owned()],
        ..absent()
    }
}

pub(crate) fn absent() -> Status {
    Status {
        version: Status::FORMAT,
        project: name("noogh"),
        environment: name("local"),
        health: Standing::Absent,
        generation: 0,
        services: Vec::new(),
        rollout: None,
        lease: None,
        freeze: None,
        next: vec!["cargo xtask deploy local".to_owned()],
    }
}

pub(crate) fn freeze() -> FreezeStatus {
    FreezeStatus {
        since: ago(600),
        actor: "ann@laptop".to_owned(),
        why: "it was rolled back by hand".to_owned(),
        release: "77aa00bb11cc".to_owned(),
    }
}

pub(crate) fn lease() -> LeaseStatus {
    LeaseStatus {
        holder: "ann@laptop, process 4711".to_owned(),
        command: "deploy local".to_owned(),
        since: ago(118),
        renewed_at: ago(4),
        expires_at: ago(-56),
        verdict: "alive".to_owned(),
    }
}

pub(crate) fn history() -> Vec<HistoryEntry> {
    let entry = HistoryEntry {
        version: HistoryEntry::FORMAT,
        run: "20261124-115000-1f2e".to_owned(),
        environment: name("local"),
        kind: PlanKind::Deploy,
        release: "3f9a1c2b4d5e".to_owned(),
        services: vec![name("api"), name("mcp")],
        outcome: "rolled-back".to_owned(),
        reason: Some(ReasonCode::NeverReady),
        message: Some("not healthy within 30 s: answered 503".to_owned()),
        actor: "ann@laptop".to_owned(),
        started_at: ago(600),
        took: 41_200,
    };
    let succeeded = HistoryEntry {
        release: "0d1f5a77c9e2".to_owned(),
        outcome: "succeeded".to_owned(),
        reason: None,
        message: None,
        started_at: ago(260_000),
        took: 12_000,
        ..entry.clone()
    };
    let rollback = HistoryEntry { kind: PlanKind::Rollback, started_at: ago(90), ..succeeded.clone() };
    vec![rollback, entry, succeeded]
}

pub(crate) fn dossier() -> Dossier {
    let look = |seconds: i64, answer: Answer| Look {
        at: millis(seconds),
        took: 3,
        answer,
        excerpt: "{\"ready\":false}".to_owned(),
    };
    Dossier {
        version: Dossier::FORMAT,
        run: "20261124-120000-1f2e".to_owned(),
        environment: name("local"),
        release: "3f9a1c2b4d5e".to_owned(),
        at: ago(-31),
        cause: failure("api", "never-ready"),
        failures: vec![failure("api", "never-ready")],
        unit: Some(UnitEvidence {
            unit: unit("api", 0, "new"),
            handle: "pid 4242".to_owned(),
            phase: UnitPhase::Running,
            looks: vec![look(30, Answer::Status(503)), look(31, Answer::Status(503))],
            log_tail: vec![
                "listening on 127.0.0.1:21007".to_owned(),
                "::error::waiting for the model".to_owned(),
            ],
            resources: vec![("resident memory".to_owned(), "12 MB".to_owned())],
        }),
        previous_unit: None,
        gate_excerpt: Vec::new(),
        changes: vec![change("env LOG_LEVEL", Some("INFO"), Some("DEBUG"))],
        next: vec!["cargo xtask logs local api".to_owned(), "cargo xtask status local".to_owned()],
        several_targets: false,
    }
}

pub(crate) fn intent(id: u64, action: Action) -> Intent {
    Intent { id: IntentId(id), action }
}

fn stepped(unit: &UnitId, from: Step, to: Step) -> Event {
    Event::Decided { reason: Reason::Stepped { unit: unit.clone(), from, to } }
}

fn phase(word: &str) -> Event {
    Event::Decided { reason: Reason::PhaseBegan { phase: word.to_owned() } }
}

/// How every rollout of the samples begins, up to the new unit that is waited for.
pub(crate) fn beginning() -> Vec<Event> {
    let new = unit("api", 0, "new");
    let prepare = Action::Prepare { target: name("local"), service: name("api"), bundle: new.bundle };
    let waiting = Waiting {
        subject: Subject::Unit(new.clone()),
        for_what: "2 of 3 passes in a row, 500 ms of 1 s".to_owned(),
        until: Some(millis(30)),
    };
    vec![
        Event::LeaseAcquired { generation: 8, took_over: None },
        Event::RolloutBegan {
            run: "20261124-120000-1f2e".to_owned(),
            environment: name("local"),
            release: "3f9a1c2b4d5e".to_owned(),
            kind: PlanKind::Deploy,
            services: vec![(name("api"), vec!["artifact".to_owned(), "env LOG_LEVEL".to_owned()])],
            targets: vec![name("local")],
            resumed: false,
        },
        phase("preparing"),
        Event::ActionBegan { intent: intent(1, prepare.clone()) },
        Event::ActionEnded {
            intent: intent(1, prepare),
            took: 120,
            result: ActionResult::Done { note: String::new() },
        },
        phase("rolling out"),
        Event::Decided { reason: Reason::BatchBegan { service: name("api"), batch: 1, batches: 2 } },
        stepped(&new, Step::Gone, Step::Starting),
        Event::ActionBegan { intent: intent(2, Action::Start { unit: new.clone() }) },
        stepped(&new, Step::Starting, Step::Waiting),
        Event::Waited { waiting: vec![waiting] },
        Event::Looked {
            unit: new,
            look: Look { at: millis(1), took: 2, answer: Answer::Pass, excerpt: String::new() },
        },
    ]
}

/// A rollout that succeeds.
pub(crate) fn success() -> Vec<Event> {
    let (new, old) = (unit("api", 0, "new"), unit("api", 0, "old"));
    let judged = GateResult { samples: 40, errors: 0, slow: 1, excerpt: Vec::new() };
    let drained = ActionResult::Done { note: "2 requests broken off at the drain deadline".to_owned() };
    let mut events = beginning();
    events.extend([
        Event::Decided { reason: Reason::Healthy { unit: new.clone(), passes: 3 } },
        stepped(&new, Step::Waiting, Step::Judging),
        Event::ActionEnded {
            intent: intent(3, Action::Judge { unit: new.clone() }),
            took: 210,
            result: ActionResult::Gate(judged),
        },
        stepped(&new, Step::Judging, Step::Admitting),
        stepped(&new, Step::Admitting, Step::Serving),
        stepped(&old, Step::Serving, Step::Draining),
        Event::ActionEnded {
            intent: intent(4, Action::Drain { unit: old.clone(), deadline: 10_000 }),
            took: 10_000,
            result: drained,
        },
        stepped(&old, Step::Draining, Step::Drained),
        stepped(&old, Step::Drained, Step::Stopping),
        stepped(&old, Step::Stopping, Step::Gone),
        Event::Decided { reason: Reason::BakeBegan { service: name("api"), bake: 2_000 } },
        Event::Decided { reason: Reason::ServiceDone { service: name("api") } },
        phase("settling"),
    ]);
    events
}

/// A rollout whose first unit never gets ready: evidence is collected, and it is rolled back.
pub(crate) fn rolled_back() -> Vec<Event> {
    let new = unit("api", 0, "new");
    let path = Some("/project/.fairlead/local/dossiers/20261124-120000-1f2e.json".into());
    let mut events = beginning();
    events.extend([
        Event::Decided { reason: Reason::Failed(failure("api", "never-ready")) },
        stepped(&new, Step::Waiting, Step::Broken(ReasonCode::NeverReady)),
        phase("collecting evidence"),
        Event::EvidenceCollected { dossier: Box::new(dossier()), path },
        phase("rolling back"),
        stepped(&new, Step::Broken(ReasonCode::NeverReady), Step::Stopping),
        stepped(&new, Step::Stopping, Step::Gone),
        phase("settling"),
    ]);
    events
}

pub(crate) fn prunable() -> Prunable {
    let stays = |word: &str, tags: &[&str], because: &str| StayingImage {
        digest: Digest::of_bytes(word),
        tags: tags.iter().map(ToString::to_string).collect(),
        because: vec![because.to_owned()],
    };
    Prunable {
        version: Prunable::FORMAT,
        repositories: vec![PrunableRepository {
            repository: "ghcr.io/team/api".to_owned(),
            goes: vec![GoingImage {
                digest: Digest::of_bytes("old"),
                tags: vec!["3f9a1c2b4d5e".to_owned(), "id-0123456789ab".to_owned()],
                with: vec![Digest::of_bytes("manifest"), Digest::of_bytes("list")],
            }],
            stays: vec![
                stays("new", &["id-123456789abc", "latest"], "api runs 4e8b2d3c5f6a on here of production"),
                stays("other", &["v1.0"], "no tag of ours leads to it"),
            ],
        }],
    }
}
