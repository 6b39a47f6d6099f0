//! Deliberate mistakes in the engine (`mutants.txt`), each made in a copy of the sources and judged by the random scripts:
//! a law that no mistake can break judges nothing. Run by `tests/mutants/run`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Scripts within which a mistake must be found.
const CASES: &str = "10000";

/// What a mistake that makes the engine go round in circles may take until it counts as found: 8 GiB, where the scripts need
/// a hundredth of it, and 15 minutes, where they need one or two. The compiler stays below as well.
const LIMITS: &str = "ulimit -v 8388608; exec timeout --kill-after=5 900 \"$@\"";

/// A mistake.
#[derive(Debug)]
struct Mutant {
    /// The law that it breaks, and how.
    what: String,
    /// The file, below the root of the workspace.
    file: PathBuf,
    /// What is replaced.
    find: String,
    /// By what.
    replace: String,
}

/// How a mistake came out.
enum End {
    /// It was found: after so many scripts, and what the judge said.
    Killed(String),
    Survived,
    /// It could not be judged: why.
    Invalid(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(said) => write!(f, "killed {said}"),
            Self::Survived => write!(f, "SURVIVED {CASES} scripts"),
            Self::Invalid(why) => write!(f, "INVALID {why}"),
        }
    }
}

fn parse(text: &str) -> Vec<Mutant> {
    let parts = text.split("\n# ").skip(1);
    parts.map(|part| parse_one(part).unwrap_or_else(|| panic!("not a mutant: {part}"))).collect()
}

fn parse_one(part: &str) -> Option<Mutant> {
    let (what, rest) = part.split_once('\n')?;
    let (file, rest) = rest.split_once("\n---\n")?;
    let (find, replace) = rest.split_once("\n+++\n")?;
    Some(Mutant {
        what: what.to_owned(),
        file: file.into(),
        find: find.to_owned(),
        replace: replace.trim_end_matches('\n').to_owned(),
    })
}

/// A copy of everything that is tracked or would be.
fn copy_of(root: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder for the copy");
    let files = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git lists the files");
    assert!(files.status.success(), "git does not list the files");
    for name in files.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = Path::new(std::str::from_utf8(name).expect("a name in UTF-8"));
        let to = copy.path().join(name);
        fs::create_dir_all(to.parent().expect("a file is in a folder")).expect("a folder of the copy");
        // What is listed and was removed is no part of the tree.
        if root.join(name).exists() {
            fs::copy(root.join(name), to).expect("a file of the copy");
        }
    }
    copy
}

/// Plays the random scripts in a copy: whether they passed, and everything that was said.
fn play(copy: &Path, target: &Path) -> (bool, String) {
    let test = ["cargo", "test", "--locked", "--package", "engine", "--lib", "every_rollout_ends"];
    let output = Command::new("bash")
        .args(["-c", LIMITS, "limits"])
        .args(test)
        .args(["--", "--nocapture"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        // The scripts take longer than the compiler.
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("FAIRLEAD_CASES", CASES)
        .env("FAIRLEAD_SHRINK", "0")
        .output()
        .expect("cargo runs");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

fn judge(mutant: &Mutant, copy: &Path, target: &Path) -> End {
    let path = copy.join(&mutant.file);
    let Ok(original) = fs::read_to_string(&path) else {
        return End::Invalid(format!("there is no {}", mutant.file.display()));
    };
    match original.matches(&mutant.find).count() {
        1 => {}
        count => {
            return End::Invalid(format!("{} has {count} times what is replaced", mutant.file.display()));
        }
    }
    fs::write(&path, original.replace(&mutant.find, &mutant.replace)).expect("the copy can be written");
    let (passed, said) = play(copy, target);
    fs::write(&path, original).expect("the copy can be written");
    if passed {
        return End::Survived;
    }
    match said.lines().find_map(|line| line.strip_prefix("seed ")) {
        Some(found) => End::Killed(found.chars().take(160).collect()),
        None if said.contains("running 1 test") => End::Killed("as it goes round in circles".to_owned()),
        None => {
            End::Invalid(said.lines().filter(|line| line.starts_with("error")).collect::<Vec<_>>().join("; "))
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is the result of this test")]
fn say(text: &str) {
    println!("{text}");
}

#[test]
#[ignore = "many minutes: run by tests/mutants/run"]
fn every_mutant_is_killed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above");
    let chosen = std::env::var("MUTANTS").unwrap_or_default();
    let mutants = parse(include_str!("mutants.txt"));
    let copy = copy_of(root);
    let target = root.join("target/mutants");
    let (passed, said) = play(copy.path(), &target);
    assert!(passed, "without any mistake the scripts must pass:\n{said}");
    let mut bad = Vec::new();
    for mutant in mutants.iter().filter(|mutant| mutant.what.contains(&chosen)) {
        let began = Instant::now();
        let end = judge(mutant, copy.path(), &target);
        let line = format!("{} ({:.0?}): {end}", mutant.what, began.elapsed());
        say(&line);
        if !matches!(end, End::Killed(_)) {
            bad.push(line);
        }
    }
    assert!(bad.is_empty(), "{} of {} were not killed:\n{}", bad.len(), mutants.len(), bad.join("\n"));
}
