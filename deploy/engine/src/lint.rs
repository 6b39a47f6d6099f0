//! The plan linter: what an operator should know before a plan is carried out, and what is refused. Pure.

use crate::{
    bundle::Bundle,
    plan::{Plan, Risk, ServicePlan},
    strategy::Strategy,
};

/// Why a plan is refused, or `None` if it is not.
pub fn refusal(plan: &Plan, protected: bool) -> Option<String> {
    if !protected {
        return None;
    }
    let switched =
        plan.services.iter().filter_map(|service| Some((service, fault_switch(new_bundle(plan, service)?)?)));
    let (service, name) = switched.into_iter().next()?;
    Some(format!(
        "`{}` sets the fault switch {name}, which environment `{}`, being protected, does not take",
        service.service, plan.environment
    ))
}

/// What an operator should know.
pub fn risks(plan: &Plan) -> Vec<Risk> {
    let mut risks = Vec::new();
    if plan.irreversible && !plan.is_empty() {
        let message =
            "irreversible: a failure after the first change is held instead of rolled back, and what stands \
                       now cannot be brought back afterwards"
                .to_owned();
        risks.push(Risk { service: None, message });
    }
    waves(plan, &mut |message| risks.push(Risk { service: None, message }));
    for service in &plan.services {
        let mut add = |message: String| risks.push(Risk { service: Some(service.service.clone()), message });
        bounds(service, &mut add);
        joining(service, &mut add);
        if let (Some(from), Some(to)) = (&service.from, &service.to)
            && (from.host, from.port) != (to.host, to.port)
        {
            add(format!(
                "the stable port moves from {} to {}: who still asks the old one is refused",
                from.port, to.port
            ));
        }
        if let Some(bundle) = new_bundle(plan, service) {
            if let Some(name) = fault_switch(bundle) {
                add(format!("the fault switch {name} is set: the service is made to fail"));
            }
            for name in bundle.secrets.iter().filter(|(_, secret)| secret.in_env).map(|(name, _)| name) {
                add(format!(
                    "secret {name} stands in the unit's environment, where other processes of its user can read it"
                ));
            }
        }
    }
    risks
}

/// Waves that do not do what waves are for.
fn waves(plan: &Plan, add: &mut impl FnMut(String)) {
    let Some(first) = plan.waves.first().filter(|_| !plan.is_empty()) else { return };
    let all: usize = plan.waves.iter().map(|wave| wave.targets.len()).sum();
    let reached = first.targets.len();
    // Half of two targets is as little as can be.
    if all > 1 && reached * 2 > all {
        add(format!(
            "the first wave, {}, reaches {reached} of {all} targets: what is broken reaches them, too",
            first.name
        ));
    }
    for wave in plan.waves.iter().take(plan.waves.len() - 1).filter(|wave| wave.soak == 0 && !wave.pause) {
        add(format!("wave {} is not watched before the next one begins: its soak is 0", wave.name));
    }
}

/// Targets that have nothing of a service yet have nothing to return to.
fn joining(service: &ServicePlan, add: &mut impl FnMut(String)) {
    let (Some(from), Some(_)) = (&service.from, &service.to) else { return };
    for target in service.targets.iter().filter(|target| !from.stands_on(target)) {
        add(format!("target {target} joins: if the rollout fails, what it brought there is taken away"));
    }
}

fn bounds(service: &ServicePlan, add: &mut impl FnMut(String)) {
    let before = service.count_of(service.from.as_ref());
    if before == 0
        || service.from.as_ref().map(|side| side.bundle) == service.to.as_ref().map(|side| side.bundle)
    {
        return;
    }
    match &service.strategy {
        _ if service.to.is_none() => {
            add("the service is taken away, and its stable port is closed".to_owned())
        }
        Strategy::Recreate => {
            add("every unit is stopped before the first new one starts: requests fail meanwhile".to_owned())
        }
        Strategy::Rolling(rolling) if rolling.max_surge == 0 => add(format!(
            "without surge a unit is stopped before its successor starts: at least {} of {before} units stay available",
            service.available_min()
        )),
        Strategy::Rolling(_) | Strategy::Canary(_) | Strategy::BlueGreen => {}
    }
}

fn new_bundle<'a>(plan: &'a Plan, service: &ServicePlan) -> Option<&'a Bundle> {
    plan.bundles.get(&service.to.as_ref()?.bundle)
}

/// A variable that makes a service misbehave for tests and drills: by convention its name ends in `_FAULT`.
fn fault_switch(bundle: &Bundle) -> Option<&String> {
    bundle
        .env
        .iter()
        .find(|(name, value)| name.ends_with("_FAULT") && !value.is_empty())
        .map(|(name, _)| name)
}
