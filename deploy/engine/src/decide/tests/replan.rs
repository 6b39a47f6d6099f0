//! Law 10: the plan made anew after a success is empty, and after a rollback it is the same again.

use super::script::{Event, Script, When};
use crate::{
    ledger::{Entry, Ledger, Standing},
    plan::{Plan, PlanKind, Request, Side, Wanted, build},
    port::TargetSeen,
    samples::{Shape, bundle_of, check, plan_of, rolling},
    state::{Command, Outcome},
    world::World,
};
use pipeline::name::Name;
use std::collections::BTreeSet;

/// The plan that would be made now for the same release.
fn plan_anew(plan: &Plan, world: &mut World) -> Plan {
    let targets: BTreeSet<&Name> = plan.services.iter().flat_map(|service| &service.targets).collect();
    let now = world.now;
    let facts = world.facts(now);
    let seen = |target: &Name| {
        let services = world.ledgers.get(target).into_iter().flatten();
        let stands = services.filter_map(|(name, bundle)| {
            let service = plan.service(name)?;
            let side =
                [&service.from, &service.to].into_iter().flatten().find(|s| Some(s.bundle) == *bundle)?;
            Some((name.clone(), standing(side)))
        });
        let mut ledger = Ledger::empty(plan.environment.clone(), target.clone());
        ledger.services = stands.collect();
        let units = facts.iter().filter(|facts| facts.unit.target == *target).cloned().collect();
        TargetSeen { generation: 1, ledger, units }
    };
    let standing = targets.into_iter().map(|target| (target.clone(), seen(target))).collect();
    let known = ["old", "new"].map(bundle_of).map(|bundle| (bundle.hash(), bundle));
    build(Request {
        run: plan.run.clone(),
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        kind: PlanKind::Deploy,
        release: plan.release.clone(),
        tool_version: plan.tool_version.clone(),
        created_at: plan.created_at,
        wanted: plan.services.iter().map(|service| (service.service.clone(), wanted(service))).collect(),
        standing,
        known: known.into(),
        policy: plan.policy.clone(),
        waves: plan.waves.clone(),
        irreversible: false,
        overrides: Vec::new(),
        left_out: BTreeSet::new(),
    })
}

fn standing(side: &Side) -> Standing {
    let Side { bundle, release, replicas, check, port, .. } = side.clone();
    let current = Entry {
        bundle,
        release,
        replicas,
        check,
        port,
        at: jiff::Timestamp::UNIX_EPOCH,
        irreversible: false,
    };
    Standing { current, previous: Vec::new() }
}

fn wanted(service: &crate::plan::ServicePlan) -> Wanted {
    let to = service.to.as_ref();
    Wanted {
        bundle: to.map(|_| bundle_of("new")),
        source: None,
        release: "new".to_owned(),
        replicas: to.map_or(0, |side| side.replicas),
        check: check(),
        host: [127, 0, 0, 1].into(),
        port: 8000,
        depends_on: service.depends_on.clone(),
        strategy: service.strategy.clone(),
        migration: None,
        synthetic: service.synthetic.clone(),
        bake: service.bake,
        drain: service.drain,
        stop_grace: service.stop_grace,
    }
}

#[test]
fn the_plan_after_a_success_is_empty() {
    for takes_away in [false, true] {
        for replicas in [1, 2, 4] {
            let shape = Shape {
                services: vec!["api", "mcp"],
                targets: vec!["east", "west"],
                replicas,
                from: Some(("old", 2)),
                strategy: rolling(1, 1),
                takes_away,
                ..Shape::default()
            };
            let mut played = Script { shape: shape.clone(), ..Script::default() }.play();
            assert_eq!(played.state.outcome(), Some(&Outcome::Succeeded));
            let anew = plan_anew(&plan_of(&shape), &mut played.world);
            let changes: Vec<_> = anew.services.iter().map(|service| &service.changes).collect();
            assert!(anew.is_empty(), "{changes:?}");
        }
    }
}

#[test]
fn the_plan_after_a_rollback_is_the_same_again() {
    let shape = Shape::default();
    let events = vec![(When::At(2_000), Event::Command(Command::Cancel))];
    let mut played = Script { shape: shape.clone(), events, ..Script::default() }.play();
    assert!(matches!(played.state.outcome(), Some(Outcome::RolledBack { .. })));
    let plan = plan_of(&shape);
    let anew = plan_anew(&plan, &mut played.world);
    assert_eq!(anew.services[0].from, plan.services[0].from);
    assert_eq!(anew.services[0].to, plan.services[0].to);
}

#[test]
fn the_plan_after_a_success_names_a_unit_that_has_died_since() {
    let shape = Shape::default();
    let mut played = Script { shape: shape.clone(), ..Script::default() }.play();
    let unit = played.world.standing().keys().next().cloned().expect("units stand");
    played.world.kill(&unit);
    let anew = plan_anew(&plan_of(&shape), &mut played.world);
    assert_eq!(anew.services[0].changes[0].field, format!("unit {}", unit.label()));
}
