//! `doctor`: what an environment needs, and the fix of what is not as it should be.

use crate::{
    cli::Environment,
    context::Context,
    doctor::{Grade, findings},
    exit::Exit,
    failure::Failure,
    render,
    reporter::Ending,
    wire,
};

/// Examines an environment.
pub(super) async fn run(context: &Context, request: &Environment) -> Result<Ending, Failure> {
    if let Err(error @ Failure::NeedsParts(_)) = wire::configuration(context, &request.environment) {
        return Err(error);
    }
    let findings = findings(context, &request.environment).await;
    context.output.document(&findings, |paint| render::doctor(&findings, paint))?;
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (failed, warned) = (count(Grade::Fail), count(Grade::Warn));
    let environment = &request.environment;
    if failed > 0 {
        let sentence =
            format!("{environment} cannot be deployed to: {failed} checks failed, {warned} warnings");
        let next = vec![context.command(&format!("doctor {environment}"))];
        return Ok(Ending { exit: Exit::Refused, sentence, next, took: context.took() });
    }
    let sentence = match warned {
        0 => format!("done: {environment} has all it needs"),
        warned => format!("done: {environment} has what it needs, {warned} warnings"),
    };
    Ok(Ending::done(sentence, context.took()))
}
