//! A plan in a file. It is sealed when it is written, so that what is carried out is what was made and shown: the seal
//! tells a slip of the hand, a merge or a broken copy, but does not prove who wrote it.

use crate::failure::Failure;
use deploy::{
    plan::Plan,
    session::{Kind, SessionError},
};
use pipeline::{
    digest::Digest,
    store::{self, Format, ReadError},
};
use serde_json::Value;
use std::path::Path;

const PLAN: Format = Format { what: "plan", version: Plan::FORMAT };

/// The key of the digest of everything else.
const SEAL: &str = "seal";

/// Reads a plan that was written by `plan --out`.
pub(crate) fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let (plan, is_whole) = parse(path).map_err(|error| {
        SessionError::new(Kind::Usage, format!("cannot use the plan `{}`", path.display())).because(error)
    })?;
    if is_whole {
        return Ok(plan);
    }
    let text = format!("the plan `{}` was changed since it was made", path.display());
    Err(Failure::refused(text)
        .hint("make a new plan: nothing else is carried out than what was shown")
        .into())
}

/// Writes a plan for `deploy --plan`. It names files and variables of this machine, so it is the user's alone.
pub(crate) fn write_plan(path: &Path, plan: &Plan) -> Result<(), Failure> {
    let cannot = || Failure::state(format!("cannot write the plan `{}`", path.display()));
    let mut document = serde_json::to_value(plan).map_err(|error| cannot().because(error))?;
    let seal = seal_of(&document);
    if let Some(fields) = document.as_object_mut() {
        fields.insert(SEAL.to_owned(), Value::String(seal));
    }
    store::write_json(path, &document, store::PRIVATE).map_err(|error| cannot().because(error))
}

/// The plan, and whether its seal is the right one.
fn parse(path: &Path) -> Result<(Plan, bool), ReadError> {
    let mut document: Value = store::read_json(path, PLAN)?;
    let seal = document.as_object_mut().and_then(|fields| fields.remove(SEAL));
    let plan = store::parse_json(document.to_string().as_bytes(), path, PLAN)?;
    Ok((plan, seal.is_some_and(|seal| seal == seal_of(&document))))
}

/// Independent of white space, so that a plan may be laid out anew.
fn seal_of(document: &Value) -> String {
    Digest::of_bytes(document.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_plan_comes_back_as_it_was_and_not_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let plan = samples::plan();
        write_plan(&path, &plan).unwrap();
        assert_eq!(read_plan(&path).unwrap(), plan);

        let text = std::fs::read_to_string(&path).unwrap();
        let edited = text.replacen(&plan.release, "another", 1);
        assert_ne!(edited, text);
        std::fs::write(&path, edited).unwrap();
        let refused = read_plan(&path).unwrap_err();
        assert_eq!(refused.exit().code(), 3);
        assert!(refused.to_text(crate::paint::Paint::OFF).contains("was changed since it was made"));

        store::write_json(&path, &plan, store::PRIVATE).unwrap();
        assert_eq!(read_plan(&path).unwrap_err().exit().code(), 3, "a plan without its seal");
    }
}
