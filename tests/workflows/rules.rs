//! What every workflow keeps to, besides what linters know. The files are our own and read line by line: what is written
//! in another form than ours is a finding, too.

/// The actions that are used, each at a commit whose tag was read from its repository.
pub(crate) const ACTIONS: [&str; 4] = [
    "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
    "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
    "Swatinem/rust-cache@6323deb102c322ba6fcbdcafc7e3dddab59af2b6 # v2.9.2",
];

/// What is run besides commands of Fairlead: what a machine of CI lacks.
const OTHERS: [&str; 1] = ["tests/components/trivy install >>\"$GITHUB_PATH\""];

/// The rules that a workflow breaks, each with the line.
pub(crate) fn broken(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    if !lines.contains(&"permissions: {}") {
        found.push("the workflow gives its jobs rights that they do not ask for".to_owned());
    }
    for line in &lines {
        let bare = line.trim_start().trim_start_matches("- ");
        let (key, value) = bare.split_once(':').unwrap_or_default();
        match key {
            "uses" if !ACTIONS.contains(&value.trim()) => found.push(format!("an unknown action: {line}")),
            "run" if !is_command(value.trim()) => {
                found.push(format!("no single command of Fairlead: {line}"))
            }
            "shell" => found.push(format!("another shell: {line}")),
            "uses" | "run" => {}
            _ if ["uses:", "run:"].iter().any(|word| bare.contains(word)) && !bare.starts_with('#') => {
                found.push(format!("a step in another form: {line}"));
            }
            _ => {}
        }
    }
    found.extend(jobs(&lines).into_iter().flat_map(|(name, job)| of_job(name, &job)));
    found
}

/// A command of Fairlead with its words, or what is known to be needed besides. Variables stand in quotes, and nothing is a
/// second command, a redirection, or put in by GitHub before the shell reads it.
fn is_command(text: &str) -> bool {
    let text = text.split(" #").next().unwrap_or_default().trim_end();
    if OTHERS.contains(&text) {
        return true;
    }
    let mut quoted = false;
    let is_plain = text.chars().all(|c| {
        quoted ^= c == '"';
        match c {
            '$' | '{' | '}' => quoted,
            _ => c.is_ascii_alphanumeric() || " \"-_./=:".contains(c),
        }
    });
    text.starts_with("cargo xtask ") && is_plain && !quoted && !text.contains("${{")
}

/// The jobs with their lines.
fn jobs<'a>(lines: &[&'a str]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut jobs: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines.iter().skip_while(|line| **line != "jobs:").skip(1) {
        match line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#'])) {
            Some(name) => jobs.push((name.trim_end_matches(':'), Vec::new())),
            None => jobs.last_mut().into_iter().for_each(|(_, job)| job.push(line)),
        }
    }
    jobs
}

fn of_job(name: &str, lines: &[&str]) -> Vec<String> {
    let has = |text: &str| lines.iter().any(|line| line.starts_with(text));
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    let mut found = Vec::new();
    let mut complain = |is_broken: bool, what: &str| {
        if is_broken {
            found.push(format!("the job {name} {what}"));
        }
    };
    complain(!has("    timeout-minutes: "), "has no deadline");
    complain(!has("    permissions:"), "does not say what it may do");
    complain(has("    permissions: "), "is given rights as a whole");
    complain(
        count("actions/checkout@") != count("persist-credentials: false"),
        "leaves a token in its checkout",
    );
    complain(
        count("actions/upload-artifact@") != count("retention-days: 90"),
        "keeps something not for 90 days",
    );
    let rolls_out = ["deploy", "promote", "resume", "rollback"];
    if rolls_out.iter().any(|command| count(&format!("run: cargo xtask {command} ")) > 0) {
        complain(!has("    environment: "), "rolls out without an environment's rules");
        complain(!has("      group: deploy-"), "rolls out beside others");
        complain(!has("      cancel-in-progress: false"), "may be ended in the middle of a rollout");
    }
    found
}
