//! Check runs, with remarks beside lines.

use crate::{
    client::{Client, What},
    deployments::{encoded, id},
};
use pipeline::github::{Annotation, CheckReport, Trouble};
use serde_json::{Value, json};

const WHAT: What<'static> = What { doing: "a check run", permission: "checks: write" };

/// How many remarks GitHub takes in one request.
const BATCH: usize = 50;

/// A check run that is to be there.
#[derive(Debug, Clone, Copy)]
pub struct CheckRun<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The whole hash of the commit.
    pub commit: &'a str,
    /// What tells this run of it from others.
    pub key: &'a str,
    /// Where its story can be read.
    pub url: Option<&'a str>,
    /// What it says.
    pub report: &'a CheckReport,
}

impl Client {
    /// Makes a check run, and gives its number. With `look`, what an earlier attempt has brought is not brought again.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn check_run(&self, wanted: &CheckRun<'_>, look: bool) -> Result<u64, Trouble> {
        let mut batches = wanted.report.annotations.chunks(BATCH);
        let found = if look { self.find_check_run(wanted).await? } else { None };
        let id = match found {
            None => {
                let first = batches.next().unwrap_or_default();
                let mut body = body(wanted, first, batches.len() == 0);
                body["name"] = wanted.name.into();
                body["head_sha"] = wanted.commit.into();
                body["external_id"] = wanted.key.into();
                id(WHAT, &self.post(WHAT, "/check-runs", &body).await?)?
            }
            Some((id, remarks)) => {
                let there = remarks.div_ceil(BATCH).max(1);
                // It may have come to its end, of which nobody heard.
                if there >= wanted.report.annotations.len().div_ceil(BATCH).max(1) {
                    self.patch(WHAT, &format!("/check-runs/{id}"), &body(wanted, &[], true)).await?;
                    return Ok(id);
                }
                batches.nth(there - 1);
                id
            }
        };
        while let Some(batch) = batches.next() {
            let body = body(wanted, batch, batches.len() == 0);
            self.patch(WHAT, &format!("/check-runs/{id}"), &body).await?;
        }
        Ok(id)
    }

    /// Its number, and how many remarks it has.
    async fn find_check_run(&self, wanted: &CheckRun<'_>) -> Result<Option<(u64, usize)>, Trouble> {
        let (name, commit) = (encoded(wanted.name), wanted.commit);
        let route = format!("/commits/{commit}/check-runs?check_name={name}&filter=all&per_page=100");
        let all = self.get(WHAT, &route).await?;
        let is_it = |run: &&Value| run["external_id"].as_str() == Some(wanted.key);
        let found = all["check_runs"].as_array().into_iter().flatten().find(is_it);
        Ok(found.and_then(|run| {
            let remarks = run["output"]["annotations_count"].as_u64().unwrap_or(0);
            Some((run["id"].as_u64()?, usize::try_from(remarks).ok()?))
        }))
    }
}

fn body(wanted: &CheckRun<'_>, batch: &[Annotation], is_last: bool) -> Value {
    let annotations: Vec<Value> = batch.iter().map(annotation).collect();
    let mut body = json!({
        "output": {
            "title": wanted.report.title(),
            "summary": wanted.report.summary(),
            "annotations": annotations,
        },
    });
    if let Some(url) = wanted.url {
        body["details_url"] = url.into();
    }
    if is_last {
        body["status"] = "completed".into();
        body["conclusion"] = if wanted.report.passes() { "success" } else { "failure" }.into();
    } else {
        body["status"] = "in_progress".into();
    }
    body
}

fn annotation(annotation: &Annotation) -> Value {
    json!({
        "path": annotation.path,
        "start_line": annotation.first,
        "end_line": annotation.last,
        "annotation_level": annotation.grade.as_str(),
        "title": annotation.title,
        "message": annotation.message,
    })
}
