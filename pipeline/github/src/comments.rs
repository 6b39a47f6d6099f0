//! The comment of a pull request that is kept up to date.

use crate::client::{Client, What};
use pipeline::github::Trouble;
use serde_json::{Value, json};

const WHAT: What<'static> = What { doing: "a comment of a pull request", permission: "pull-requests: write" };

/// How many pages of a hundred are looked through. A sticky comment is one of the first.
const PAGES: usize = 30;

impl Client {
    /// Writes a comment, or over the one that begins with this marker.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn comment(&self, pull: u64, marker: &str, body: &str) -> Result<(), Trouble> {
        let text = json!({ "body": body });
        match self.find_comment(pull, marker).await? {
            Some(id) => self.patch(WHAT, &format!("/issues/comments/{id}"), &text).await.map(drop),
            None => self.post(WHAT, &format!("/issues/{pull}/comments"), &text).await.map(drop),
        }
    }

    async fn find_comment(&self, pull: u64, marker: &str) -> Result<Option<u64>, Trouble> {
        for page in 1..=PAGES {
            let route = format!("/issues/{pull}/comments?per_page=100&page={page}");
            let all = self.get(WHAT, &route).await?;
            let all: &[Value] = all.as_array().map_or(&[], Vec::as_slice);
            let is_it = |one: &&Value| one["body"].as_str().is_some_and(|body| body.starts_with(marker));
            if let Some(found) = all.iter().find(is_it).and_then(|one| one["id"].as_u64()) {
                return Ok(Some(found));
            }
            if all.len() < 100 {
                break;
            }
        }
        Ok(None)
    }
}
