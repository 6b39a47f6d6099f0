//! `simulate`: what a rollout would do if something went wrong. Nothing is changed, and no unit is asked.

use super::{
    plan,
    protection::{self, Asked as ProtectedRequest},
};
use crate::{
    cli::Simulate,
    context::Context,
    exit::{Asked, Exit},
    failure::Failure,
    render,
    signals::Stops,
    wire,
};
use deploy::{
    model::Millis,
    plan::Plan,
    simulate::{Report, Scenario, WordError, parse_fail, parse_fault, parse_strategy, simulate},
    state::Command,
    strategy::Strategy,
};
use pipeline::{config::scalar::Span, name::Name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `simulate` prints: one rollout, or the same under two strategies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Simulation {
    /// Format version; see [`Simulation::FORMAT`].
    pub(crate) version: u32,
    /// The project.
    pub(crate) project: Name,
    /// The environment.
    pub(crate) environment: Name,
    /// The release that is to stand.
    pub(crate) release: String,
    /// What was assumed.
    pub(crate) assumed: Assumed,
    /// The rollout as it is planned, and the same under another strategy if one was given.
    pub(crate) runs: Vec<Run>,
}

/// What was assumed of the simulated units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Assumed {
    /// Milliseconds from a unit's start until it is ready.
    pub(crate) ready_after: Millis,
    /// Milliseconds that each effect takes.
    pub(crate) effects_take: Millis,
    /// When the operator cancels, in milliseconds from the beginning.
    pub(crate) cancel_at: Option<Millis>,
    /// The seed that spreads the start times; none: all are alike.
    pub(crate) seed: Option<u64>,
    /// What goes wrong, as it was typed.
    pub(crate) faults: Vec<String>,
}

/// One simulated rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Run {
    /// `as planned`, or the strategy as it was typed.
    pub(crate) strategy: String,
    /// The exit code that `deploy` would have; 70 if the engine broke a law; none if the rollout did not end within a day.
    pub(crate) exit_code: Option<u8>,
    /// What happened.
    pub(crate) report: Report,
}

impl Simulation {
    /// The format this version writes.
    pub(crate) const FORMAT: u32 = 1;
}

/// Simulates a plan and shows what came of it.
pub(super) async fn run(context: &Context, request: &Simulate) -> Result<(), Failure> {
    // Before anything is built: what can be seen to be wrong without a plan is told at once.
    let against = request.against.as_deref().map(|text| word("--against", text, parse_strategy(text)));
    let against = against.transpose()?;
    let plan = get_plan(context, request).await?;
    let simulation = simulation(request, plan, against)?;
    context.output.document(&simulation, |paint| render::simulation(&simulation, paint))?;
    keeps_laws(&simulation)
}

/// A law that was broken is a defect of the engine, whatever was simulated.
fn keeps_laws(simulation: &Simulation) -> Result<(), Failure> {
    let Some(broken) = simulation.runs.iter().find_map(|run| run.report.breaches.first()) else {
        return Ok(());
    };
    let text =
        format!("the engine broke {} in this simulation: {}: {}", broken.law, broken.subject, broken.seen);
    Err(Failure::bug(text)
        .because("report it with the plan and the options of this command; do not deploy this plan"))
}

/// Simulates a plan, and the same plan under another strategy if there is one.
pub(crate) fn simulation(
    request: &Simulate,
    plan: Plan,
    against: Option<Strategy>,
) -> Result<Simulation, Failure> {
    let scenario = scenario(request, &plan)?;
    let mut runs = vec![run_of("as planned", &plan, &scenario)];
    if let (Some(strategy), Some(text)) = (against, &request.against) {
        let mut other = plan.clone();
        for service in &mut other.services {
            service.strategy = strategy.clone();
        }
        runs.push(run_of(text, &other, &scenario));
    }
    Ok(Simulation {
        version: Simulation::FORMAT,
        project: plan.project,
        environment: plan.environment,
        release: plan.release,
        assumed: assumed(request, &scenario),
        runs,
    })
}

/// The plan that was given, or one that is made from what stands.
async fn get_plan(context: &Context, request: &Simulate) -> Result<Plan, Failure> {
    if let Some(path) = &request.plan {
        let plan = wire::read_plan(path)?;
        let named = request.environment.as_deref().unwrap_or(plan.environment.as_str());
        if named != plan.environment.as_str() {
            let text =
                format!("the plan `{}` is for `{}`, not for `{named}`", path.display(), plan.environment);
            return Err(Failure::usage(text).hint("leave the environment out").into());
        }
        return Ok(plan);
    }
    let environment = request.environment.as_deref().unwrap_or("local");
    let opened = wire::open(context, environment)?;
    if opened.loaded.environment.protected {
        protection::check_request(ProtectedRequest {
            program: &context.program,
            environment,
            set: &context.global.set,
            overrides: &opened.loaded.provenance,
            is_made: request.source.release.is_some(),
        })?;
    }
    plan::make(context, &opened, &mut Stops::listen()?, &request.source).await
}

