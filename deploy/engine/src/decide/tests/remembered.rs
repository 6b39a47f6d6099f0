//! What the engine decided, script by script, as it was when this was last looked at. The laws say what must never happen;
//! this says what does: whoever changes a decision without meaning to, be it the length of a wait, finds out here.
//!
//! The same scripts every time. `UPDATE_DECISIONS=1` writes `remembered.txt` anew: of a change that was meant, its lines in a
//! review show how many scripts it reaches.

use super::{generate::scripts, script::Script};
use crate::decide::Decision;
use pipeline::digest::Digest;
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::fmt::Write as _;

/// How many scripts: with these every kind of ending is met dozens of times, and the test takes seconds.
const SCRIPTS: usize = 300;

const REMEMBERED: &str = include_str!("remembered.txt");

/// The scripts, from a seed that is never changed.
fn all() -> Vec<Script> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut next = || scripts().new_tree(&mut runner).expect("every script is allowed").current();
    (0..SCRIPTS).map(|_| next()).collect()
}

/// What a decision says to those around it, and what it is made of; not what it remembers for itself.
fn told(at: u64, decision: &Decision) -> String {
    let Decision { intents, because, leave, .. } = decision;
    format!("{at} {intents:?} {because:?} {leave:?}")
}

/// Every decision that says anything, a line each.
fn story(script: &Script) -> Vec<String> {
    let mut lines = Vec::new();
    let played = script.play_before(|at, decision| {
        let Decision { intents, because, leave, .. } = decision;
        if !intents.is_empty() || !because.is_empty() || leave.is_some() {
            lines.push(told(at, decision));
        }
    });
    lines.push(format!("{:?}", played.state.outcome()));
    lines
}

fn line(number: usize, script: &Script) -> String {
    let story = story(script);
    let outcome = story.last().map_or("", String::as_str);
    let word: String =
        outcome.trim_start_matches("Some(").chars().take_while(char::is_ascii_alphabetic).collect();
    format!("{number} {word} {} {}", story.len(), Digest::of_bytes(story.join("\n")).short())
}

#[test]
fn decisions_are_those_that_are_remembered() {
    let scripts = all();
    let mut lines = String::new();
    for (number, script) in scripts.iter().enumerate() {
        writeln!(lines, "{}", line(number, script)).expect("a string takes everything");
    }
    if std::env::var_os("UPDATE_DECISIONS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/decide/tests/remembered.txt");
        std::fs::write(path, &lines).expect("our own file");
        return;
    }
    let differing: Vec<usize> = lines
        .lines()
        .zip(REMEMBERED.lines())
        .enumerate()
        .filter(|(_, (now, then))| now != then)
        .map(|(number, _)| number)
        .collect();
    let same_length = lines.lines().count() == REMEMBERED.lines().count();
    if let Some(first) = differing.first() {
        let script = &scripts[*first];
        panic!(
            "{} of {SCRIPTS} scripts are decided otherwise than remembered; if that is meant, run this test once with \
             UPDATE_DECISIONS=1. The first is number {first}:{script:?}\nnow:\n{}",
            differing.len(),
            story(script).join("\n")
        );
    }
    assert!(same_length, "remembered.txt has lines of no script: run this test once with UPDATE_DECISIONS=1");
}
