//! The hooks of an environment, checked.

use super::file::{HookSection, HooksSection};
use crate::{model::HookMoment, plan::Hook};
use pipeline::config::{findings::Findings, problem::Problem};
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
        for (index, hook) in hooks.iter().enumerate() {
            check(moment, index, hook, findings);
        }
        resolved.insert(moment, hooks.iter().map(resolved_hook).collect());
    }
    resolved
}

fn check(moment: HookMoment, index: usize, hook: &HookSection, findings: &mut Findings<'_>) {
    let (number, key) = (format!("hook {} of `{}`", index + 1, moment.word()), index.to_string());
    let path = |last: &'static str| ["hooks", moment.word(), key.as_str(), last];
    if hook.command.first().is_none_or(|program| program.trim().is_empty()) {
        let problem = Problem::new(format!("{number} has no program"));
        let help = "the first entry of its command is the program, the others are its arguments";
        findings.add(&path("command"), problem.help(help));
    }
    if hook.timeout.as_millis() == 0 {
        findings.add(&path("timeout"), Problem::new(format!("{number} has no time: its timeout is 0")));
    }
    for name in hook.env.keys().map(ToString::to_string).filter(|name| name.starts_with("FAIRLEAD_")) {
        let problem = Problem::new(format!("the variable {name} of {number} is Fairlead's own to set"));
        let help = "give it a name that does not begin with FAIRLEAD_";
        findings.add(&["hooks", moment.word(), &key, "env", &name], problem.help(help));
    }
}

fn resolved_hook(section: &HookSection) -> Hook {
    Hook {
        command: section.command.clone(),
        env: section.env.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
        timeout: section.timeout.as_millis(),
    }
}