fn scenario(request: &Simulate, plan: &Plan) -> Result<Scenario, Failure> {
    let fail = request.fail.iter().map(|text| word("--fail", text, parse_fail(text, plan)));
    let fault = request.fault.iter().map(|text| word("--fault", text, parse_fault(text, plan)));
    let default = Scenario::default();
    let millis = |span: &Option<Span>, default| span.as_ref().map_or(default, Span::as_millis);
    Ok(Scenario {
        faults: fail.chain(fault).collect::<Result<_, _>>()?,
        ready_after: millis(&request.slow, default.ready_after),
        effects_take: millis(&request.effects_take, default.effects_take),
        commands: request.cancel_at.iter().map(|at| (at.as_millis(), Command::Cancel)).collect(),
        seed: request.seed,
        ..default
    })
}

/// Words of the command line, or what is wrong with them.
fn word<T>(option: &str, text: &str, parsed: Result<T, WordError>) -> Result<T, Failure> {
    parsed.map_err(|error| {
        let text = pipeline::config::problem::shorten(text);
        let mut failure = Failure::usage(format!("{option} `{text}`: {error}"));
        for hint in &error.hints {
            failure = failure.hint(hint);
        }
        failure.into()
    })
}

fn run_of(strategy: &str, plan: &Plan, scenario: &Scenario) -> Run {
    let simulated = simulate(plan, scenario);
    let keeps = simulated.report.breaches.is_empty();
    let exit = |end| if keeps { Exit::of_end(end, Asked::Apply) } else { Exit::Bug };
    let exit_code = simulated.end.as_ref().map(|end| exit(end).code());
    Run { strategy: strategy.to_owned(), exit_code, report: simulated.report }
}

fn assumed(request: &Simulate, scenario: &Scenario) -> Assumed {
    Assumed {
        ready_after: scenario.ready_after,
        effects_take: scenario.effects_take,
        cancel_at: request.cancel_at.as_ref().map(Span::as_millis),
        seed: scenario.seed,
        faults: request
            .fail
            .iter()
            .map(|unit| format!("{unit} exits"))
            .chain(request.fault.iter().cloned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::simulate_request, paint::Paint, samples};

    fn refused(arguments: &str) -> String {
        let failure = simulation(&simulate_request(arguments), samples::plan(), None).expect_err(arguments);
        assert_eq!(failure.exit(), Exit::Usage, "{arguments}");
        failure.to_text(Paint::OFF)
    }

    #[test]
    fn words_that_are_not_understood_name_their_option_and_what_was_meant() {
        insta::assert_snapshot!(refused("--fault api/1=never-redy"), @r"
        error: --fault `api/1=never-redy`: there is no behaviour `never-redy`

        hint: did you mean `never-ready`?
        hint: allowed here: `good`, `exits-after`, `never-ready`, `hangs`, `flaps`, `wrong-release`, `wrong-port`, `out-of-memory-after`, `fails-requests`, `unprobeable`
        ");
        insta::assert_snapshot!(refused("--fail apo/1"), @r"
        error: --fail `apo/1`: no unit `apo/1` is started by this plan

        hint: did you mean `api/1`?
        hint: allowed here: `api`, `api/0`, `api/1`, `mcp`, `mcp/0`, `mcp/1`
        ");
        insta::assert_snapshot!(refused("--fail api@3"), @r"
        error: --fail `api@3`: `api` has no batch `3`

        hint: its batches are numbered from 1 to 2
        ");
    }

    #[test]
    fn the_exit_code_is_the_one_that_deploy_would_have() {
        let code = |arguments: &str| {
            let simulation = simulation(&simulate_request(arguments), samples::plan(), None);
            simulation.expect("simulated").runs[0].exit_code
        };
        assert_eq!(code(""), Some(0));
        assert_eq!(code("--fault api/1=never-ready"), Some(10));
        assert_eq!(code("--fault api=unprobeable"), Some(12));
        assert_eq!(code("--cancel-at 2s"), Some(10));
    }

    #[test]
    fn a_broken_law_is_a_defect_of_the_program() {
        let mut simulation = simulation(&simulate_request(""), samples::plan(), None).expect("simulated");
        keeps_laws(&simulation).expect("no law is broken");
        simulation.runs[0].report.breaches.push(deploy::simulate::Broken {
            law: "law 4 (bounds)".to_owned(),
            at: 1_200,
            subject: "api".to_owned(),
            seen: "5 run, at most 4 may".to_owned(),
        });
        let failure = keeps_laws(&simulation).expect_err("a law is broken");
        assert_eq!(failure.exit(), Exit::Bug);
        let text = render::simulation(&simulation, Paint::OFF);
        assert!(text.contains("law 4 (bounds) at 0:01.2, api: 5 run, at most 4 may"), "{text}");
    }
}
