//! Reads an engine's words for what a user can do about a failure. What is not known is passed on as it is.
//!
//! Engines have no codes for why a build fails, so this goes by texts, which the tests in `tests/build/failures.rs` take
//! from real engines of both generations and both builders.

use super::failure::BuildFailure;
use std::path::Path;

/// Why, from what the engine says at the end and the last lines of the step that failed.
pub(super) fn diagnose(message: &str, last_lines: &[String], dockerfile: &Path) -> BuildFailure {
    let reason = essence(message).to_owned();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let line_with =
        |word: &str| last_lines.iter().rev().find(|line| line.to_lowercase().contains(word)).cloned();
    let dockerfile = dockerfile.to_owned();
    if has(&["no space left on device"]) {
        return BuildFailure::DiskFull { reason };
    }
    if has(&["requires BuildKit"]) {
        return BuildFailure::NeedsBuildKit { what: "an instruction of the Dockerfile".to_owned() };
    }
    if let Some(id) = missing_secret(message) {
        return BuildFailure::SecretMissing { id };
    }
    if let Some(stage) = missing_stage(message) {
        return BuildFailure::NoSuchStage { dockerfile, stage };
    }
    if let Some((_, rest)) = message.split_once("ockerfile parse error") {
        let (line, reason) = line_and_reason(rest);
        return BuildFailure::Dockerfile { dockerfile, line, reason };
    }
    if has(&["exec format error", "no match for platform", "does not match the specified platform"]) {
        return BuildFailure::Platform { reason };
    }
    if has(&["unable to start container process"]) {
        return BuildFailure::CannotStart { reason: from_start_of_program(&reason) };
    }
    if let Some(code) = exit_code(message) {
        return if let Some(reason) = line_with("no space left on device") {
            BuildFailure::DiskFull { reason }
        } else if let Some(reason) = line_with("exec format error") {
            BuildFailure::Platform { reason }
        } else if let Some(line) = line_with("runc run failed: unable to start container process") {
            BuildFailure::CannotStart { reason: from_start_of_program(&line) }
        } else {
            BuildFailure::Step { code }
        };
    }
    if let Some(path) = not_there(message) {
        return BuildFailure::NotThere { path };
    }
    if has(&["dial tcp", "connection refused", "connection reset", "TLS handshake timeout", "i/o timeout"]) {
        return BuildFailure::RegistryUnreachable { reason };
    }
    let no_image =
        ["pull access denied", "manifest unknown", "repository does not exist", "no basic auth credentials"];
    let refused = ["unauthorized", "401 Unauthorized", "403 Forbidden", "authorization failed"];
    if has(&no_image)
        || has(&refused)
        || has(&["failed to resolve source metadata"])
        || reason.ends_with(": not found")
    {
        return BuildFailure::BaseImage { reason };
    }
    let grammar =
        ["unknown instruction", "file with no instructions", "unsupported mount type", "unexpected key"];
    if has(&grammar) || has(&["failed to create LLB definition"]) {
        return BuildFailure::Dockerfile { dockerfile, line: None, reason };
    }
    BuildFailure::Engine { reason }
}

/// Without the names of the layers of the builder through which the message came.
fn essence(message: &str) -> &str {
    const PREFIXES: [&str; 6] = [
        "failed to solve: ",
        "failed to solve with frontend dockerfile.v0: ",
        "failed to create LLB definition: ",
        "failed to parse Dockerfile: ",
        "rpc error: code = Unknown desc = ",
        "failed to build LLB: ",
    ];
    let mut rest = message.trim();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    rest
}

/// `… unable to start container process: exec: "/nope": stat /nope: no such file or directory: unknown`.
fn from_start_of_program(text: &str) -> String {
    let rest = text.split_once("container process: ").map_or(text, |(_, rest)| rest);
    rest.trim_end_matches(": unknown").to_owned()
}

/// ` on line 3: unknown instruction: RUNN`, or ` line 3: …`, or `: …`.
fn line_and_reason(rest: &str) -> (Option<u32>, String) {
    let rest = rest.trim_start_matches(": ").trim_start().trim_start_matches("on ");
    let numbered = rest.strip_prefix("line ").and_then(|rest| {
        let (number, reason) = rest.split_once(':')?;
        Some((number.parse().ok()?, reason.trim().to_owned()))
    });
    numbered.map_or_else(|| (None, rest.trim().to_owned()), |(line, reason)| (Some(line), reason))
}

/// `… did not complete successfully: exit code: 3`, `… returned a non-zero code: 3`.
fn exit_code(message: &str) -> Option<i64> {
    let ending = |word| message.rsplit_once(word).map(|(_, rest)| rest);
    let rest = ending("exit code: ").or_else(|| ending("returned a non-zero code: "))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `secret token not found`, `secret token: not found`.
fn missing_secret(message: &str) -> Option<String> {
    let mut words = message.split_whitespace().skip_while(|word| *word != "secret").skip(1);
    let id = words.next()?.trim_end_matches(':');
    (words.next() == Some("not") && words.next()?.starts_with("found")).then(|| id.to_owned())
}

/// `target stage x could not be found`, or `failed to reach build target x in Dockerfile`, with or without quotes.
fn missing_stage(message: &str) -> Option<String> {
    let after = |word| message.split_once(word).map(|(_, rest)| rest);
    let rest = after("target stage ")
        .filter(|rest| rest.contains("could not be found"))
        .or_else(|| after("failed to reach build target "))?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}

/// `failed to compute cache key: … "/nope": not found`, `failed to compute cache key: failed to walk
/// /…/buildkit-mount123/nope: lstat …: no such file or directory`, `COPY failed: … stat nope: file does not exist`.
fn not_there(message: &str) -> Option<String> {
    if ["failed to compute cache key", "failed to calculate checksum"]
        .iter()
        .any(|word| message.contains(word))
    {
        if let Some((_, rest)) = message.split_once("buildkit-mount") {
            return Some(rest.split_once('/')?.1.split(':').next()?.to_owned());
        }
        let (_, rest) = message.split_once('"')?;
        return Some(rest.split_once('"')?.0.to_owned());
    }
    let (_, rest) = message.split_once("COPY failed: ").or_else(|| message.split_once("ADD failed: "))?;
    let path = rest.split_once("stat ").and_then(|(_, rest)| rest.split_once(": "));
    Some(path.map_or(rest, |(path, _)| path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_engine_says_ends_in_a_failure() {
        let cut = "failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN; target stage x could not be \
                   found; secret a: not found; exit code: 3; failed to compute cache key: \"/x\": not found";
        for end in 0..cut.len() {
            let failure = diagnose(&cut[..end], &[], Path::new("Dockerfile"));
            assert!(!failure.to_string().is_empty());
        }
        let failure = diagnose("failed to solve: something new", &[], Path::new("Dockerfile"));
        assert_eq!(failure.to_string(), "the engine refuses: something new");
    }
}
