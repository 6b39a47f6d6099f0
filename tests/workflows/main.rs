//! The workflows of GitHub Actions: what they may say, and what happens when their jobs are run on this machine. Needs
//! Node and Python with pip; run by `tests/all`.

mod lint;
mod rules;
mod run;
