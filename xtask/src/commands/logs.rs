//! `logs`: what units have written, and what they write.

use crate::{
    cli::Logs,
    context::Context,
    failure::Failure,
    follow::Follower,
    output::Output,
    paint::{Paint, Tone},
    signals::{Stops, Then},
    wire::{self, Opened},
};
use deploy::session::{LogSource, UnitLog};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use serde_json::json;
use std::{fmt::Write as _, time::Duration};

/// How often followed logs are read: quick to the eye, nothing to the machine.
const POLL: Duration = Duration::from_millis(200);

/// Polls from one look for new units to the next.
const POLLS_PER_LOOK: u32 = 10;

/// How many lines of one log are shown before the others have their turn.
const LINES_AT_ONCE: usize = 1_000;

/// Shows logs.
pub(super) async fn run(context: &Context, request: &Logs) -> Result<(), Failure> {
    let environment = request.environment.environment.as_str();
    let opened = wire::open(context, environment)?;
    let units = opened.session.logs(request.service.as_ref()).await?;
    if units.is_empty() && !request.follow {
        let what = request
            .service
            .as_ref()
            .map_or_else(|| "unit".to_owned(), |service| format!("unit of {service}"));
        let error = Failure::refused(format!("there is no {what} on `{environment}`"));
        let deploy = context.command(&format!("deploy {environment}"));
        return Err(error.hint(format!("`{deploy}` starts them")).into());
    }
    let mut shown = Shown { output: context.output, logs: Vec::new() };
    shown.add(units, request.lines, request.follow).await?;
    if !request.follow {
        return Ok(());
    }
    let mut stops = Stops::listen()?;
    // Ctrl-C is how following ends.
    stops.guard(follow(&opened, request, &mut shown), || Then::Leave).await.unwrap_or(Ok(()))
}

async fn follow(opened: &Opened, request: &Logs, shown: &mut Shown) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(POLL);
    let mut polls = 0_u32;
    loop {
        ticks.tick().await;
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(POLLS_PER_LOOK)
            && let Ok(units) = opened.session.logs(request.service.as_ref()).await
        {
            // Units that came since are shown from their beginning. Of those that went, the last lines may still come.
            shown.add(units, usize::MAX, true).await?;
        }
        shown.poll()?;
    }
}

/// The logs that are shown.
struct Shown {
    output: Output,
    logs: Vec<(String, Followed)>,
}

/// A log that is followed.
enum Followed {
    /// In a file.
    File(Follower),
    /// With somebody who tells of it.
    Lines(BoxStream<'static, String>),
}

impl Followed {
    /// What was written since.
    fn poll(&mut self) -> std::io::Result<Vec<String>> {
        match self {
            Self::File(follower) => follower.poll(),
            Self::Lines(lines) => {
                Ok(std::iter::from_fn(|| lines.next().now_or_never().flatten()).take(LINES_AT_ONCE).collect())
            }
        }
    }
}

impl Shown {
    /// Adds the logs that are not shown yet, with their last lines.
    async fn add(&mut self, units: Vec<UnitLog>, lines: usize, follow: bool) -> Result<(), Failure> {
        let known =
            |logs: &[(String, Followed)], unit: &UnitLog| logs.iter().any(|(label, _)| *label == unit.label);
        let new: Vec<UnitLog> = units.into_iter().filter(|unit| !known(&self.logs, unit)).collect();
        let alone = self.logs.len() + new.len() == 1;
        for UnitLog { label, source } in new {
            let (followed, last) = match source {
                LogSource::File(path) => {
                    let (follower, last) = Follower::open(&path, lines).map_err(|error| {
                        Failure::state(format!("cannot read the log {}", path.display())).because(error)
                    })?;
                    (Followed::File(follower), last)
                }
                LogSource::Lines(log) => {
                    let mut told = log.read(lines, follow).await?;
                    let last = if follow { Vec::new() } else { told.by_ref().collect().await };
                    (Followed::Lines(told), last)
                }
            };
            self.show(&label, &last, alone)?;
            self.logs.push((label, followed));
        }
        Ok(())
    }

    /// Shows what was written since.
    fn poll(&mut self) -> Result<(), Failure> {
        let alone = self.logs.len() == 1;
        let mut written = Vec::new();
        for (label, followed) in &mut self.logs {
            let lines = followed
                .poll()
                .map_err(|error| Failure::state(format!("cannot read the log of {label}")).because(error))?;
            written.push((label.clone(), lines));
        }
        written.iter().try_for_each(|(label, lines)| self.show(label, lines, alone))
    }

    fn show(&self, label: &str, lines: &[String], alone: bool) -> Result<(), Failure> {
        if lines.is_empty() {
            return Ok(());
        }
        self.output.text(&text(label, lines, alone, self.output.json, self.output.paint))
    }
}

/// Lines as they are printed: with their unit's label, unless there is but one.
fn text(label: &str, lines: &[String], alone: bool, json: bool, paint: Paint) -> String {
    let mut text = String::new();
    for line in lines {
        let written = match (json, alone) {
            (true, _) => writeln!(text, "{}", json!({ "unit": label, "line": line })),
            (false, true) => writeln!(text, "{line}"),
            (false, false) => writeln!(text, "{} {line}", paint.tone(Tone::Dim, &format!("{label} |"))),
        };
        written.expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_bear_the_label_of_their_unit_unless_it_is_alone() {
        let lines = ["one".to_owned(), "two".to_owned()];
        assert_eq!(text("api/0 (3f)", &lines, true, false, Paint::OFF), "one\ntwo\n");
        assert_eq!(
            text("api/0 (3f)", &lines, false, false, Paint::OFF),
            "api/0 (3f) | one\napi/0 (3f) | two\n"
        );
        assert_eq!(
            text("api/0 (3f)", &lines[..1], true, true, Paint::OFF),
            "{\"unit\":\"api/0 (3f)\",\"line\":\"one\"}\n"
        );
    }
}
