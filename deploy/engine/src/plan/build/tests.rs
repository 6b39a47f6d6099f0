use super::*;
use crate::{
    bundle::{BundleArtifact, BundleSecret, Limits},
    check::Probe,
    ledger::{Ledger, Standing},
    model::{Traffic, UnitId},
    plan::OnFailure,
};
use pipeline::digest::Digest;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn check() -> Check {
    Check {
        probe: Probe::Tcp,
        identity: None,
        interval: 1_000,
        timeout: 500,
        healthy_passes: 3,
        healthy_for: 2_000,
        healthy_deadline: 10_000,
        unhealthy_failures: 3,
        provider_error_limit: 2,
    }
}

fn bundle(service: &str) -> Bundle {
    Bundle {
        service: name(service),
        artifact: BundleArtifact { name: service.to_owned(), digest: Digest::of_bytes("code") },
        args: Vec::new(),
        env: BTreeMap::from([("LOG_LEVEL".to_owned(), "INFO".to_owned())]),
        host: [127, 0, 0, 1].into(),
        port: 8000,
        port_env: "PORT".to_owned(),
        host_env: None,
        files: BTreeMap::new(),
        secrets: BTreeMap::new(),
        limits: Limits::default(),
    }
}

fn wanted(bundle: Bundle) -> Wanted {
    Wanted {
        bundle: Some(bundle),
        source: None,
        release: "r2".to_owned(),
        replicas: 2,
        check: check(),
        host: [127, 0, 0, 1].into(),
        port: 8000,
        depends_on: Vec::new(),
        strategy: Strategy::Recreate,
        migration: None,
        synthetic: None,
        bake: 0,
        drain: 0,
        stop_grace: 0,
    }
}

/// A target on which bundles stand, each with two units in traffic.
fn standing(bundles: &[Bundle]) -> BTreeMap<Name, TargetSeen> {
    let mut ledger = Ledger::empty(name("local"), name("here"));
    let mut units = Vec::new();
    for bundle in bundles {
        let current = Entry {
            bundle: bundle.hash(),
            release: "r1".to_owned(),
            replicas: 2,
            check: check(),
            port: 8000,
            at: jiff::Timestamp::UNIX_EPOCH,
            irreversible: false,
        };
        ledger.services.insert(bundle.service.clone(), Standing { current, previous: Vec::new() });
        units.extend((0..2).map(|slot| UnitFacts {
            unit: UnitId {
                service: bundle.service.clone(),
                target: name("here"),
                slot,
                bundle: bundle.hash(),
            },
            phase: UnitPhase::Running,
            address: None,
            other_ports: Vec::new(),
            handle: format!("process {slot}"),
            release: "r1".to_owned(),
            weight: 100,
            in_flight: 0,
            traffic: Traffic::default(),
            started_at: 0,
        }));
    }
    BTreeMap::from([(name("here"), TargetSeen { generation: 1, ledger, units })])
}

