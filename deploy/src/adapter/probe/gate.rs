//! The gates that act by themselves: synthetic requests to one unit, smoke tests against what was deployed.
//!
//! They bring evidence, not a verdict: how many samples, how many failed, how many were slow.

use super::{
    command::{self, Stream},
    http::{self, Request},
    millis,
    show::Show,
    tls::Trust,
};
use crate::{
    check::{Answer, SmokeGate, SyntheticGate},
    model::Millis,
    port::{EffectError, GateResult},
    reason::ReasonCode,
};
use futures::{StreamExt, stream};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How many lines of the smoke tests' output are shown.
const SMOKE_LINES: usize = 60;

/// How many are kept for masking, so that a secret of many lines is whole when it is looked for.
const KEPT_LINES: usize = 4 * SMOKE_LINES;

/// Where a line of output is broken when it does not end by itself, in bytes.
const LINE_MAX_BYTES: usize = 16 * 1024;

/// How many failed requests are shown.
const SHOWN_FAILURES: usize = 5;

/// The gates of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gates {
    /// Synthetic requests to each new unit before it gets traffic.
    pub synthetic: Option<SyntheticGate>,
    /// Smoke tests against the service's stable address.
    pub smoke: Option<SmokeGate>,
}

/// Makes the synthetic requests to a unit.
///
/// # Errors
/// [`EffectError::Terminal`] when nothing can be asked, [`EffectError::Passing`] when this machine could not ask.
pub(super) async fn judge(
    gate: &SyntheticGate,
    address: SocketAddr,
    trust: &Trust,
    show: &Show,
) -> Result<GateResult, EffectError> {
    if gate.paths.is_empty() {
        let message = "the synthetic requests have no path to ask for".to_owned();
        return Err(EffectError::Terminal { reason: ReasonCode::ProbeBroken, message });
    }
    let samples: Vec<_> = stream::iter(0..gate.requests as usize)
        .map(|number| sample(gate, address, number % gate.paths.len(), trust))
        .buffer_unordered(gate.concurrency.max(1) as usize)
        .collect()
        .await;
    tally(samples, gate.slow_above_ms, show)
}

/// Runs the smoke tests of a service.
///
/// # Errors
/// [`EffectError::Terminal`] when they cannot be run.
pub(super) async fn verify(gate: &SmokeGate, service: &Name, show: &Show) -> Result<GateResult, EffectError> {
    let mut output = Output::default();
    let limit = Duration::from_millis(gate.timeout);
    let run = command::run(&gate.command, &gate.env, |stream, bytes| output.push(stream, bytes));
    let ended = tokio::time::timeout(limit, run).await;
    output.finish();
    let failed = match ended {
        Ok(Ok(status)) if status.success() => None,
        Ok(Ok(status)) => Some(format!("exit code {}", command::code(status))),
        Ok(Err(error)) => {
            let why = show.message(&command::cannot_run(&gate.command, &error));
            let message = format!("the smoke tests of service `{service}`: {why}");
            return Err(EffectError::Terminal { reason: ReasonCode::ProbeBroken, message });
        }
        Err(_) => Some(format!("killed: not done within {} ms", gate.timeout)),
    };
    let mut result = output.counted(failed.is_some());
    result.excerpt = show.last_lines(output.lines.make_contiguous(), SMOKE_LINES);
    result.excerpt.extend(failed);
    Ok(result)
}

/// What came of one synthetic request.
enum Sample {
    /// An answer, below 500.
    Answered(Millis),
    /// None, or a server error: for people.
    Failed(String),
    /// It could not be made: why.
    NotMade(String),
}

/// One request for the path of this index.
async fn sample(gate: &SyntheticGate, address: SocketAddr, path: usize, trust: &Trust) -> Sample {
    let (path, headers) = (gate.paths[path].as_str(), BTreeMap::new());
    let request = Request { address, path, headers: &headers, tls: None };
    let (started, mut body) = (Instant::now(), Vec::new());
    let limit = Duration::from_millis(gate.timeout_ms);
    let answer = tokio::time::timeout(limit, http::get(&request, trust, &mut body)).await;
    let failed = |what: String| Sample::Failed(format!("GET {path}: {what}"));
    match answer.unwrap_or(Err(Answer::TimedOut)) {
        Ok(head) if head.status < 500 => Sample::Answered(millis(started.elapsed())),
        Ok(head) => failed(format!("{} {}", head.status, String::from_utf8_lossy(&body))),
        Err(Answer::ProviderError(why)) => Sample::NotMade(why),
        Err(Answer::Refused) => failed("connection refused".to_owned()),
        Err(Answer::TimedOut) => failed(format!("no answer within {} ms", gate.timeout_ms)),
        Err(Answer::Broken(why)) => failed(why),
        Err(other) => failed(format!("{other:?}")),
    }
}

