//! The hooks of an environment, checked.

use super::file::{HookSection, HooksSection};
use crate::{model::HookMoment, plan::Hook};
use pipeline::config::{findings::Findings, problem::Problem, project::check_command};
use std::collections::BTreeMap;

/// What is run at which moment; every command has a program, time, and no variable that is Fairlead's own to set.
pub(super) fn resolve(
    section: &HooksSection,
    findings: &mut Findings<'_>,
) -> BTreeMap<HookMoment, Vec<Hook>> {
    let moments = [
        (HookMoment::BeforeDeploy, &section.before_deploy),
        (HookMoment::AfterDeploy, &section.after_deploy),
        (HookMoment::OnRollback, &section.on_rollback),
        (HookMoment::OnFailure, &section.on_failure),
    ];
    let mut resolved = BTreeMap::new();
    for (moment, hooks) in moments.into_iter().filter(|(_, hooks)| !hooks.is_empty()) {
        for (number, hook) in (1..).zip(hooks) {
            check(moment, number, hook, findings);
        }
        resolved.insert(moment, hooks.iter().map(resolved_hook).collect());
    }
    resolved
}

fn check(moment: HookMoment, number: u32, hook: &HookSection, findings: &mut Findings<'_>) {
    let path = ["hooks", moment.word()];
    check_command(&path, &hook.command, findings);
    if hook.timeout.as_millis() == 0 {
        let message = format!("hook {number} of `{}` has no time: its timeout is 0", moment.word());
        findings.add(&path, Problem::new(message));
    }
    for name in hook.env.keys().map(ToString::to_string).filter(|name| name.starts_with("FAIRLEAD_")) {
        let message =
            format!("the variable {name} of hook {number} of `{}` is Fairlead's own to set", moment.word());
        findings.add(&path, Problem::new(message).help("give it a name that does not begin with FAIRLEAD_"));
    }
}

fn resolved_hook(section: &HookSection) -> Hook {
    Hook {
        command: section.command.clone(),
        env: section.env.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
        timeout: section.timeout.as_millis(),
    }
}
