//! Releases: notes, and files beside them.

use crate::{
    client::{Client, What},
    deployments::{encoded, id},
};
use bytes::Bytes;
use pipeline::github::Trouble;
use serde_json::{Value, json};

const WHAT: What<'static> = What { doing: "a release", permission: "contents: write" };
const ASSET: What<'static> = What { doing: "a file of a release", permission: "contents: write" };

/// A release that is to be there.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The tag, which is made if it is not there.
    pub tag: &'a str,
    /// The whole hash of the commit.
    pub commit: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// In Markdown.
    pub notes: &'a str,
}

/// A file beside a release.
#[derive(Debug, Clone)]
pub struct Asset {
    /// What it is called there.
    pub name: String,
    /// What is in it.
    pub content: Bytes,
}

impl Client {
    /// Makes a release with its files, and gives where people see it. It is a draft until all files are there, so that
    /// nobody sees half of it; what is there already is not brought again.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn release(&self, wanted: &Release<'_>, assets: &[Asset]) -> Result<String, Trouble> {
        let found = self.find_release(wanted.tag).await?;
        let made = match found {
            Some(found) => found,
            None => self.post(WHAT, "/releases", &body(wanted)).await?,
        };
        let number = id(WHAT, &made)?;
        let there = made["assets"].as_array().map_or(&[][..], Vec::as_slice);
        for asset in assets {
            self.asset(number, asset, there).await?;
        }
        let body = json!({ "draft": false, "name": wanted.name, "body": wanted.notes });
        let done = self.patch(WHAT, &format!("/releases/{number}"), &body).await?;
        Ok(done["html_url"].as_str().unwrap_or(wanted.tag).to_owned())
    }

    /// Drafts have no tag yet, so they are in the list alone.
    async fn find_release(&self, tag: &str) -> Result<Option<Value>, Trouble> {
        let all = self.get(WHAT, "/releases?per_page=100").await?;
        Ok(all.as_array().into_iter().flatten().find(|one| one["tag_name"] == tag).cloned())
    }

    async fn asset(&self, release: u64, asset: &Asset, there: &[Value]) -> Result<(), Trouble> {
        if let Some(same) = there.iter().find(|one| one["name"] == asset.name.as_str()) {
            let is_whole = same["state"] == "uploaded" && same["size"] == asset.content.len();
            if is_whole {
                return Ok(());
            }
            self.delete(ASSET, &format!("/releases/assets/{}", id(ASSET, same)?)).await?;
        }
        let route = format!("/releases/{release}/assets?name={}", encoded(&asset.name));
        self.upload(ASSET, &route, asset.content.clone()).await.map(drop)
    }
}

fn body(wanted: &Release<'_>) -> Value {
    json!({
        "tag_name": wanted.tag,
        "target_commitish": wanted.commit,
        "name": wanted.name,
        "body": wanted.notes,
        "draft": true,
        "prerelease": false,
    })
}