fn tally(samples: Vec<Sample>, slow_above_ms: Millis, show: &Show) -> Result<GateResult, EffectError> {
    let mut result = GateResult { samples: 0, errors: 0, slow: 0, excerpt: Vec::new() };
    let mut not_made = None;
    for sample in samples {
        match sample {
            Sample::Answered(took) => {
                result.samples += 1;
                result.slow += u64::from(took > slow_above_ms);
            }
            Sample::Failed(what) => {
                result.samples += 1;
                result.errors += 1;
                if result.excerpt.len() < SHOWN_FAILURES {
                    result.excerpt.push(show.message(&what));
                }
            }
            Sample::NotMade(why) => not_made = Some(why),
        }
    }
    match not_made {
        Some(why) if result.samples == 0 => {
            Err(EffectError::Passing { message: format!("no request could be made: {}", show.message(&why)) })
        }
        Some(why) => {
            result.excerpt.push(show.message(&format!("some requests could not be made: {why}")));
            Ok(result)
        }
        None => Ok(result),
    }
}

/// The lines of a command's output, and the test results among them.
#[derive(Default)]
struct Output {
    /// The last [`KEPT_LINES`], in the order in which they ended.
    lines: VecDeque<String>,
    /// What is not a line yet, of standard output and standard error.
    partial: [Vec<u8>; 2],
    /// Tests that passed and failed, if the output says so.
    counts: Option<(u64, u64)>,
}

impl Output {
    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let partial = &mut self.partial[stream as usize];
            partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || partial.len() >= LINE_MAX_BYTES {
                self.end_line(stream);
            }
        }
    }

    /// What never ended is a line too.
    fn finish(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.partial[stream as usize].is_empty() {
                self.end_line(stream);
            }
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let bytes = std::mem::take(&mut self.partial[stream as usize]);
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if let Some((passed, failed)) = test_result(&line) {
            let (all_passed, all_failed) = self.counts.unwrap_or_default();
            self.counts = Some((all_passed.saturating_add(passed), all_failed.saturating_add(failed)));
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Tests run and failed. A command that says nothing of tests is one test; one that says it ran none is none, and
    /// proves nothing.
    fn counted(&self, command_failed: bool) -> GateResult {
        let (passed, failed) = self.counts.unwrap_or((u64::from(!command_failed), 0));
        let errors = failed.max(u64::from(command_failed));
        GateResult { samples: passed.saturating_add(errors), errors, slow: 0, excerpt: Vec::new() }
    }
}

/// Passed and failed, from a line like `test result: ok. 9 passed; 0 failed; 0 ignored; …`.
fn test_result(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn show() -> Show {
        Show::new(Arc::new(|text: &str| text.to_owned()))
    }

    fn output_of(text: &str) -> Output {
        let mut output = Output::default();
        // Byte by byte: a line may come in any pieces.
        for byte in text.as_bytes() {
            output.push(Stream::Out, &[*byte]);
        }
        output.finish();
        output
    }

    #[test]
    fn test_results_are_counted_over_all_lines_that_state_one() {
        let text = "test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored";
        let result = output_of(text).counted(true);
        assert_eq!((result.samples, result.errors), (9, 2));
    }

    #[test]
    fn a_command_that_ran_no_test_is_no_evidence() {
        let none = output_of("test result: ok. 0 passed; 0 failed; 3 ignored\n");
        assert_eq!(none.counted(false).samples, 0);
        assert_eq!(none.counted(true).errors, 1);
        let silent = output_of("all good\n");
        assert_eq!((silent.counted(false).samples, silent.counted(false).errors), (1, 0));
        assert_eq!((silent.counted(true).samples, silent.counted(true).errors), (1, 1));
    }

    #[test]
    fn failures_of_this_machine_are_not_samples_of_the_unit() {
        let broken = || Sample::NotMade("too many open files".to_owned());
        assert!(matches!(tally(vec![broken(), broken()], 10, &show()), Err(EffectError::Passing { .. })));
        let mixed = tally(vec![broken(), Sample::Answered(11), Sample::Answered(10)], 10, &show()).unwrap();
        assert_eq!((mixed.samples, mixed.errors, mixed.slow), (2, 0, 1));
        assert_eq!(mixed.excerpt.len(), 1);
    }

    #[test]
    fn output_is_bounded() {
        let mut output = Output::default();
        for _ in 0..100 {
            output.push(Stream::Err, &[b'x'; 8192]);
        }
        assert!(output.lines.iter().all(|line| line.len() <= LINE_MAX_BYTES + 8192));
        for _ in 0..1000 {
            output.push(Stream::Out, b"line\n");
        }
        assert_eq!(output.lines.len(), KEPT_LINES);
    }
}
