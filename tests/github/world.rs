//! What the double remembers, and how it answers.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The repository that there is.
pub(crate) const REPOSITORY: &str = "team/shop";

/// What was made.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) deployments: Vec<Value>,
    /// In the order in which they came: the deployment, and the status.
    pub(crate) statuses: Vec<(u64, Value)>,
    pub(crate) check_runs: Vec<Value>,
    /// The remarks of each check run.
    pub(crate) annotations: BTreeMap<u64, Vec<Value>>,
    pub(crate) sarifs: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) releases: Vec<Value>,
    numbers: u64,
}

/// A request, as far as it matters.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Below the repository.
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// How many bytes there were, where it is no JSON.
    pub(crate) size: usize,
}

/// An answer, and the operation of the description that it is of.
pub(crate) struct Answer {
    pub(crate) template: String,
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl World {
    /// What is answered; `base` is what the description has as an example of success.
    pub(crate) fn answer(&mut self, request: &Request, base: Value) -> Answer {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let (template, (status, body)) = match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["deployments"]) => ("/deployments", self.list_deployments(request)),
            ("POST", ["deployments"]) => ("/deployments", self.make_deployment(request, base)),
            ("GET", ["deployments", id, "statuses"]) => {
                ("/deployments/{deployment_id}/statuses", self.list_statuses(id, request))
            }
            ("POST", ["deployments", id, "statuses"]) => {
                ("/deployments/{deployment_id}/statuses", self.make_status(id, request, base))
            }
            ("POST", ["check-runs"]) => ("/check-runs", self.make_check_run(request, base)),
            ("PATCH", ["check-runs", id]) => {
                ("/check-runs/{check_run_id}", self.change_check_run(id, request))
            }
            ("GET", ["commits", _, "check-runs"]) => {
                let all = json!({ "total_count": self.check_runs.len(), "check_runs": self.check_runs });
                ("/commits/{ref}/check-runs", (200, all))
            }
            ("POST", ["code-scanning", "sarifs"]) => {
                self.sarifs.push(request.body.clone());
                ("/code-scanning/sarifs", (202, base))
            }
            ("GET", ["issues", _, "comments"]) => {
                ("/issues/{issue_number}/comments", (200, self.comments.clone().into()))
            }
            ("POST", ["issues", _, "comments"]) => {
                let made = self.changed(base, &[("body", request.body["body"].clone())]);
                self.comments.push(made.clone());
                ("/issues/{issue_number}/comments", (201, made))
            }
            ("PATCH", ["issues", "comments", id]) => {
                ("/issues/comments/{comment_id}", change(&mut self.comments, id, &request.body))
            }
            ("GET", ["releases"]) => ("/releases", (200, self.releases.clone().into())),
            ("POST", ["releases"]) => ("/releases", self.make_release(request, base)),
            ("PATCH", ["releases", id]) => {
                ("/releases/{release_id}", change(&mut self.releases, id, &request.body))
            }
            ("POST", ["releases", id, "assets"]) => {
                ("/releases/{release_id}/assets", self.make_asset(id, request, base))
            }
            ("DELETE", ["releases", "assets", id]) => ("/releases/assets/{asset_id}", self.remove_asset(id)),
            _ => ("", (404, json!({ "message": "Not Found" }))),
        };
        Answer { template: format!("/repos/{{owner}}/{{repo}}{template}"), status, body }
    }

    fn changed(&mut self, mut base: Value, fields: &[(&str, Value)]) -> Value {
        self.numbers += 1;
        base["id"] = (1000 + self.numbers).into();
        for (key, value) in fields {
            base[*key] = value.clone();
        }
        base
    }

    fn list_deployments(&self, request: &Request) -> (u16, Value) {
        let fits = |one: &&Value| {
            ["environment", "task", "ref", "sha"]
                .iter()
                .all(|key| request.query.get(*key).is_none_or(|wanted| one[*key] == wanted.as_str()))
        };
        (200, self.deployments.iter().rev().filter(fits).cloned().collect())
    }

    fn make_deployment(&mut self, request: &Request, base: Value) -> (u16, Value) {
        let body = &request.body;
        // As GitHub does it where what was given is no whole hash.
        let sha = format!("{:0<40}", body["ref"].as_str().unwrap_or_default());
        let keys = ["ref", "task", "environment", "description", "payload", "production_environment"];
        let mut fields: Vec<(&str, Value)> = keys.iter().map(|key| (*key, body[*key].clone())).collect();
        fields.push(("sha", sha.into()));
        fields.push(("original_environment", body["environment"].clone()));
        let made = self.changed(base, &fields);
        self.deployments.push(made.clone());
        (201, made)
    }

    fn list_statuses(&self, id: &str, request: &Request) -> (u16, Value) {
        let most = request.query.get("per_page").and_then(|text| text.parse().ok()).unwrap_or(30);
        let of = self.statuses.iter().rev().filter(|(deployment, _)| deployment.to_string() == id);
        (200, of.take(most).map(|(_, status)| status.clone()).collect())
    }

    fn make_status(&mut self, id: &str, request: &Request, base: Value) -> (u16, Value) {
        let Some(deployment) = self.deployments.iter().find(|one| is_it(one, id)) else {
            return (404, json!({ "message": "Not Found", "status": "404" }));
        };
        let (number, environment) =
            (deployment["id"].as_u64().expect("a number"), deployment["environment"].clone());
        let mut fields = vec![("environment", environment)];
        for key in ["state", "description", "log_url", "environment_url"] {
            fields.push((key, request.body.get(key).cloned().unwrap_or_else(|| "".into())));
        }
        let made = self.changed(base, &fields);
        self.statuses.push((number, made.clone()));
        (201, made)
    }

    fn make_check_run(&mut self, request: &Request, base: Value) -> (u16, Value) {
        let mut fields = vec![("pull_requests", json!([]))];
        for key in ["name", "head_sha", "external_id", "status", "details_url"] {
            fields.push((key, request.body.get(key).cloned().unwrap_or(Value::Null)));
        }
        fields.push(("conclusion", request.body.get("conclusion").cloned().unwrap_or(Value::Null)));
        let mut made = self.changed(base, &fields);
        let id = made["id"].as_u64().expect("a number");
        made["output"] = self.output(id, request);
        self.check_runs.push(made.clone());
        (201, made)
    }

    fn change_check_run(&mut self, id: &str, request: &Request) -> (u16, Value) {
        let Some(index) = self.check_runs.iter().position(|one| is_it(one, id)) else {
            return (404, json!({ "message": "Not Found" }));
        };
        let number = self.check_runs[index]["id"].as_u64().expect("a number");
        let output = self.output(number, request);
        let run = &mut self.check_runs[index];
        run["output"] = output;
        for key in ["status", "conclusion"] {
            if let Some(value) = request.body.get(key) {
                run[key] = value.clone();
            }
        }
        (200, run.clone())
    }

    /// Remarks are added to those that are there.
    fn output(&mut self, id: u64, request: &Request) -> Value {
        let output = &request.body["output"];
        let all = self.annotations.entry(id).or_default();
        all.extend(output["annotations"].as_array().into_iter().flatten().cloned());
        json!({
            "title": output["title"], "summary": output["summary"], "text": null,
            "annotations_count": all.len(), "annotations_url": "https://api.github.com/annotations",
        })
    }

    fn make_release(&mut self, request: &Request, base: Value) -> (u16, Value) {
        let mut fields = vec![("assets", json!([]))];
        for key in ["tag_name", "target_commitish", "name", "body", "draft", "prerelease"] {
            fields.push((key, request.body[key].clone()));
        }
        let made = self.changed(base, &fields);
        self.releases.push(made.clone());
        (201, made)
    }

    fn make_asset(&mut self, id: &str, request: &Request, base: Value) -> (u16, Value) {
        let name = request.query.get("name").cloned().unwrap_or_default();
        let fields = [("name", name.into()), ("size", request.size.into()), ("state", "uploaded".into())];
        let made = self.changed(base, &fields);
        let release = self.releases.iter_mut().find(|one| is_it(one, id));
        let Some(release) = release else { return (404, json!({ "message": "Not Found" })) };
        release["assets"].as_array_mut().expect("a list").push(made.clone());
        (201, made)
    }

    fn remove_asset(&mut self, id: &str) -> (u16, Value) {
        for release in &mut self.releases {
            release["assets"].as_array_mut().expect("a list").retain(|one| !is_it(one, id));
        }
        (204, Value::Null)
    }
}

fn change(all: &mut [Value], id: &str, fields: &Value) -> (u16, Value) {
    let Some(one) = all.iter_mut().find(|one| is_it(one, id)) else {
        return (404, json!({ "message": "Not Found" }));
    };
    for (key, value) in fields.as_object().into_iter().flatten() {
        one[key] = value.clone();
    }
    (200, one.clone())
}

/// Whether it has the number that stands in a path.
fn is_it(one: &Value, id: &str) -> bool {
    one["id"].as_u64().is_some_and(|number| id.parse() == Ok(number))
}
