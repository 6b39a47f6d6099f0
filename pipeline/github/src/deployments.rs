//! Deployments and their statuses.

use crate::client::{Client, What};
use pipeline::github::{DESCRIPTION_MAX, Trouble, fit};
use serde_json::{Value, json};

const WHAT: What<'static> = What { doing: "a deployment", permission: "deployments: write" };
const STATUS: What<'static> = What { doing: "a status of a deployment", permission: "deployments: write" };

/// The task of a deployment, by which ours are told from others.
const TASK: &str = "deploy";

/// A deployment that is to be there.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// What tells it from every other of this environment: it stands in its payload, and by it it is found again.
    pub key: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// The environment.
    pub environment: &'a str,
    /// The release.
    pub release: &'a str,
    /// In words.
    pub description: &'a str,
    /// Whether it is what users see.
    pub production: bool,
}

/// A status that a deployment is to have.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// `in_progress`, `success`, …
    pub state: &'a str,
    /// In words.
    pub description: &'a str,
    /// Where its story can be read.
    pub log_url: Option<&'a str>,
    /// Where what was deployed answers.
    pub environment_url: Option<&'a str>,
}

impl Client {
    /// Makes a deployment, and gives its number. With `look`, one that is there with this key is taken.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn deployment(&self, wanted: &Deployment<'_>, look: bool) -> Result<u64, Trouble> {
        if look && let Some(id) = self.find_deployment(wanted).await? {
            return Ok(id);
        }
        let made = self.post(WHAT, "/deployments", &body(wanted)).await?;
        id(WHAT, &made)
    }

    /// The newest hundred of the environment are looked through: more were not made since.
    async fn find_deployment(&self, wanted: &Deployment<'_>) -> Result<Option<u64>, Trouble> {
        let environment = encoded(wanted.environment);
        let route = format!("/deployments?environment={environment}&task={TASK}&per_page=100");
        let all = self.get(WHAT, &route).await?;
        let is_it = |one: &&Value| payload(one)["fairlead"].as_str() == Some(wanted.key);
        Ok(all.as_array().into_iter().flatten().find(is_it).and_then(|one| one["id"].as_u64()))
    }

    /// Gives a deployment a status. With `look`, not if that is its newest already.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn status(&self, deployment: u64, wanted: &Status<'_>, look: bool) -> Result<(), Trouble> {
        let route = format!("/deployments/{deployment}/statuses");
        let description = fit(wanted.description, DESCRIPTION_MAX);
        if look {
            let all = self.get(STATUS, &format!("{route}?per_page=1")).await?;
            let newest = &all[0];
            if newest["state"] == wanted.state && newest["description"] == description.as_str() {
                return Ok(());
            }
        }
        let mut body = json!({
            "state": wanted.state,
            "description": description,
            "auto_inactive": true,
        });
        for (key, value) in [("log_url", wanted.log_url), ("environment_url", wanted.environment_url)] {
            if let Some(value) = value {
                body[key] = value.into();
            }
        }
        self.post(STATUS, &route, &body).await.map(drop)
    }
}

fn body(wanted: &Deployment<'_>) -> Value {
    json!({
        "ref": wanted.commit,
        "task": TASK,
        // Ours to decide: nothing is merged, and what a release must have passed was checked before.
        "auto_merge": false,
        "required_contexts": [],
        "environment": wanted.environment,
        "description": fit(wanted.description, DESCRIPTION_MAX),
        "transient_environment": false,
        "production_environment": wanted.production,
        "payload": { "fairlead": wanted.key, "release": wanted.release },
    })
}

/// A payload comes back as it was given, or as a text that holds it.
fn payload(deployment: &Value) -> Value {
    match &deployment["payload"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    }
}

pub(crate) fn id(what: What<'_>, made: &Value) -> Result<u64, Trouble> {
    made["id"].as_u64().ok_or_else(|| Trouble::Strange {
        doing: what.doing.to_owned(),
        message: match made["message"].as_str() {
            Some(message) => fit(message, 200),
            None => "it has no `id`".to_owned(),
        },
    })
}

/// A text as a query holds it.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