fn request(wanted: Vec<Wanted>, stands: &[Bundle]) -> Request {
    let by_name = |one: Wanted| (one.bundle.as_ref().expect("tests want bundles").service.clone(), one);
    Request {
        run: "run".to_owned(),
        project: name("noogh"),
        environment: name("local"),
        kind: PlanKind::Deploy,
        release: "r2".to_owned(),
        tool_version: "1".to_owned(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        wanted: wanted.into_iter().map(by_name).collect(),
        standing: standing(stands),
        known: stands.iter().map(|bundle| (bundle.hash(), bundle.clone())).collect(),
        policy: Policy {
            failure_limit: 0,
            on_failure: OnFailure::RollBack,
            progress_deadline: 60_000,
            smoke: None,
            synthetic: None,
            traffic: None,
            pause_after: std::collections::BTreeSet::new(),
            hooks: BTreeMap::new(),
            keep: 10,
        },
        waves: Vec::new(),
        irreversible: false,
        overrides: Vec::new(),
        left_out: BTreeSet::new(),
    }
}

/// What stands, seen on another target.
fn on(target: &str, stands: &[Bundle]) -> (Name, TargetSeen) {
    let mut seen = standing(stands).remove(&name("here")).expect("it was just made");
    seen.ledger.target = name(target);
    for facts in &mut seen.units {
        facts.unit.target = name(target);
    }
    (name(target), seen)
}

fn wave(text: &str, targets: &[&str], soak: Millis) -> Wave {
    let targets = targets.iter().map(|target| name(target)).collect();
    Wave { name: name(text), targets, soak, failure_limit: None, pause: false }
}

fn targets_of(plan: &Plan) -> Vec<&str> {
    plan.services[0].targets.iter().map(Name::as_str).collect()
}

fn fields(plan: &Plan) -> Vec<String> {
    plan.services.iter().flat_map(|service| &service.changes).map(|change| change.field.clone()).collect()
}

#[test]
fn what_stands_as_wanted_is_not_touched() {
    let plan = build(request(vec![wanted(bundle("api"))], &[bundle("api")]));
    assert!(plan.is_empty());
    assert_eq!(plan.unchanged, [name("api")]);
}

#[test]
fn each_part_of_a_bundle_is_a_change_of_its_own() {
    let mut new = bundle("api");
    new.env.insert("LOG_LEVEL".to_owned(), "DEBUG".to_owned());
    new.env.insert("NEW".to_owned(), "1".to_owned());
    new.artifact.digest = Digest::of_bytes("other code");
    let secret = BundleSecret { keyed_digest: Digest::of_bytes("keyed"), in_env: false };
    new.secrets.insert("TOKEN".to_owned(), secret);
    let plan = build(request(vec![wanted(new)], &[bundle("api")]));
    assert_eq!(fields(&plan), ["artifact", "env LOG_LEVEL", "env NEW", "secret TOKEN"]);
}

#[test]
fn a_first_deploy_has_nothing_to_return_to() {
    let plan = build(request(vec![wanted(bundle("api"))], &[]));
    assert_eq!(plan.services[0].from, None);
    assert_eq!(fields(&plan), ["service"]);
}

#[test]
fn a_service_that_is_no_longer_wanted_is_taken_away() {
    let mut request = request(vec![wanted(bundle("api"))], &[bundle("api"), bundle("mcp")]);
    let gone = Wanted { bundle: None, replicas: 0, ..wanted(bundle("mcp")) };
    request.wanted.insert(name("mcp"), gone);
    let plan = build(request);
    assert_eq!(plan.services.len(), 1);
    assert_eq!((&plan.services[0].service, &plan.services[0].to), (&name("mcp"), &None));
}

#[test]
fn a_unit_that_is_not_there_is_restored() {
    let mut request = request(vec![wanted(bundle("api"))], &[bundle("api")]);
    for seen in request.standing.values_mut() {
        seen.units.pop();
    }
    let plan = build(request);
    let missing = format!("unit api/1 ({})", bundle("api").hash().short());
    assert_eq!(fields(&plan), [missing]);
}

#[test]
fn services_come_after_what_they_depend_on() {
    let api = Wanted { depends_on: vec![name("zoo")], ..wanted(bundle("api")) };
    let plan = build(request(vec![api, wanted(bundle("zoo"))], &[]));
    let order: Vec<&str> = plan.services.iter().map(|service| service.service.as_str()).collect();
    assert_eq!(order, ["zoo", "api"]);
}

#[test]
fn a_unit_that_was_replaced_by_hand_breaks_the_precondition_that_names_it() {
    let mut request = request(vec![wanted(bundle("api"))], &[bundle("api")]);
    let plan = build(request.clone());
    assert_eq!(changed_since(&plan, &request.standing), []);
    for seen in request.standing.values_mut() {
        seen.units[0].handle = "process 7".to_owned();
    }
    let field = format!("target here: unit api/0 ({}): process", bundle("api").hash().short());
    let expected = [(field, "process 0".to_owned(), "process 7".to_owned())];
    assert_eq!(changed_since(&plan, &request.standing), expected);
}

#[test]
fn the_order_of_overrides_and_releases_does_not_change_a_bundles_name() {
    assert_eq!(bundle("api").hash(), bundle("api").hash());
    let mut other = bundle("api");
    other.args.push("--x".to_owned());
    assert_ne!(bundle("api").hash(), other.hash());
}

fn migrating(reversible: bool) -> Wanted {
    let mut bundle = bundle("api");
    bundle.args.push("--new".to_owned());
    let step = Migration { args: vec!["migrate".to_owned()], timeout: 1_000 };
    Wanted { migration: Some(WantedMigration { step, reversible }), ..wanted(bundle) }
}

#[test]
fn a_migration_is_planned_until_the_ledger_has_its_release() {
    let plan = build(request(vec![migrating(true)], &[bundle("api")]));
    let planned = plan.services[0].migration.as_ref().expect("it was not run");
    assert_eq!(planned.args, ["migrate"]);
    assert!(!plan.irreversible);

    let mut again = request(vec![migrating(false)], &[bundle("api")]);
    let ledger = &mut again.standing.get_mut(&name("here")).expect("the target").ledger;
    ledger.add_migrated(&name("api"), "r2");
    let plan = build(again);
    assert_eq!(plan.services[0].migration, None);
    assert!(!plan.irreversible, "what is not run cannot make it so");
}

#[test]
fn a_migration_that_is_not_reversible_makes_the_plan_irreversible_and_says_so() {
    let plan = build(request(vec![migrating(false)], &[bundle("api")]));
    assert!(plan.irreversible);
    assert!(plan.risks.iter().any(|risk| risk.message.starts_with("irreversible")), "{:?}", plan.risks);
}

#[test]
fn what_brings_no_new_bundle_or_goes_back_migrates_nothing() {
    let more_units = Wanted { bundle: Some(bundle("api")), replicas: 3, ..migrating(false) };
    let plan = build(request(vec![more_units], &[bundle("api")]));
    assert_eq!((plan.services[0].migration.as_ref(), plan.irreversible), (None, false));

    let back = Request { kind: PlanKind::Rollback, ..request(vec![migrating(false)], &[bundle("api")]) };
    let plan = build(back);
    assert_eq!((plan.services[0].migration.as_ref(), plan.irreversible), (None, false));
}

#[test]
fn targets_are_reached_wave_by_wave() {
    let old = bundle("api");
    let new = Bundle { args: vec!["--new".to_owned()], ..old.clone() };
    let mut request = request(vec![wanted(new)], std::slice::from_ref(&old));
    request.standing = ["east", "north", "west"].map(|target| on(target, std::slice::from_ref(&old))).into();
    assert_eq!(targets_of(&build(request.clone())), ["east", "north", "west"]);
    request.waves = vec![wave("first", &["west"], 0), wave("rest", &["north", "east"], 1_000)];
    let plan = build(request.clone());
    assert_eq!(targets_of(&plan), ["west", "north", "east"]);
    assert_eq!(plan.services[0].count_of(plan.services[0].from.as_ref()), 6);
    let risks: Vec<&str> = plan.risks.iter().map(|risk| risk.message.as_str()).collect();
    assert!(risks.iter().any(|risk| risk.contains("wave first is not watched")), "{risks:?}");
    request.waves = vec![wave("most", &["west", "east"], 1_000), wave("rest", &["north"], 1_000)];
    let risks = build(request).risks;
    assert!(risks.iter().any(|risk| risk.message.contains("reaches 2 of 3 targets")), "{risks:?}");
}

#[test]
fn a_target_that_joins_has_nothing_to_return_to() {
    let old = bundle("api");
    for new in [Bundle { args: vec!["--new".to_owned()], ..old.clone() }, old.clone()] {
        let mut request = request(vec![wanted(new)], std::slice::from_ref(&old));
        request.standing = BTreeMap::from([on("east", std::slice::from_ref(&old)), on("west", &[])]);
        let plan = build(request.clone());
        let service = &plan.services[0];
        assert_eq!((service.count_of(service.from.as_ref()), service.count_of(service.to.as_ref())), (2, 4));
        let stood = service.units_of(service.from.as_ref());
        assert!(stood.iter().all(|unit| unit.target == name("east")), "{stood:?}");
        assert!(fields(&plan).contains(&"target west".to_owned()), "{:?}", fields(&plan));
        // What is returned to is returned to where it stands.
        request.kind = PlanKind::Rollback;
        let back = build(request);
        assert!(back.is_empty() || targets_of(&back) == ["east"], "{:?}", back.services);
    }
}

#[test]
fn targets_that_stand_differently_are_told() {
    let (old, new) = (bundle("api"), Bundle { args: vec!["--new".to_owned()], ..bundle("api") });
    let joined = BTreeMap::from([on("east", std::slice::from_ref(&old)), on("west", &[])]);
    assert_eq!(crate::plan::disagreement(&joined), None);
    let apart = BTreeMap::from([on("east", std::slice::from_ref(&old)), on("west", &[new])]);
    let told = crate::plan::disagreement(&apart).expect("they differ").to_string();
    assert!(told.contains("on target east") && told.contains("on target west"), "{told}");
}

#[test]
fn only_what_is_replaced_by_another_bundle_has_a_first_batch_of_its_own() {
    use crate::samples::{Shape, plan_of};
    let batches = |from| {
        let shape = Shape { from, strategy: crate::strategy::Strategy::BlueGreen, ..Shape::default() };
        plan_of(&shape).services[0].batches()
    };
    assert_eq!(batches(Some(("old", 3))), 2, "the switch, and the end of the old side");
    assert_eq!(batches(Some(("new", 3))), 1, "more of the same switch nothing");
    assert_eq!(batches(None), 1);
}
